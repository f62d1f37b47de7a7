package journal

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"slices"
	"sync"
	"time"
)

// reading is the state of Run. It belongs to one goroutine, but for joiner,
// which the child's has while there is one.
type reading struct {
	*Journal
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup // all other goroutines

	terms  []string // match terms for the child
	fields []string // that are asked for
	at     Cursor   // the last entry that was read; the child begins there
	again  bool     // but that entry is to be read again
	begun  Cursor   // where the oldest line begins that has not ended
	joiner *joiner
	skip   func(Entry) bool // what was delivered before we were started

	batch    Batch
	size     int       // bytes that the batch holds
	moved    bool      // its position alone is worth a batch
	told     time.Time // when the last one was sent
	caughtUp bool
	newest   Cursor // the last entry when the journal was opened; read up to there

	child    *child
	started  time.Time // when it was
	failures int       // children that ended in a row before they had shown that they work
	opened   chan opened
	retry    *time.Timer // when to start the next child

	silence   *time.Ticker
	heard     bool // something came since its last tick
	checking  bool
	checked   chan checked
	suspected Cursor // the child does not tell of this entry
	since     time.Time
	excused   Cursor // nor did an earlier one: it never will
}

func newReading(ctx context.Context, j *Journal) *reading {
	r := &reading{
		Journal: j,
		joiner:  &joiner{},
		opened:  make(chan opened, 1), checked: make(chan checked, 1),
		retry: time.NewTimer(0), silence: time.NewTicker(j.hurry),
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	if r.terms = union(j.config.Matches); r.terms != nil {
		r.terms = append(append(r.terms, "+"), suppression...)
	}
	r.fields = slices.Clone(ownFields)
	for _, m := range j.config.Matches {
		r.fields = append(r.fields, m.Fields()...)
	}
	slices.Sort(r.fields)
	r.fields = slices.Compact(r.fields)

	switch from, since := j.config.From, j.config.Since; {
	case from.Begun != "":
		r.at, r.again = from.Begun, true
		r.skip = func(e Entry) bool { return !e.Cursor.After(from.Cursor) }
	case !from.IsZero():
		r.at = from.Cursor
	default:
		r.skip = func(e Entry) bool { return e.Time.Before(since) }
	}
	return r
}

// ownFields are always asked for: how pieces are joined, how a line of syslog
// would have begun, and what journald dropped of whom.
var ownFields = []string{
	"MESSAGE", "_LINE_BREAK", "_STREAM_ID", "_TRANSPORT", "SYSLOG_IDENTIFIER", "SYSLOG_PID", "_PID",
	"MESSAGE_ID", "N_DROPPED", "OBJECT_SYSTEMD_UNIT",
}

func (r *reading) run(out chan<- Batch) {
	defer r.tasks.Wait()
	defer r.cancel()
	defer r.silence.Stop()
	defer r.retry.Stop()
	for {
		var full chan<- Batch
		if len(r.batch.Entries) > 0 || r.batch.CaughtUp || r.moved {
			full = out
		}
		var items <-chan item
		if r.child != nil && r.size < batchBytes {
			items = r.child.items
		}
		select {
		case <-r.ctx.Done():
			return
		case full <- r.batch:
			r.batch, r.size, r.moved, r.told = Batch{}, 0, false, time.Now()
		case it, more := <-items:
			if more {
				r.take(it)
			} else {
				r.ended()
			}
		case <-r.retry.C:
			r.tasks.Go(func() { r.opened <- r.open() })
		case o := <-r.opened:
			r.start(o)
		case <-r.silence.C:
			r.listen()
		case c := <-r.checked:
			r.judge(c)
		}
	}
}

// take takes what the child read.
func (r *reading) take(it item) {
	r.heard, r.suspected = true, ""
	r.at, r.again, r.begun = it.at, false, it.begun
	if it.whole {
		r.add(it.Entry)
	}
	r.batch.Resume = Position{r.at, r.begun}
	if !r.caughtUp && (r.at == r.newest || r.at.After(r.newest)) {
		r.catchUp()
	}
}

func (r *reading) add(e Entry) {
	if r.skip != nil && r.skip(e) {
		return
	}
	r.skip = nil
	if isSuppression(e) {
		r.suppressed(e)
	}
	if !slices.ContainsFunc(r.config.Matches, func(m Match) bool { return m.Matches(e) }) {
		return
	}
	if e.Pieces > 1 {
		r.cut(e)
	}
	r.batch.Entries = append(r.batch.Entries, e)
	r.size += e.size()
}

func (r *reading) catchUp() {
	if !r.caughtUp {
		r.caughtUp, r.batch.CaughtUp = true, true
		r.silence.Reset(r.check)
	}
}

// start starts a child if the journal can be read.
func (r *reading) start(o opened) {
	defer func() {
		select {
		case <-r.ready:
		default:
			close(r.ready)
		}
	}()
	switch {
	case o.err != nil:
		r.failed(o.err)
		return
	case o.missing:
		r.missing()
		r.catchUp()
		r.retry.Reset(waitMissing)
		return
	}
	r.found()
	if o.gap != "" {
		r.gap(o.gap)
	}
	r.newest = o.newest
	if r.newest == "" || r.newest == r.at {
		r.catchUp()
	}
	r.config.Log.Debug("the journal is read", "after", r.at, "args", o.args)
	drop := r.at
	if r.again {
		drop = ""
	}
	r.child, r.started = r.startChild(o.args, drop), time.Now()
	r.heard, r.suspected = false, ""
	r.silence.Reset(r.hurry)
}

// ended starts the next child after one that ended.
func (r *reading) ended() {
	err := r.child.err
	r.child = nil
	r.failed(err)
}

// failed tries again, the later the more often that was in vain.
func (r *reading) failed(err error) {
	if r.ctx.Err() != nil {
		return
	}
	delay := min(minDelay<<min(r.failures, 16), maxDelay)
	level := slog.LevelDebug
	if r.failures == 0 {
		level = slog.LevelWarn
	}
	absent := errors.Is(err, exec.ErrNotFound)
	if absent {
		delay = maxDelay
	}
	if r.failures++; r.failures >= patience || absent {
		r.failing(err)
		r.catchUp()
	}
	r.config.Log.Log(r.ctx, level, "the journal's reader ended and is started again", "error", err, "in", delay)
	r.retry.Reset(delay)
}

// working says that the child does what it should: it is at the end of the journal,
// or lives for a while. That it reads something shows nothing, since the next entry
// may end it.
func (r *reading) working() {
	r.failures = 0
	r.recovered()
}

// listen is called when time has passed.
func (r *reading) listen() {
	if !r.batch.Resume.IsZero() && time.Since(r.told) >= r.tell {
		r.moved = true
	}
	if !r.heard && r.child != nil && !r.checking && r.size == 0 {
		r.checking = true
		r.tasks.Go(func() { r.checked <- r.compare() })
	}
	if r.heard && r.child != nil && time.Since(r.started) >= r.deaf {
		r.working()
	}
	r.heard = false
}

// judge compares what the journal has with what the child told. A child may have
// been stopped, or watch directories in which journald no longer writes: then it
// is ended.
func (r *reading) judge(c checked) {
	r.checking = false
	switch {
	case c.err != nil:
		r.config.Log.Debug("the journal could not be asked for its last entry", "error", c.err)
		return
	case r.heard || r.child == nil:
		return
	case c.matching != r.at && c.matching != r.excused && c.matching.After(r.at):
		r.silence.Reset(r.hurry)
		if r.suspected != c.matching {
			r.suspected, r.since = c.matching, c.asked
		}
		if c.asked.Sub(r.since) < r.deaf {
			return
		}
		r.config.Log.Warn("the journal's reader does not tell of new entries and is ended", "entry", c.matching)
		r.excused = c.matching
		r.child.kill()
	default:
		r.suspected = ""
		r.silence.Reset(r.check)
		r.working()
		r.catchUp()
		// Nothing that we want is unread before the last entry of all, so that the
		// next child may begin there. Where we want little, the last entry that was
		// read would one day be one that journald has deleted. One of a time to come
		// is left alone: what is written until then might seem to be older.
		if r.begun == "" && c.last.After(r.at) && !c.last.Time().After(c.asked) {
			r.at = c.last
			r.batch.Resume = Position{Cursor: r.at}
		}
	}
}
