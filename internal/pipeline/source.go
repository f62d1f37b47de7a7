package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"band/matcher"
	"band/store"
)

// A Source is a stream of records that one or several jails watch.
type Source struct {
	Name    string
	Via     string // its kind; failures are counted apart by it
	Records uint64
	Last    time.Time // of the last record that told its time
	Untold  uint64    // records after it, which did not

	// Begins is when the oldest record is of that is read where none was yet; zero
	// until Begin says it.
	Begins time.Time

	// Readable says that the source is known to be read, so that its silence means
	// that nothing happened. Of a file that cannot be known: nobody may write it. Of
	// what happened before ReadableSince it tells nothing.
	Readable      bool
	ReadableSince time.Time

	// Live says that records are read as they are written, so that the time at
	// which they are read tells in which zone the source writes.
	Live bool
	// Offset is what is added to the times that records tell, and Skew how long
	// after the time that it then told a live record was read: of the newest
	// batch, the record for which that is the least. A caller may forge one.
	Offset, Skew time.Duration

	drift     time.Duration // how far our clock was set since the source is read
	candidate time.Duration // for another Offset
	votes     int           // batches in a row that spoke for it

	events   bool // its records are events
	doubted  bool // by its format: forged records can be told from others
	trusted  bool // its records are taken as they are
	clock    *matcher.Clock
	jails    []*Jail
	patterns []watching   // of all jails, in their order
	set      *matcher.Set // of patterns
	found    []Found      // room for those of a batch
	canary   canary
	sessions Sessions
	at       json.RawMessage // cursor of whoever reads the source
}

// watching is a pattern that records of a source are matched against.
type watching struct {
	jail    *Jail
	pattern *matcher.Pattern
}

// position is what is known of a source: how far it was read, and what the
// records there have to do with those that follow.
type position struct {
	At     json.RawMessage `json:"at,omitempty"`
	Begins time.Time       `json:"begins,omitzero"` // where At is empty
	Last   time.Time       `json:"last,omitzero"`
	Offset string          `json:"offset,omitempty"`
	Canary canary          `json:"canary,omitzero"`

	Sessions Sessions `json:"sessions,omitempty"`
}

// NewSource returns the source of that name with what the store knew of it.
// Stamps without a zone are local time of location.
func (p *Pipeline) NewSource(name, via string, format matcher.Format, location *time.Location) (*Source, error) {
	s := &Source{
		Name: name, Via: via, events: matcher.AreEvents(format), doubted: matcher.TellsIdle(format), clock: matcher.NewClock(format, location), set: matcher.NewSet(nil),
	}
	s.trusted = !s.doubted
	if raw, known := p.state.cursors[name]; known {
		var was position
		if err := json.Unmarshal(raw, &was); err != nil {
			return nil, fmt.Errorf("read the position of %s: %w", name, err)
		}
		s.at, s.Begins, s.Last, s.canary, s.sessions = was.At, was.Begins, was.Last, was.Canary, was.Sessions
		if was.Offset != "" {
			offset, err := time.ParseDuration(was.Offset)
			if err != nil {
				return nil, fmt.Errorf("read the position of %s: %w", name, err)
			}
			s.shift(offset)
		}
		if !s.Last.IsZero() {
			s.clock.Resume(s.Last)
		}
	}
	return s, nil
}

// Begin notes when the oldest record is of that is read of a new source. A daemon
// that ends before it reads any knows by that where to begin the next time: other
// sources of the same jails may have been read meanwhile.
func (p *Pipeline) Begin(s *Source, at time.Time) (d Decision) {
	s.Begins = at
	p.note(&d.Batch, s)
	return d
}

// note puts the position of a source into a batch and into the state.
func (p *Pipeline) note(b *store.Batch, s *Source) {
	if b.Cursors == nil {
		b.Cursors = make(map[string]json.RawMessage)
	}
	b.Cursors[s.Name] = s.position()
	p.state.cursors[s.Name] = b.Cursors[s.Name]
}

// Watch lets a jail see the records of the source; preferred is what its jail
// file says of it.
func (s *Source) Watch(j *Jail, preferred bool) {
	s.jails = append(s.jails, j)
	patterns := j.lines
	if s.events {
		patterns = j.events
	}
	for _, p := range patterns {
		s.patterns = append(s.patterns, watching{j, p})
	}
	s.compile()
	// What tells a jail no failures cannot tell them better than others.
	if preferred && (!s.events || j.failsByEvents()) {
		s.trusted, s.canary = true, canary{}
		j.preferred = append(j.preferred, s)
	}
}

// Unwatch lets no jail see the records of the source any more, until Watch.
func (s *Source) Unwatch() {
	s.jails, s.patterns, s.trusted = nil, nil, !s.doubted
	s.compile()
}

// Found is a pattern that matches a record of a batch.
type Found struct {
	record int // its index
	watching
	match matcher.Match
}

// Match appends what matches records to found and returns it: for each jail the
// first of its patterns that does. It may be called concurrently, but not with
// Watch or Unwatch, and found is not what a later call is given.
func (s *Source) Match(records []matcher.Record, found []Found) []Found {
	var room [16]int
	may := room[:0]
	for i := range records {
		message := records[i].Message
		if message == nil {
			continue
		}
		var done *Jail
		may = s.set.May(message, may[:0])
		for _, at := range may {
			w := s.patterns[at]
			if w.jail == done {
				continue
			}
			if m, ok := w.pattern.Match(message); ok {
				done, found = w.jail, append(found, Found{i, w, m})
			}
		}
	}
	return found
}

func (s *Source) compile() {
	var patterns []*matcher.Pattern
	for _, w := range s.patterns {
		patterns = append(patterns, w.pattern)
	}
	s.set = matcher.NewSet(patterns)
}

// Jails returns the names of the jails that watch the source.
func (s *Source) Jails() []string {
	names := []string{}
	for _, j := range s.jails {
		names = append(names, j.Name)
	}
	return names
}

// Cursor returns how far the source was read, nil where it never was.
func (s *Source) Cursor() json.RawMessage { return s.at }

// forgotten is the position of a source of which nothing is known.
var forgotten = json.RawMessage("null")

// ForgetSource drops the position of a source: it is not read any more.
func (p *Pipeline) ForgetSource(name string) Decision {
	delete(p.state.cursors, name)
	return Decision{Batch: store.Batch{Cursors: map[string]json.RawMessage{name: forgotten}}}
}

// LastOf returns the time of the last record of a source whose position is known,
// zero where none told its time.
func (p *Pipeline) LastOf(name string) time.Time {
	var was position
	_ = json.Unmarshal(p.state.cursors[name], &was) // damage is an error when it is read from
	return was.Last
}

func (s *Source) position() json.RawMessage {
	p := position{At: s.at, Begins: s.Begins, Last: s.Last, Canary: s.canary, Sessions: s.sessions}
	if s.Offset != 0 {
		p.Offset = s.Offset.String()
	}
	raw, err := json.Marshal(p)
	if err != nil {
		// The cursor is the only part that could fail, and it was written by us.
		panic(fmt.Sprintf("write the position of %s: %v", s.Name, err))
	}
	return raw
}

// neighbour returns what a record says of the moment at which it was written,
// and false where it does not say, or names a year of no clock: JSON has none
// over 9999, and callers can forge one.
func (s *Source) neighbour(r *matcher.Record) (neighbour, bool) {
	at, ok := s.clock.Time(r.Stamp)
	if !ok && !r.Time.IsZero() {
		at, ok = r.Time, true
	}
	if !ok || at.Year() < 1970 || at.Year() > 9998 {
		return neighbour{}, false
	}
	n := neighbour{Time: at}
	if s.canary.Vanilla { // nobody else asks
		n.Idle, n.doubled = s.canary.Prev.Idle, bytes.Count(r.Text, []byte("% [")) > 1
		if n.Idle != string(r.Idle) { // it seldom changes, and is kept
			n.Idle = string(r.Idle)
		}
	}
	return n, true
}

// Zones lie from -12 to +14 hours and differ by multiples of a quarter of one. An
// offset is believed when so many batches in a row agree on it within the slack.
const (
	zoneStep  = 15 * time.Minute
	zonesSpan = 26 * time.Hour
	zoneSlack = 90 * time.Second
	zoneVotes = 3
)

// learn finds out by which clock a live source writes: records that were just
// written and all tell another time by hours were stamped in another zone, and
// by as much as our clock was set, by a writer that did not notice.
func (s *Source) learn() {
	change := s.disagreement()
	if change == 0 {
		s.votes = 0
		return
	}
	if change != s.candidate {
		s.candidate, s.votes = change, 0
	}
	if s.votes++; s.votes == zoneVotes {
		s.votes = 0
		s.shift(s.Offset + change)
	}
}

// disagreement returns what Skew would be if it was that of another zone, or of a
// clock that was not set when ours was, or is now; 0 where it is neither.
func (s *Source) disagreement() time.Duration {
	changes := []time.Duration{s.drift - s.Offset, -s.Offset}
	if zone := s.Skew.Round(zoneStep); zone.Abs() <= zonesSpan {
		changes = append(changes, zone)
	}
	for _, change := range changes {
		if change != 0 && s.Skew.Abs() > zoneSlack && (s.Skew-change).Abs() <= zoneSlack {
			return change
		}
	}
	return 0
}

func (s *Source) shift(offset time.Duration) {
	s.Offset = offset
	s.clock.Shift(offset)
}
