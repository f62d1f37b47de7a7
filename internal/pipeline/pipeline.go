package pipeline

import (
	"cmp"
	"encoding/json"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"band/internal/local"
	"band/jails"
	"band/matcher"
	"band/matcher/counter"
	"band/store"

	"github.com/gaissmai/bart"
)

// Manual is the name under which bans by hand are kept, in place of a jail's.
const Manual = "manual"

// fromTheFuture is how far a live record may be ahead of the clock.
const fromTheFuture = time.Minute

const (
	excerptLength = 256 // bytes of a record that are kept as evidence
	userLength    = 64  // bytes of a user name that are
	banEvidence   = 3   // records kept with a ban
)

// A Pipeline holds the jails at work and all that is known. It is not safe for
// concurrent use: one goroutine decides.
type Pipeline struct {
	Jails map[string]*Jail // by name, enabled ones only
	Local local.Addresses  // never counted; to be renewed by the owner

	// Matched, where it is set, is told every failure that is neither exempt,
	// doubtful nor better told by a preferred source, whether it counts or its
	// unit is banned already.
	Matched func(f *store.Failure)

	state *state
	allow *bart.Table[string] // the entry that a prefix is there for
}

// New returns a Pipeline of the enabled jails that knows nothing yet, with the
// addresses and prefixes of the allowlist.
func New(c *jails.Config) (*Pipeline, error) {
	p := &Pipeline{allow: new(bart.Table[string])}
	p.state = newState(p.threshold)
	for _, e := range c.Allow {
		if e.Prefix.IsValid() {
			p.allow.Insert(e.Prefix, e.String())
		}
	}
	return p, p.Configure(c)
}

// Configure puts the enabled jails of c in place of those before. What is known
// of a jail stays. The sources must be told anew what watches them. On an error
// nothing has changed.
func (p *Pipeline) Configure(c *jails.Config) error {
	next := make(map[string]*Jail)
	for _, j := range c.Jails {
		if !j.Enabled {
			continue
		}
		jail, err := NewJail(j)
		if err != nil {
			return err
		}
		if before, ok := p.Jails[j.Name]; ok {
			jail.Stats = before.Stats
		}
		next[j.Name] = jail
	}
	p.Jails = next
	p.state.reindex()
	return nil
}

// SetAllow puts an allowlist in place of the one before: the prefixes, each with
// the entry that it is there for.
func (p *Pipeline) SetAllow(allow map[netip.Prefix]string) {
	p.allow = new(bart.Table[string])
	for prefix, entry := range allow {
		p.allow.Insert(prefix, entry)
	}
}

// Names returns the names of the jails, sorted.
func (p *Pipeline) Names() []string { return slices.Sorted(maps.Keys(p.Jails)) }

// Apply applies a batch that the store held.
func (p *Pipeline) Apply(b store.Batch) { p.state.apply(b) }

// Dump yields batches that make a Pipeline that knows nothing know the same.
func (p *Pipeline) Dump() iter.Seq[store.Batch] { return p.state.dump() }

// Known returns the names of the sources whose position is known, sorted.
func (p *Pipeline) Known() []string { return slices.Sorted(maps.Keys(p.state.cursors)) }

// Forget drops what no longer matters at time t, provided that every source
// has been read up to an hour before t.
func (p *Pipeline) Forget(t time.Time) { p.state.forget(t) }

// Counted reports whether failures are counted in the jail that may still add up.
func (p *Pipeline) Counted(jail string) bool {
	for key := range p.state.counter.Keys() {
		if key.Jail == jail {
			return true
		}
	}
	return false
}

// Units returns how many units have failures that may still add up, and how
// many were forgotten because there were too many.
func (p *Pipeline) Units() (tracked int, evicted uint64) {
	return p.state.counter.Len(), p.state.counter.Evicted()
}

// A Decision is what one step changed.
type Decision struct {
	Batch    store.Batch   // for the store
	Bans     []store.Ban   // decided, in order; some may be over already
	Keys     []counter.Key // whose ban in force may have changed
	Doubtful int           // failures that were not counted because they look forged
	Exempt   []netip.Addr  // hosts that failed and are never counted, each once and a few at most

	now time.Time
}

// Take decides on the records of a source, in order, and on its new cursor,
// nil where it did not move. A record counts at its own time, but never later
// than now.
func (p *Pipeline) Take(s *Source, records []matcher.Record, cursor json.RawMessage, now time.Time) Decision {
	s.found = s.Match(records, s.found[:0])
	return p.TakeMatched(s, records, s.found, cursor, now)
}

// TakeMatched is Take where [Source.Match] has told already what matches.
func (p *Pipeline) TakeMatched(s *Source, records []matcher.Record, found []Found, cursor json.RawMessage, now time.Time) Decision {
	d := Decision{now: now.Truncate(time.Microsecond)} // as the disk will have it
	if !s.trusted {
		s.canary.learn(records)
	}
	if s.Live {
		s.clock.Near(now)
	}
	timed, heard := false, false
	for i := range records {
		r := &records[i]
		n, ok := s.neighbour(r)
		heard = heard || ok
		if skew := d.now.Sub(n.Time); ok && s.Live && r.Time.IsZero() && (!timed || skew.Abs() < s.Skew.Abs()) {
			s.Skew, timed = skew, true
		}
		of := 0
		for of < len(found) && found[of].record == i {
			of++
		}
		p.record(&d, s, r, found[:of], n, ok)
		found = found[of:]
	}
	s.Records += uint64(len(records))
	for _, j := range s.jails {
		j.Stats.Records += uint64(len(records))
		if heard {
			j.heard(s)
		}
	}
	if timed {
		s.learn()
	}
	if cursor != nil {
		s.at, s.Begins = cursor, time.Time{}
		p.note(&d.Batch, s)
	}
	return d
}

// record decides on one record, of which found is true; n is what it says of its
// moment, if ok.
func (p *Pipeline) record(d *Decision, s *Source, r *matcher.Record, found []Found, n neighbour, ok bool) {
	at := n.Time
	if !r.Time.IsZero() {
		at = r.Time
	}
	s.Untold++
	if ok {
		s.Last, s.Untold = at, 0
	}
	happened := at
	if at.IsZero() || at.After(d.now) {
		happened = d.now
	}
	var failures []*store.Failure
	for _, f := range found {
		if f.jail.successes[f.pattern] {
			p.success(d, f, happened)
		} else {
			failures = append(failures, p.failures(d, s, r, f, happened)...)
		}
	}
	switch n.Taken = n.Time; {
	case !r.Time.IsZero():
		n.Taken = r.Time
	case s.Live:
		ok = ok && n.Time.Sub(d.now) <= fromTheFuture // else no clock of this machine wrote it
		n.Taken = d.now
	}
	accepted := failures
	if !r.Sealed {
		var doubtful int
		accepted, doubtful = s.canary.take(n, ok, failures)
		d.Doubtful += doubtful
	}
	for _, f := range accepted {
		if j, ok := p.Jails[f.Jail]; ok {
			p.failure(d, s, j, f)
		}
	}
}

// failures returns the failures that a match brings to light. A host that is never
// counted makes none.
func (p *Pipeline) failures(d *Decision, s *Source, r *matcher.Record, found Found, at time.Time) []*store.Failure {
	j := found.jail
	failures := j.failures(&s.sessions, r, at, found.pattern, found.match)
	return slices.DeleteFunc(failures, func(f *store.Failure) bool {
		j.Stats.LastMatch = at
		if p.Exempt(f.Host) != "" {
			j.Stats.Exempt++
			if j.Distinct == "" { // else one alone says nothing
				d.exempt(f.Host)
			}
			return true
		}
		f.Via, f.Unit = s.Via, p.unit(j, f.Host, found.match.Bits)
		return false
	})
}

// success forgives the failures of who succeeded. One that changes nothing is not
// kept: phones register every minute.
func (p *Pipeline) success(d *Decision, found Found, at time.Time) {
	j := found.jail
	if !found.match.Host.IsValid() {
		return
	}
	j.Stats.LastMatch = at
	success := store.Success{Jail: j.Name, Unit: p.unit(j, found.match.Host, found.match.Bits), At: at}
	if p.state.succeeds(success) {
		d.Batch.Events = append(d.Batch.Events, store.Event{Success: &success})
	}
}

// exempt notes a host that failed and is never counted.
func (d *Decision) exempt(host netip.Addr) {
	if len(d.Exempt) < 10 && !slices.Contains(d.Exempt, host) {
		d.Exempt = append(d.Exempt, host)
	}
}

// failure counts a failure and bans its unit where that reaches the threshold.
func (p *Pipeline) failure(d *Decision, s *Source, j *Jail, f *store.Failure) {
	if j.prefersOther(s, f.Time, d.now) {
		j.Stats.Passed++
		j.Stats.Unheard++
		return
	}
	if p.Matched != nil {
		p.Matched(f)
	}
	key := counter.Key{Jail: j.Name, Unit: f.Unit}
	if of, ok := network(key); p.covered(j, key, f.Time) || ok && j.Aggregate > 0 && p.covered(j, of, f.Time) {
		return // it is banned for the like already
	}
	j.Stats.Failures++
	d.Batch.Events = append(d.Batch.Events, store.Event{Failure: f})
	last, reached := p.state.fail(f)
	if !reached {
		return
	}
	ban := store.Ban{
		Unit: f.Unit, Since: last, Failures: j.MaxRetry, Origin: "jail", Evidence: p.evidence(key),
	}
	p.sentence(d, j, ban)
	p.aggregate(d, j, ban)
}

// evidence returns the newest records that were counted against a key.
func (p *Pipeline) evidence(key counter.Key) []store.Failure {
	var evidence []store.Failure
	for _, kept := range p.state.counter.Failures(key) {
		if kept.Evidence != nil {
			evidence = append(evidence, *kept.Evidence)
		}
	}
	slices.SortStableFunc(evidence, func(a, b store.Failure) int { return a.Time.Compare(b.Time) })
	return evidence[max(0, len(evidence)-banEvidence):]
}

func (p *Pipeline) ban(d *Decision, b store.Ban) {
	d.Batch.Events = append(d.Batch.Events, store.Event{Ban: &b})
	d.Bans = append(d.Bans, b)
	d.Keys = append(d.Keys, counter.Key{Jail: b.Jail, Unit: b.Unit})
	p.state.ban(b)
}

// Ban bans units by hand, for ever where lasting is 0.
func (p *Pipeline) Ban(units []netip.Prefix, lasting time.Duration, reason string, now time.Time) Decision {
	d := Decision{now: now.Truncate(time.Microsecond)}
	for _, unit := range units {
		b := store.Ban{Jail: Manual, Unit: unit, Since: d.now, Origin: "manual", Reason: reason}
		if lasting > 0 {
			b.Until = d.now.Add(lasting)
		}
		p.ban(&d, b)
	}
	return d
}

// Unban lifts the bans in force that meant names and returns them, and forgets
// the failures of the keys that it names.
func (p *Pipeline) Unban(meant func(counter.Key) bool, now time.Time) (Decision, []Ban) {
	d := Decision{now: now.Truncate(time.Microsecond)}
	var lifted []Ban
	keys := slices.Collect(p.state.counter.Keys())
	for _, b := range p.InForce(now) {
		keys = append(keys, b.Key())
	}
	for _, key := range keys {
		if !meant(key) {
			continue
		}
		if b := p.state.current(key); b != nil && b.InForce(now) {
			lifted = append(lifted, *b)
			d.Keys = append(d.Keys, key)
		}
		l := store.Lift{Jail: key.Jail, Unit: key.Unit, At: d.now}
		d.Batch.Events = append(d.Batch.Events, store.Event{Lift: &l})
		p.state.lift(l)
	}
	return d, lifted
}

// InForce returns the bans in force at time t, sorted by unit and jail.
func (p *Pipeline) InForce(t time.Time) []Ban {
	var bans []Ban
	for b := range p.state.inForce(t) {
		bans = append(bans, *b)
	}
	slices.SortFunc(bans, func(a, b Ban) int { return a.Key().Compare(b.Key()) })
	return bans
}

// Current returns the newest ban of a key, and false where there never was one.
func (p *Pipeline) Current(key counter.Key) (Ban, bool) {
	if b := p.state.current(key); b != nil {
		return *b, true
	}
	return Ban{}, false
}

// Bans returns all bans, in force and over, of units that overlap with prefix,
// sorted by their beginning, unit and jail.
func (p *Pipeline) Bans(prefix netip.Prefix) []Ban {
	var all []Ban
	for key, bans := range p.state.bans {
		if key.Unit.Overlaps(prefix) {
			for _, b := range bans {
				all = append(all, *b)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Ban) int { return cmp.Or(a.Since.Compare(b.Since), a.Key().Compare(b.Key())) })
	return all
}

// A Count is what is counted against one unit in one jail.
type Count struct {
	counter.Key
	Attempts int // the largest of its windows
	MaxRetry int // how many lead to a ban
	// Succeeded is when the unit succeeded last, zero where it did not; Trusted says
	// that it forgives failures still.
	Succeeded time.Time
	Trusted   bool
	Evidence  []store.Failure
}

// Counts returns what is counted against units that overlap with prefix, and which of
// them succeeded, as of time t.
func (p *Pipeline) Counts(prefix netip.Prefix, t time.Time) []Count {
	known := make(map[counter.Key]bool)
	for key := range p.state.counter.Keys() {
		if key.Unit.Overlaps(prefix) {
			known[key] = true
		}
	}
	for key := range p.state.successes {
		if key.Unit.Overlaps(prefix) {
			known[key] = true
		}
	}
	var counts []Count
	for key := range known {
		tolerated, trusted := p.state.tolerates(key, t)
		c := Count{Key: key, Attempts: p.state.counter.Count(key, tolerated.Forgiven), MaxRetry: tolerated.MaxRetry,
			Succeeded: p.state.successes[key], Trusted: trusted, Evidence: p.evidence(key)}
		if trusted {
			c.Attempts, c.MaxRetry = p.state.counter.Count(key, time.Time{}), tolerated.Most
		}
		counts = append(counts, c)
	}
	slices.SortFunc(counts, func(a, b Count) int { return a.Compare(b.Key) })
	return counts
}

// Exempt reports why failures of a host are not counted, "" when they are.
func (p *Pipeline) Exempt(host netip.Addr) string {
	if why := p.Local.Protects(host); why != "" {
		return why
	}
	if entry, ok := p.allow.Lookup(host); ok {
		return "on the allowlist (" + entry + ")"
	}
	return ""
}

// Allows reports whether the allowlist covers a part of prefix.
func (p *Pipeline) Allows(prefix netip.Prefix) bool { return p.allow.OverlapsPrefix(prefix) }

// Covering returns the entry of the allowlist that covers all of prefix, "" where
// none does.
func (p *Pipeline) Covering(prefix netip.Prefix) string {
	entry, _ := p.allow.LookupPrefix(prefix)
	return entry
}

// Allow puts an entry on the allowlist at run time, or takes it off: it is kept
// and given to the store. What it means for failures, [Pipeline.SetAllow] says.
func (p *Pipeline) Allow(a store.Allow) Decision {
	p.state.allow(a)
	return Decision{Batch: store.Batch{Events: []store.Event{{Allow: &a}}}}
}

// Allowed returns the entries that were put on the allowlist at run time, sorted.
func (p *Pipeline) Allowed() []store.Allow {
	return slices.SortedFunc(maps.Values(p.state.allowed), func(a, b store.Allow) int { return cmp.Compare(a.Entry, b.Entry) })
}

// Resolve notes what a host name of the allowlist stands for; nothing where it is
// not on it any more.
func (p *Pipeline) Resolve(name string, addrs []netip.Addr) Decision {
	if slices.Equal(p.state.resolved[name], addrs) {
		return Decision{}
	}
	r := store.Resolved{Name: name, Addrs: addrs}
	p.state.resolve(r)
	return Decision{Batch: store.Batch{Events: []store.Event{{Resolved: &r}}}}
}

// Resolved returns what the host names of the allowlist stood for when they were
// last looked up.
func (p *Pipeline) Resolved() map[string][]netip.Addr { return maps.Clone(p.state.resolved) }

// unit returns what is counted and banned for a host: never the whole of a
// network of our own.
func (p *Pipeline) unit(j *Jail, host netip.Addr, bits int) netip.Prefix {
	unit := j.unit(host, bits)
	if _, ours := p.Local.Inside(unit); ours {
		return netip.PrefixFrom(host, host.BitLen())
	}
	return unit
}

// threshold returns what the jail tolerates; of one that is not at work any
// more the built-in values, for what is still known of it.
func (p *Pipeline) threshold(name string) threshold {
	if j, ok := p.Jails[name]; ok {
		return j.threshold()
	}
	return threshold{Threshold: counter.Threshold{MaxRetry: 5, FindTime: 10 * time.Minute}}
}

// excerpt shortens a record to what an operator needs to see. The end is kept
// too: FreeSWITCH writes the address there. Bytes that are not UTF-8 become
// U+FFFD here and in cut, as the disk will have them.
func excerpt(text []byte) string {
	const half = excerptLength / 2
	if len(text) <= excerptLength {
		return strings.ToValidUTF8(string(text), "\uFFFD")
	}
	return strings.ToValidUTF8(string(text[:half]), "") + " ... " + strings.ToValidUTF8(string(text[len(text)-half:]), "")
}

func cut(text string, length int) string {
	if len(text) <= length {
		return strings.ToValidUTF8(text, "\uFFFD")
	}
	return strings.ToValidUTF8(text[:length], "") + "..."
}
