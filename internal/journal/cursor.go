package journal

import (
	"strconv"
	"strings"
	"time"
)

// A Cursor names one entry, as journald writes it: fields such as
// "s=...;i=114;b=...;m=...;t=660c48f15b19c;x=..." (sd_journal_get_cursor(3)).
// "" is no entry.
type Cursor string

// After reports whether c is behind d in the journal. Where one journald
// numbered both, the numbers decide; else the times, which a clock that was set
// may turn around.
func (c Cursor) After(d Cursor) bool {
	if n, m, ok := numbers(c, d); ok {
		return n > m
	}
	return c.Time().After(d.Time())
}

// follows reports whether journald wrote c right behind d.
func (c Cursor) follows(d Cursor) bool {
	n, m, ok := numbers(c, d)
	return ok && n == m+1
}

// numbers returns the numbers of two entries, false where it was not one
// journald that numbered both.
func numbers(c, d Cursor) (n, m uint64, ok bool) {
	s, ok := c.field("s")
	if other, ok2 := d.field("s"); !ok || !ok2 || s != other {
		return 0, 0, false
	}
	n, ok = c.number("i")
	m, ok2 := d.number("i")
	return n, m, ok && ok2
}

// Time returns when journald took the entry, the zero Time where the cursor
// does not tell.
func (c Cursor) Time() time.Time {
	usec, ok := c.number("t")
	if !ok || usec > maxUsec {
		return time.Time{}
	}
	return time.UnixMicro(int64(usec))
}

// maxUsec is the latest time that is believed, in the year 9999: what
// time.Time can write as text.
const maxUsec = 253402300799_000000

// number reads a field: all numbers of a cursor are hexadecimal.
func (c Cursor) number(name string) (uint64, bool) {
	text, ok := c.field(name)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 16, 64)
	return n, err == nil
}

func (c Cursor) field(name string) (string, bool) {
	rest := string(c)
	for rest != "" {
		var field string
		field, rest, _ = strings.Cut(rest, ";")
		if key, value, ok := strings.Cut(field, "="); ok && key == name {
			return value, true
		}
	}
	return "", false
}

// A Position is where to resume: everything up to the entry at Cursor was
// delivered, but for lines of which only the beginning had been read by then.
// From there on, at Begun, is read again; of the lines that this yields, those
// that end at or before Cursor are not delivered again. It is made of text that
// does not change its meaning when band is updated.
type Position struct {
	Cursor Cursor `json:"cursor"`
	Begun  Cursor `json:"begun,omitempty"` // where the first such line begins; "" where there is none
}

// IsZero reports whether p is no position: the beginning is decided by time.
func (p Position) IsZero() bool { return p == Position{} }
