package pipeline

import (
	"bytes"
	"encoding/json"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"band/matcher/counter"
	"band/store"
)

const (
	keepHistory   = 30 * 24 * time.Hour // how long a ban that is over is remembered
	keepEvidence  = 24 * time.Hour      // and how long its records are
	bansPerKey    = 10                  // how many bans of one unit by one jail are
	maxBans       = 100_000             // how many bans are, but for those in force
	maxEvidenced  = 10_000              // and how many with their records
	maxSuccesses  = 100_000             // how many units are known to have succeeded
	trustedMost   = 10                  // how many times maxretry of their failures lead to a ban
	trimEvery     = 10_000              // bans, after which more than these are dropped
	dumpBatchSize = 500                 // events in one line of a snapshot
)

// state is what the daemon knows. It changes through the events of batches alone,
// live as well as when apply reads the log back, so that it is a function of the
// batches; only forget drops what no batch would miss.
type state struct {
	cursors   map[string]json.RawMessage
	counter   *counter.Counter[*store.Failure]
	successes map[counter.Key]time.Time // of the newest one
	bans      map[counter.Key][]*Ban    // oldest first
	untrimmed int                       // bans since the last trim
	networks  networks
	allowed   map[string]store.Allow  // by entry
	resolved  map[string][]netip.Addr // by host name
	threshold func(jail string) threshold
}

// threshold is what a jail tolerates.
type threshold struct {
	counter.Threshold
	distinct  bool          // only failures of different users add up
	aggregate bool          // bans of a network's units add up
	trust     time.Duration // for which a success forgives failures behind it
	forget    time.Duration // how long a ban that is over makes the next one longer
}

// A Ban is a ban and, where that happened, when it was lifted by hand.
type Ban struct {
	store.Ban
	Lifted time.Time
}

// Key returns what the ban is of.
func (b *Ban) Key() counter.Key { return counter.Key{Jail: b.Jail, Unit: b.Unit} }

func newState(threshold func(jail string) threshold) *state {
	return &state{
		cursors:   make(map[string]json.RawMessage),
		counter:   counter.New[*store.Failure](counter.DefaultCapacity),
		successes: make(map[counter.Key]time.Time),
		bans:      make(map[counter.Key][]*Ban),
		networks:  make(networks),
		allowed:   make(map[string]store.Allow),
		resolved:  make(map[string][]netip.Addr),
		threshold: threshold,
	}
}

// InForce reports whether the ban holds at time t.
func (b *Ban) InForce(t time.Time) bool {
	return b.Lifted.IsZero() && (b.Until.IsZero() || t.Before(b.Until))
}

// end returns when the ban was or will be over; zero is never.
func (b *Ban) end() time.Time {
	if !b.Lifted.IsZero() {
		return b.Lifted
	}
	return b.Until
}

// covers reports whether a failure at time t belongs to the ban: it happened
// before the ban was over, be it that it was read later than it happened.
func (b *Ban) covers(t time.Time) bool {
	if !b.Lifted.IsZero() {
		return t.Before(b.Lifted)
	}
	return b.InForce(t)
}

// current returns the newest ban of a key, nil where there is none.
func (s *state) current(key counter.Key) *Ban {
	if bans := s.bans[key]; len(bans) > 0 {
		return bans[len(bans)-1]
	}
	return nil
}

// inForce yields the bans that hold at time t, in no order.
func (s *state) inForce(t time.Time) iter.Seq[*Ban] {
	return func(yield func(*Ban) bool) {
		for _, bans := range s.bans {
			if b := bans[len(bans)-1]; b.InForce(t) && !yield(b) {
				return
			}
		}
	}
}

// apply applies a batch as the log holds it.
func (s *state) apply(b store.Batch) {
	for source, cursor := range b.Cursors {
		if bytes.Equal(cursor, forgotten) {
			delete(s.cursors, source)
		} else {
			s.cursors[source] = cursor
		}
	}
	for _, e := range b.Events {
		switch {
		case e.Failure != nil:
			s.fail(e.Failure)
		case e.Ban != nil:
			s.ban(*e.Ban)
		case e.Lift != nil:
			s.lift(*e.Lift)
		case e.Success != nil:
			s.succeed(*e.Success)
		case e.Allow != nil:
			s.allow(*e.Allow)
		case e.Resolved != nil:
			s.resolve(*e.Resolved)
		case e.Step != nil:
			s.step(*e.Step)
		}
	}
}

// fail counts a failure and reports whether it reached the jail's threshold,
// and the time of the newest of those that did.
func (s *state) fail(f *store.Failure) (last time.Time, reached bool) {
	counted := counter.Failure[*store.Failure]{
		Window: counter.Window{Kind: f.Kind, Via: f.Via}, Time: f.Time, Evidence: f,
	}
	if s.threshold(f.Jail).distinct {
		counted.Distinct = f.User
	}
	key := counter.Key{Jail: f.Jail, Unit: f.Unit}
	tolerated, _ := s.tolerates(key, f.Time)
	return s.counter.Add(key, counted, tolerated)
}

// tolerates returns what is tolerated of a key at time t, and whether it is trusted
// then.
func (s *state) tolerates(key counter.Key, t time.Time) (tolerated counter.Threshold, trusted bool) {
	threshold := s.threshold(key.Jail)
	tolerated = threshold.Threshold
	if success, ok := s.successes[key]; ok {
		until := success.Add(threshold.trust)
		trusted = t.Before(until)
		if tolerated.Forgiven = success; trusted {
			tolerated.Forgiven = until
		}
		if !threshold.distinct { // else it is no scanner: it has a password
			tolerated.Most = trustedMost * tolerated.MaxRetry
		}
	}
	return tolerated, trusted
}

// succeeds notes a success and reports whether that changed anything worth keeping:
// one soon after another forgives what that one already does, as long as it lasts.
func (s *state) succeeds(x store.Success) bool {
	key := counter.Key{Jail: x.Jail, Unit: x.Unit}
	before, ok := s.successes[key]
	if ok && x.At.Sub(before) < s.threshold(x.Jail).trust/32 {
		return false
	}
	return s.succeed(x)
}

// succeed notes a success, unless a later one is known, or one at the same time.
func (s *state) succeed(x store.Success) bool {
	key := counter.Key{Jail: x.Jail, Unit: x.Unit}
	if before, ok := s.successes[key]; ok && !x.At.After(before) {
		return false
	}
	if _, known := s.successes[key]; !known && len(s.successes) >= maxSuccesses {
		times := slices.SortedFunc(maps.Values(s.successes), time.Time.Compare)
		middle := times[len(times)/2]
		maps.DeleteFunc(s.successes, func(_ counter.Key, at time.Time) bool { return !at.After(middle) })
	}
	s.successes[key] = x.At
	return true
}

func (s *state) ban(b store.Ban) {
	key := counter.Key{Jail: b.Jail, Unit: b.Unit}
	s.counter.Clear(key)
	if before := s.current(key); before != nil && before.InForce(b.Since) {
		before.Until = b.Since // only the newest is ever in force
	}
	bans := append(s.bans[key], &Ban{Ban: b})
	s.bans[key] = bans[max(0, len(bans)-bansPerKey):]
	if s.threshold(b.Jail).aggregate {
		s.networks.add(key)
	}
	if s.untrimmed++; s.untrimmed == trimEvery {
		s.untrimmed = 0
		s.trim(b.Since)
	}
}

// reindex finds the networks of the units that are banned anew: other jails may
// ask for them now.
func (s *state) reindex() {
	s.networks = make(networks)
	for key := range s.bans {
		if s.threshold(key.Jail).aggregate {
			s.networks.add(key)
		}
	}
}

func (s *state) lift(l store.Lift) {
	key := counter.Key{Jail: l.Jail, Unit: l.Unit}
	s.counter.Clear(key)
	if b := s.current(key); b != nil && b.InForce(l.At) {
		b.Lifted = l.At
	}
}

func (s *state) allow(a store.Allow) {
	if a.Gone {
		delete(s.allowed, a.Entry)
	} else {
		s.allowed[a.Entry] = a
	}
}

func (s *state) resolve(r store.Resolved) {
	if len(r.Addrs) == 0 {
		delete(s.resolved, r.Name)
	} else {
		s.resolved[r.Name] = r.Addrs
	}
}

// forget drops what no longer matters at time t: bans long over, entries of the
// allowlist that ended, and failures that nothing can add up with any more, given
// that no source lags by an hour.
func (s *state) forget(t time.Time) {
	maps.DeleteFunc(s.allowed, func(_ string, a store.Allow) bool { return !a.Until.IsZero() && !t.Before(a.Until) })
	for key, bans := range s.bans {
		kept := max(keepHistory, s.threshold(key.Jail).forget)
		for _, b := range bans {
			if !b.InForce(t) && b.end().Before(t.Add(-keepEvidence)) {
				b.Evidence = nil
			}
		}
		s.drop(key, func(b *Ban) bool { return !b.InForce(t) && b.end().Before(t.Add(-kept)) })
	}
	maps.DeleteFunc(s.successes, func(key counter.Key, at time.Time) bool {
		th := s.threshold(key.Jail)
		return at.Before(t.Add(-max(th.trust, th.FindTime) - time.Hour))
	})
	s.counter.Forget(func(jail string) time.Time { return t.Add(-s.threshold(jail).FindTime - time.Hour) })
}

// trim drops the oldest of too many bans that are over at time t, and the records
// of the oldest of too many bans that have them.
func (s *state) trim(t time.Time) {
	var over, evidenced []*Ban
	kept := 0
	for _, bans := range s.bans {
		kept += len(bans)
		for _, b := range bans {
			if !b.InForce(t) {
				over = append(over, b)
			}
			if len(b.Evidence) > 0 {
				evidenced = append(evidenced, b)
			}
		}
	}
	if len(evidenced) > maxEvidenced {
		slices.SortFunc(evidenced, func(a, b *Ban) int { return b.Since.Compare(a.Since) })
		for _, b := range evidenced[maxEvidenced:] {
			b.Evidence = nil
		}
	}
	if kept > maxBans {
		slices.SortFunc(over, func(a, b *Ban) int { return a.end().Compare(b.end()) })
		for _, b := range over[:min(kept-maxBans, len(over))] {
			s.drop(b.Key(), func(other *Ban) bool { return other == b })
		}
	}
}

// drop drops bans of a key.
func (s *state) drop(key counter.Key, gone func(*Ban) bool) {
	bans := slices.DeleteFunc(s.bans[key], gone)
	if len(bans) == 0 {
		delete(s.bans, key)
		s.networks.remove(key)
	} else {
		s.bans[key] = bans
	}
}

// dump returns what yields batches that make an equal state when applied to an
// empty one. They tell the state of now, and may be taken when that has changed, by
// another goroutine.
func (s *state) dump() iter.Seq[store.Batch] {
	cursors, events := maps.Clone(s.cursors), s.events()
	return func(yield func(store.Batch) bool) {
		if !yield(store.Batch{Cursors: cursors}) {
			return
		}
		var out store.Batch
		for e := range events {
			out.Events = append(out.Events, e)
			if len(out.Events) == dumpBatchSize {
				if !yield(out) {
					return
				}
				out = store.Batch{}
			}
		}
		if len(out.Events) > 0 {
			yield(out)
		}
	}
}

// events returns what yields the events of dump.
func (s *state) events() iter.Seq[store.Event] {
	allowed, resolved, failures := maps.Clone(s.allowed), maps.Clone(s.resolved), s.counter.Kept()
	successes := maps.Clone(s.successes)
	var bans []Ban
	for _, of := range s.bans {
		for _, b := range of {
			bans = append(bans, *b)
		}
	}
	return func(yield func(store.Event) bool) {
		for _, a := range allowed {
			if !yield(store.Event{Allow: &a}) {
				return
			}
		}
		for name, addrs := range resolved {
			if !yield(store.Event{Resolved: &store.Resolved{Name: name, Addrs: addrs}}) {
				return
			}
		}
		for _, b := range bans {
			if !yield(store.Event{Ban: &b.Ban}) {
				return
			}
			if !b.Lifted.IsZero() && !yield(store.Event{Lift: &store.Lift{Jail: b.Jail, Unit: b.Unit, At: b.Lifted}}) {
				return
			}
		}
		for key, at := range successes {
			if !yield(store.Event{Success: &store.Success{Jail: key.Jail, Unit: key.Unit, At: at}}) {
				return
			}
		}
		for key, f := range failures {
			failure := store.Failure{Jail: key.Jail, Unit: key.Unit, Kind: f.Window.Kind, Via: f.Window.Via, Time: f.Time, User: f.Distinct}
			if f.Evidence != nil {
				failure = *f.Evidence
				failure.Time = f.Time
			}
			if !yield(store.Event{Failure: &failure}) {
				return
			}
		}
	}
}
