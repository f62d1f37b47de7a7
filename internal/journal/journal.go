package journal

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"band/internal/doctor"
)

// Source is how findings name the journal.
const Source = "journal"

// Config says what to read of the journal, and from where.
type Config struct {
	// Matches choose what is read: the entries that one of them chooses. Without
	// any, nothing is.
	Matches []Match
	// From is where to resume, as an earlier Batch gave it; the zero Position at
	// the first start, which begins at the first entry that is not older than
	// Since, or with the journal where that is the zero Time.
	From  Position
	Since time.Time
	// Command runs what reads the journal, without its arguments, which are
	// those of journalctl(1). nil: what ReaderName says.
	Command []string

	Log   *slog.Logger // nil discards
	Board *doctor.Board
}

// State tells whether the journal can be read.
type State int

// The states of the journal.
const (
	Opening State = iota
	Open
	Missing // it is empty, or there is none
	Failing // it cannot be read
)

// A Batch is what was read of the journal, in its order.
type Batch struct {
	Entries []Entry
	// Resume is the position behind the last of Entries, to be handed back when
	// the journal is opened again; the zero Position where it did not move. A
	// batch may have no entries and yet a position.
	Resume Position
	// CaughtUp says, once, that everything that the journal held when it was
	// opened has been read, or that it cannot be read and nobody should wait.
	CaughtUp bool
}

// batchBytes is how much is collected while the receiver is busy.
const batchBytes = 1 << 20

// The pace at which the journal is asked whether it has what the child did not
// tell. Tests have less patience.
type pace struct {
	check time.Duration // after which silence
	hurry time.Duration // the same when the child is new, or under suspicion
	deaf  time.Duration // for how long it must not have told
	tell  time.Duration // how often a position without entries is sent
}

const (
	// waitMissing is how often a journal is looked for that is not there.
	waitMissing = 2 * time.Second
	// minDelay and maxDelay bound the time until a child that ended is started
	// again; it doubles until one works.
	minDelay = 100 * time.Millisecond
	maxDelay = 10 * time.Second
	// patience is how many children may fail in a row before that is a finding.
	patience = 3
	// overlap is how long before Since is read too, so that the beginning of a
	// line is found that was cut around then.
	overlap = time.Minute
)

// A Journal follows the journal. It is made by New.
type Journal struct {
	config Config
	state  atomic.Int32 // a State
	ready  chan struct{}
	pace
}

// New returns a Journal that does nothing before Run.
func New(c Config) *Journal {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Command == nil {
		c.Command = command()
	}
	return &Journal{
		config: c, ready: make(chan struct{}),
		pace: pace{check: 30 * time.Second, hurry: time.Second, deaf: 10 * time.Second, tell: 5 * time.Minute},
	}
}

// State tells whether the journal can be read now. It is safe for concurrent
// use.
func (j *Journal) State() State { return State(j.state.Load()) }

// Ready is closed when the journal is being read, or was found to be missing or
// unreadable.
func (j *Journal) Ready() <-chan struct{} { return j.ready }

// Run reads until ctx ends, and then returns nil: its child has ended then. A
// slow receiver slows it; nothing is dropped. No state of the journal ends it:
// what fails is a finding and tried again. It may be called once.
func (j *Journal) Run(ctx context.Context, out chan<- Batch) error {
	newReading(ctx, j).run(out)
	return nil
}
