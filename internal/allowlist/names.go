package allowlist

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"band/internal/doctor"
)

const (
	maxNames = 1000 // those of the items count first, then those of the files
	maxAddrs = 64   // of one name

	// atOnce is how many look-ups run at a time. Half of them may be for names
	// that were slow the last time, so that those do not hold up the others.
	atOnce = 8
	slow   = time.Second

	// A name is asked for again when its answer's time to live is over, within
	// these bounds, and after a failure in doubling steps up to lastRetry.
	minTTL, maxTTL        = time.Second, time.Hour
	firstRetry, lastRetry = time.Second, 5 * time.Minute

	// keep is how long an address that is no longer in the answer stays on the
	// list, at least: a trunk moves its calls some time after its name, and a
	// name of many addresses tells others each time.
	keep = 10 * time.Minute
	// tolerate is how long a name that was resolved once may fail before that
	// is a finding.
	tolerate = 10 * time.Minute
)

// An Answer is what a name stands for.
type Answer struct {
	Addrs []netip.Addr
	TTL   time.Duration // how long it is good for

	// Nobody answered for that family: there may be such addresses.
	MissingIPv4, MissingIPv6 bool
}

// misses reports whether addr may be in the part of the answer that is missing.
func (a Answer) misses(addr netip.Addr) bool {
	return addr.Is4() && a.MissingIPv4 || addr.Is6() && a.MissingIPv6
}

// name is a host name and what is known of it.
type name struct {
	name     string
	due      time.Time // when to ask for it
	asking   bool
	tried    bool
	slow     bool                     // the last look-up was
	failures int                      // in a row
	failing  time.Time                // when the first of them was
	current  []netip.Addr             // of the last good answer, sorted
	leaving  map[netip.Addr]time.Time // of answers before it, until when they stay
	prefixes []netip.Prefix           // of both, sorted
	resolved time.Time
	err      string
}

// want makes the names those that are given, as far as they fit.
func (l *List) want(all []string) {
	names := make(map[string]*name)
	beyond := make(map[string]bool)
	for _, s := range all {
		switch {
		case names[s] != nil:
		case len(names) == maxNames:
			beyond[s] = true
		case l.names[s] != nil:
			names[s] = l.names[s]
		default:
			n := &name{name: s, due: l.now(), leaving: make(map[netip.Addr]time.Time)}
			n.current, _ = usable(l.known[s])
			n.tell()
			delete(l.known, s)
			names[s] = n
		}
	}
	l.names = names
	l.board.ClearAll(doctor.AllowUnresolved, func(f doctor.Finding) bool {
		return names[f.Source] != nil || f.Source == "" && len(beyond) > 0
	})
	if len(beyond) > 0 {
		l.board.Raise(doctor.Finding{
			Kind: doctor.AllowUnresolved, Severity: doctor.Warning,
			Text:   fmt.Sprintf("%d host names of the allowlist are not resolved, since there are more than %d", len(beyond), maxNames),
			Remedy: "write addresses or prefixes in their place",
		})
	}
}

// resolve asks for names whenever they are due, until ctx ends.
func (l *List) resolve(ctx context.Context) {
	var lookups sync.WaitGroup
	defer lookups.Wait()
	for {
		names, wait := l.due()
		for _, n := range names {
			lookups.Go(func() { l.ask(ctx, n) })
		}
		select {
		case <-ctx.Done():
			return
		case <-l.nameWake:
		case <-time.After(wait):
		}
	}
}

// due returns the names to ask for now, and how long to wait for the next thing
// to do.
func (l *List) due() (names []*name, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.expire(now)
	next := now.Add(time.Minute) // by when it shows that the clock was set
	by := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	for _, item := range l.items {
		if !item.Until.IsZero() {
			by(item.Until)
		}
	}
	var due []*name
	for _, n := range l.names {
		if n.forget(now) {
			l.changed()
		}
		for _, until := range n.leaving {
			by(until)
		}
		switch {
		case n.asking:
		case n.due.After(now):
			by(n.due)
		default:
			due = append(due, n)
		}
	}
	slices.SortFunc(due, func(a, b *name) int {
		return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.name, b.name))
	})
	for _, n := range due {
		if l.asking == atOnce {
			break // the end of a look-up wakes us
		}
		if n.slow {
			if l.slow == atOnce/2 {
				continue
			}
			l.slow++
		}
		l.asking++
		n.asking = true
		names = append(names, n)
	}
	return names, next.Sub(now)
}

// ask looks a name up and takes the answer.
func (l *List) ask(ctx context.Context, n *name) {
	began := l.now()
	answer, err := l.lookup(ctx, n.name)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asking--
	if n.slow {
		l.slow--
	}
	poke(l.nameWake)
	if ctx.Err() != nil || l.names[n.name] != n {
		return // it failed since we stop, or nobody wants to know
	}
	now := l.now()
	n.asking, n.tried = false, true
	n.slow = now.Sub(began) >= slow
	addrs, beyond := usable(answer.Addrs)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("lookup %s: the answer holds no address that a packet of another host can come from", n.name)
	}
	if err != nil {
		l.fail(n, err, now)
	} else {
		answer.Addrs = addrs
		l.take(n, answer, beyond, began, now)
	}
	l.announce()
}

// take makes answer, which was asked for at began, what n stands for. Its
// addresses beyond the bound have been taken off it.
func (l *List) take(n *name, answer Answer, beyond int, began, now time.Time) {
	ttl := min(max(answer.TTL, minTTL), maxTTL)
	n.due = now.Add(early(max(ttl-now.Sub(began), minTTL)))
	n.failures, n.err, n.resolved = 0, "", now
	l.snapshot = nil

	was := n.current
	n.current = answer.Addrs
	for _, addr := range was {
		switch {
		case slices.Contains(n.current, addr):
		case answer.misses(addr):
			n.current = append(n.current, addr)
		default:
			n.leaving[addr] = now.Add(max(ttl, keep))
		}
	}
	for _, addr := range n.current {
		delete(n.leaving, addr)
	}
	n.current, _ = usable(n.current)
	n.bound()
	if n.tell() {
		l.log.Info("allowlist entry resolved", "name", n.name, "addresses", n.current)
		l.changed()
	}
	if beyond == 0 {
		l.board.Clear(doctor.AllowUnresolved, "", n.name)
		return
	}
	n.err = fmt.Sprintf("%s has more than %d addresses: %d are ignored", n.name, maxAddrs, beyond)
	l.board.Raise(doctor.Finding{
		Kind: doctor.AllowUnresolved, Severity: doctor.Warning, Source: n.name,
		Text:   n.err,
		Remedy: "write prefixes in its place",
	})
}

// fail keeps what n stands for and says what is wrong.
func (l *List) fail(n *name, err error, now time.Time) {
	if n.failures == 0 {
		n.failing = now
	}
	n.due = now.Add(early(min(firstRetry<<min(n.failures, 30), lastRetry)))
	n.failures++
	n.err = err.Error()
	l.snapshot = nil
	text := fmt.Sprintf("a host name of the allowlist cannot be resolved: %v", err)
	switch {
	case len(n.current) == 0:
	case now.Sub(n.failing) < tolerate:
		return
	default:
		text += "; the addresses that are known stay"
	}
	l.board.Raise(doctor.Finding{
		Kind: doctor.AllowUnresolved, Severity: doctor.Warning, Source: n.name,
		Text:   text,
		Remedy: "correct the name, see to the name servers in /etc/resolv.conf, or write the address in its place",
	})
}

// forget drops the addresses whose time is over, and reports whether there were any.
func (n *name) forget(now time.Time) bool {
	before := len(n.leaving)
	maps.DeleteFunc(n.leaving, func(_ netip.Addr, until time.Time) bool { return !until.After(now) })
	return len(n.leaving) < before && n.tell()
}

// bound drops the addresses that leave first, where there are too many.
func (n *name) bound() {
	excess := len(n.current) + len(n.leaving) - maxAddrs
	if excess <= 0 {
		return
	}
	first := slices.SortedFunc(maps.Keys(n.leaving), func(a, b netip.Addr) int {
		return cmp.Or(n.leaving[a].Compare(n.leaving[b]), a.Compare(b))
	})
	for _, addr := range first[:excess] {
		delete(n.leaving, addr)
	}
}

// tell makes the prefixes those of the addresses, and reports whether they changed.
func (n *name) tell() bool {
	addrs := slices.AppendSeq(slices.Clone(n.current), maps.Keys(n.leaving))
	slices.SortFunc(addrs, netip.Addr.Compare)
	prefixes := make([]netip.Prefix, len(addrs))
	for i, addr := range addrs {
		prefixes[i] = netip.PrefixFrom(addr, addr.BitLen())
	}
	changed := !slices.Equal(prefixes, n.prefixes)
	n.prefixes = prefixes
	return changed
}

// usable returns the addresses that a packet of another host can come from,
// sorted, as many as one name may have, and how many are beyond that.
func usable(addrs []netip.Addr) (some []netip.Addr, beyond int) {
	for _, addr := range addrs {
		if addr = addr.Unmap().WithZone(""); addr.IsGlobalUnicast() {
			some = append(some, addr)
		}
	}
	slices.SortFunc(some, netip.Addr.Compare)
	some = slices.Compact(some)
	fit := min(len(some), maxAddrs)
	return some[:fit:fit], len(some) - fit
}

// early returns d (10 ns or more) or up to a tenth less, so that names that were asked for
// together drift apart, and none is asked for late.
func early(d time.Duration) time.Duration { return d - rand.N(d/10) }
