package daemon

import (
	"net/netip"
	"time"

	"band/banner"
	"band/internal/pipeline"
	"band/matcher/counter"
)

// group returns the banner's group of a jail's bans, and false for a jail that
// is not in force: which ports its bans cover is not known then.
func (d *Daemon) group(jail string) (string, bool) {
	if jail == pipeline.Manual {
		return banner.All, true
	}
	j, ok := d.pipeline.Jails[jail]
	if !ok {
		return "", false
	}
	if j.Ports.All() {
		return banner.All, true
	}
	return jail, true
}

// groups returns the banner's groups: one for each jail with ports.
func (d *Daemon) groups() []banner.Group {
	var groups []banner.Group
	for _, name := range d.pipeline.Names() {
		if p := d.pipeline.Jails[name].Ports; !p.All() {
			groups = append(groups, banner.Group{Name: name, Ports: banner.Ports{UDP: p.UDP, TCP: p.TCP}})
		}
	}
	return groups
}

// sharing returns the jails whose bans share a group.
func (d *Daemon) sharing(group string) []string {
	if group != banner.All {
		return []string{group}
	}
	names := []string{pipeline.Manual}
	for name, j := range d.pipeline.Jails {
		if j.Ports.All() {
			names = append(names, name)
		}
	}
	return names
}

// project returns what the kernel must be told about keys: their units are
// banned as long as the longest ban in the same group is.
func (d *Daemon) project(keys []counter.Key, now time.Time) []banner.Change {
	var changes []banner.Change
	for _, key := range keys {
		if group, ok := d.group(key.Jail); ok {
			changes = append(changes, d.change(group, key.Unit, now))
		}
	}
	return changes
}

func (d *Daemon) change(group string, unit netip.Prefix, now time.Time) banner.Change {
	c := banner.Change{Element: banner.Element{Group: group, Unit: unit}, Lift: true}
	for _, jail := range d.sharing(group) {
		b, ok := d.pipeline.Current(counter.Key{Jail: jail, Unit: unit})
		if !ok || !b.InForce(now) || d.dry(b) {
			continue
		}
		if c.Lift || b.Until.IsZero() || !c.Until.IsZero() && b.Until.After(c.Until) {
			c.Until = b.Until
		}
		c.Lift = false
	}
	if !c.Until.IsZero() {
		// What is left, which no setting of the clock changes.
		c.Until = time.Now().Add(c.Until.Sub(now))
	}
	return c
}

// dry reports whether a ban is not enforced: it was decided in a dry run, or its
// jail is in one now.
func (d *Daemon) dry(b pipeline.Ban) bool {
	j, ok := d.pipeline.Jails[b.Jail]
	return b.DryRun || ok && j.DryRun
}

// tellAll tells the kernel all that it should hold. Where it was told before, by
// another configuration, it is told too that it should hold nothing else of the units
// that are banned.
func (d *Daemon) tellAll(before bool) {
	const atOnce = 1000
	now := d.Now()
	changes := make([]banner.Change, 0, atOnce+1)
	for b := range d.pipeline.EachInForce(now) {
		group, ok := d.group(b.Jail)
		if before || !ok || group == banner.All {
			changes = append(changes, d.change(banner.All, b.Unit, now))
		}
		if ok && group != banner.All {
			changes = append(changes, d.change(group, b.Unit, now))
		}
		if len(changes) >= atOnce {
			d.banner.Change(changes)
			changes = changes[:0]
		}
	}
	d.banner.Change(changes)
}
