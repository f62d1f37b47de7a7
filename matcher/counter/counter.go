package counter

import (
	"cmp"
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"
	"unique"
)

// DefaultCapacity is how many units are tracked at once. When there are more,
// those go first that have not failed for a findtime, then those that failed
// once, the least recently seen before the others. Units that failed more often
// never take more than three quarters of the room, so that a new one has the
// time to fail again.
const DefaultCapacity = 200_000

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
	// Failures up to Forgiven do not add up to MaxRetry. But Most of all failures
	// within FindTime reach the threshold; 0: however many.
	Forgiven time.Time
	Most     int
}

// A Failure is one counted failure.
type Failure[E any] struct {
	Window Window
	Time   time.Time // to the microsecond
	// Distinct, where it is not empty, is what failures of the window must
	// differ in to add up: of those with the same text only the one that arrived
	// last is kept.
	Distinct string
	// Evidence is kept for the newest few of a window and the newest 10,000 of
	// all, and the zero E for those before.
	Evidence E
}

// Counter counts failures by key. The zero value is not usable; see [New].
// A Counter is not safe for concurrent use: one goroutine decides.
//
// Per key and window it keeps the 2*MaxRetry-1 failures that arrived last, or twice
// Most, and
// compares their times, whatever order they arrived in. A threshold is
// therefore never reached by failures that do not lie within FindTime of each
// other, and always reached by those that do, unless MaxRetry or more others
// of the same window (from a source that lags or runs ahead, or across a
// stepped clock) arrived between them.
type Counter[E any] struct {
	capacity int
	jails    []string
	units    table
	once     queue // units with one failure
	often    queue // units with more
	evidence evidence[E]
	evicted  uint64
	scratch  []int64
}

// New returns an empty Counter that tracks at most capacity units.
func New[E any](capacity int) *Counter[E] {
	return &Counter[E]{capacity: max(capacity, 1), units: newTable()}
}

// Add counts a failure of key and reports whether its window now holds failures that
// reach the threshold, f being one of them; last is then the time of the newest of
// those.
func (c *Counter[E]) Add(key Key, f Failure[E], th Threshold) (last time.Time, reached bool) {
	u := c.touch(c.id(key), f.Time.Add(-th.FindTime))
	added := failure{time: f.Time.UnixMicro(), window: unique.Make(f.Window)}
	if f.Distinct != "" {
		added.distinct = unique.Make(f.Distinct)
	}
	c.makeRoom(u, added, max(2*max(th.MaxRetry, th.Most)-1, 1))
	added.evidence = c.evidence.keep(f.Evidence)
	u.failures = append(u.failures, added)
	if len(u.failures) > 1 && !u.often {
		c.once.remove(u)
		u.often = true
		c.often.push(u)
	}
	micros, reached := c.reached(u.failures, th.MaxRetry, th.FindTime, th.Forgiven)
	if !reached && th.Most > 0 {
		micros, reached = c.reached(u.failures, th.Most, th.FindTime, time.Time{})
	}
	return time.UnixMicro(micros).UTC(), reached
}

// makeRoom removes what one more failure displaces in its window: the one that it
// is not distinct from, the oldest arrivals over the limit, and the evidence of
// the older ones.
func (c *Counter[E]) makeRoom(u *unit, added failure, limit int) {
	kept := 0 // in the window, the newest first
	for i := len(u.failures) - 1; i >= 0; i-- {
		f := &u.failures[i]
		if f.window != added.window {
			continue
		}
		same := f.distinct == added.distinct && f.distinct != (unique.Handle[string]{})
		if same || kept+1 >= evidencePerWindow {
			c.evidence.drop(f.evidence)
			f.evidence = 0
		}
		if same || kept+1 >= limit {
			u.failures = slices.Delete(u.failures, i, i+1)
		} else {
			kept++
		}
	}
}

// reached looks for so many failures of the window of the newest arrival that lie
// within findTime and include it, none of them forgiven: any others were already
// looked at when the last of them arrived.
func (c *Counter[E]) reached(failures []failure, maxRetry int, findTime time.Duration, forgiven time.Time) (last int64, ok bool) {
	newest := failures[len(failures)-1]
	at, before := newest.time, int64(math.MinInt64)
	if !forgiven.IsZero() {
		before = forgiven.UnixMicro()
	}
	if len(failures) < maxRetry || at <= before {
		return 0, false
	}
	span := findTime.Microseconds()
	near := c.scratch[:0]
	for _, f := range failures {
		if f.window == newest.window && f.time > before && f.time >= at-span && f.time <= at+span {
			near = append(near, f.time)
		}
	}
	c.scratch = near
	slices.Sort(near)
	for i := maxRetry - 1; i < len(near); i++ {
		first := near[i-maxRetry+1]
		if near[i]-first <= span && first <= at && at <= near[i] {
			return near[i], true
		}
	}
	return 0, false
}

// Clear forgets every failure of key.
func (c *Counter[E]) Clear(key Key) {
	if u := c.units.get(c.id(key)); u != nil {
		c.remove(u)
	}
}

// Forget drops the units that were not seen to fail at or after the time that
// stale names for their jail.
func (c *Counter[E]) Forget(stale func(jail string) time.Time) {
	for u := range c.inOrder {
		if u.newest().Before(stale(c.jails[u.jail])) {
			c.remove(u)
		}
	}
}

// Failures returns what is kept of key: its failures in order of arrival.
func (c *Counter[E]) Failures(key Key) []Failure[E] {
	u := c.units.get(c.id(key))
	if u == nil {
		return nil
	}
	all := make([]Failure[E], 0, len(u.failures))
	for _, f := range u.failures {
		all = append(all, c.told(f))
	}
	return all
}

// told is a failure as it was added.
func (c *Counter[E]) told(f failure) Failure[E] {
	out := Failure[E]{Window: f.window.Value(), Time: time.UnixMicro(f.time).UTC()}
	if f.distinct != (unique.Handle[string]{}) {
		out.Distinct = f.distinct.Value()
	}
	if e := c.evidence.of(f.evidence); e != nil {
		out.Evidence = *e
	}
	return out
}

// Count returns the number of attempts kept of key that are not forgiven: the largest
// of its windows. A zero forgiven is none.
func (c *Counter[E]) Count(key Key, forgiven time.Time) (most int) {
	u := c.units.get(c.id(key))
	if u == nil {
		return 0
	}
	counts := make(map[unique.Handle[Window]]int)
	for _, f := range u.failures {
		if forgiven.IsZero() || f.time > forgiven.UnixMicro() {
			counts[f.window]++
			most = max(most, counts[f.window])
		}
	}
	return most
}

// Keys yields every key in the order in which adding their failures to an
// empty Counter again makes an equal one: those to be evicted first come first.
// The Counter must not be changed meanwhile.
func (c *Counter[E]) Keys() iter.Seq[Key] {
	return func(yield func(Key) bool) {
		for u := range c.inOrder {
			if !yield(c.key(u.id)) {
				return
			}
		}
	}
}

// Kept yields every failure that is kept, in the order of Keys and Failures. They
// are those of now: it may be read once the Counter has changed, in another
// goroutine too.
func (c *Counter[E]) Kept() iter.Seq2[Key, Failure[E]] {
	type counted struct {
		id
		failures int32
	}
	total := 0
	for u := range c.inOrder {
		total += len(u.failures)
	}
	units, failures := make([]counted, 0, c.units.len), make([]failure, 0, total)
	for u := range c.inOrder {
		units = append(units, counted{u.id, int32(len(u.failures))})
		failures = append(failures, u.failures...)
	}
	then := Counter[E]{jails: c.jails, evidence: c.evidence.clone()}
	return func(yield func(Key, Failure[E]) bool) {
		next := failures
		for _, u := range units {
			for _, f := range next[:u.failures] {
				if !yield(then.key(u.id), then.told(f)) {
					return
				}
			}
			next = next[u.failures:]
		}
	}
}

// inOrder yields every unit, those to be evicted first. Each may be removed.
func (c *Counter[E]) inOrder(yield func(*unit) bool) {
	for _, q := range []*queue{&c.once, &c.often} {
		for u := q.first; u != nil; {
			next := u.next
			if !yield(u) {
				return
			}
			u = next
		}
	}
}

// Len returns the number of units tracked.
func (c *Counter[E]) Len() int { return c.units.len }

// Evicted returns how many units were forgotten because there were too many.
func (c *Counter[E]) Evicted() uint64 { return c.evicted }

// touch returns the unit of an id as the most recently seen of its queue, making
// room for it first where it is new; what failed before stale adds up with
// nothing any more.
func (c *Counter[E]) touch(i id, stale time.Time) *unit {
	u := c.units.get(i)
	if u != nil {
		c.queue(u).remove(u)
	} else {
		if c.units.len >= c.capacity {
			c.remove(c.victim(stale))
			c.evicted++
		}
		u = &unit{id: i}
		c.units.add(u)
	}
	c.queue(u).push(u)
	return u
}

func (c *Counter[E]) victim(stale time.Time) *unit {
	once, often := c.once.first, c.often.first
	switch {
	case once == nil:
		return often
	case often == nil:
		return once
	case often.newest().Before(stale), c.often.len > c.capacity/4*3:
		return often
	}
	return once
}

func (c *Counter[E]) remove(u *unit) {
	for _, f := range u.failures {
		c.evidence.drop(f.evidence)
	}
	c.units.remove(u)
	c.queue(u).remove(u)
}

func (c *Counter[E]) queue(u *unit) *queue {
	if u.often {
		return &c.often
	}
	return &c.once
}
