package source

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"band/internal/doctor"
	"band/internal/journal"
	"band/matcher"
)

// refresh is how long a source of the journal keeps its position while none of
// its own entries comes: the journal is read again from the oldest of them.
const refresh = 30 * time.Second

// JournalStream is what one source takes from the journal.
type JournalStream struct {
	name     string
	match    journal.Match
	entries  *Entries
	since    time.Time        // where to begin that has no position
	taken    journal.Position // up to where entries were taken; zero: none was
	recorded time.Time        // when the position was handed out last
}

// journalPosition is how far a source of the journal was read.
type journalPosition struct {
	journal.Position
	Unfinished []unfinished `json:"unfinished,omitempty"`
}

// NewJournalStream returns the stream of the entries that match. The cursor is what
// an earlier Batch of the source gave; nil on the first start, which begins at
// since. A cursor that cannot be read is an error.
func NewJournalStream(name string, match journal.Match, format matcher.Format, cursor json.RawMessage, since time.Time) (*JournalStream, error) {
	s := &JournalStream{name: name, match: match, entries: NewEntries(format), since: since}
	if cursor != nil {
		var was journalPosition
		if err := json.Unmarshal(cursor, &was); err != nil {
			return nil, fmt.Errorf("read the cursor of %s: %w", name, err)
		}
		s.taken = was.Position
		s.entries.resume(was.Unfinished)
	}
	return s, nil
}

// JournalConfig says what to read of the journal.
type JournalConfig struct {
	Streams []*JournalStream
	// After is closed when batches may be sent, as of a file.
	After <-chan struct{}

	Log   *slog.Logger
	Board *doctor.Board
}

// A Journal reads the entries of several sources from the journal, all through
// one child.
type Journal struct {
	config  JournalConfig
	reader  *journal.Journal
	waiting atomic.Pointer[time.Time] // since when something was read and not handed over; nil: all was
}

// NewJournal returns a Journal that has not been opened.
func NewJournal(c JournalConfig) *Journal {
	from := journal.Config{Log: c.Log, Board: c.Board}
	everywhere := true
	for _, s := range c.Streams {
		from.Matches = append(from.Matches, s.match)
		if from.Since.IsZero() || s.since.Before(from.Since) {
			from.Since = s.since
		}
		switch {
		case s.taken.IsZero():
			everywhere = false
		case from.From.IsZero() || from.From.Cursor.After(s.taken.Cursor):
			from.From = s.taken
		}
	}
	if at := from.From.Cursor.Time(); !everywhere && !from.From.IsZero() {
		from.From = journal.Position{}
		if at.Before(from.Since) {
			from.Since = at
		}
	}
	return &Journal{config: c, reader: journal.New(from)}
}

// State tells whether the journal can be read now. It is safe for concurrent use.
func (j *Journal) State() State {
	return map[journal.State]State{
		journal.Opening: Opening, journal.Open: Open, journal.Missing: Missing, journal.Failing: Unreadable,
	}[j.reader.State()]
}

// Backlog tells what was read of the journal and was not handed over yet: how
// long ago journald took the oldest of it. It is safe for concurrent use.
func (j *Journal) Backlog() Backlog {
	if oldest := j.waiting.Load(); oldest != nil {
		return Backlog{Age: max(0, time.Since(*oldest))}
	}
	return Backlog{}
}

// Ready is closed when the journal is open or was found to be missing.
func (j *Journal) Ready() <-chan struct{} { return j.reader.Ready() }

// Run reads until ctx ends. A slow receiver slows it; nothing is dropped.
func (j *Journal) Run(ctx context.Context, out chan<- Batch) error {
	group, ctx := errgroup.WithContext(ctx)
	read := make(chan journal.Batch)
	group.Go(func() error {
		defer close(read)
		return j.reader.Run(ctx, read)
	})
	group.Go(func() error {
		if j.config.After != nil {
			select {
			case <-j.config.After:
			case <-ctx.Done():
				return nil
			}
		}
		for batch := range read {
			since := time.Now() // behind a batch without entries there may be some
			if len(batch.Entries) > 0 {
				since = batch.Entries[0].Time
			}
			j.waiting.Store(&since)
			for _, s := range j.config.Streams {
				b, err := s.take(batch, time.Now())
				if err != nil {
					return err
				}
				if len(b.Records) == 0 && b.Cursor == nil && !b.CaughtUp {
					continue
				}
				select {
				case out <- b:
				case <-ctx.Done():
					return nil
				}
			}
			j.waiting.Store(nil)
		}
		return nil
	})
	return group.Wait()
}

// take picks the stream's entries and returns what they complete.
func (s *JournalStream) take(read journal.Batch, now time.Time) (Batch, error) {
	b := Batch{Source: s.name, CaughtUp: read.CaughtUp}
	mine := false
	for _, e := range read.Entries {
		if s.taken.IsZero() && e.Time.Before(s.since) || !s.taken.IsZero() && !e.Cursor.After(s.taken.Cursor) {
			continue // it was taken before a restart, or is none of ours
		}
		if s.match.Matches(e) {
			mine = true
			b.Records = append(b.Records, s.entries.Take(e)...)
		}
	}
	moved := !read.Resume.IsZero() && (s.taken.IsZero() || read.Resume.Cursor.After(s.taken.Cursor))
	if moved {
		s.taken = read.Resume
	}
	if !mine && (!moved || now.Sub(s.recorded) < refresh) {
		return b, nil
	}
	s.recorded = now
	var err error
	b.Cursor, err = json.Marshal(journalPosition{s.taken, s.entries.unfinished()})
	if err != nil {
		return b, fmt.Errorf("write the cursor of %s: %w", s.name, err)
	}
	return b, nil
}
