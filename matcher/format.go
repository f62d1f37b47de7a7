package matcher

import (
	"bytes"
	"fmt"
	"strings"
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
	// finish completes what the header told of a record, now that all of its
	// text is there.
	finish(r Record) Record
	// entry returns the record that a message of the journal is.
	entry(e Entry) Record
	// tellsIdle and sessions are what [TellsIdle] and [TellsSession] say.
	tellsIdle() bool
	sessions() bool
}

// header is what the first line of a record tells; offsets count from the
// start of the record.
type header struct {
	stamp, stampEnd     int // the time, [stamp, stampEnd)
	idle, idleEnd       int // the idle-CPU field
	session, sessionEnd int // program and process
	message             int // start of what patterns see; -1: they do not see the record
	carried             int // bytes behind the first line that belong to the record, whatever they look like
}

// record returns the record of that text.
func (h header) record(text []byte) Record {
	r := Record{Text: text}
	if h.stampEnd > 0 {
		r.Stamp = text[h.stamp:h.stampEnd]
	}
	if h.idleEnd > 0 {
		r.Idle = text[h.idle:h.idleEnd]
	}
	if h.sessionEnd > 0 {
		r.Session = text[h.session:h.sessionEnd]
	}
	if h.message >= 0 {
		r.Message = text[h.message:]
	}
	return r
}

// lines is what most formats have in common: every line is a record, which tells
// no session and which nobody else can write.
type lines struct{}

func (lines) singleLine() bool       { return true }
func (lines) glued([]byte) int       { return 0 }
func (lines) finish(r Record) Record { return r }
func (lines) tellsIdle() bool        { return false }
func (lines) sessions() bool         { return false }

// Formats are the names that a jail may give as its format.
func Formats() []string {
	return []string{"freeswitch", "freeswitch-json", "syslog", "asterisk", "raw"}
}

// FormatNamed returns the format of that name; the error of an unknown one
// lists those that exist. Layout is the strftime(3) layout of the time that a
// line of the format "raw" begins with, "" where it begins with none; the other
// formats know theirs. See [Formats].
func FormatNamed(name, layout string) (Format, error) {
	known, ok := map[string]Format{
		"freeswitch": freeswitch{}, "freeswitch-json": freeswitchJSON{}, "syslog": syslog{}, "asterisk": asterisk{}, "raw": raw{},
	}[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("unknown format %q; the formats are: %s", name, strings.Join(Formats(), ", "))
	case layout == "":
		return known, nil
	case name != "raw":
		return nil, fmt.Errorf("the format %q knows how its time is written; a layout is for the format \"raw\"", name)
	}
	l, err := newLayout(layout)
	if err != nil {
		return nil, err
	}
	return raw{layout: l}, nil
}

// SpansLines reports whether a record of the format may have several lines.
func SpansLines(f Format) bool { return !f.singleLine() }

// TellsSession reports whether records of the format tell the program and
// process that wrote them: those of one belong together.
func TellsSession(f Format) bool { return f.sessions() }

// TellsIdle reports whether records of the format tell how idle the CPU was: by
// that those can be doubted that a caller forged.
func TellsIdle(f Format) bool { return f.tellsIdle() }

// Stamp returns what tells the time of the record that a line starts, for
// [Clock.Time], and nil where it starts none.
func Stamp(f Format, line []byte) []byte {
	head, _ := f.start(line)
	return f.finish(head.record(bytes.TrimSuffix(line, []byte("\n")))).Stamp
}

// shaped reports whether text begins as shape does: 0 stands for a digit, d for
// a digit or a space, A and a for a letter of that case; anything else stands for
// itself.
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
