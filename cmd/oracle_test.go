package cmd_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// oracle knows who must be banned, and how many failures are counted against
// everybody else, from what was written. It is told everything in the order of
// its times. It may be used from any goroutine.
type oracle struct {
	mu      sync.Mutex
	rules   map[string]rule // by jail
	windows map[account]map[window][]time.Time
	bans    map[account]sentence
	allowed map[netip.Addr]bool
	// all are the failures of everybody, for who asks why something differs.
	all map[account][]string
}

// rule is what a jail tolerates.
type rule struct {
	maxretry          int
	findtime, bantime time.Duration
	// exact says that its failures come from one source alone. Where one source is
	// read before another by chance, so is it which of the failures is the last one.
	exact bool
}

// account is what failures are counted against, or what was banned.
type account struct {
	jail string
	unit netip.Prefix
}

func (a account) String() string { return a.jail + " " + a.unit.String() }

// window is what counts alone: the same attempt may show up in others.
type window struct{ kind, via string }

type sentence struct {
	since, until time.Time // until is zero for ever
	failures     int
}

const byHand = "manual"

func newOracle(rules map[string]rule) *oracle {
	return &oracle{
		rules: rules, windows: make(map[account]map[window][]time.Time),
		bans: make(map[account]sentence), allowed: make(map[netip.Addr]bool),
		all: make(map[account][]string),
	}
}

// unitOf is what is banned for a host.
func unitOf(host netip.Addr) netip.Prefix {
	if host.Is6() {
		return netip.PrefixFrom(host, 64).Masked()
	}
	return netip.PrefixFrom(host, 32)
}

// fail notes that a host failed, by records of the given kinds in one source.
func (o *oracle) fail(jail string, host netip.Addr, via string, at time.Time, kinds ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.allowed[host] {
		return
	}
	r, who := o.rules[jail], account{jail, unitOf(host)}
	o.all[who] = append(o.all[who], fmt.Sprintf("%s %s", via, clock(at)))
	for _, kind := range kinds {
		if ban, ok := o.bans[who]; ok && at.Before(ban.until) {
			return
		}
		if o.windows[who] == nil {
			o.windows[who] = make(map[window][]time.Time)
		}
		w := window{kind, via}
		times := append(o.windows[who][w], at)
		times = times[max(0, len(times)-(2*r.maxretry-1)):]
		o.windows[who][w] = times
		if first := len(times) - r.maxretry; first >= 0 && at.Sub(times[first]) <= r.findtime {
			o.bans[who] = sentence{at, at.Add(r.bantime), r.maxretry}
			delete(o.windows, who)
		}
	}
}

// ban notes a ban by hand that does not end during the test.
func (o *oracle) ban(unit netip.Prefix) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bans[account{byHand, unit}] = sentence{}
}

// lift notes that a unit is not banned any more, and its failures are forgotten.
func (o *oracle) lift(unit netip.Prefix) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for jail := range o.rules {
		delete(o.bans, account{jail, unit})
		delete(o.windows, account{jail, unit})
	}
	delete(o.bans, account{byHand, unit})
}

// allow notes whether a host is on the allowlist.
func (o *oracle) allow(host netip.Addr, allowed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.allowed[host] = allowed
}

// tolerate notes that a jail tolerates another number of failures from now on.
func (o *oracle) tolerate(jail string, maxretry int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.rules[jail]
	r.maxretry = maxretry
	o.rules[jail] = r
}

// banned returns the units that a jail bans at a time, sorted.
func (o *oracle) banned(jail string, at time.Time) []netip.Prefix {
	o.mu.Lock()
	defer o.mu.Unlock()
	var units []netip.Prefix
	for who, ban := range o.bans {
		if who.jail == jail && ban.holds(at) {
			units = append(units, who.unit)
		}
	}
	slices.SortFunc(units, netip.Prefix.Compare)
	return units
}

func (s sentence) holds(at time.Time) bool { return s.until.IsZero() || at.Before(s.until) }

// told is what a daemon said of everybody, between two times.
type told struct {
	from, to time.Time
	bans     map[account]sentence
	counts   map[account]int
}

// differences compares what a daemon said that has read everything with what it
// should have said. A ban that ended while it was asked may be told or not.
func (o *oracle) differences(t told) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	want, got := make(map[string]string), make(map[string]string)
	for who, ban := range o.bans {
		if !ban.holds(t.from) {
			continue
		}
		if _, ok := t.bans[who]; ok || ban.holds(t.to) {
			want[who.String()] = o.describe(who, ban)
		}
	}
	for who, ban := range t.bans {
		got[who.String()] = o.describe(who, ban)
	}
	for who, windows := range o.windows {
		most := 0
		for _, times := range windows {
			most = max(most, len(times))
		}
		want[who.String()+" counts"] = fmt.Sprint(most)
	}
	for who, n := range t.counts {
		got[who.String()+" counts"] = fmt.Sprint(n)
	}
	for who, failures := range o.all {
		for _, name := range []string{who.String(), who.String() + " counts"} {
			if want[name] != got[name] {
				want[name] += fmt.Sprintf(" of %v", failures)
			}
		}
	}
	return differing(want, got)
}

func (o *oracle) describe(who account, ban sentence) string {
	r, ok := o.rules[who.jail]
	switch {
	case !ok:
		return "banned"
	case r.exact:
		return fmt.Sprintf("banned from %s to %s for %d failures", clock(ban.since), clock(ban.until), ban.failures)
	}
	return fmt.Sprintf("banned for %v and %d failures", ban.until.Sub(ban.since), ban.failures)
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000000") }

// inKernel compares the kernel's sets with what they should hold at a time, but
// for bans that end about then.
func (o *oracle) inKernel(have map[account]bool, at time.Time, group func(jail string) string) string {
	const about = 2 * time.Second
	o.mu.Lock()
	defer o.mu.Unlock()
	want, got := make(map[string]string), make(map[string]string)
	ending := make(map[account]bool)
	for who, ban := range o.bans {
		who.jail = group(who.jail)
		if !ban.until.IsZero() && at.Sub(ban.until).Abs() < about {
			ending[who] = true
		} else if ban.holds(at) {
			want[who.String()] = "dropped"
		}
	}
	for who := range have {
		if !ending[who] || want[who.String()] != "" {
			got[who.String()] = "dropped"
		}
	}
	return differing(want, got)
}

// differing lists what differs.
func differing(want, got map[string]string) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(union(want, got))) {
		if want[name] != got[name] {
			fmt.Fprintf(&text, "\n%s: want %q, got %q", name, want[name], got[name])
		}
	}
	return text.String()
}

func union(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}
