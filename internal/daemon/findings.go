package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"band/internal/doctor"
	"band/internal/pipeline"
	"band/internal/source"
	"band/jails"
	"band/store"
)

// watch looks for what weakens the protection and no event tells of.
func (d *Daemon) watch() {
	for _, name := range d.pipeline.Names() {
		d.watchPreferred(d.pipeline.Jails[name])
		d.watchMatches(d.pipeline.Jails[name])
	}
	for _, s := range d.sources {
		d.watchSilence(s)
		d.watchForgery(s)
		d.watchBacklog(s)
	}
	d.watchSources()
	d.watchUnits()
}

// watchStamps compares the times that a source tells with the clock, if it is read
// as it is written.
func (d *Daemon) watchStamps(s *following) {
	if !s.Live {
		return
	}
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
		if s.Skew < 0 {
			f.Text = fmt.Sprintf("its records tell a time that is %v from now: failures may pass for forged ones", -s.Skew.Round(time.Second))
		}
	default:
		d.board.Clear(doctor.ClockDisagrees, "", s.Name)
		return
	}
	d.board.Raise(f)
}

// clockTolerance is how late a live record may be read.
const clockTolerance = 2 * time.Minute

// late reports whether a source is not read as it is written, now or at the last look.
func (d *Daemon) late(s *following) bool {
	return max(s.input.Backlog().Age, d.watching(s).backlog) > clockTolerance
}

// watchBacklog looks for a source that is read late, or not at all.
func (d *Daemon) watchBacklog(s *following) {
	w := d.watching(s)
	w.backlog = s.input.Backlog().Age
	opening := s.input.State() == source.Opening && d.Now().Sub(w.since) > clockTolerance
	if !opening && w.backlog <= clockTolerance {
		d.board.Clear(doctor.SourceLagging, "", s.Name)
		return
	}
	f := doctor.Finding{
		Kind: doctor.SourceLagging, Severity: doctor.Warning, Source: s.Name,
		Text:   fmt.Sprintf("what was written to it %v ago has not been decided on: bans come that late", w.backlog.Round(time.Second)),
		Remedy: "look what keeps the machine busy (its CPU, the disk of the log), and what writes so much: a lower log level leaves the failures in the log",
	}
	if opening {
		f.Text = fmt.Sprintf("it could not be opened since %s, and is waited for", w.since.Format(time.RFC3339))
		f.Remedy = "look whether the disk or the network file system of the log hangs"
	}
	d.board.Raise(f)
}

// unheardFailures in a row that only other sources told are suspicious.
const unheardFailures = 20

// watchUnheard looks for failures that are passed because a preferred source would
// tell them better, which does not, and reports whether it found any.
func (d *Daemon) watchUnheard(j *pipeline.Jail) bool {
	if j.Stats.Unheard < unheardFailures {
		return false
	}
	d.board.Raise(doctor.Finding{
		Kind: doctor.PreferredSilent, Severity: doctor.Warning, Jail: j.Name,
		Text:   fmt.Sprintf("the last %d failures in logs were not counted, because a preferred source tells better, and it told none of them", j.Stats.Unheard),
		Remedy: "look who writes them (banctl test); a caller may have forged them. Where they are true, and that source cannot tell them, take preferred off it in the jail",
	})
	return true
}

// watchPreferred looks for failures that others of a jail's sources tell while
// a preferred one, which should tell them too, is silent.
func (d *Daemon) watchPreferred(j *pipeline.Jail) {
	if d.watchUnheard(j) {
		return
	}
	i := slices.IndexFunc(d.sources, func(s *following) bool {
		return s.preferred && s.key.path != "" && slices.Contains(s.Jails(), j.Name) && s.input.State() == source.Open
	})
	if i < 0 || j.Stats.Unconfirmed < 3 || d.Now().Sub(j.Stats.UnconfirmedSince) < housekeeping {
		d.board.Clear(doctor.PreferredSilent, j.Name, "")
		return
	}
	d.board.Raise(doctor.Finding{
		Kind: doctor.PreferredSilent, Severity: doctor.Warning, Jail: j.Name,
		Text:   fmt.Sprintf("failures show up in other logs and none in %s, which should have them: the others count again", d.sources[i].Name),
		Remedy: "look at the profile of that log in FreeSWITCH's logfile.conf.xml and reload mod_logfile; or remove the file, and restart band",
	})
}

// watchUnits looks whether units were forgotten since the last time.
func (d *Daemon) watchUnits() {
	_, evicted := d.pipeline.Units()
	if n := evicted - d.evicted; n > 0 {
		d.board.Raise(doctor.Finding{
			Kind: doctor.UnitsEvicted, Severity: doctor.Warning, For: time.Hour,
			Text:   fmt.Sprintf("more hosts fail than can be tracked: %d with the fewest failures were forgotten the last time", n),
			Remedy: "nothing if this was a flood; attackers with several failures are still banned",
		})
	}
	d.evicted = evicted
}

// watchAddresses renews what is known of own addresses.
func (d *Daemon) watchAddresses() {
	err := d.readLocal()
	if err == nil {
		d.board.Clear(doctor.AddressesUnknown, "", "")
		return
	}
	d.board.Raise(doctor.Finding{
		Kind: doctor.AddressesUnknown, Severity: doctor.Warning,
		Text:   fmt.Sprintf("own addresses cannot be read, so that a new one, or a new gateway, might be banned: %v", err),
		Remedy: "put your own addresses and gateways on the allowlist; in a unit or container of your own let band use netlink sockets; it is tried again until it works",
	})
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
			Kind: doctor.StateSlow, Severity: doctor.Warning,
			Text:   fmt.Sprintf("the disk takes %v or longer to store a ban", h.Slow.Round(time.Millisecond)),
			Remedy: "look at the load of the disk; a power cut could cost the last bans, the kernel has them",
		})
	} else {
		d.board.Past(doctor.StateSlow, "", "", time.Hour)
	}
}

// damaged is the finding that a damaged state makes.
func damaged(all []store.Damage) doctor.Finding {
	const told = 3
	var what []string
	for _, d := range all[:min(told, len(all))] {
		what = append(what, d.String())
	}
	if more := len(all) - told; more > 0 {
		what = append(what, fmt.Sprintf("and %d more", more))
	}
	return doctor.Finding{
		Kind: doctor.StateDamaged, Severity: doctor.Warning, For: 24 * time.Hour,
		Text:   "a part of the state was lost: " + strings.Join(what, "; "),
		Remedy: "look for disk errors; bans that are missing can be added with banctl ban",
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
type kernelObserver struct {
	board   *doctor.Board
	repairs *atomic.Uint64
}

func (o kernelObserver) Repaired(what string) {
	o.repairs.Add(1)
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
	o.board.Raise(refusing(err))
}

func (o kernelObserver) Uncounted() {
	o.board.Raise(doctor.Finding{
		Kind: doctor.PacketsUncounted, Severity: doctor.Note,
		Text:   "the kernel does not count the packets of each ban, only those of a jail: banctl list tells 0",
		Remedy: "nothing, bans hold; Linux counts them from 5.7 on",
	})
}

// refusing is the finding that an error of the kernel makes. What it means, the
// kernel's sources say: nfnetlink_rcv and nf_tables_api.c below net/netfilter.
func refusing(err error) doctor.Finding {
	text, remedy := "", "tell those who make band"
	missing := slices.IndexFunc(features, func(f feature) bool { return errors.Is(err, f.err) })
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		text, remedy = "band may not change nftables, or another program owns the table inet band: ", "run it as root, or give it CAP_NET_ADMIN (docker run --network host --cap-add NET_ADMIN)"
	case missing >= 0:
		text, remedy = "the kernel lacks "+features[missing].name+": ", "modprobe "+features[missing].module+" and have that done at each boot (/etc/modules-load.d), or use a kernel that has it; Linux 5.7 has all"
	}
	return doctor.Finding{
		Kind: doctor.KernelFailing, Severity: doctor.Error,
		Text:   fmt.Sprintf("bans do not reach the kernel: %s%v", text, err),
		Remedy: remedy + "; it is tried again until it works",
	}
}

// A feature is what a kernel may be built without, and the error that tells so.
type feature struct {
	err          unix.Errno
	name, module string
}

// features are as Linux 4.15 and 5.4 tell of them without their modules.
var features = []feature{
	{unix.EPROTONOSUPPORT, "netlink for netfilter (CONFIG_NETFILTER_NETLINK)", "nfnetlink"},
	{unix.EINVAL, "nf_tables (CONFIG_NF_TABLES), or something that band asks of it", "nf_tables"},
	{unix.EAFNOSUPPORT, "the family inet of nf_tables (CONFIG_NF_TABLES_INET)", "nf_tables_inet"},
	{unix.EOPNOTSUPP, "sets of nf_tables whose elements end by themselves", "nf_tables_set"},
	{unix.ENOENT, "an expression of nf_tables (a counter or a look-up, say)", "nft_counter"},
}
