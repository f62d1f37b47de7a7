package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"band/internal/doctor"
	"band/internal/pipeline"
	"band/internal/source"
	"band/jails"
	"band/store"
)

// watchStamps compares the times that a source tells with the clock.
func (d *Daemon) watchStamps(s *following) {
	f := doctor.Finding{
		Kind: doctor.ClockDisagrees, Severity: doctor.Warning, Source: s.Name,
		Remedy: "let the service that writes it and band run with the same time zone and clock (FreeSWITCH: fsctl sync_clock, after the clock was set)",
	}
	switch {
	case s.Offset != 0:
		direction := "later"
		if s.Offset < 0 {
			direction = "earlier"
		}
		f.Text = fmt.Sprintf("its records tell another time zone's time; they are taken to be %v %s", s.Offset.Abs(), direction)
	case s.Skew.Abs() > clockTolerance:
		f.Severity = doctor.Error
		f.Text = fmt.Sprintf("its records are read %v after the time that they tell: bans are shorter by that, or over before they begin", s.Skew.Round(time.Second))
	default:
		d.board.Clear(doctor.ClockDisagrees, "", s.Name)
		return
	}
	d.board.Raise(f)
}

// clockTolerance is how late a live record may be read.
const clockTolerance = 2 * time.Minute

// watchPreferred looks for failures that others of a jail's sources tell while
// a preferred one, which should tell them too, is silent.
func (d *Daemon) watchPreferred(j *pipeline.Jail) {
	if j.Stats.Unconfirmed < 3 || d.Now().Sub(j.Stats.UnconfirmedSince) < housekeeping {
		d.board.Clear(doctor.PreferredSilent, j.Name, "")
		return
	}
	for _, s := range d.sources {
		if s.preferred && s.key.path != "" && slices.Contains(s.Jails(), j.Name) && s.input.State() == source.Open {
			d.board.Raise(doctor.Finding{
				Kind: doctor.PreferredSilent, Severity: doctor.Warning, Jail: j.Name,
				Text:   fmt.Sprintf("failures show up in other logs and none in %s, which should have them: the others count again", s.Name),
				Remedy: "look at the profile of that log in FreeSWITCH's logfile.conf.xml and reload mod_logfile; or remove the file",
			})
		}
	}
}

func (d *Daemon) storeHealth(h store.Health) {
	if h.Err != nil {
		d.board.Raise(doctor.Finding{
			Kind: doctor.StateFailing, Severity: doctor.Error,
			Text:   fmt.Sprintf("the state cannot be written: %v; bans go on, but a restart would forget them", h.Err),
			Remedy: "make room on the disk or repair it; the state is written as soon as it can be",
		})
	} else {
		d.board.Clear(doctor.StateFailing, "", "")
	}
	if h.Slow > 0 {
		d.board.Raise(doctor.Finding{
			Kind: doctor.StateSlow, Severity: doctor.Warning, For: time.Hour,
			Text:   fmt.Sprintf("the disk took %v to store a ban", h.Slow.Round(time.Millisecond)),
			Remedy: "look at the load of the disk; a power cut could cost the last bans, the kernel has them",
		})
	}
}

// forged is the finding that doubtful failures make.
func forged(source string, n int) doctor.Finding {
	return doctor.Finding{
		Kind: doctor.LogForged, Severity: doctor.Warning, Source: source, For: 24 * time.Hour,
		Text:   fmt.Sprintf("failures do not fit the records around them, as if callers forged them: %d were not counted the last time", n),
		Remedy: "let FreeSWITCH write a dedicated log, into which they cannot write (docs/freeswitch.md)",
	}
}

// exempt is the finding that a failure makes whose host is never counted.
func exempt(source string, host netip.Addr, why string) doctor.Finding {
	return doctor.Finding{
		Kind: doctor.ExemptFailing, Severity: doctor.Warning, Source: source, For: time.Hour,
		Text:   fmt.Sprintf("failures of %s are not counted: %s", host, why),
		Remedy: "if attackers come through it (a proxy, Docker's userland proxy, NAT), let the service see their own addresses; if it is a phone or a trunk, correct its password",
	}
}

// refused is the finding that a problem of the configuration makes.
func refused(p jails.Problem) doctor.Finding {
	f := doctor.Finding{
		Kind: doctor.ConfigRefused, Severity: doctor.Error, Jail: p.Jail, Source: fmt.Sprintf("%s:%d:%s", p.File, p.Line, p.Key),
		Text: p.Error(), Remedy: "correct it, check with banctl check, and banctl reload",
	}
	if p.Jail != "" {
		f.Kind = doctor.JailRefused
	}
	return f
}

// kernelObserver turns what befalls the kernel table into findings.
type kernelObserver struct{ board *doctor.Board }

func (o kernelObserver) Repaired(what string) {
	o.board.Raise(doctor.Finding{
		Kind: doctor.TableRepaired, Severity: doctor.Warning, For: time.Hour,
		Text:   "somebody else changed the table inet band, and it was repaired: " + what,
		Remedy: "nothing if you reloaded the firewall; otherwise find out who did",
	})
}

func (o kernelObserver) Failing(err error) {
	if err == nil {
		o.board.Clear(doctor.KernelFailing, "", "")
		return
	}
	o.board.Raise(doctor.Finding{
		Kind: doctor.KernelFailing, Severity: doctor.Error,
		Text:   fmt.Sprintf("bans do not reach the kernel: %v", err),
		Remedy: "run band as root or with CAP_NET_ADMIN, on a kernel with nf_tables; it is tried again until it works",
	})
}
