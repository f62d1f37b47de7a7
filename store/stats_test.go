package store_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"band/store"
)

// What Stats tells is what the files show.
func TestStats(t *testing.T) {
	dir := t.TempDir()
	size := func(name string) int64 {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	o := mustOpen(t, dir, store.Options{})
	before := o.Stats()
	if want := size("state.log"); before.LogBytes != want || before.Appended != 0 || before.Written != 0 {
		t.Errorf("at the start %+v, want a log of %d bytes", before, want)
	}
	o.add(5)
	if err := o.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := o.Stats()
	if after.Appended != 5 || after.Durable != 5 {
		t.Errorf("%d batches of 5 were appended and %d are durable", after.Appended, after.Durable)
	}
	if want := size("state.log"); after.LogBytes != want || int64(after.Written) != want-before.LogBytes {
		t.Errorf("%+v, want a log of %d bytes, and %d of them written", after, want, want-before.LogBytes)
	}
	if after.Syncs.Count == 0 || after.Syncs.Sum <= 0 {
		t.Errorf("no sync was counted: %+v", after.Syncs)
	}
	if err := o.snapshot(); err != nil {
		t.Fatal(err)
	}
	if err := o.stop(); err != nil {
		t.Fatal(err)
	}
	end := o.Stats()
	if want := size("state.snap"); end.Snapshots != 1 || end.SnapshotBytes != want {
		t.Errorf("%+v, want one snapshot of %d bytes", end, want)
	}
	if want := size("state.log"); end.LogBytes != want {
		t.Errorf("%+v, want a log of %d bytes behind the snapshot", end, want)
	}

	o = mustOpen(t, dir, store.Options{})
	defer o.stop()
	if again := o.Stats(); again.LogBytes != end.LogBytes || again.SnapshotBytes != end.SnapshotBytes {
		t.Errorf("opened again %+v, want the sizes of %+v", again, end)
	}
}

// What need not be on stable storage at once is written, and synced a little later.
func TestStatsOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := mustOpen(t, t.TempDir(), store.Options{})
		defer o.stop()
		o.add(1) // a failure
		synctest.Wait()
		if s := o.Stats(); s.Written == 0 || s.Durable != 0 || s.Syncs.Count != 0 {
			t.Errorf("at first %+v", s)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s := o.Stats(); s.Durable != 1 || s.Syncs.Count != 1 {
			t.Errorf("two seconds later %+v", s)
		}
	})
}

// A disk that hangs shows as batches that are not durable, and, once it answers,
// as a sync that took long.
func TestStatsOfSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const took = 2 * time.Second
		fs := &faultFS{}
		o := mustOpen(t, t.TempDir(), store.Options{FS: fs})
		defer o.stop()
		begun := make(chan struct{})
		fs.set(func(op, _ string) error {
			if op == "sync" {
				fs.set(nil)
				close(begun)
				time.Sleep(took)
			}
			return nil
		})
		o.add(3) // one of them is a ban
		<-begun
		if s := o.Stats(); s.Appended != 3 || s.Durable != 0 || s.Syncs.Count != 0 {
			t.Errorf("while the disk hangs %+v", s)
		}
		if err := o.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		s := o.Stats()
		if s.Durable != 3 {
			t.Errorf("%d of 3 batches are durable", s.Durable)
		}
		for i, bound := range store.LatencyBounds {
			var slow uint64
			if bound >= took {
				slow = 1
			}
			if quick := s.Syncs.Count - 1; s.Syncs.Within[i] != quick+slow {
				t.Errorf("%d of %d syncs took %v or less, want %d", s.Syncs.Within[i], s.Syncs.Count, bound, quick+slow)
			}
		}
		if s.Syncs.Sum != took {
			t.Errorf("the syncs took %v in all, want %v", s.Syncs.Sum, took)
		}
	})
}
