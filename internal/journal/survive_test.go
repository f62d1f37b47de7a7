package journal_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"band/internal/doctor"
	"band/internal/journal"
	"band/internal/journaltest"
)

// children returns the processes that follow the journal of d.
func children(t testing.TB, d *journaltest.Journald) (pids []int) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		args, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !bytes.Contains(args, []byte("\x00--follow\x00")) {
			continue
		}
		// It has d's directories for its own.
		mounts, err := os.ReadFile(dir + "/mountinfo")
		if err != nil || !bytes.Contains(mounts, []byte(d.Root+"/run /run ")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func signal(t testing.TB, d *journaltest.Journald, s syscall.Signal) {
	t.Helper()
	for _, pid := range children(t, d) {
		if err := syscall.Kill(pid, s); err != nil && err != syscall.ESRCH {
			t.Error(err)
		}
	}
}

// kept returns the numbers that are in the journal now.
func kept(t testing.TB, d *journaltest.Journald) map[int]bool {
	t.Helper()
	all := map[int]bool{}
	for line := range strings.Lines(string(d.Journalctl("--quiet", "--output=cat", numbers))) {
		var i int
		if _, err := fmt.Sscanf(line, "n%d", &i); err != nil {
			t.Fatal(err)
		}
		all[i] = true
	}
	return all
}

// While entries flow something happens, and everything that the journal has in
// the end was read, once, in order.
func TestSurvives(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		disturb  func(t testing.TB, d *journaltest.Journald)
		complete bool // the journal loses nothing either
	}{
		{"child killed", func(t testing.TB, d *journaltest.Journald) { signal(t, d, syscall.SIGKILL) }, true},
		{"journald restarted", func(_ testing.TB, d *journaltest.Journald) { d.Restart() }, false},
		{"journald killed", func(_ testing.TB, d *journaltest.Journald) { d.Kill(); d.Restart() }, false},
		{"rotated", func(_ testing.TB, d *journaltest.Journald) { d.Rotate() }, true},
		{"vacuumed", func(_ testing.TB, d *journaltest.Journald) { d.Rotate(); d.Vacuum() }, false},
		{"truncated", func(t testing.TB, d *journaltest.Journald) {
			for _, file := range d.Files() {
				if err := os.Truncate(file, 100<<10); err != nil && !os.IsNotExist(err) {
					t.Error(err)
				}
			}
		}, false},
		{"deleted", func(t testing.TB, d *journaltest.Journald) {
			for _, file := range d.Files() {
				if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
					t.Error(err)
				}
			}
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := journaltest.Start(t)
			f := follow(t, config(t, d, numbers))
			const n, times = 3000, 6
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for i := range times {
					number(d, i*n/times, (i*2+1)*n/times/2)
					test.disturb(t, d)
					number(d, (i*2+1)*n/times/2, (i+1)*n/times)
				}
			}()
			more := n
			f.until("what came behind", func() bool {
				select {
				case <-sent:
					// Journald looks every few seconds whether its file is still there.
					number(d, more, more+1)
					more++
				default:
				}
				return len(f.entries) > 0 && numberOf(t, f.entries[len(f.entries)-1]) >= n
			})
			f.stop()
			kept, missing, last := kept(t, d), f.numbered(more), numberOf(t, f.entries[len(f.entries)-1])
			for _, i := range missing {
				if i < last && (test.complete || kept[i]) {
					t.Fatalf("message %d was lost; %d were not read, findings %+v", i, len(missing), f.board.Findings())
				}
			}
			t.Logf("%d were not read, findings %+v", len(missing), f.board.Findings())
		})
	}
}

// A child that is stopped is replaced, and the new one begins where it left off.
func TestDeaf(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	f := follow(t, config(t, d, numbers))
	number(d, 0, 10)
	f.count(10)
	signal(t, d, syscall.SIGSTOP)
	number(d, 10, 20)
	f.count(20)
	if missing := f.numbered(20); len(missing) > 0 {
		t.Errorf("missing %v", missing)
	}
}

// An entry that no child tells of is given up: the journal counts as caught up
// with, and the child is not ended again and again for it.
func TestNeverTold(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	number(d, 0, 10)
	d.Send("MESSAGE=never told", "JOB=a")
	d.Sync()
	c := config(t, d, numbers, "+", "JOB=a")
	script := filepath.Join(t.TempDir(), "reader")
	text := "#!/bin/bash\ncase \"$*\" in *--follow*) set -- \"${@//JOB=a/JOB=b}\" ;; esac\nexec " + strings.Join(c.Command, " ") + " \"$@\"\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	c.Command = []string{script}
	f := follow(t, c)
	f.until("caught up", func() bool { return f.caughtUp == 1 })
	if missing := f.numbered(10); len(missing) > 0 || len(f.board.Findings()) > 0 {
		t.Errorf("missing %v, findings %+v", missing, f.board.Findings())
	}
	var child []int
	f.until("the child", func() bool { child = children(t, d); return len(child) == 1 })
	number(d, 10, 11)
	f.count(11)
	if now := children(t, d); len(now) != 1 || now[0] != child[0] {
		t.Errorf("the child was %v and is %v", child, now)
	}
	if findings := f.board.Findings(); len(findings) > 0 {
		t.Errorf("findings %+v", findings)
	}
}

// What the journal holds at the start has been delivered when it says so.
func TestCaughtUp(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	f := start(t, config(t, d, numbers))
	f.until("caught up with nothing", func() bool { return f.caughtUp == 1 })
	if len(f.entries) > 0 {
		t.Errorf("entries %v", f.messages())
	}
	f.stop()
	number(d, 0, 3000)
	d.Sync()
	f = follow(t, config(t, d, numbers))
	for f.caughtUp == 0 {
		f.take(<-f.batches)
	}
	if missing := f.numbered(3000); len(missing) > 0 {
		t.Errorf("%d were missing then", len(missing))
	}
	if got := f.journal.State(); got != journal.Open {
		t.Errorf("state %v", got)
	}
	number(d, 3000, 3010)
	f.count(3010)
	if f.caughtUp != 1 {
		t.Errorf("caught up %d times", f.caughtUp)
	}
}

// A journal that is not there yet is a finding, and is read as soon as it is.
func TestMissing(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"run/log/journal", "run/log"} {
		d := journaltest.Start(t)
		d.Stop()
		if err := os.RemoveAll(filepath.Join(d.Root, dir)); err != nil {
			t.Fatal(err)
		}
		f := follow(t, config(t, d, numbers))
		f.until("missing", func() bool { return f.caughtUp == 1 && f.found(doctor.SourceMissing) })
		<-f.journal.Ready()
		if got := f.journal.State(); got != journal.Missing {
			t.Errorf("state %v", got)
		}
		d.Restart()
		number(d, 0, 100)
		f.count(100)
		if missing := f.numbered(100); len(missing) > 0 || f.journal.State() != journal.Open || len(f.board.Findings()) > 0 {
			t.Errorf("missing %v, state %v, findings %+v", missing, f.journal.State(), f.board.Findings())
		}
	}
}

// When journald moves from memory to the disk, as it does while the host starts
// or when the directory is made, it is followed there.
func TestFlush(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{true, false} {
		t.Run(fmt.Sprintf("directory before=%v", before), func(t *testing.T) {
			t.Parallel()
			d := journaltest.Start(t, "Storage=auto")
			dir := filepath.Join(d.Root, "log/journal")
			mkdir := func() {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if before {
				mkdir()
			}
			f := follow(t, config(t, d, numbers))
			number(d, 0, 100)
			f.count(100)
			if !before {
				mkdir()
			}
			d.Journalctl("--flush")
			number(d, 100, 200)
			f.count(200)
			if missing := f.numbered(200); len(missing) > 0 {
				t.Errorf("missing %v", missing)
			}
			if files, err := filepath.Glob(dir + "/*/system.journal"); err != nil || len(files) == 0 {
				t.Errorf("the journal is not on the disk: %v", err)
			}
		})
	}
}

// What reads the journal is looked up in PATH; where it is not there, that is a
// finding, and nobody waits for it.
func TestNoReader(t *testing.T) {
	d := journaltest.Start(t)
	c := config(t, d, numbers)
	c.Command = []string{"no-such-journalctl"}
	f := follow(t, c)
	f.until("a finding", func() bool { return f.caughtUp == 1 && f.found(doctor.JournalFailing) })
	<-f.journal.Ready()
	if got := f.journal.State(); got != journal.Failing {
		t.Errorf("state %v", got)
	}
	if journal.ReaderName() != "journalctl" {
		return
	}
	t.Setenv("PATH", d.Bin+":"+os.Getenv("PATH"))
	c.Command = nil
	g := follow(t, c)
	number(d, 0, 1)
	g.count(1)
}

// A reader that fails is a finding until it works again.
func TestFailing(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	c := config(t, d, numbers)
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "reader")
	text := "#!/bin/sh\nif [ -e " + broken + " ]; then echo 'it is broken' >&2; exit 1; fi\nexec " + strings.Join(c.Command, " ") + " \"$@\"\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	c.Command = []string{script}
	f := follow(t, c)
	f.until("a finding", func() bool { return f.caughtUp == 1 && f.found(doctor.JournalFailing) })
	if text := f.board.Findings()[0].Text; !strings.HasSuffix(text, "exit status 1: it is broken") {
		t.Errorf("finding %q", text)
	}
	number(d, 0, 1)
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	f.count(1)
	f.until("no finding", func() bool { return len(f.board.Findings()) == 0 })
	if got := f.journal.State(); got != journal.Open {
		t.Errorf("state %v", got)
	}
}

// A reader that ends again and again is a finding, though each reads something.
func TestEndsAgainAndAgain(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	c := config(t, d, numbers)
	dir := t.TempDir()
	// It ends behind the third entry; each ends with an empty line.
	text := fmt.Sprintf("#!/bin/sh\ncd %s\nreader='%s'\ncase \"$*\" in *--follow*) [ ! -e fixed ];; *) false; esac || exec $reader \"$@\"\n", dir, strings.Join(c.Command, " ")) +
		"mkfifo $$\n$reader \"$@\" >$$ &\nawk '{ print } /^$/ && ++n == 3 { exit }' $$\nkill $!\nexit 1\n"
	c.Command = []string{filepath.Join(dir, "reader")}
	if err := os.WriteFile(c.Command[0], []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	number(d, 0, 100)
	f := follow(t, c)
	f.until("a finding", func() bool { return len(f.entries) > 0 && f.found(doctor.JournalFailing) })
	if err := os.WriteFile(filepath.Join(dir, "fixed"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	f.count(100)
	f.until("no finding", func() bool { return len(f.board.Findings()) == 0 })
}

// A receiver that is busy slows the reader, which holds no more than a batch.
func TestBackPressure(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	const n = 4000
	for i := range n {
		d.Send(fmt.Sprintf("MESSAGE=n%d %s", i, long(2000)), numbers)
	}
	f := follow(t, config(t, d, numbers))
	for busy := time.Second; len(f.entries) < n; busy /= 2 {
		time.Sleep(busy)
		b := <-f.batches
		size := 0
		for _, e := range b.Entries {
			size += len(e.Message)
		}
		if size > 1<<20 {
			t.Errorf("a batch of %d bytes", size)
		}
		f.take(b)
	}
	if missing := f.numbered(n); len(missing) > 0 {
		t.Errorf("%d are missing", len(missing))
	}
}

// When the context ends, so does everything, whatever it is doing.
func TestEnd(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	number(d, 0, 3000)
	for name, before := range map[string]func(f *following){
		"at once":                func(*following) {},
		"while none receives":    func(f *following) { <-f.journal.Ready() },
		"while it waits":         func(f *following) { f.count(3000) },
		"while the child hangs":  func(f *following) { f.count(3000); signal(t, d, syscall.SIGSTOP) },
		"while the child starts": func(f *following) { f.count(3000); signal(t, d, syscall.SIGKILL) },
	} {
		f := start(t, config(t, d, numbers))
		before(f)
		f.stop()
		if left := children(t, d); len(left) > 0 {
			t.Errorf("%s: processes %v are left", name, left)
		}
	}
}

// The child dies with band, however band ends, even where it does not notice
// that nobody reads what it writes.
func TestDiesToo(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	cmd := exec.Command(os.Args[0], append([]string{"follow"}, config(t, d, numbers).Command...)...)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait := func(what string, n int) {
		for deadline := time.Now().Add(patience); len(children(t, d)) != n; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	wait("no child", 1)
	signal(t, d, syscall.SIGSTOP)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	wait("the child lives on", 0)
}
