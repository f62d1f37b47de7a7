package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"band/store"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// healths gathers what OnHealth is told.
type healths struct {
	mu  sync.Mutex
	all []store.Health
}

func (h *healths) add(one store.Health) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, one)
}

func (h *healths) get() []store.Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all)
}

// begun is a directory with a log, so that it is opened by its final name.
func begun(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	mustStop(t, mustOpen(t, dir, store.Options{}))
	return dir
}

// failing makes one operation on the files whose names begin so fail.
func failing(op, prefix string, err error) func(string, string) error {
	return func(o, name string) error {
		if o == op && strings.HasPrefix(name, prefix) {
			return err
		}
		return nil
	}
}

func TestFailingDisk(t *testing.T) {
	for _, test := range []struct {
		op  string
		err error
	}{{"write", syscall.ENOSPC}, {"write", syscall.EIO}, {"sync", syscall.EIO}} {
		t.Run(fmt.Sprint(test.op, " ", test.err), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, disk, health := t.TempDir(), &faultFS{}, &healths{}
				o := mustOpen(t, dir, store.Options{FS: disk, OnHealth: health.add})
				o.add(5)
				mustSync(t, o)
				disk.set(failing(test.op, "state", test.err))
				o.add(2)
				if err := o.sync(); !errors.Is(err, test.err) {
					t.Errorf("Sync: %v", err)
				}
				o.add(1000)
				if err := o.sync(); !errors.Is(err, test.err) {
					t.Errorf("Sync while it lasts: %v", err)
				}

				// Asked for at growing intervals, and in vain.
				var pauses []time.Duration
				for range 9 {
					begin := time.Now()
					<-o.WantsSnapshot()
					pauses = append(pauses, time.Since(begin))
					if err := o.snapshot(); err != nil {
						t.Fatal(err)
					}
					o.add(1)
					if err := o.sync(); !errors.Is(err, test.err) {
						t.Errorf("Sync after a failed snapshot: %v", err)
					}
				}
				ms := time.Millisecond
				if diff := cmp.Diff([]time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms, 5000 * ms}, pauses); diff != "" {
					t.Errorf("pauses (-want +got):\n%s", diff)
				}
				if all := health.get(); len(all) != 1 || !errors.Is(all[0].Err, test.err) {
					t.Errorf("health: %v, want the error once", all)
				}

				disk.set(nil)
				<-o.WantsSnapshot()
				if err := o.snapshot(); err != nil {
					t.Fatal(err)
				}
				o.add(3)
				mustSync(t, o)
				if all := health.get(); len(all) != 2 || all[1] != (store.Health{}) {
					t.Errorf("health: %v, want well again", all)
				}
				o.add(1)

				disk.set(failing(test.op, "state", test.err))
				o.add(2)
				begin := time.Now()
				<-o.WantsSnapshot()
				if pause := time.Since(begin); pause > 100*ms {
					t.Errorf("the next time it asks after %v", pause)
				}
				disk.set(nil)
				if err := o.snapshot(); err != nil {
					t.Fatal(err)
				}
				mustStop(t, o)
				expect(t, dir, store.Options{}, o.numbers)
			})
		})
	}
}

// TestStopWithFailingDisk: what is on the disk is then a prefix, and Run says so.
func TestStopWithFailingDisk(t *testing.T) {
	dir, disk := t.TempDir(), &faultFS{}
	o := mustOpen(t, dir, store.Options{FS: disk})
	o.add(5)
	mustSync(t, o)
	disk.set(failing("write", "state", syscall.ENOSPC))
	o.add(2)
	if err := o.stop(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Run: %v", err)
	}
	expect(t, dir, store.Options{}, upTo(5))
}

// TestFailingSnapshot: the log goes on, and stays the truth.
func TestFailingSnapshot(t *testing.T) {
	for _, test := range []struct{ op, name string }{
		{"open", "state.snap.tmp"}, {"write", "state.snap.tmp"}, {"sync", "state.snap.tmp"},
		{"rename", "state.snap"}, {"syncdir", ""},
		{"open", "state.log.tmp"}, {"write", "state.log.tmp"}, {"sync", "state.log.tmp"},
	} {
		t.Run(test.op+" "+test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, disk, health := begun(t), &faultFS{}, &healths{}
				o := mustOpen(t, dir, store.Options{FS: disk, OnHealth: health.add})
				o.add(5)
				disk.set(failing(test.op, test.name, syscall.ENOSPC))
				if err := o.snapshot(); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if all := health.get(); len(all) != 1 || !errors.Is(all[0].Err, syscall.ENOSPC) {
					t.Errorf("health: %v", all)
				}
				o.add(5)
				mustSync(t, o)
				<-o.WantsSnapshot()
				copied := t.TempDir()
				if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				expect(t, copied, store.Options{}, upTo(10))
				if names, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(names) > 0 && test.op != "rename" {
					t.Errorf("a full disk keeps %v", names)
				}

				disk.set(nil)
				if err := o.snapshot(); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if all := health.get(); len(all) != 2 || all[1] != (store.Health{}) {
					t.Errorf("health: %v", all)
				}
				o.add(1)
				mustStop(t, o)
				if report := expect(t, dir, store.Options{}, upTo(11)); report.Generation != 2 {
					t.Errorf("generation %d, want 2", report.Generation)
				}
			})
		})
	}
}

// TestLogFailsDuringSnapshot: the snapshot in the works does not hold what the
// log lost, and must not pass for healing it.
func TestLogFailsDuringSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, disk, health := begun(t), &faultFS{}, &healths{}
		o := mustOpen(t, dir, store.Options{FS: disk, OnHealth: health.add})
		o.add(5)
		release := make(chan struct{})
		disk.set(func(op, name string) error {
			if op == "sync" && name == "state.snap.tmp" {
				<-release
			}
			return nil
		})
		if err := o.snapshot(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		disk.set(failing("write", "state.log", syscall.EIO))
		o.add(3)
		if err := o.sync(); !errors.Is(err, syscall.EIO) {
			t.Errorf("Sync: %v", err)
		}
		disk.set(nil)
		close(release)
		synctest.Wait()
		if err := o.sync(); !errors.Is(err, syscall.EIO) {
			t.Errorf("Sync after the snapshot in the works: %v", err)
		}
		<-o.WantsSnapshot()
		if err := o.snapshot(); err != nil {
			t.Fatal(err)
		}
		mustSync(t, o)
		mustStop(t, o)
		if all := health.get(); len(all) != 2 || all[1] != (store.Health{}) {
			t.Errorf("health: %v, want one error and well after", all)
		}
		expect(t, dir, store.Options{}, upTo(8))
	})
}

// TestLogRenameIsNotDurable: when it is unknown which log a power cut leaves,
// nothing may be acknowledged in either.
func TestLogRenameIsNotDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, power := t.TempDir(), newPowerFS()
		power.left = 1 << 30
		disk := &faultFS{under: power}
		o := mustOpen(t, dir, store.Options{FS: disk})
		o.add(2)
		mustSync(t, o)
		calls := 0
		disk.set(func(op, _ string) error {
			if op == "syncdir" {
				if calls++; calls == 2 {
					return syscall.EIO
				}
			}
			return nil
		})
		if err := o.snapshot(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		o.add(2)
		if err := o.sync(); !errors.Is(err, syscall.EIO) {
			t.Errorf("Sync: %v", err)
		}
		<-o.WantsSnapshot()
		if err := o.snapshot(); err != nil {
			t.Fatal(err)
		}
		mustSync(t, o)
		mustStop(t, o)
		expect(t, dir, store.Options{FS: power.cut(func(int) int { return 0 })}, upTo(4))
	})
}

// TestLeftovers of a crash do not fill the disk.
func TestLeftovers(t *testing.T) {
	dir := begun(t)
	write(t, dir, "state.snap.tmp", []byte("x"))
	write(t, dir, "state.log.tmp", []byte("x"))
	mustStop(t, mustOpen(t, dir, store.Options{}))
	if names, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

func TestOpenWithFailingDisk(t *testing.T) {
	for _, test := range []struct{ op, name string }{
		{"truncate", "state.log"}, {"open", "state.log.tmp"}, {"write", "state.log"}, {"sync", "state.log.tmp"}, {"rename", "state.log"}, {"syncdir", ""},
	} {
		t.Run(test.op+" "+test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, want := t.TempDir(), 0
				switch test.op {
				case "truncate": // a damaged tail
					want = 5
					intact := logOf(t, want)
					write(t, dir, "state.log", slices.Concat(intact.data, []byte("half")))
				case "write": // a missing newline
					want = 5
					intact := logOf(t, want)
					write(t, dir, "state.log", intact.data[:len(intact.data)-1])
				}
				disk, health := &faultFS{}, &healths{}
				disk.set(failing(test.op, test.name, syscall.ENOSPC))
				o := mustOpen(t, dir, store.Options{FS: disk, OnHealth: health.add})
				if diff := cmp.Diff(upTo(want), o.numbers); diff != "" {
					t.Errorf("read (-want +got):\n%s", diff)
				}
				o.add(1)
				if err := o.sync(); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("Sync: %v", err)
				}
				synctest.Wait()
				if all := health.get(); len(all) != 1 || !errors.Is(all[0].Err, syscall.ENOSPC) {
					t.Errorf("health: %v", all)
				}
				disk.set(nil)
				<-o.WantsSnapshot()
				if err := o.snapshot(); err != nil {
					t.Fatal(err)
				}
				o.add(1)
				mustSync(t, o)
				mustStop(t, o)
				expect(t, dir, store.Options{}, upTo(want+2))
			})
		})
	}
}

// TestAnyFault: whatever fails and when, the store heals by itself with an
// owner that answers, and the files end up complete.
func TestAnyFault(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir() // for the locks
	rapid.Check(t, func(rt *rapid.T) {
		// Drawn outside of the bubble, whose goroutine rapid does not know.
		faults := rapid.SliceOfN(rapid.IntRange(0, 6), 1, 60).Draw(rt, "faults")
		steps := rapid.SliceOfN(rapid.IntRange(0, 4), 1, 40).Draw(rt, "steps")
		var problem error
		synctest.Test(t, func(*testing.T) { problem = anyFault(dir, other, faults, steps) })
		if problem != nil {
			rt.Fatal(problem)
		}
	})
}

func anyFault(dir, other string, faults, steps []int) error {
	power := newPowerFS()
	power.left = 1 << 30
	disk, health := &faultFS{under: power}, &healths{}
	calls := 0
	fault := func(op, name string) error {
		if op == "read" || op == "open" && name != "state.log.tmp" && name != "state.snap.tmp" {
			return nil
		}
		calls++
		if faults[calls%len(faults)] == 0 {
			return syscall.EIO
		}
		return nil
	}
	var mu sync.Mutex
	disk.set(func(op, name string) error {
		mu.Lock()
		defer mu.Unlock()
		return fault(op, name)
	})
	o, err := open(dir, store.Options{FS: disk, OnHealth: health.add})
	if err != nil {
		return err
	}
	if err := exercise(o, other, power, steps); err != nil {
		o.stop()
		return err
	}
	disk.set(nil)
	for {
		synctest.Wait() // for a snapshot in the works
		if all := health.get(); o.sync() == nil && (len(all) == 0 || all[len(all)-1] == store.Health{}) {
			break
		}
		<-o.WantsSnapshot()
		if err := o.snapshot(); err != nil {
			return err
		}
	}
	if err := o.stop(); err != nil {
		return err
	}
	after, err := load(dir, store.Options{FS: power})
	if err != nil {
		return err
	}
	after.Close()
	if !slices.Equal(after.numbers, o.numbers) || len(after.report.Damage) > 0 {
		return fmt.Errorf("want 1..%d, got %v: %+v", len(o.numbers), after.numbers, after.report)
	}
	return nil
}

// exercise uses the store and looks at what a power cut would leave.
func exercise(o *owner, dir string, power *powerFS, steps []int) error {
	acknowledged := 0
	for _, step := range steps {
		switch step {
		case 0:
			time.Sleep(2 * time.Second)
		case 1:
			if o.sync() == nil {
				acknowledged = len(o.numbers)
			}
		default:
			o.add(step)
		}
		select {
		case <-o.WantsSnapshot():
			if err := o.snapshot(); err != nil {
				return err
			}
		default:
		}
		after, err := load(dir, store.Options{FS: power.cut(func(n int) int { return n / 2 })})
		if err != nil {
			return err
		}
		after.Close()
		if n := len(after.numbers); n < acknowledged || !slices.Equal(after.numbers, upTo(n)) {
			return fmt.Errorf("%d acknowledged, a crash leaves %v: %+v", acknowledged, after.numbers, after.report)
		}
	}
	return nil
}

func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, disk, health := t.TempDir(), &faultFS{}, &healths{}
		o := mustOpen(t, dir, store.Options{FS: disk, OnHealth: health.add})
		disk.set(func(op, _ string) error {
			if op == "sync" {
				time.Sleep(3 * time.Second)
			}
			return nil
		})
		o.add(2)
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		if diff := cmp.Diff([]store.Health{{Slow: time.Second}}, health.get()); diff != "" {
			t.Errorf("while it lasts (-want +got):\n%s", diff)
		}
		mustSync(t, o)
		disk.set(nil)
		o.add(1)
		mustSync(t, o)
		if diff := cmp.Diff([]store.Health{{Slow: time.Second}, {Slow: 3 * time.Second}, {}}, health.get()); diff != "" {
			t.Errorf("health (-want +got):\n%s", diff)
		}
		mustStop(t, o)
	})
}

// TestHangingDisk: Append goes on, within bounds, and nothing is lost after.
func TestHangingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, disk, health := t.TempDir(), &faultFS{}, &healths{}
		o := mustOpen(t, dir, store.Options{FS: disk, OnHealth: health.add})
		release := make(chan struct{})
		disk.set(func(op, _ string) error {
			if op == "sync" {
				<-release
			}
			return nil
		})
		o.add(2)
		synctest.Wait() // in the fsync
		big := strings.Repeat("x", 1<<20)
		for range 80 {
			o.Append(store.Batch{Cursors: batch(2).Cursors, Events: []store.Event{{Failure: &store.Failure{Record: big}}}})
		}
		if err := o.sync(); err == nil || !strings.Contains(err.Error(), "does not keep up") {
			t.Errorf("Sync: %v", err)
		}
		o.add(1)
		time.Sleep(2 * time.Second)
		disk.set(nil)
		close(release)
		<-o.WantsSnapshot()
		if all := health.get(); all[0].Slow == 0 || all[len(all)-1].Err == nil {
			t.Errorf("health: %v", all)
		}
		if err := o.snapshot(); err != nil {
			t.Fatal(err)
		}
		mustSync(t, o)
		synctest.Wait() // the health is told after what waits is let go
		if all := health.get(); all[len(all)-1] != (store.Health{}) {
			t.Errorf("health: %v", all)
		}
		o.add(1)
		mustStop(t, o)
		expect(t, dir, store.Options{}, upTo(4))
	})
}

// TestSnapshotBeforeTheGapIsSeen: the owner may act before the writer is back.
func TestSnapshotBeforeTheGapIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, disk := begun(t), &faultFS{}
		o := mustOpen(t, dir, store.Options{FS: disk})
		hang, failed := make(chan struct{}), false
		disk.set(func(op, name string) error {
			if op == "sync" && name == "state.log" {
				<-hang
			}
			return nil
		})
		o.add(2)
		synctest.Wait()
		big := strings.Repeat("x", 1<<20)
		for range 70 {
			o.Append(store.Batch{Events: []store.Event{{Failure: &store.Failure{Record: big}}}})
		}
		o.add(1) // lost
		for range 3 {
			if err := o.snapshot(); err != nil {
				t.Fatal(err)
			}
			o.add(1)
		}
		// The first snapshot fails: the log must not show what came after it.
		disk.set(func(op, name string) error {
			if !failed && name == "state.snap.tmp" && op == "sync" {
				failed = true
				return syscall.EIO
			}
			return nil
		})
		close(hang)
		<-o.WantsSnapshot()
		if !failed {
			t.Error("the snapshot did not fail")
		}
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		expect(t, copied, store.Options{}, upTo(2))
		if err := o.snapshot(); err != nil {
			t.Fatal(err)
		}
		mustSync(t, o)
		mustStop(t, o)
		expect(t, dir, store.Options{}, upTo(6))
	})
}

// TestBanDuringSnapshot is durable before the snapshot is.
func TestBanDuringSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, disk := t.TempDir(), &faultFS{}
		o := mustOpen(t, dir, store.Options{FS: disk})
		o.add(10)
		release := make(chan struct{})
		disk.set(func(op, name string) error {
			if op == "write" && name == "state.snap.tmp" {
				<-release
			}
			return nil
		})
		if err := o.snapshot(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		o.add(4)
		mustSync(t, o)
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		expect(t, copied, store.Options{}, upTo(14))
		close(release)
		synctest.Wait()
		o.add(2)
		mustStop(t, o)
		if report := expect(t, dir, store.Options{}, upTo(16)); report.Generation != 2 {
			t.Errorf("generation %d, want 2", report.Generation)
		}
	})
}

// counting counts operations; a sync takes its time.
type counting struct {
	took  time.Duration
	mu    sync.Mutex
	count map[string]int
}

func (c *counting) fault(op, _ string) error {
	c.mu.Lock()
	if c.count == nil {
		c.count = map[string]int{}
	}
	c.count[op]++
	c.mu.Unlock()
	if op == "sync" {
		time.Sleep(c.took)
	}
	return nil
}

func (c *counting) take(op string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.count[op]
	delete(c.count, op)
	return n
}

func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, c := &faultFS{}, &counting{took: time.Millisecond}
		o := mustOpen(t, t.TempDir(), store.Options{FS: disk})
		disk.set(c.fault)
		const writers, rounds = 64, 50
		var all sync.WaitGroup
		for range writers {
			all.Go(func() {
				for range rounds {
					o.Append(batch(2))
					if err := o.sync(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		mustStop(t, o)
		// In the worst case every fsync finds half of the writers in time.
		if n := c.take("sync"); n > 2*rounds+1 {
			t.Errorf("%d fsyncs for %d rounds of %d writers", n, rounds, writers)
		}
	})
}

// TestWhenToSync is in the bubble's time.
func TestWhenToSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, disk, c := t.TempDir(), &faultFS{}, &counting{}
		o := mustOpen(t, dir, store.Options{FS: disk})
		disk.set(c.fault)

		for n := range 1000 { // ten seconds of cursors and failures
			o.Append(batch(4*n + 1))
			synctest.Wait()
			if !bytes.Contains(read(t, dir, "state.log"), fmt.Appendf(nil, `{"n":%d}`, 4*n+1)) {
				t.Fatalf("%d is not written at once", n)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := c.take("sync"); n < 8 || n > 10 {
			t.Errorf("%d lazy fsyncs in ten seconds", n)
		}
		time.Sleep(2 * time.Second)
		c.take("sync")

		for _, n := range []int{2, 3} { // a ban, a lift
			begin := time.Now()
			o.Append(batch(n))
			synctest.Wait()
			if got := c.take("sync"); got != 1 || time.Since(begin) > 0 {
				t.Errorf("%d: %d fsyncs at once, want 1", n, got)
			}
		}

		o.Append(batch(1)) // synced because it is waited for
		synctest.Wait()
		begin := time.Now()
		mustSync(t, o)
		if took := time.Since(begin); took > 10*time.Millisecond {
			t.Errorf("a Sync waited %v", took)
		}
		o.Append(batch(1))
		time.Sleep(2 * time.Second)
		c.take("sync")
		c.take("write")
		time.Sleep(time.Hour)
		mustStop(t, o)
		if w, s := c.take("write"), c.take("sync"); w+s > 0 {
			t.Errorf("%d writes and %d fsyncs with nothing queued", w, s)
		}
	})
}

func TestWantsSnapshotWhenOutgrown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		o := mustOpen(t, dir, store.Options{})
		record := strings.Repeat("x", 100_000)
		fat := store.Batch{Cursors: batch(1).Cursors, Events: []store.Event{{Failure: &store.Failure{Record: record}}}}
		wants := func() bool {
			synctest.Wait()
			select {
			case <-o.WantsSnapshot():
				return true
			default:
				return false
			}
		}
		grow := func(n int) {
			for range n {
				o.Append(fat)
			}
			mustSync(t, o)
		}
		grow(41)
		if wants() {
			t.Error("wants one below 4 MiB")
		}
		grow(2)
		if !wants() {
			t.Error("wants none above 4 MiB")
		}
		grow(5)
		if wants() {
			t.Error("asks twice")
		}
		if err := o.Snapshot(func(yield func(store.Batch) bool) { // 3 MB
			for range 30 {
				if !yield(fat) {
					return
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		grow(55)
		if wants() {
			t.Error("wants one below twice the snapshot")
		}
		grow(10)
		if !wants() {
			t.Error("wants none above twice the snapshot")
		}
		mustStop(t, o)
	})
}

// TestRealDisk runs itself in a mount namespace of its own, on a tmpfs of
// 256 KiB that fills up.
func TestRealDisk(t *testing.T) {
	if os.Getenv("BAND_TEST_STORE_TMPFS") == "" {
		if os.Geteuid() != 0 {
			if os.Getenv("BAND_TEST_UNPRIVILEGED") == "1" {
				t.Skip("mounting a tmpfs needs root")
			}
			t.Fatal("mounting a tmpfs needs root; set BAND_TEST_UNPRIVILEGED=1 to go without")
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestRealDisk$", "-test.v")
		cmd.Env = append(os.Environ(), "BAND_TEST_STORE_TMPFS="+t.TempDir())
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestRealDisk")) {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
		return
	}

	root := os.Getenv("BAND_TEST_STORE_TMPFS")
	mount := func(flags uintptr, options string) {
		t.Helper()
		if err := unix.Mount("tmpfs", root, "tmpfs", flags, options); err != nil {
			t.Fatalf("mount tmpfs (%s): %v", options, err)
		}
	}
	mount(0, "size=256k")
	defer func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	}()
	dir := filepath.Join(root, "band")
	sick := func(h *healths, errno syscall.Errno) func() bool {
		return func() bool {
			all := h.get()
			return len(all) > 0 && errors.Is(all[len(all)-1].Err, errno)
		}
	}
	// heal answers until the store is well.
	heal := func(o *owner, h *healths) {
		t.Helper()
		poll(t, func() bool {
			select {
			case <-o.WantsSnapshot():
				if err := o.snapshot(); err != nil {
					t.Fatal(err)
				}
			default:
			}
			all := h.get()
			return all[len(all)-1] == (store.Health{})
		})
	}

	// It fills up.
	health := &healths{}
	o := mustOpen(t, dir, store.Options{OnHealth: health.add})
	acknowledged := 0
	for {
		o.add(10)
		if err := o.sync(); err != nil {
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			break
		}
		acknowledged = len(o.numbers)
	}
	poll(t, sick(health, unix.ENOSPC))
	<-o.WantsSnapshot()
	if err := o.snapshot(); err != nil {
		t.Fatal(err)
	}
	o.add(50)
	if err := o.sync(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Sync on a full disk: %v", err)
	}
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	crashed, err := load(copied, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	crashed.Close()
	if n := len(crashed.numbers); n < acknowledged || !slices.Equal(crashed.numbers, upTo(n)) {
		t.Errorf("%d acknowledged, a crash would leave %v", acknowledged, crashed.numbers)
	}
	mount(unix.MS_REMOUNT, "size=4m")
	heal(o, health)
	o.add(10)
	mustSync(t, o)
	mustStop(t, o)
	expect(t, dir, store.Options{}, o.numbers)

	// It is read-only at the start.
	mount(unix.MS_REMOUNT|unix.MS_RDONLY, "")
	health = &healths{}
	o = mustOpen(t, dir, store.Options{OnHealth: health.add})
	before := len(o.numbers)
	poll(t, sick(health, unix.EROFS))
	o.add(5)
	mount(unix.MS_REMOUNT, "size=4m")
	heal(o, health)
	mustStop(t, o)
	expect(t, dir, store.Options{}, upTo(before+5))

	// It is read-only at the first start.
	dir = filepath.Join(root, "new")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(unix.MS_REMOUNT|unix.MS_RDONLY, "")
	health = &healths{}
	o = mustOpen(t, dir, store.Options{OnHealth: health.add})
	o.add(5)
	poll(t, sick(health, unix.EROFS))
	mount(unix.MS_REMOUNT, "size=4m")
	heal(o, health)
	mustStop(t, o)
	expect(t, dir, store.Options{}, upTo(5))

	// It is full at the first start.
	fill, err := os.Create(filepath.Join(root, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	fill.Close()
	dir = filepath.Join(root, "other")
	health = &healths{}
	o = mustOpen(t, dir, store.Options{OnHealth: health.add})
	o.add(5)
	poll(t, sick(health, unix.ENOSPC))
	if err := os.Remove(fill.Name()); err != nil {
		t.Fatal(err)
	}
	heal(o, health)
	mustStop(t, o)
	expect(t, dir, store.Options{}, upTo(5))
}
