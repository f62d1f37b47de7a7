package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A profile tells where the processor time of some work went.
type profile struct {
	Name, Title string
	text        string
}

// profiles samples band in the works in which it misses a target, apart from the runs
// that are measured: sampling costs time itself.
func (b *bench) profiles(ctx context.Context) error {
	for _, work := range []func(*bench, context.Context) error{
		(*bench).profileReplay, (*bench).profileBurst, (*bench).profileStart, (*bench).profileIdle,
	} {
		if err := work(b, ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) profileReplay(ctx context.Context) error {
	path := filepath.Join(b.dir, "replayed.log")
	if err := os.WriteFile(path, generate(b.lines, b.attackers).text, 0o644); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	defer os.Remove(path)
	banctl := filepath.Join(b.bin, "banctl")
	if _, err := command(ctx, b.sampling("--", banctl, "--config", filepath.Join(b.dir, "none"), "replay", "--json", path)...); err != nil {
		return err
	}
	return b.profiled(ctx, "replay", "A replay")
}

func (b *bench) profileBurst(ctx context.Context) error {
	script := generate(b.lines, b.attackers)
	return b.profileResting(ctx, "burst", "A burst", func(s *stand) error {
		if err := script.write(s.log()); err != nil {
			return err
		}
		if _, err := s.watch.all(ctx, len(script.attempts), 10*time.Minute); err != nil {
			return err
		}
		return pause(ctx, settling)
	})
}

func (b *bench) profileIdle(ctx context.Context) error {
	return b.profileResting(ctx, "idle", "A minute in which nobody writes", func(*stand) error { return pause(ctx, b.quiet) })
}

// profileResting samples a daemon that was at rest, while something is done.
func (b *bench) profileResting(ctx context.Context, name, title string, do func(*stand) error) (err error) {
	s, err := b.stand(ctx, band{b.bin}, retries)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := pause(ctx, settling); err != nil {
		return err
	}
	return b.sampled(ctx, s.daemon.cmd.Process.Pid, name, title, func() error { return do(s) })
}

func (b *bench) profileStart(ctx context.Context) (err error) {
	s, _, err := b.crowd(ctx, band{b.bin}, b.bans)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.stopAndFlush(ctx); err != nil {
		return err
	}
	if s.daemon, err = launch(ctx, s.room, sampledPeer{band{b.bin}, b}); err != nil {
		return err
	}
	if _, err := s.watch.all(ctx, b.bans, 10*time.Minute); err != nil {
		return err
	}
	if err := s.daemon.stop(); err != nil { // only then perf writes
		return err
	}
	return b.profiled(ctx, "start", "A start with "+digits(b.bans)+" bans")
}

// A sampledPeer is sampled from its start to its end.
type sampledPeer struct {
	peer
	bench *bench
}

func (p sampledPeer) command(r *room) []string {
	return p.bench.sampling(append([]string{"--"}, p.peer.command(r)...)...)
}

// sampled samples a process while something is done.
func (b *bench) sampled(ctx context.Context, pid int, name, title string, do func() error) error {
	args := b.sampling("-p", strconv.Itoa(pid))
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		return fmt.Errorf("%v: %w", c.Args, err)
	}
	const attaching = time.Second
	err := pause(ctx, attaching)
	if err == nil {
		err = do()
	}
	c.Process.Signal(os.Interrupt) // an error means that it ended
	c.Wait()                       // by the interrupt; what it wrote is read
	if err != nil {
		return err
	}
	return b.profiled(ctx, name, title)
}

// sampling is the command that samples others.
func (b *bench) sampling(of ...string) []string {
	return append([]string{"perf", "record", "-q", "-F", "4999", "-g", "-o", b.samples()}, of...)
}

func (b *bench) samples() string { return filepath.Join(b.dir, "perf.data") }

// profiled makes a profile of the samples taken last.
func (b *bench) profiled(ctx context.Context, name, title string) error {
	b.say("profile of %s", name)
	p := profile{Name: name, Title: title}
	for _, part := range []struct{ title, how string }{
		{"Share of the samples within each function", "--no-children"},
		{"Share within each function and all that it calls", "--children"},
	} {
		report, err := command(ctx, "perf", "report", "-i", b.samples(), "--stdio", "-g", "none", "--percent-limit", "1", "--sort", "symbol", part.how)
		if err != nil {
			return err
		}
		p.text += part.title + "\n\n"
		for line := range strings.Lines(report) {
			if line = strings.TrimRight(line, " -\n"); line != "" && line[0] != '#' { // behind there is what no symbol has
				p.text += line + "\n"
			}
		}
		p.text += "\n"
	}
	b.made = append(b.made, p)
	return nil
}
