package daemon

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"

	"band/internal/allowlist"
	"band/internal/control"
	"band/internal/pipeline"
	"band/jails"
	"band/store"
)

// maxAllowed is how many entries may be put on the allowlist at run time.
const maxAllowed = 10_000

// allowItems are the entries of the allowlist, whoever put them there.
func (d *Daemon) allowItems() []allowlist.Item {
	var items []allowlist.Item
	for _, e := range d.Jails.Allow {
		items = append(items, allowlist.Item{Entry: e, Origin: allowlist.Configured})
	}
	for _, a := range d.pipeline.Allowed() {
		e, err := jails.ParseEntry(a.Entry)
		if err != nil {
			d.log.Error("an entry of the allowlist was lost", "entry", a.Entry, "error", err)
			continue
		}
		items = append(items, allowlist.Item{Entry: e, Origin: allowlist.Operator, Until: a.Until, Note: a.Reason})
	}
	return append(items, d.gateways...)
}

// takeAllow puts the allowlist in force as it is now, in the pipeline and the
// kernel, and keeps what the names on it stand for.
func (d *Daemon) takeAllow() {
	select {
	case <-d.allow.Changes(): // it is among what is taken now
	default:
	}
	items := d.allow.Snapshot()
	entries := make(map[netip.Prefix]string)
	for _, item := range items {
		for _, prefix := range item.Prefixes {
			entries[prefix] = item.Entry.String()
		}
	}
	d.pipeline.SetAllow(entries)
	d.banner.Configure(d.groups(), allowlist.Prefixes(items))
	names := d.allow.Known()
	for name := range d.pipeline.Resolved() {
		if _, listed := names[name]; !listed {
			names[name] = nil
		}
	}
	for name, addrs := range names {
		d.carryOut(d.pipeline.Resolve(name, addrs))
	}
}

// Allowlist implements [control.Backend].
func (d *Daemon) Allowlist(context.Context) ([]control.Allowed, error) {
	all := []control.Allowed{}
	for _, item := range d.allow.Snapshot() {
		a := control.Allowed{
			Entry: item.Entry.String(), Origin: string(item.Origin), Note: item.Note, Until: optional(item.Until),
			Prefixes: []control.Unit{}, Error: item.Err,
		}
		for _, p := range item.Prefixes {
			a.Prefixes = append(a.Prefixes, control.Unit{Prefix: p})
		}
		all = append(all, a)
	}
	return all, nil
}

// Allow implements [control.Backend].
func (d *Daemon) Allow(ctx context.Context, r control.AllowRequest) (control.AllowChanged, error) {
	changed := control.AllowChanged{Entries: []string{}}
	if err := ordered(r.For, r.Reason); err != nil {
		return changed, err
	}
	entries := []string{}
	for _, text := range r.Entries {
		e, err := jails.ParseEntry(text)
		if err == nil && e.File != "" {
			err = fmt.Errorf("a file can only be named in band.toml: allow = [%q]", e.File)
		}
		if err != nil {
			return changed, fmt.Errorf("%w: %w", control.ErrRefused, err)
		}
		entries = append(entries, e.String())
	}
	var refusal error
	err := d.ask(ctx, func() {
		if len(d.pipeline.Allowed())+len(entries) > maxAllowed {
			refusal = fmt.Errorf("%w: the allowlist would have more than %d entries; use prefixes or a file", control.ErrRefused, maxAllowed)
			return
		}
		now := d.Now()
		for _, entry := range entries {
			a := store.Allow{Entry: entry, Since: now, Reason: r.Reason}
			if r.For > 0 {
				a.Until = now.Add(r.For)
			}
			d.changeAllow(d.pipeline.Allow(a), control.EventAllow, a)
		}
		d.allow.Set(d.allowItems())
		d.takeAllow()
	})
	if err != nil || refusal != nil {
		return changed, cmp.Or(err, refusal)
	}
	changed.Entries = entries
	changed.Warning = d.wait(ctx)
	return changed, nil
}

// Disallow implements [control.Backend].
func (d *Daemon) Disallow(ctx context.Context, r control.DisallowRequest) (control.AllowChanged, error) {
	changed := control.AllowChanged{Entries: []string{}}
	var refusals, gone []string
	err := d.ask(ctx, func() {
		known, mine := make(map[string]allowlist.Item), make(map[string]bool)
		for _, a := range d.pipeline.Allowed() {
			mine[a.Entry] = true
		}
		for _, item := range d.allow.Snapshot() {
			if was, ok := known[item.Entry.String()]; !ok || was.Origin == allowlist.Operator {
				known[item.Entry.String()] = item
			}
		}
		for _, text := range r.Entries {
			e, err := jails.ParseEntry(text)
			if err != nil {
				refusals = append(refusals, err.Error())
				continue
			}
			item, listed := known[e.String()]
			switch {
			case mine[e.String()]:
				delete(mine, e.String())
				gone = append(gone, e.String())
			case listed:
				refusals = append(refusals, fmt.Sprintf("%s is on the allowlist because of %s: remove it there", e, item.Origin))
			}
		}
		if len(refusals) > 0 {
			return // all of them or none
		}
		for _, entry := range gone {
			a := store.Allow{Entry: entry, Since: d.Now(), Gone: true}
			d.changeAllow(d.pipeline.Allow(a), control.EventDisallow, a)
			changed.Entries = append(changed.Entries, entry)
		}
		d.allow.Set(d.allowItems())
		d.takeAllow()
	})
	if err != nil {
		return changed, err
	}
	if len(refusals) > 0 {
		return changed, fmt.Errorf("%w: %s", control.ErrRefused, strings.Join(refusals, "; "))
	}
	changed.Warning = d.wait(ctx)
	return changed, nil
}

func (d *Daemon) changeAllow(decision pipeline.Decision, event string, a store.Allow) {
	d.carryOut(decision)
	d.log.Info("allowlist changed", "change", event, "entry", a.Entry, "reason", a.Reason)
	d.watchers.tell(control.Event{Time: d.Now(), Event: event, Until: optional(a.Until), Text: a.Entry})
}
