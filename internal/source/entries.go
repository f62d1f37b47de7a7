package source

import (
	"bytes"
	"slices"
	"time"

	"band/internal/journal"
	"band/matcher"
)

const (
	// maxStreams is how many programs may write to the journal's stdout at once,
	// and maxUnfinished how many bytes their records may hold together, before the
	// record of the one that was silent the longest is given up.
	maxStreams    = 64
	maxUnfinished = 2 * matcher.MaxRecord
	// maxKept is how many bytes at each end of an unfinished record outlive a
	// restart. FreeSWITCH writes the address last.
	maxKept = 32 << 10
)

// Entries turns entries of the journal into records of one format. Most entries
// are a record each, and journald vouches for where it begins and ends. What a
// program writes to its standard output arrives as a line an entry, though: there
// a record may go on in the next one, so that it is complete only when another
// begins. It is not safe for concurrent use.
type Entries struct {
	format  matcher.Format
	streams []*stream // the one that was heard of last at the end
}

// NewEntries returns Entries of a format that hold nothing yet.
func NewEntries(format matcher.Format) *Entries { return &Entries{format: format} }

// stream is what one program writes to its standard output.
type stream struct {
	id      string // its _STREAM_ID
	framer  *matcher.Framer
	begun   time.Time // when the unfinished record began to be written
	pending []byte    // that record
}

// Take returns the records that an entry completes.
func (e *Entries) Take(entry journal.Entry) []matcher.Record {
	id := entry.Get("_STREAM_ID")
	if !matcher.SpansLines(e.format) || entry.Get("_TRANSPORT") != "stdout" || id == "" {
		return []matcher.Record{matcher.FromJournal(e.format, matcher.Entry{
			Message: entry.Message, Time: entry.Time,
			Identifier: entry.Get("SYSLOG_IDENTIFIER"), PID: pid(entry),
		})}
	}
	s, records := e.stream(id)
	return append(records, s.line(entry.Message, entry.Time)...)
}

// pid is the process that an entry names: what it says of itself where it does,
// for syslogd does not know the one behind a relay.
func pid(entry journal.Entry) string {
	if pid := entry.Get("SYSLOG_PID"); pid != "" {
		return pid
	}
	return entry.Get("_PID")
}

// Finish returns the records that are unfinished: nothing follows any more.
func (e *Entries) Finish() []matcher.Record {
	var records []matcher.Record
	for _, s := range e.streams {
		records = append(records, s.timed(s.framer.Finish(nil), s.begun)...)
	}
	e.streams = nil
	return records
}

// stream returns the stream of that number. Where it makes room for it, the
// unfinished record of another is cut off: patterns do not see it.
func (e *Entries) stream(id string) (s *stream, records []matcher.Record) {
	if i := slices.IndexFunc(e.streams, func(s *stream) bool { return s.id == id }); i >= 0 {
		s = e.streams[i]
		e.streams = slices.Delete(e.streams, i, i+1)
	} else {
		s = &stream{id: id, framer: matcher.NewFramer(e.format)}
	}
	e.streams = append(e.streams, s)
	for len(e.streams) > maxStreams || len(e.streams) > 1 && e.held() > maxUnfinished {
		oldest := e.streams[0]
		e.streams = slices.Delete(e.streams, 0, 1)
		cut := oldest.timed(oldest.framer.Finish(nil), oldest.begun)
		for i := range cut {
			cut[i].Message = nil
		}
		records = append(records, cut...)
	}
	return s, records
}

// held returns how many bytes the unfinished records hold.
func (e *Entries) held() int {
	n := 0
	for _, s := range e.streams {
		n += s.framer.Pending()
	}
	return n
}

// line adds a line and returns the records that it completes: the first of them
// began before.
func (s *stream) line(text []byte, at time.Time) []matcher.Record {
	line := append(bytes.Clone(text), '\n')
	if len(s.pending) == 0 {
		s.begun = at
	}
	s.pending = append(s.pending, line...)
	s.framer.Push(line)
	records := s.framer.Drain(nil)
	if len(records) == 0 {
		if len(s.pending) > 4*maxKept {
			s.pending = ends(s.pending)
		}
		return nil
	}
	records = s.timed(records, s.begun)
	s.begun = at
	s.pending = s.pending[max(0, len(s.pending)-s.framer.Pending()):]
	return records
}

// ends returns what is kept of a text that became too long.
func ends(text []byte) []byte {
	if len(text) <= 2*maxKept {
		return bytes.Clone(text)
	}
	return slices.Concat(text[:maxKept], text[len(text)-maxKept:])
}

func (s *stream) timed(records []matcher.Record, at time.Time) []matcher.Record {
	for i := range records {
		records[i].Time = at
	}
	return records
}

// unfinished is a record that is not complete, as it outlives a restart.
type unfinished struct {
	Stream string    `json:"stream"`
	Begun  time.Time `json:"begun"`
	Text   []byte    `json:"text"`
}

// unfinished returns what is to be kept with a position.
func (e *Entries) unfinished() []unfinished {
	var all []unfinished
	for _, s := range e.streams {
		if len(s.pending) > 0 {
			all = append(all, unfinished{s.id, s.begun, ends(s.pending)})
		}
	}
	return all
}

// resume takes up what was unfinished.
func (e *Entries) resume(all []unfinished) {
	for _, u := range all {
		s, _ := e.stream(u.Stream)
		s.begun, s.pending = u.Begun, bytes.Clone(u.Text)
		s.framer.Push(bytes.Clone(u.Text))
		s.framer.Drain(nil) // it was not complete then, and is not now
	}
}
