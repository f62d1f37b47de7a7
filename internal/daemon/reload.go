package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"band/internal/control"
	"band/internal/doctor"
	"band/jails"
)

// Reload implements [control.Backend]: it reads the configuration again. One
// with a problem changes nothing, unlike at the start, where there is nothing to
// fall back on. What is known of a jail that stays is kept: counts, bans and
// positions.
func (d *Daemon) Reload(ctx context.Context) (control.Reloaded, error) {
	d.reload.Lock()
	defer d.reload.Unlock()
	next := d.Load()
	r := control.Reloaded{Problems: []string{}, Jails: []string{}, Added: []string{}, Removed: []string{}, Changed: []string{}}
	for _, p := range next.Problems {
		r.Problems = append(r.Problems, p.Error())
	}
	if len(r.Problems) > 0 {
		d.board.Raise(doctor.Finding{
			Kind: doctor.ReloadRefused, Severity: doctor.Warning,
			Text:   "the configuration was changed and is refused, the one before stays in force: " + strings.Join(r.Problems, "; "),
			Remedy: "correct it, check with banctl check, and reload",
		})
		return r, nil
	}
	var failed error
	err := d.ask(ctx, func() {
		before := d.Jails
		if failed = d.configure(next); failed != nil {
			return
		}
		r.Added, r.Removed, r.Changed = compare(before, next)
		r.Jails = d.pipeline.Names()
		d.log.Info("reloaded", "jails", r.Jails, "added", r.Added, "removed", r.Removed, "changed", r.Changed)
		d.watchers.tell(control.Event{Time: d.Now(), Event: control.EventReload, Text: "jails: " + strings.Join(r.Jails, ", ")})
	})
	return r, errors.Join(err, failed)
}

// configure puts another configuration in force.
func (d *Daemon) configure(next *jails.Config) error {
	if err := d.pipeline.Configure(next); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	d.Jails = next
	d.board.Clear(doctor.ReloadRefused, "", "")
	d.board.ClearAll(doctor.ConfigRefused, nil)
	d.board.ClearAll(doctor.JailRefused, nil)
	for _, kind := range []doctor.Kind{doctor.PreferredSilent, doctor.JailUnmatched, doctor.PortUncovered, doctor.DryRun} {
		d.board.ClearAll(kind, func(f doctor.Finding) bool { return d.pipeline.Jails[f.Jail] != nil })
	}
	d.examineJails()
	d.dropSources()
	added, err := d.findSources()
	d.start(added...)
	if err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	d.noteReadable()
	d.serveMetrics()
	d.allow.Set(d.allowItems())
	d.takeAllow()
	d.tellAll(true)
	d.look()
	return nil
}

// compare names the enabled jails that differ.
func compare(before, after *jails.Config) (added, removed, changed []string) {
	added, removed, changed = []string{}, []string{}, []string{}
	enabled := func(c *jails.Config, name string) *jails.Jail {
		i := slices.IndexFunc(c.Jails, func(j jails.Jail) bool { return j.Name == name && j.Enabled })
		if i < 0 {
			return nil
		}
		j := c.Jails[i]
		j.Origins = nil
		return &j
	}
	var names []string
	for _, j := range slices.Concat(before.Jails, after.Jails) {
		names = append(names, j.Name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		was, is := enabled(before, name), enabled(after, name)
		switch {
		case was == nil && is != nil:
			added = append(added, name)
		case was != nil && is == nil:
			removed = append(removed, name)
		case was != nil && !reflect.DeepEqual(was, is):
			changed = append(changed, name)
		}
	}
	return added, removed, changed
}

// examineJails raises what the configuration alone tells.
func (d *Daemon) examineJails() {
	if len(d.pipeline.Jails) == 0 {
		d.board.Raise(doctor.Finding{
			Kind: doctor.NoJail, Severity: doctor.Error,
			Text:   "no jail is enabled: nothing is protected",
			Remedy: "enable one in jails.d",
		})
	} else {
		d.board.Clear(doctor.NoJail, "", "")
	}
	for _, name := range d.pipeline.Names() {
		if !d.pipeline.Jails[name].DryRun {
			d.board.Clear(doctor.DryRun, name, "")
			continue
		}
		d.board.Raise(doctor.Finding{
			Kind: doctor.DryRun, Severity: doctor.Warning, Jail: name,
			Text:   "its bans are decided and not enforced: dry_run",
			Remedy: "when they are what you expect, remove dry_run and reload",
		})
	}
}
