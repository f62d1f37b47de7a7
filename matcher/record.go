package matcher

import (
	"bytes"
	"slices"
	"time"
)

// A Record is one log event as its source wrote it: one line or several.
type Record struct {
	Text    []byte // the whole record, without its last newline
	Message []byte // what patterns are matched against, a part of Text unless that is JSON; nil: never matched
	Stamp   []byte // the time, as the [Clock] of the format reads it; nil where there is none
	Idle    []byte // FreeSWITCH's idle-CPU field without its %; nil where there is none
	Session []byte // the program and process that wrote it, "sshd[811]"; nil where not told. A part of Text
	Line    int    // number of its first line in the stream, counted from 1
	End     int64  // bytes of the stream up to its end, its newline included

	Time   time.Time // when it was written, where the source itself knows; zero: Stamp tells
	Sealed bool      // the source tells where the record begins and ends: a caller cannot have written one into another
}

// MaxRecord is how many bytes of a record are kept, 8 MiB. Of a longer one the
// middle is left out: patterns are anchored at both ends, and FreeSWITCH puts
// the address at the end. The longest record that a FreeSWITCH 1.10.12 could be
// made to write, over TCP, was 1.5 MB.
const MaxRecord = 8 << 20

// LineStart is how many bytes of an unfinished line suffice to tell whether it
// starts a record, 64 KiB: a Call-ID that stands before the time is no longer,
// as it comes in one UDP packet, or in a header of that size.
const LineStart = 64 << 10

// slack is how many bytes over MaxRecord a record may have before its middle
// goes, so that it seldom has to.
const slack = 1 << 20

// A Framer cuts a stream of bytes into records. How the stream is cut into
// pushes does not change the records. It is not safe for concurrent use.
type Framer struct {
	format  Format
	buf     []byte // from the start of the pending record on
	lent    bool   // it is what was pushed, and not to be changed
	pushed  []byte // what was pushed last, behind other bytes
	ahead   []byte // the end of it, which was not copied behind them yet
	offset  int64  // of buf[0] in the stream
	head    header // of the pending record
	line    int    // number of the pending record's first line
	lines   int    // whole lines of the pending record
	scanned int    // bytes of them
	carried int    // end of what belongs to the pending record, whatever it looks like
	judged  bool   // whether the line behind them was found to belong to the pending record
	seen    int    // bytes of buf that hold no newline but those of whole lines
	omitted int64  // bytes left out of the pending record
}

// NewFramer returns a Framer for a stream in the given format.
func NewFramer(format Format) *Framer {
	return &Framer{format: format, line: 1}
}

// Push adds the next bytes of the stream. The Framer does not change data, which
// must not change any more: records are parts of it.
func (f *Framer) Push(data []byte) {
	if len(f.buf) == 0 {
		f.buf, f.lent = data[:len(data):len(data)], true
		return
	}
	f.buf = append(f.buf, f.ahead...)
	f.omitMiddle()
	f.pushed, f.ahead = data[:len(data):len(data)], data
}

// more copies the next line that was pushed behind what is pending, and returns false
// where there is none. Seldom is it more than one or two: see borrow.
func (f *Framer) more() bool {
	if len(f.ahead) == 0 {
		return false
	}
	n := bytes.IndexByte(f.ahead, '\n') + 1
	if n == 0 {
		n = len(f.ahead)
	}
	f.buf, f.ahead, f.lent = append(f.buf, f.ahead[:n]...), f.ahead[n:], false // there is no room behind what was lent
	return true
}

// borrow takes what was pushed as it is, as soon as nothing before it is pending.
func (f *Framer) borrow() {
	copied := len(f.pushed) - len(f.ahead)
	if len(f.ahead) > 0 && len(f.buf) <= copied {
		f.buf, f.ahead, f.lent = f.pushed[copied-len(f.buf):], nil, true
	}
}

// Next returns the next record that is complete because another one begins
// behind it, and false when more bytes are needed to tell.
func (f *Framer) Next() (Record, bool) {
	var r Record
	ok := f.next(&r)
	return r, ok
}

// next is Next without copies of the record.
func (f *Framer) next(r *Record) bool {
	for {
		f.seen = max(f.seen, f.scanned)
		newline := bytes.IndexByte(f.buf[f.seen:], '\n')
		end := 0 // of the line; 0: not there yet
		if newline >= 0 {
			end = f.seen + newline + 1
		}
		line := f.buf[f.scanned:]
		if end > 0 {
			line = f.buf[f.scanned:end]
		} else {
			f.seen = len(f.buf)
		}
		if !f.judged {
			if end == 0 && len(line) < LineStart {
				if f.more() {
					continue
				}
				return false
			}
			if f.judge(line, r) {
				return true
			}
		}
		if f.scanned == 0 && (end > 0 || len(line) >= LineStart) {
			if at := f.format.glued(line); at > 0 {
				f.take(at, r)
				return true
			}
		}
		if end == 0 {
			if f.more() {
				continue
			}
			return false
		}
		f.scanned = end
		if f.lines == 0 {
			f.carried = f.scanned + f.head.carried
		}
		f.lines++
		f.judged = false
		if f.format.singleLine() {
			f.take(f.scanned, r)
			return true
		}
	}
}

// Torn reports whether what is pending ends within a line. A console's colours
// are none: they end the line before.
func (f *Framer) Torn() bool {
	last := f.buf[bytes.LastIndexByte(f.buf, '\n')+1:]
	return skipColours(last, 0) < len(last)
}

// Flush returns what is pending as a record, to be called when the writer is
// known to have finished it: after Next has returned false, and until Flush
// returns false itself.
func (f *Framer) Flush() (Record, bool) {
	var r Record
	if len(f.buf) == 0 {
		return r, false
	}
	if line := f.buf[f.scanned:]; len(line) > 0 {
		if !f.judged && f.judge(line, &r) {
			return r, true
		}
		f.lines++
	}
	f.take(len(f.buf), &r)
	return r, true
}

// Drain appends the records that are complete to records and returns them.
func (f *Framer) Drain(records []Record) []Record {
	for {
		records = append(records, Record{})
		if last := len(records) - 1; !f.next(&records[last]) {
			return records[:last]
		}
	}
}

// Finish appends all that is pending, too: nothing follows any more. Patterns do
// not see a record that is torn, for half an address is not an address.
func (f *Framer) Finish(records []Record) []Record {
	records = f.Drain(records)
	torn := f.Torn()
	for r, ok := f.Flush(); ok; r, ok = f.Flush() {
		records = append(records, r)
	}
	if torn {
		records[len(records)-1].Message = nil
	}
	return records
}

// Pending returns how many bytes wait for the end of their record.
func (f *Framer) Pending() int { return len(f.buf) + len(f.ahead) }

// judge decides what the line behind the scanned ones is. Where it starts
// another record, the pending one is complete and given out.
func (f *Framer) judge(line []byte, r *Record) bool {
	line = line[:min(len(line), LineStart)] // as much as there may be when it is unfinished
	head, starts := f.format.start(line)
	starts = starts && f.scanned >= f.carried
	if starts && f.scanned > 0 {
		f.take(f.scanned, r)
		f.head, f.judged = head, true
		return true
	}
	if starts {
		f.head = head
	} else if f.scanned == 0 {
		f.head = header{message: -1} // lines that no record owns
	}
	f.judged = true
	return false
}

// take gives out the first n bytes as a record.
func (f *Framer) take(n int, r *Record) {
	text := bytes.TrimSuffix(f.buf[:n:n], []byte("\n"))
	*r = f.format.finish(f.head.record(text))
	r.Line, r.End = f.line, f.offset+f.omitted+int64(n)
	f.buf, f.offset, f.line = f.buf[n:], r.End, f.line+f.lines
	f.head, f.lines, f.scanned, f.carried, f.judged, f.seen, f.omitted = header{}, 0, 0, 0, false, 0, 0
	f.borrow()
}

// omitMiddle bounds the pending record. It waits until Next has looked at all
// of it: then only its last few bytes may be unjudged, and what is joined here
// is never taken for the start of a line.
func (f *Framer) omitMiddle() {
	if len(f.buf) < MaxRecord+slack || f.seen < len(f.buf) {
		return
	}
	from, to := MaxRecord/2, len(f.buf)-MaxRecord/2
	if f.lent {
		f.buf, f.lent = slices.Clone(f.buf), false
	}
	f.buf = append(f.buf[:from], f.buf[to:]...)
	f.omitted += int64(to - from)
	for _, at := range []*int{&f.scanned, &f.seen} {
		switch {
		case *at >= to:
			*at -= to - from
		case *at > from:
			*at = from
		}
	}
}
