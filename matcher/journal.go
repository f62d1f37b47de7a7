package matcher

import (
	"bytes"
	"time"
)

// An Entry is one entry of the systemd journal.
type Entry struct {
	Message    []byte
	Time       time.Time
	Identifier string // SYSLOG_IDENTIFIER; "" where there is none
	PID        string // decimal; "" where it is not known
}

// FromJournal returns the record that an entry is in a format; what the format
// does not know is not seen by patterns. Line and End are 0. The record may share
// the entry's memory.
//
// An entry is a record as its program handed it over in one piece: of those that
// came over a program's standard output, which are lines, that is only true where
// a record is one line. See [SpansLines].
func FromJournal(f Format, e Entry) Record {
	e.Message = bytes.TrimSuffix(e.Message, []byte("\n"))
	r := f.entry(e)
	r.Time, r.Sealed = e.Time, true
	return r
}
