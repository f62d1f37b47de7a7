package pipeline

import (
	"math"
	"net/netip"
	"time"

	"band/matcher/counter"
	"band/store"
)

// repeats returns how many bans of a unit went before one that begins at a time:
// those make it longer. A ban that was lifted by hand was none, and nor is a dry
// run where bans are meant.
func (p *Pipeline) repeats(j *Jail, unit netip.Prefix, at time.Time) int {
	names := []string{j.Name}
	if j.Escalate.AllJails {
		names = p.Names()
	}
	repeats := 0
	for _, name := range names {
		b := p.state.current(counter.Key{Jail: name, Unit: unit})
		if b == nil || !b.Lifted.IsZero() || b.DryRun != j.DryRun {
			continue
		}
		if b.Until.IsZero() || at.Sub(b.Until) <= j.Escalate.Forget {
			repeats = max(repeats, b.Repeat+1)
		}
	}
	return repeats
}

// lasting returns how long a ban by the jail is after so many before it, 0 for
// ever.
func (j *Jail) lasting(repeats int) time.Duration {
	e := j.Escalate
	if j.BanTime == 0 || repeats == 0 || e.Factor <= 1 {
		return j.BanTime
	}
	lasting := float64(j.BanTime) * math.Pow(e.Factor, float64(repeats))
	switch {
	case e.Max > 0 && lasting >= float64(e.Max):
		return max(e.Max, j.BanTime)
	case lasting >= math.MaxInt64:
		return 0
	}
	return time.Duration(lasting).Truncate(time.Second)
}

// networks are the units that a jail banned, by the network that they are in.
type networks map[counter.Key]map[netip.Prefix]struct{}

// The networks of which units are counted.
const (
	networkBits4 = 24
	networkBits6 = 48
)

// network returns the key of the network that a key's unit is in, and false
// where the unit is no smaller.
func network(key counter.Key) (counter.Key, bool) {
	bits := networkBits4
	if key.Unit.Addr().Is6() {
		bits = networkBits6
	}
	if key.Unit.Bits() <= bits {
		return counter.Key{}, false
	}
	return counter.Key{Jail: key.Jail, Unit: netip.PrefixFrom(key.Unit.Addr(), bits).Masked()}, true
}

func (n networks) add(key counter.Key) {
	if of, ok := network(key); ok {
		if n[of] == nil {
			n[of] = make(map[netip.Prefix]struct{})
		}
		n[of][key.Unit] = struct{}{}
	}
}

func (n networks) remove(key counter.Key) {
	if of, ok := network(key); ok {
		delete(n[of], key.Unit)
		if len(n[of]) == 0 {
			delete(n, of)
		}
	}
}

// aggregate bans the network of a ban that was just decided, where as many of its
// units are banned as the jail allows; never a network that an address of our
// own lies in.
func (p *Pipeline) aggregate(d *Decision, j *Jail, banned store.Ban) {
	of, ok := network(counter.Key{Jail: j.Name, Unit: banned.Unit})
	if !ok || j.Aggregate == 0 || p.covered(j, of, banned.Since) {
		return
	}
	if _, ours := p.Local.Inside(of.Unit); ours {
		return
	}
	inForce := 0
	for unit := range p.state.networks[of] {
		b := p.state.current(counter.Key{Jail: j.Name, Unit: unit})
		if b != nil && b.DryRun == j.DryRun && b.InForce(banned.Since) {
			inForce++
		}
	}
	if inForce < j.Aggregate {
		return
	}
	p.sentence(d, j, store.Ban{Unit: of.Unit, Since: banned.Since, Failures: inForce, Origin: "network", Evidence: banned.Evidence})
}

// sentence bans for as long as the jail says.
func (p *Pipeline) sentence(d *Decision, j *Jail, b store.Ban) {
	b.Jail, b.DryRun = j.Name, j.DryRun
	if j.Escalate.Factor > 1 {
		b.Repeat = p.repeats(j, b.Unit, b.Since)
	}
	if lasting := j.lasting(b.Repeat); lasting > 0 {
		b.Until = b.Since.Add(lasting)
	}
	j.Stats.Banned++
	p.ban(d, b)
}

// covered reports whether a failure of a key at a time belongs to a ban that was
// decided already.
func (p *Pipeline) covered(j *Jail, key counter.Key, at time.Time) bool {
	b := p.state.current(key)
	return b != nil && b.covers(at) && (j.DryRun || !b.DryRun)
}
