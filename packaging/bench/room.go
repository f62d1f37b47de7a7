package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
)

// A room is a network namespace and a directory for what runs in it. Close removes
// both.
type room struct {
	name, dir string
	ns        netns.NsHandle
}

func (b *bench) room(ctx context.Context) (*room, error) {
	b.rooms++
	name := fmt.Sprintf("band-bench-%d-%d", os.Getpid(), b.rooms)
	r := &room{name: name, dir: filepath.Join(b.dir, name)}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a room: %w", err)
	}
	if _, err := command(ctx, "ip", "netns", "add", name); err != nil {
		return nil, err
	}
	var err error
	if r.ns, err = netns.GetFromName(name); err == nil {
		_, err = r.run(ctx, "ip", "link", "set", "lo", "up")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("enter the namespace %s: %w", name, err), r.close())
	}
	return r, nil
}

// close also works when the bench was interrupted.
func (r *room) close() error {
	if r.ns.IsOpen() {
		r.ns.Close()
	}
	_, err := command(context.Background(), "ip", "netns", "delete", r.name)
	return errors.Join(err, os.RemoveAll(r.dir))
}

func (r *room) path(name string) string { return filepath.Join(r.dir, name) }

// log is the file that daemons in the room follow.
func (r *room) log() string { return r.path("freeswitch.log") }

// inside returns the command line that runs something in the room.
func (r *room) inside(args ...string) []string {
	return append([]string{"ip", "netns", "exec", r.name}, args...)
}

func (r *room) run(ctx context.Context, args ...string) (string, error) {
	return command(ctx, r.inside(args...)...)
}

// visit calls f in the namespace.
func (r *room) visit(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(r.ns); err != nil {
			done <- fmt.Errorf("enter the namespace %s: %w", r.name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// command runs a command and returns what it printed. Its process group is its own:
// an interrupt ends it with all that it started, and leaves those alone that clean up.
func command(ctx context.Context, args ...string) (string, error) {
	var out, problems bytes.Buffer
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Stdout, c.Stderr = &out, &problems
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGINT) }
	c.WaitDelay = 10 * time.Second
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%v: %w %s", c.Args, err, bytes.TrimSpace(problems.Bytes()))
	}
	return out.String(), nil
}
