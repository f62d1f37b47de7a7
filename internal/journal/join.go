package journal

import (
	"io"
	"slices"
	"time"
)

const (
	// maxPending is of how many streams it is remembered that they are within a
	// line; the one that is so for longest is forgotten. A stream is a service's
	// start.
	maxPending = 1024
	// maxText is how many bytes of pending lines are kept; the oldest go first.
	maxText = 4 * MaxMessage
	// worthwhile is for how long the beginning of a line is read again after a
	// restart. A service that died within a line would otherwise have more and
	// more read again.
	worthwhile = time.Hour
)

// A joiner makes lines of their pieces. Journald cuts a line of a service's
// standard output after 48 KiB (LineMax in journald.conf(5)), and at a NUL. The
// rest is an entry of its own, which an attacker can make look like a line that
// begins: what he wrote stands at its beginning. That a line goes on is told by
// the field _LINE_BREAK of all its pieces but the last, and only the field
// _STREAM_ID leads to the next.
//
// Where journald dropped messages of a service that wrote too many, it may have
// dropped the beginning of a line or its rest. It tells so right before the next
// message that it takes, which is therefore not believed.
//
// Its state is a function of the last entry, and of the entries since the first
// pending line began. That is why reading again from there, after a restart,
// yields the same lines.
type joiner struct {
	lines   []*line // those that go on, in the order in which they began
	text    int     // bytes of them
	dropped Cursor  // the last entry in which journald told that it dropped some
}

// line is a line of which the end has not come.
type line struct {
	stream string
	from   Cursor // where to read again to know what is known of it
	begun  Entry  // its first piece, without the message
	text   []byte
	pieces int
	lost   bool // a part of it is missing, or it was given up
}

// add takes the next entry of the journal and returns the line that it ends, if
// it ends one. Entries that are no pieces are returned as they are.
func (j *joiner) add(e Entry) (Entry, bool) {
	j.note(e)
	stream := e.Get("_STREAM_ID")
	if stream == "" {
		return e, true
	}
	from := e.Cursor
	if j.dropped != "" && from.follows(j.dropped) {
		from, e.Message = j.dropped, nil
	}
	i := slices.IndexFunc(j.lines, func(l *line) bool { return l.stream == stream })
	separator, goesOn := breaks[e.Get("_LINE_BREAK")]
	if i < 0 && !goesOn {
		return e, true
	}
	if i < 0 {
		i = len(j.lines)
		j.lines = append(j.lines, &line{stream: stream, from: from, begun: e})
	}
	l := j.lines[i]
	l.pieces++
	j.text -= len(l.text)
	if e.Message == nil || l.lost {
		l.text, l.lost = nil, true
	} else {
		l.text = clip(append(append(l.text, e.Message...), separator...), slack)
	}
	l.begun.Message = nil
	j.text += len(l.text)
	if goesOn {
		j.bound()
		return Entry{}, false
	}
	j.text -= len(l.text)
	j.lines = slices.Delete(j.lines, i, i+1)
	return l.joined(e), true
}

// note takes an entry that was there before: it may tell of the next one.
func (j *joiner) note(e Entry) {
	if isSuppression(e) {
		j.dropped = e.Cursor
	}
}

// breaks are the values of _LINE_BREAK that say that the line goes on, with what
// stood at the break.
var breaks = map[string]string{"line-max": "", "nul": "\x00"}

// joined returns the line that ends with e.
func (l *line) joined(e Entry) Entry {
	e.Fields, e.Pieces = l.begun.Fields, l.pieces
	e.Message = clip(l.text, 0)
	if l.lost {
		e.Message = nil
	}
	return e
}

// bound gives up what is too much.
func (j *joiner) bound() {
	for _, l := range j.lines {
		if j.text <= maxText {
			break
		}
		j.text -= len(l.text)
		l.text, l.lost = nil, true
	}
	if len(j.lines) > maxPending {
		j.text -= len(j.lines[0].text)
		j.lines = slices.Delete(j.lines, 0, 1)
	}
}

// begun returns where the oldest line begins that goes on and is worth reading
// again, "" where there is none. now is the time of the last entry.
func (j *joiner) begun(now time.Time) Cursor {
	for _, l := range j.lines {
		if now.Sub(l.begun.Time) < worthwhile {
			return l.from
		}
	}
	return ""
}

// A Reader reads a recording: what journalctl -o export writes. It is not safe
// for concurrent use.
type Reader struct {
	decoder *decoder
	joiner  joiner
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{decoder: newDecoder(r)} }

// Next returns the next entry, the pieces of a line as one. The error is io.EOF
// behind the last, and io.ErrUnexpectedEOF where the recording ends within an
// entry. Lines that do not end before the recording does are left out.
func (r *Reader) Next() (Entry, error) {
	for {
		e, err := r.decoder.next()
		if err != nil {
			return Entry{}, err
		}
		if e, ok := r.joiner.add(e); ok {
			return e, nil
		}
	}
}
