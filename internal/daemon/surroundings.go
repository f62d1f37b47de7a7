package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"band/internal/allowlist"
	"band/internal/doctor"
	"band/internal/freeswitch"
	"band/internal/services"
	"band/internal/source"
	"band/jails"
)

// surroundings are looked at this often, and after a reload.
const lookEvery = 10 * time.Minute

// surroundings is what stands around the daemon on this machine.
type surroundings struct {
	freeswitch *freeswitch.Config // nil where there is none that can be read
	dir        string             // of freeswitch; "" where there is none
	named      bool               // dir, by the configuration
	err        error              // why it cannot be read
	uncovered  map[string]string  // ports that a jail should cover and does not, by jail; a jail of which it cannot be told is missing
	rivals     []string
	rivalsErr  error // why they cannot be told
	inotify    error // why the kernel would not watch another log
}

// look makes watchSurroundings look again now.
func (d *Daemon) look() {
	select {
	case d.lookNow <- struct{}{}:
	default:
	}
}

// watchSurroundings looks at what stands around the daemon, beside the goroutine
// that decides: a directory that hangs keeps no failure from being counted.
func (d *Daemon) watchSurroundings(ctx context.Context) error {
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	for {
		var c *jails.Config
		if d.ask(ctx, func() { c = d.Jails }) != nil {
			return nil
		}
		found := survey(c)
		if d.ask(ctx, func() { d.takeSurroundings(found) }) != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.lookNow:
		case <-again.C:
		}
	}
}

func survey(c *jails.Config) surroundings {
	s := surroundings{dir: freeswitchDir(c), named: c.FreeSWITCH != "", inotify: tryInotify()}
	if s.dir != "" {
		s.freeswitch, s.err = freeswitch.Read(s.dir)
	}
	s.uncovered = make(map[string]string)
	for _, j := range c.Jails {
		if ports, err := uncovered(j); err == nil {
			s.uncovered[j.Name] = strings.Join(ports, ", ")
		}
	}
	var rivals []services.Rival
	rivals, s.rivalsErr = services.Beside()
	for _, r := range rivals {
		s.rivals = append(s.rivals, r.String())
	}
	return s
}

// freeswitchDir returns the directory of FreeSWITCH's configuration, "" where there is
// none.
func freeswitchDir(c *jails.Config) string {
	return cmp.Or(c.FreeSWITCH, freeswitch.Find(freeswitch.Dirs()))
}

// uncovered returns the ports on which a jail's services listen and which its
// bans do not cover.
func uncovered(j jails.Jail) ([]string, error) {
	if !j.Enabled || j.Ports.All() || len(j.Services) == 0 {
		return nil, nil
	}
	listening, err := services.Listening(j.Services)
	if err != nil {
		return nil, err
	}
	var ports []string
	for _, l := range listening {
		covered := j.Ports.UDP
		if l.Protocol == "tcp" {
			covered = j.Ports.TCP
		}
		if port := l.Protocol + " " + strconv.Itoa(int(l.Port)); !slices.Contains(covered, l.Port) && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

// tryInotify reports whether the kernel would tell when another log is written.
func tryInotify() error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("inotify_init1: %w", err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, "/", unix.IN_DELETE_SELF); err != nil {
		return fmt.Errorf("inotify_add_watch: %w", err)
	}
	return nil
}

// takeSurroundings raises what was found, and lets the gateways of FreeSWITCH be
// allowed: a trunk must never be banned.
func (d *Daemon) takeSurroundings(s surroundings) {
	d.takeFreeSWITCH(s)
	closeOnce(d.surveyed)
	d.takeInotify(s.inotify)
	for _, name := range d.pipeline.Names() {
		ports, known := s.uncovered[name]
		if ports == "" {
			if known {
				d.board.Clear(doctor.PortUncovered, name, "")
			}
			continue
		}
		d.board.Raise(doctor.Finding{
			Kind: doctor.PortUncovered, Severity: doctor.Warning, Jail: name,
			Text:   fmt.Sprintf("%s listens on %s, which its bans do not cover", strings.Join(d.pipeline.Jails[name].Services, " or "), ports),
			Remedy: fmt.Sprintf(`add the ports to ports in jails.d/%s.toml, or write ports = "all"`, name),
		})
	}
	if len(s.rivals) == 0 {
		if s.rivalsErr == nil {
			d.board.Clear(doctor.RivalRunning, "", "")
		}
		return
	}
	d.board.Raise(doctor.Finding{
		Kind: doctor.RivalRunning, Severity: doctor.Warning,
		Text:   strings.Join(s.rivals, ", ") + " bans beside band: a ban that one of them lifts, the other may hold",
		Remedy: "when band protects what it did, stop and disable it",
	})
}

func (d *Daemon) takeInotify(err error) {
	if err == nil {
		d.board.Clear(doctor.InotifyExhausted, "", "")
		return
	}
	d.board.Raise(doctor.Finding{
		Kind: doctor.InotifyExhausted, Severity: doctor.Note,
		Text:   "the kernel does not tell when a log is written that is opened now; it is looked at every second instead: " + err.Error(),
		Remedy: "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches with sysctl, and restart band",
	})
}

func (d *Daemon) takeFreeSWITCH(s surroundings) {
	d.board.ClearAll(doctor.FreeSWITCHUnreadable, func(f doctor.Finding) bool { return f.Source == s.dir })
	switch {
	case s.err != nil && (s.named || !errors.Is(s.err, fs.ErrNotExist)):
		d.board.Raise(doctor.Finding{
			Kind: doctor.FreeSWITCHUnreadable, Severity: doctor.Warning, Source: s.dir,
			Text:   "FreeSWITCH's configuration cannot be read: its gateways are not on the allowlist by themselves, and whether it logs failures is not known: " + s.err.Error(),
			Remedy: "let band read it, or name its directory in band.toml: freeswitch = \"...\"",
		})
		return // what was known before stays
	case s.freeswitch == nil:
		d.board.Clear(doctor.FreeSWITCHUnreadable, "", s.dir)
		d.board.ClearAll(doctor.FailuresUnlogged, nil)
		d.board.ClearAll(doctor.EventSocketWeak, nil)
		return
	}
	if problems := s.freeswitch.Problems; len(problems) > 0 {
		d.board.Raise(doctor.Finding{
			Kind: doctor.FreeSWITCHUnreadable, Severity: doctor.Warning, Source: s.dir,
			Text:   "a part of FreeSWITCH's configuration cannot be read, so that a gateway may be missing on the allowlist: " + strings.Join(problems[:min(len(problems), 3)], "; "),
			Remedy: "correct it: FreeSWITCH may refuse it as well",
		})
	} else {
		d.board.Clear(doctor.FreeSWITCHUnreadable, "", s.dir)
	}
	answered := slices.ContainsFunc(s.freeswitch.Bindings, func(b freeswitch.Binding) bool { return b.Configuration })
	silent := make(map[string]bool)
	for _, p := range s.freeswitch.Silent() {
		at := p.At.String()
		if p.LogAuthFailures.At != (freeswitch.Place{}) {
			at = p.LogAuthFailures.At.String()
		}
		silent[at] = true
		text := fmt.Sprintf("the sofia profile %s does not log wrong passwords: guessing them is not seen, only unknown users are", p.Name)
		if answered {
			text += " (or so the files say; a module of FreeSWITCH may answer in their place)"
		}
		severity := doctor.Error
		if d.tellsFailures() {
			severity = doctor.Note
			text = fmt.Sprintf("the sofia profile %s does not log wrong passwords; the event socket tells of them, and while it is not connected nobody does", p.Name)
		}
		d.board.Raise(doctor.Finding{
			Kind: doctor.FailuresUnlogged, Severity: severity, Source: at, Text: text,
			Remedy: fmt.Sprintf(`write <param name="log-auth-failures" value="true"/> into its settings, then: fs_cli -x "sofia profile %s rescan"; or let band read the event socket, which tells of them in any case`,
				p.Name),
		})
	}
	d.board.ClearAll(doctor.FailuresUnlogged, func(f doctor.Finding) bool { return silent[f.Source] })

	d.watchEventSocket(s.freeswitch.EventSocket)

	var gateways []allowlist.Item
	for _, g := range s.freeswitch.Gateways {
		for _, host := range g.Hosts {
			e, err := jails.ParseEntry(host)
			if err != nil || e.File != "" {
				continue // the reader left out what is no host
			}
			gateways = append(gateways, allowlist.Item{Entry: e, Origin: allowlist.Gateway, Note: "gateway " + g.Name})
		}
	}
	if len(s.freeswitch.Problems) > 0 { // what was known before stays
		for _, known := range d.gateways {
			if !slices.ContainsFunc(gateways, func(g allowlist.Item) bool { return g.Entry == known.Entry }) {
				gateways = append(gateways, known)
			}
		}
	}
	same := slices.EqualFunc(gateways, d.gateways, func(a, b allowlist.Item) bool { return a.Entry == b.Entry && a.Note == b.Note })
	if d.gateways = gateways; !same {
		d.allow.Set(d.allowItems())
	}
}

// tellsFailures reports whether an event socket that is connected tells of wrong
// passwords.
func (d *Daemon) tellsFailures() bool {
	return slices.ContainsFunc(d.sources, func(s *following) bool {
		return s.key.socket.IsValid() && s.input.State() == source.Open && slices.ContainsFunc(s.Jails(), func(j string) bool {
			return slices.Contains(d.pipeline.Jails[j].Events(), "sofia::register_failure")
		})
	})
}

// watchEventSocket looks whether others than this machine may use FreeSWITCH's event
// socket, by which whoever has the password can do everything.
func (d *Daemon) watchEventSocket(at freeswitch.EventSocket) {
	var weak []string
	severity := doctor.Note
	if !at.Local() {
		weak = append(weak, fmt.Sprintf("it listens on %s and admits others than this machine (%s)", at.IP, strings.Join(at.ACLs, ", ")))
		severity = doctor.Warning
	}
	if at.Password == freeswitch.StockPassword {
		weak = append(weak, "its password is the one that FreeSWITCH ships with")
	}
	if len(weak) == 0 || at.At == (freeswitch.Place{}) { // nothing says that it is loaded
		d.board.ClearAll(doctor.EventSocketWeak, nil)
		return
	}
	d.board.ClearAll(doctor.EventSocketWeak, func(f doctor.Finding) bool { return f.Source == at.At.String() })
	d.board.Raise(doctor.Finding{
		Kind: doctor.EventSocketWeak, Severity: severity, Source: at.At.String(),
		Text:   "whoever may use FreeSWITCH's event socket controls FreeSWITCH: " + strings.Join(weak, ", and "),
		Remedy: "write listen-ip 127.0.0.1, apply-inbound-acl loopback.auto and a password of your own into event_socket.conf.xml, then: fs_cli -x \"reload mod_event_socket\"",
	})
}
