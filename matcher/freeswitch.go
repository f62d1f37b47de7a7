package matcher

import (
	"bytes"
	"unicode"
)

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
func (freeswitch) tellsIdle() bool  { return true }
func (freeswitch) sessions() bool   { return false }

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
	id := len(sessionUUID)
	if len(line) <= sessionLine || !isSession(line[:id]) || line[id] != ' ' {
		return 0
	}
	if _, ok := freeswitchHeader(line, sessionLine); !ok {
		return 0
	}
	return sessionLine
}

// finish takes off the colours behind a message. FreeSWITCH's console puts them
// at the start of the next line: where there is none yet, that line goes too.
func (freeswitch) finish(r Record) Record {
	if message := trimColours(r.Message); len(message) < len(r.Message) {
		r.Message = bytes.TrimSuffix(message, []byte("\n"))
	}
	return r
}

// entry takes a whole record as mod_syslog hands it to the journal, with its
// time or without. Whatever else stands there, above all the record of a
// session, is not seen.
func (f freeswitch) entry(e Entry) Record {
	at := skipColours(e.Message, 0)
	h, ok := freeswitchHeader(e.Message, at)
	switch {
	case ok:
	case freeswitchLevel(e.Message[at:]):
		h = header{message: at}
	default:
		h = header{message: -1}
	}
	return f.finish(h.record(e.Message))
}

const freeswitchStamp = "0000-00-00 00:00:00.000000"

// stamped reports whether text begins with FreeSWITCH's stamp. Nearly every line
// is asked, hence not by shaped.
func stamped(text []byte) bool {
	if len(text) < len(freeswitchStamp) {
		return false
	}
	t := text[:len(freeswitchStamp)]
	if t[4] != '-' || t[7] != '-' || t[10] != ' ' || t[13] != ':' || t[16] != ':' || t[19] != '.' {
		return false
	}
	for i, c := range t {
		if c-'0' > 9 && freeswitchStamp[i] == '0' {
			return false
		}
	}
	return true
}

func freeswitchHeader(line []byte, at int) (header, bool) {
	if !stamped(line[at:]) {
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
	if len(rest) == 0 || rest[0] != ' ' || !freeswitchLevel(rest[1:]) {
		return header{}, false
	}
	h.message = len(line) - len(rest) + 1
	return h, true
}

// freeswitchLevel reports whether text begins with `[LEVEL] file:line `.
func freeswitchLevel(text []byte) bool {
	level := 1
	for level < len(text) && 'A' <= text[level] && text[level] <= 'Z' {
		level++
	}
	if level == 1 || text[0] != '[' || !bytes.HasPrefix(text[level:], []byte("] ")) {
		return false
	}
	file, _, ok := bytes.Cut(text[level+len("] "):], []byte(" "))
	if !ok {
		return false
	}
	number := len(file)
	for number > 0 && '0' <= file[number-1] && file[number-1] <= '9' {
		number--
	}
	return number < len(file) && number > 1 && file[number-1] == ':'
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
	if !isSession(prefix) {
		// A tab above all is none: so do folded headers begin, which callers write.
		if !stamped(line[rest:]) || bytes.ContainsFunc(prefix, unicode.IsControl) {
			return header{}, false
		}
	}
	h, _ := freeswitchHeader(line, rest)
	h.message = -1
	return h, true
}

const sessionUUID = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"

// isSession reports whether text is the UUID of a session.
func isSession(text []byte) bool {
	if len(text) != len(sessionUUID) {
		return false
	}
	for i, c := range text {
		if sessionUUID[i] == 'x' && c-'0' > 9 && c-'a' > 5 || sessionUUID[i] == '-' && c != '-' {
			return false
		}
	}
	return true
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
