package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A peer is a program that bans. In a room it follows the room's log.
type peer interface {
	name() string
	// configure tells it to ban for a day, after so many failures in ten minutes.
	configure(r *room, retries int) error
	command(r *room) []string
	// ready reports whether it follows the log.
	ready(ctx context.Context, r *room) bool
	// holds reports whether its bans are in a set of that name.
	holds(table, set string) bool
}

func (b *bench) peers() []peer { return []peer{band{b.bin}, fail2ban{}} }

// patience is how long something may take that is not measured.
const patience = 2 * time.Minute

// A daemon is a peer that runs.
type daemon struct {
	peer  peer
	room  *room
	cmd   *exec.Cmd
	ended chan struct{} // closed when err says how
	err   error
}

// start starts a peer in a room and waits until it follows the log.
func start(ctx context.Context, r *room, p peer) (*daemon, error) {
	d, err := launch(ctx, r, p)
	if err != nil {
		return nil, err
	}
	if err := d.await(ctx); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// launch starts a peer and does not wait.
func launch(ctx context.Context, r *room, p peer) (*daemon, error) {
	out, err := os.OpenFile(r.path("output"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name(), err)
	}
	defer out.Close()
	args := r.inside(p.command(r)...)
	d := &daemon{peer: p, room: r, cmd: exec.CommandContext(ctx, args[0], args[1:]...), ended: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = out, out
	d.cmd.Env = append(os.Environ(), "TZ=UTC")
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is the bench's to handle
	d.cmd.Cancel = func() error { return d.cmd.Process.Signal(syscall.SIGTERM) }
	d.cmd.WaitDelay = patience
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name(), err)
	}
	go func() {
		defer close(d.ended)
		d.err = d.cmd.Wait()
	}()
	return d, nil
}

func (d *daemon) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !d.peer.ready(ctx, d.room) {
		select {
		case <-d.ended:
			out, _ := os.ReadFile(d.room.path("output"))
			return fmt.Errorf("%s ended before it was ready: %v\n%s", d.peer.name(), d.err, out)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", d.peer.name(), ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// stop ends the daemon as systemd would, and waits.
func (d *daemon) stop() error {
	d.cmd.Process.Signal(syscall.SIGTERM) // an error means that it ended
	select {
	case <-d.ended:
	case <-time.After(patience):
		d.cmd.Process.Kill()
		return fmt.Errorf("%s did not stop", d.peer.name())
	}
	return nil
}

// cpu is what the daemon has used, with those of its children that have ended.
func (d *daemon) cpu() (time.Duration, error) {
	// The clock of another process, CPUCLOCK_SCHED of its pid
	// (linux/posix-timers.h): in nanoseconds, where stat has hundredths of a second.
	const sched = 2
	var own unix.Timespec
	if err := unix.ClockGettime(int32(^d.cmd.Process.Pid<<3|sched), &own); err != nil {
		return 0, fmt.Errorf("read the clock of %s: %w", d.peer.name(), err)
	}
	stat, err := os.ReadFile(d.proc("stat"))
	if err != nil {
		return 0, fmt.Errorf("read the times of %s: %w", d.peer.name(), err)
	}
	_, behind, _ := strings.Cut(string(stat), ") ")
	const cutime, cstime, userHz = 13, 14, 100 // proc(5), counted from behind the name
	total := time.Duration(own.Nano())
	for _, field := range []int{cutime, cstime} {
		ticks, err := strconv.Atoi(strings.Fields(behind)[field])
		if err != nil {
			return 0, fmt.Errorf("read the times of %s: %w", d.peer.name(), err)
		}
		total += time.Duration(ticks) * time.Second / userHz
	}
	return total, nil
}

// memory is what the daemon has resident now and had at most, in MiB.
func (d *daemon) memory() (now, most float64, err error) {
	fields, err := d.status(d.proc("status"))
	return fields["VmRSS"] / 1024, fields["VmHWM"] / 1024, err
}

// forgetMost lets memory tell the most of what comes from now on.
func (d *daemon) forgetMost() error {
	const peak = "5" // proc(5), clear_refs
	if err := os.WriteFile(d.proc("clear_refs"), []byte(peak), 0); err != nil {
		return fmt.Errorf("reset the peak of %s: %w", d.peer.name(), err)
	}
	return nil
}

// switches is how often threads of the daemon went to sleep.
func (d *daemon) switches() (sum int, err error) {
	tasks, err := filepath.Glob(d.proc("task/*/status"))
	for _, task := range tasks {
		fields, err := d.status(task)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return 0, err
		}
		sum += int(fields["voluntary_ctxt_switches"])
	}
	return sum, err
}

func (d *daemon) proc(name string) string { return fmt.Sprintf("/proc/%d/%s", d.cmd.Process.Pid, name) }

var statusLine = regexp.MustCompile(`(?m)^(\w+):\s+(\d+)(?: kB)?$`)

func (d *daemon) status(path string) (map[string]float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the status of %s: %w", d.peer.name(), err)
	}
	fields := make(map[string]float64)
	for _, m := range statusLine.FindAllStringSubmatch(string(text), -1) {
		if fields[m[1]], err = strconv.ParseFloat(m[2], 64); err != nil {
			return nil, fmt.Errorf("read the status of %s: %w", d.peer.name(), err)
		}
	}
	return fields, nil
}

// pause waits, unless the bench is interrupted.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
