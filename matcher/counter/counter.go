package counter

import (
	"cmp"
	"container/list"
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"
)

// DefaultCapacity is how many units are tracked at once. When there are more,
// those go first that have not failed for a findtime, then those that failed
// once, the least recently seen before the others. Units that failed more often
// never take more than three quarters of the room, so that a new one has the
// time to fail again.
const DefaultCapacity = 200_000

// evidencePerWindow is how many failures of a window keep their evidence.
const evidencePerWindow = 5

// Key names what is counted: one unit in one jail.
type Key struct {
	Jail string
	Unit netip.Prefix
}

// Compare orders keys by unit and then by jail.
func (k Key) Compare(other Key) int {
	return cmp.Or(k.Unit.Compare(other.Unit), cmp.Compare(k.Jail, other.Jail))
}

// Window names one of the counts of a key. They are kept apart because one
// attempt may show up in each of them: FreeSWITCH writes two records of
// different kinds for an unknown user, and a file and the journal may both
// carry the same record. So the larger count is the number of attempts, and a
// ban needs one of them to reach the threshold alone.
type Window struct {
	Kind string // kind of failure, as the jail's pattern names it
	Via  string // kind of source, as whoever reads it names it
}

// Threshold is what a jail tolerates: a unit with MaxRetry failures that lie
// within FindTime of each other, both ends included, has reached it.
type Threshold struct {
	MaxRetry int
	FindTime time.Duration
}

// A Failure is one counted failure.
type Failure[E any] struct {
	Window Window
	Time   time.Time // to the microsecond
	// Distinct, where it is not empty, is what failures of the window must
	// differ in to add up: of those with the same text only the one that arrived
	// last is kept.
	Distinct string
	// Evidence is kept for the newest few of a window, and the zero E for those
	// before.
	Evidence E
}

// Counter counts failures by key. The zero value is not usable; see [New].
// A Counter is not safe for concurrent use: one goroutine decides.
//
// Per key and window it keeps the 2*MaxRetry-1 failures that arrived last and
// compares their times, whatever order they arrived in. A threshold is
// therefore never reached by failures that do not lie within FindTime of each
// other, and always reached by those that do, unless MaxRetry or more others
// of the same window (from a source that lags or runs ahead, or across a
// stepped clock) arrived between them.
type Counter[E any] struct {
	capacity int
	units    map[Key]*list.Element // of *unit[E]
	once     *list.List            // units with one failure, least recently seen first
	often    *list.List            // units with more
	evicted  uint64
	scratch  []int64
}

type unit[E any] struct {
	key      Key
	windows  []window[E]
	failures int  // kept, over all windows
	often    bool // which list it is in
}

type window[E any] struct {
	name     Window
	failures []failure[E] // in order of arrival
}

type failure[E any] struct {
	time     int64 // Unix microseconds
	distinct string
	evidence *E // nil where it was dropped
}

// New returns an empty Counter that tracks at most capacity units.
func New[E any](capacity int) *Counter[E] {
	return &Counter[E]{
		capacity: max(capacity, 1),
		units:    make(map[Key]*list.Element),
		once:     list.New(),
		often:    list.New(),
	}
}

// Add counts a failure of key and reports whether its window now holds MaxRetry
// failures within FindTime of each other, f being one of them; last is then the
// time of the newest of those.
func (c *Counter[E]) Add(key Key, f Failure[E], th Threshold) (last time.Time, reached bool) {
	u := c.touch(key, f.Time.Add(-th.FindTime))
	w := u.window(f.Window)
	before := len(w.failures)
	w.makeRoom(max(2*th.MaxRetry-1, 1), f.Distinct)
	w.failures = append(w.failures, failure[E]{f.Time.UnixMicro(), f.Distinct, &f.Evidence})
	w.dropOldEvidence()
	u.failures += len(w.failures) - before
	if u.failures > 1 && !u.often {
		c.promote(u)
	}
	micros, reached := c.reached(w.failures, th)
	return time.UnixMicro(micros).UTC(), reached
}

// makeRoom removes what one more failure displaces: the one that it is not
// distinct from, and the oldest arrivals over the limit.
func (w *window[E]) makeRoom(limit int, distinct string) {
	if distinct != "" {
		w.failures = slices.DeleteFunc(w.failures, func(f failure[E]) bool { return f.distinct == distinct })
	}
	if over := len(w.failures) + 1 - limit; over > 0 {
		w.failures = slices.Delete(w.failures, 0, over)
	}
}

// reached looks for MaxRetry failures within FindTime that include the newest
// arrival: any others were already looked at when the last of them arrived.
func (c *Counter[E]) reached(failures []failure[E], th Threshold) (last int64, ok bool) {
	if len(failures) < th.MaxRetry {
		return 0, false
	}
	span := th.FindTime.Microseconds()
	at := failures[len(failures)-1].time
	near := c.scratch[:0]
	for _, f := range failures {
		if f.time >= at-span && f.time <= at+span {
			near = append(near, f.time)
		}
	}
	c.scratch = near
	slices.Sort(near)
	for i := th.MaxRetry - 1; i < len(near); i++ {
		first := near[i-th.MaxRetry+1]
		if near[i]-first <= span && first <= at && at <= near[i] {
			return near[i], true
		}
	}
	return 0, false
}

// Clear forgets every failure of key.
func (c *Counter[E]) Clear(key Key) {
	if e, ok := c.units[key]; ok {
		c.remove(e)
	}
}

// Forget drops the units that were not seen to fail at or after the time that
// stale names for their jail.
func (c *Counter[E]) Forget(stale func(jail string) time.Time) {
	for _, l := range []*list.List{c.once, c.often} {
		for e := l.Front(); e != nil; {
			u, next := e.Value.(*unit[E]), e.Next()
			if u.newest().Before(stale(u.key.Jail)) {
				c.remove(e)
			}
			e = next
		}
	}
}

// Failures returns what is kept of key: its failures in order of arrival
// within each window.
func (c *Counter[E]) Failures(key Key) []Failure[E] {
	e, ok := c.units[key]
	if !ok {
		return nil
	}
	u := e.Value.(*unit[E])
	all := make([]Failure[E], 0, u.failures)
	for _, w := range u.windows {
		for _, f := range w.failures {
			out := Failure[E]{Window: w.name, Time: time.UnixMicro(f.time).UTC(), Distinct: f.distinct}
			if f.evidence != nil {
				out.Evidence = *f.evidence
			}
			all = append(all, out)
		}
	}
	return all
}

// Count returns the number of attempts kept of key: the largest of its windows.
func (c *Counter[E]) Count(key Key) int {
	e, ok := c.units[key]
	if !ok {
		return 0
	}
	n := 0
	for _, w := range e.Value.(*unit[E]).windows {
		n = max(n, len(w.failures))
	}
	return n
}

// Keys yields every key in the order in which adding their failures to an
// empty Counter again makes an equal one: those to be evicted first come first.
// The Counter must not be changed meanwhile.
func (c *Counter[E]) Keys() iter.Seq[Key] {
	return func(yield func(Key) bool) {
		for _, l := range []*list.List{c.once, c.often} {
			for e := l.Front(); e != nil; e = e.Next() {
				if !yield(e.Value.(*unit[E]).key) {
					return
				}
			}
		}
	}
}

// Len returns the number of units tracked.
func (c *Counter[E]) Len() int { return len(c.units) }

// Evicted returns how many units were forgotten because there were too many.
func (c *Counter[E]) Evicted() uint64 { return c.evicted }

// touch returns the unit of key as the most recently seen of its list, making
// room for it first where it is new; what failed before stale adds up with
// nothing any more.
func (c *Counter[E]) touch(key Key, stale time.Time) *unit[E] {
	if e, ok := c.units[key]; ok {
		u := e.Value.(*unit[E])
		c.listOf(u).MoveToBack(e)
		return u
	}
	if len(c.units) >= c.capacity {
		c.remove(c.victim(stale))
		c.evicted++
	}
	u := &unit[E]{key: key}
	c.units[key] = c.once.PushBack(u)
	return u
}

func (c *Counter[E]) victim(stale time.Time) *list.Element {
	once, often := c.once.Front(), c.often.Front()
	switch {
	case once == nil:
		return often
	case often == nil:
		return once
	case often.Value.(*unit[E]).newest().Before(stale), c.often.Len() > c.capacity/4*3:
		return often
	}
	return once
}

func (c *Counter[E]) promote(u *unit[E]) {
	c.remove(c.units[u.key])
	u.often = true
	c.units[u.key] = c.often.PushBack(u)
}

func (c *Counter[E]) remove(e *list.Element) {
	u := e.Value.(*unit[E])
	delete(c.units, u.key)
	c.listOf(u).Remove(e)
}

func (c *Counter[E]) listOf(u *unit[E]) *list.List {
	if u.often {
		return c.often
	}
	return c.once
}

func (u *unit[E]) window(name Window) *window[E] {
	for i := range u.windows {
		if u.windows[i].name == name {
			return &u.windows[i]
		}
	}
	u.windows = append(u.windows, window[E]{name: name})
	return &u.windows[len(u.windows)-1]
}

// newest returns the time of the unit's newest failure.
func (u *unit[E]) newest() time.Time {
	newest := int64(math.MinInt64)
	for _, w := range u.windows {
		for _, f := range w.failures {
			newest = max(newest, f.time)
		}
	}
	return time.UnixMicro(newest)
}

// dropOldEvidence keeps the evidence of the newest arrivals of each window and
// lets that of older ones go.
func (w *window[E]) dropOldEvidence() {
	if old := len(w.failures) - 1 - evidencePerWindow; old >= 0 {
		w.failures[old].evidence = nil
	}
}
