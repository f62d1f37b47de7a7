package daemon

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gaissmai/bart"

	"band/banner"
	"band/internal/control"
	"band/internal/pipeline"
	"band/internal/source"
	"band/matcher/counter"
	"band/store"
)

// patience is how long an order by hand waits for the disk and the kernel.
const patience = 5 * time.Second

// Status implements [control.Backend].
func (d *Daemon) Status(ctx context.Context) (control.Status, error) {
	// Packet counts are for the eye: without them the rest still holds, and
	// what keeps them away is a finding of its own.
	drops, err := d.banner.Drops(ctx)
	if err != nil {
		drops = nil
	}
	var s control.Status
	err = d.ask(ctx, func() {
		units, _ := d.pipeline.Units()
		s = control.Status{
			Version: d.Version, PID: os.Getpid(), Started: d.started,
			Units: units, Findings: d.board.Findings(),
			Jails: []control.JailStatus{}, Sources: []control.SourceStatus{},
		}
		inForce := make(map[string]int)
		for _, b := range d.countBans() {
			inForce[b.Jail] = b.Enforced + b.DryRun
			s.Bans, s.DryBans = s.Bans+b.Enforced, s.DryBans+b.DryRun
		}
		for _, packets := range drops {
			s.Dropped += packets
		}
		for _, name := range d.pipeline.Names() {
			stats := d.pipeline.Jails[name].Stats
			s.Jails = append(s.Jails, control.JailStatus{
				Name: name, Records: stats.Records, Failures: stats.Failures, Exempt: stats.Exempt,
				Banned: stats.Banned, Bans: inForce[name], Dropped: drops[name], LastMatch: optional(stats.LastMatch), DryRun: d.pipeline.Jails[name].DryRun,
			})
		}
		for _, src := range d.sources {
			behind := src.input.Backlog()
			s.Sources = append(s.Sources, control.SourceStatus{
				Name: src.Name, Jails: src.Jails(), State: d.stateOf(src), Records: src.Records, LastRecord: optional(src.Last),
				Unread: behind.Bytes, Lag: behind.Age.Seconds(),
			})
		}
	})
	return s, err
}

func (d *Daemon) stateOf(s *following) string {
	switch state := s.input.State(); {
	case state == source.Missing:
		return "missing"
	case state == source.Opening:
		return "opening"
	case state == source.Unreadable:
		return "unreadable"
	case !s.caughtUp:
		return "catching up"
	}
	return "following"
}

// Bans implements [control.Backend].
func (d *Daemon) Bans(ctx context.Context) ([]control.Ban, error) {
	packets := d.packets(ctx)
	bans := []control.Ban{}
	err := d.ask(ctx, func() {
		for _, b := range d.inForce() {
			bans = append(bans, d.view(b, packets))
		}
	})
	return bans, err
}

// inForce returns the bans in force, those of a dry run too, but not those of jails
// that are not at work.
func (d *Daemon) inForce() []pipeline.Ban {
	return slices.DeleteFunc(d.pipeline.InForce(d.Now()), func(b pipeline.Ban) bool {
		_, ok := d.group(b.Jail)
		return !ok
	})
}

// packets returns what each element has dropped, nothing where the kernel does
// not say: that is a finding of its own.
func (d *Daemon) packets(ctx context.Context) map[banner.Element]uint64 {
	packets, err := d.banner.Packets(ctx)
	if err != nil {
		return nil
	}
	return packets
}

// view is the ban as programs see it.
func (d *Daemon) view(b pipeline.Ban, packets map[banner.Element]uint64) control.Ban {
	v := control.Ban{
		Unit: control.Unit{Prefix: b.Unit}, Jail: b.Jail, Since: b.Since, Until: optional(b.Until),
		Failures: b.Failures, Origin: b.Origin, DryRun: d.dry(b), Allowed: d.pipeline.Covering(b.Unit),
	}
	if group, ok := d.group(b.Jail); ok {
		v.Packets = packets[banner.Element{Group: group, Unit: b.Unit}]
	}
	return v
}

// Explain implements [control.Backend].
func (d *Daemon) Explain(ctx context.Context, unit control.Unit) (control.Explanation, error) {
	packets := d.packets(ctx)
	e := control.Explanation{
		Unit: unit, Bans: []control.Ban{}, Past: []control.PastBan{}, Counts: []control.Count{},
		Evidence: []control.Evidence{}, Users: []string{},
	}
	err := d.ask(ctx, func() {
		if unit.IsSingleIP() {
			e.Allowed = d.pipeline.Exempt(unit.Addr())
		}
		var evidence []store.Failure
		bans := d.pipeline.Bans(unit.Prefix)
		for _, b := range bans {
			evidence = append(evidence, b.Evidence...)
			if _, ok := d.group(b.Jail); ok && b.InForce(d.Now()) {
				v := d.view(b, packets)
				v.Reason = b.Reason
				e.Bans = append(e.Bans, v)
			} else {
				v := control.PastBan{Ban: d.view(b, nil), Lifted: !b.Lifted.IsZero(), Idle: b.InForce(d.Now())}
				v.Reason = b.Reason
				v.Replaced = slices.ContainsFunc(bans, func(next pipeline.Ban) bool {
					return next.Key() == b.Key() && next.Since.Equal(b.Until)
				})
				e.Past = append(e.Past, v)
			}
		}
		for _, c := range d.pipeline.Counts(unit.Prefix, d.Now()) {
			evidence = append(evidence, c.Evidence...)
			count := control.Count{Unit: control.Unit{Prefix: c.Unit}, Jail: c.Jail, Failures: c.Attempts, MaxRetry: c.MaxRetry, Trusted: c.Trusted}
			if !c.Succeeded.IsZero() {
				count.Succeeded = &c.Succeeded
			}
			e.Counts = append(e.Counts, count)
		}
		slices.SortStableFunc(evidence, func(a, b store.Failure) int { return a.Time.Compare(b.Time) })
		for _, f := range evidence {
			e.Evidence = append(e.Evidence, control.Evidence{
				Time: f.Time, Jail: f.Jail, Pattern: f.Pattern, Host: f.Host, User: f.User, Record: f.Record,
			})
			if f.User != "" && !slices.Contains(e.Users, f.User) {
				e.Users = append(e.Users, f.User)
			}
		}
	})
	return e, err
}

// Ban implements [control.Backend].
func (d *Daemon) Ban(ctx context.Context, r control.BanRequest) (control.Changed, error) {
	changed := control.Changed{Bans: []control.Ban{}}
	if err := valid(r.Units); err != nil {
		return changed, err
	}
	if err := ordered(r.For, r.Reason); err != nil {
		return changed, err
	}
	var refusal error
	err := d.ask(ctx, func() {
		if refusal = d.refuse(r); refusal != nil {
			return
		}
		var units []netip.Prefix
		for _, u := range r.Units {
			units = append(units, u.Prefix)
		}
		decision := d.pipeline.Ban(units, r.For, r.Reason, d.Now())
		d.carryOut(decision)
		for _, b := range decision.Bans {
			changed.Bans = append(changed.Bans, d.view(pipeline.Ban{Ban: b}, nil))
		}
	})
	if err = cmp.Or(err, refusal); err != nil {
		return changed, err
	}
	changed.Warning = d.wait(ctx)
	return changed, nil
}

// maxReason is how many bytes of a reason are kept.
const maxReason = 1 << 10

// ordered refuses what nobody can mean: a time that is none, 0 being for ever, and
// a reason that is a book.
func ordered(lasting time.Duration, reason string) error {
	switch {
	case lasting < 0 || lasting > 0 && lasting < time.Second:
		return fmt.Errorf("%w: it must last a second or more", control.ErrRefused)
	case len(reason) > maxReason:
		return fmt.Errorf("%w: the reason is longer than %d bytes", control.ErrRefused, maxReason)
	}
	return nil
}

// refuse reports why an operator should not have what he asks for.
func (d *Daemon) refuse(r control.BanRequest) error {
	if r.Force {
		return nil
	}
	for _, unit := range r.Units {
		why := ""
		if unit.IsSingleIP() {
			why = d.pipeline.Local.Protects(unit.Addr())
		}
		if own, inside := d.pipeline.Local.Inside(unit.Prefix); why == "" && inside {
			why = fmt.Sprintf("around %s, an address of this machine or its gateway", own)
		}
		if why == "" && r.Operator.IsValid() && unit.Contains(r.Operator.Unmap()) {
			why = fmt.Sprintf("where you are logged in from (%s)", r.Operator)
		}
		if why == "" && d.pipeline.Allows(unit.Prefix) {
			why = "covered by the allowlist, wholly or in part (allowed addresses pass in any case)"
		}
		if why != "" {
			return fmt.Errorf("%w: %s is %s; add --force if you mean it", control.ErrRefused, unit, why)
		}
	}
	return nil
}

// Unban implements [control.Backend].
func (d *Daemon) Unban(ctx context.Context, r control.UnbanRequest) (control.Changed, error) {
	changed := control.Changed{Bans: []control.Ban{}}
	if err := valid(r.Units); err != nil {
		return changed, err
	}
	named := covering(r.Units)
	meant := func(key counter.Key) bool {
		return (r.Jail == "" || r.Jail == key.Jail) && (r.All || named(key.Unit))
	}
	err := d.ask(ctx, func() {
		decision, lifted := d.pipeline.Unban(meant, d.Now())
		d.carryOut(decision)
		for _, b := range lifted {
			changed.Bans = append(changed.Bans, d.view(b, nil))
			d.log.Info("unban", "jail", b.Jail, "unit", control.Unit{Prefix: b.Unit})
		}
	})
	if err != nil {
		return changed, err
	}
	if len(changed.Bans) > 0 {
		changed.Warning = d.wait(ctx)
	}
	return changed, nil
}

// valid refuses what is no address or prefix: null, in JSON.
func valid(units []control.Unit) error {
	if slices.ContainsFunc(units, func(u control.Unit) bool { return !u.IsValid() }) {
		return fmt.Errorf("%w: not an address or prefix", control.ErrRefused)
	}
	return nil
}

// covering returns what reports whether a unit covers one of the addresses or lies
// within one of the prefixes that were named. There may be many of both.
func covering(named []control.Unit) func(unit netip.Prefix) bool {
	var addresses, prefixes bart.Lite
	for _, n := range named {
		prefixes.Insert(n.Prefix)
		if n.IsSingleIP() {
			addresses.Insert(n.Prefix)
		}
	}
	return func(unit netip.Prefix) bool {
		return prefixes.LookupPrefix(unit) || addresses.OverlapsPrefix(unit)
	}
}

// wait returns when everything decided so far is in the kernel and on the
// disk, or a warning where it is not.
func (d *Daemon) wait(ctx context.Context) string {
	var warnings []string
	try := func(text string, sync func(context.Context) error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := sync(ctx); err != nil {
			warnings = append(warnings, fmt.Sprintf("%s: %v", text, err))
		}
	}
	try("not in the kernel yet", d.banner.Sync)
	try("in force, but a restart would forget it", d.store.Sync)
	return strings.Join(warnings, "; ")
}
