package matcher

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
)

// A Format knows where records start and which part of them is the message.
// See [FormatNamed].
type Format interface {
	// start reports whether line, with its newline where it is complete,
	// starts a record.
	start(line []byte) (header, bool)
	// singleLine reports whether every line is a record.
	singleLine() bool
	// glued returns where another record begins within the first line of one,
	// 0 where none does.
	glued(line []byte) int
}

// header is what the first line of a record tells; offsets count from the
// start of the record.
type header struct {
	stamp, stampEnd int // the time, [stamp, stampEnd)
	idle, idleEnd   int // the idle-CPU field
	message         int // start of what patterns see; -1: they do not see the record
}

// Formats are the names that a jail may give as its format.
func Formats() []string { return []string{"freeswitch"} }

// FormatNamed returns the format of that name; the error of an unknown one
// lists those that exist.
func FormatNamed(name string) (Format, error) {
	switch name {
	case "freeswitch":
		return freeswitch{}, nil
	}
	return nil, fmt.Errorf("unknown format %q; the formats are: %s", name, strings.Join(Formats(), ", "))
}

// freeswitch is the format of FreeSWITCH's log files (switch_log.c:570, 614 of
// 1.10.12): `2026-11-21 07:51:48.117416 81.60% [WARNING] file.c:1787 message`,
// without the idle-CPU field before 1.10.7, coloured where it is the console,
// behind a syslog header where rsyslog wrote it.
//
// A record begins at a line with that start at column 0, or with the UUID of a
// session; all other lines continue the record before. Records of sessions
// carry text that callers wrote, authentication failures never are among them:
// patterns do not see them.
type freeswitch struct{}

func (freeswitch) singleLine() bool { return false }

func (freeswitch) start(line []byte) (header, bool) {
	at := skipColours(line, 0)
	if h, ok := freeswitchHeader(line, at); ok {
		return h, true
	}
	if h, ok := freeswitchHeader(line, skipColours(line, skipSyslog(line))); ok {
		return h, true
	}
	return sessionHeader(line, at)
}

// sessionLine is where mod_logfile cuts a line that it prefixes with a UUID
// (mod_logfile.c of 1.10.12 builds it in 2048 bytes), without a newline: what
// stands behind is the next record. A caller gets there with a long Call-ID, to
// hide it; it is never text of a caller.
const sessionLine = 2047

func (freeswitch) glued(line []byte) int {
	if len(line) <= sessionLine || !shaped(line, sessionUUID+" ") {
		return 0
	}
	if _, ok := freeswitchHeader(line, sessionLine); !ok {
		return 0
	}
	return sessionLine
}

const freeswitchStamp = "0000-00-00 00:00:00.000000"

func freeswitchHeader(line []byte, at int) (header, bool) {
	if !shaped(line[at:], freeswitchStamp) {
		return header{}, false
	}
	h := header{stamp: at, stampEnd: at + len(freeswitchStamp)}
	rest := line[h.stampEnd:]
	for _, idle := range []string{" 00.00%", " 0.00%", " 000.00%"} {
		if shaped(rest, idle) {
			h.idle, h.idleEnd = h.stampEnd+len(" "), h.stampEnd+len(idle)-len("%")
			rest = rest[len(idle):]
			break
		}
	}
	rest, ok := bytes.CutPrefix(rest, []byte(" "))
	if !ok {
		return header{}, false
	}
	h.message = len(line) - len(rest)

	level, rest, ok := bytes.Cut(rest, []byte("] "))
	if !ok || len(level) < 2 || level[0] != '[' || len(bytes.Trim(level[1:], "ABCDEFGHIJKLMNOPQRSTUVWXYZ")) > 0 {
		return header{}, false
	}
	file, _, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return header{}, false
	}
	colon := bytes.LastIndexByte(file, ':')
	if colon < 1 || colon == len(file)-1 || len(bytes.Trim(file[colon+1:], "0123456789")) > 0 {
		return header{}, false
	}
	return h, true
}

// sessionHeader recognises a line that begins with the UUID of a session, or
// with the Call-ID that takes its place when inbound-use-callid-as-uuid is on;
// that can only be told from other text by the time behind it.
func sessionHeader(line []byte, at int) (header, bool) {
	space := bytes.IndexByte(line[at:], ' ')
	if space < 1 {
		return header{}, false
	}
	prefix, rest := line[at:at+space], at+space+1
	if bytes.ContainsFunc(prefix, unicode.IsControl) {
		return header{}, false // a tab above all: so do folded headers begin, which callers write
	}
	h, ok := freeswitchHeader(line, rest)
	h.message = -1
	return h, ok || len(prefix) == len(sessionUUID) && shaped(prefix, sessionUUID) || shaped(line[rest:], freeswitchStamp)
}

const sessionUUID = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"

// skipColours returns where the text begins behind console colours at offset
// at: mod_console writes `ESC [ m ESC [ 35 m` before each line.
func skipColours(line []byte, at int) int {
	for bytes.HasPrefix(line[at:], []byte("\x1b[")) {
		end := at + 2
		for end < len(line) && (line[end] >= '0' && line[end] <= '9' || line[end] == ';') {
			end++
		}
		if end == len(line) || line[end] != 'm' {
			break
		}
		at = end + 1
	}
	return at
}

// skipSyslog returns where the text begins behind a syslog header as rsyslog
// writes it, `Nov 21 07:00:00 host tag[pid]: ` or with an ISO 8601 time, and 0
// where there is none.
func skipSyslog(line []byte) int {
	var rest []byte
	switch {
	case shaped(line, "Aaa d0 00:00:00 "):
		rest = line[len("Nov 21 07:00:00 "):]
	case shaped(line, "0000-00-00T00:00:00"):
		_, after, ok := bytes.Cut(line, []byte(" "))
		if !ok {
			return 0
		}
		rest = after
	default:
		return 0
	}
	_, rest, ok := bytes.Cut(rest, []byte(" ")) // the host
	if !ok {
		return 0
	}
	tag, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok || !bytes.HasSuffix(tag, []byte(":")) {
		return 0
	}
	return len(line) - len(rest)
}

// shaped reports whether text begins as shape does: 0 stands for a digit, d for
// a digit or a space, x for a lower-case hexadecimal digit, A and a for a
// letter of that case; anything else stands for itself.
func shaped(text []byte, shape string) bool {
	if len(text) < len(shape) {
		return false
	}
	for i := range len(shape) {
		c, ok := text[i], false
		switch shape[i] {
		case '0':
			ok = '0' <= c && c <= '9'
		case 'd':
			ok = '0' <= c && c <= '9' || c == ' '
		case 'x':
			ok = '0' <= c && c <= '9' || 'a' <= c && c <= 'f'
		case 'A':
			ok = 'A' <= c && c <= 'Z'
		case 'a':
			ok = 'a' <= c && c <= 'z'
		default:
			ok = c == shape[i]
		}
		if !ok {
			return false
		}
	}
	return true
}

// Stamp returns the part of a line that tells the time of the record that it
// starts, nil where it starts none.
func Stamp(f Format, line []byte) []byte {
	head, _ := f.start(line)
	if head.stampEnd == 0 {
		return nil
	}
	return line[head.stamp:head.stampEnd]
}
