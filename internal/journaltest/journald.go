package journaltest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long journald may take for anything.
const patience = 20 * time.Second

// A Journald is a real systemd-journald that sees nothing of the host's and of
// other tests' journals: /run and /var/log are directories of its own, in mount
// namespaces that live as long as the processes in them. It needs root. Its
// methods may be called from any goroutine; where one of them fails, so does
// the test.
type Journald struct {
	// Bin is a directory to be put first in PATH: the journalctl in it reads
	// this journal.
	Bin string
	// Root holds what Bin's journalctl sees as /run, and as /var/log in log.
	Root string

	t     testing.TB
	enter string

	mu       sync.Mutex
	journald *process
	services map[string]*process // what stands in for a unit's, by unit
}

// sockets are what journald listens on, in its /run/systemd/journal.
var sockets = []string{"stdout", "socket", "dev-log", "io.systemd.journal"}

// Start starts a journald that keeps its journal in /run/log/journal and drops
// nothing, until the test ends. Settings are lines of journald.conf(5) that
// change that, such as "RateLimitBurst=5".
func Start(t testing.TB, settings ...string) *Journald {
	t.Helper()
	// Not t.TempDir: a socket's path must be shorter than 108 bytes.
	root, err := os.MkdirTemp("", "journald")
	if err != nil {
		t.Fatal(err)
	}
	j := &Journald{
		Bin: filepath.Join(root, "bin"), Root: root,
		t: t, enter: filepath.Join(root, "enter"), services: make(map[string]*process),
	}
	t.Cleanup(j.remove)
	if err := j.prepare(settings); err != nil {
		t.Fatal(err)
	}
	if err := j.start(); err != nil {
		t.Fatal(err)
	}
	return j
}

func (j *Journald) prepare(settings []string) error {
	for _, dir := range []string{"bin", "log", "run/log/journal", "run/systemd/journal", "run/systemd/journald.conf.d"} {
		if err := os.MkdirAll(filepath.Join(j.Root, dir), 0o755); err != nil {
			return err
		}
	}
	conf := append([]string{
		"[Journal]", "Storage=volatile", "RateLimitIntervalSec=0", "RateLimitBurst=0",
		"ReadKMsg=no", "Audit=", "ForwardToSyslog=no", "ForwardToWall=no",
	}, settings...)
	journalctl, err := exec.LookPath("journalctl")
	if err != nil {
		return err
	}
	for path, text := range map[string]string{
		"run/systemd/journald.conf.d/zz-test.conf": strings.Join(conf, "\n") + "\n",
		"enter": "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind " + j.Root + "/run /run && mount --bind " +
			j.Root + "/log /var/log && exec \"$@\"' sh \"$@\"\n",
		"bin/journalctl": "#!/bin/sh\nexec " + j.enter + " " + journalctl + " \"$@\"\n",
	} {
		if err := os.WriteFile(filepath.Join(j.Root, path), []byte(text), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// Enter returns the command line that runs args where they see this journal.
func (j *Journald) Enter(args ...string) []string { return append([]string{j.enter}, args...) }

// start starts the process and waits until it listens.
func (j *Journald) start() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, name := range sockets {
		if err := os.Remove(j.socket(name)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	binary := "/usr/lib/systemd/systemd-journald"
	if _, err := os.Stat(binary); err != nil {
		binary = "/lib/systemd/systemd-journald"
	}
	// In a cgroup namespace of its own it finds the processes of the test in no
	// unit, and believes in the unit that a stream names.
	var err error
	if j.journald, err = run("unshare", "--cgroup", j.enter, binary); err != nil {
		return err
	}
	for _, name := range sockets {
		if err := poll("journald listens", func() error { _, err := os.Stat(j.socket(name)); return err }); err != nil {
			j.journald.end(os.Kill)
			return fmt.Errorf("%w: %s", err, j.journald.cmd.Stderr)
		}
	}
	return nil
}

// signal ends journald, if it runs.
func (j *Journald) signal(s os.Signal) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.journald != nil {
		j.journald.end(s)
		j.journald = nil
	}
}

// Stop ends journald as systemd does.
func (j *Journald) Stop() { j.signal(syscall.SIGTERM) }

// Kill ends journald as a crash does.
func (j *Journald) Kill() { j.signal(syscall.SIGKILL) }

// Restart stops journald, if it runs, and starts it. Streams end: there is no
// systemd that would keep them.
func (j *Journald) Restart() {
	j.t.Helper()
	j.Stop()
	if err := j.start(); err != nil {
		j.t.Error(err)
	}
}

// Sync waits until what was sent is in the journal.
func (j *Journald) Sync() { j.t.Helper(); j.Journalctl("--sync") }

// Rotate archives the journal files and begins new ones.
func (j *Journald) Rotate() { j.t.Helper(); j.Sync(); j.Journalctl("--rotate") }

// Vacuum deletes the archived journal files.
func (j *Journald) Vacuum() { j.t.Helper(); j.Journalctl("--vacuum-files=1") }

// Journalctl runs journalctl and returns what it writes to its standard output.
func (j *Journald) Journalctl(args ...string) []byte {
	j.t.Helper()
	cmd := exec.Command(filepath.Join(j.Bin, "journalctl"), args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		j.t.Errorf("journalctl %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// Files returns the journal files, those that are written first, then the
// archived ones.
func (j *Journald) Files() []string {
	j.t.Helper()
	var files []string
	for _, name := range []string{"system.journal", "system@*"} {
		found, err := filepath.Glob(filepath.Join(j.Root, "run/log/journal/*", name))
		if err != nil {
			j.t.Error(err)
		}
		files = append(files, found...)
	}
	return files
}

// remove ends what was started and deletes all files.
func (j *Journald) remove() {
	j.Stop()
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, service := range j.services {
		service.end(os.Kill)
	}
	if err := os.RemoveAll(j.Root); err != nil {
		j.t.Error(err)
	}
}

// poll waits until something succeeds.
func poll(what string, try func() error) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v: %w", what, patience, err)
		}
	}
}
