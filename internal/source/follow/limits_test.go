package follow_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"band/internal/source/follow"

	"golang.org/x/sys/unix"
)

// A line of 1 GiB passes through in chunks, and so does one that comes while the
// file is followed.
func TestHugeLineKeepsMemoryBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "before\n")
	must(t, os.Truncate(path, 1<<30))
	add(t, path, "\n")

	ctx, cancel := context.WithCancel(t.Context())
	out, ended := make(chan follow.Chunk), make(chan error, 1)
	go func() { ended <- follow.New(follow.Config{Path: path}).Run(ctx, out) }()
	var most uint64
	var stats runtime.MemStats
	read := func(want int64) {
		t.Helper()
		total, n := int64(0), 0
		for total < want {
			select {
			case c := <-out:
				if len(c.Data) > 256<<10 {
					t.Fatalf("a chunk of %d bytes", len(c.Data))
				}
				total += int64(len(c.Data))
				if n++; n%256 == 0 {
					runtime.ReadMemStats(&stats)
					most = max(most, stats.HeapAlloc)
				}
			case <-time.After(patience):
				t.Fatalf("only %d bytes of %d", total, want)
			}
		}
		if total != want {
			t.Fatalf("%d bytes, want %d", total, want)
		}
	}
	read(1<<30 + 1)
	add(t, path, "followed\n")
	read(9)
	must(t, os.Truncate(path, 1<<30+256<<20))
	add(t, path, "\n")
	read(256<<20 + 1 - 10)
	add(t, path, "followed\n")
	read(9)
	cancel()
	must(t, <-ended)
	if most > 128<<20 { // other tests run beside
		t.Errorf("%d MiB of heap", most>>20)
	}
	t.Logf("at most %d MiB of heap", most>>20)
}

// open counts this process's descriptors and inotify watches.
func open(t *testing.T) (descriptors, watches int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fdinfo")
	must(t, err)
	for _, e := range entries {
		text, err := os.ReadFile("/proc/self/fdinfo/" + e.Name())
		if err != nil {
			continue // the directory's own
		}
		descriptors++
		watches += bytes.Count(text, []byte("inotify wd:"))
	}
	return descriptors, watches
}

func TestThousandRestartsLeakNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "first\n")
	once := func(i int, from follow.Position) follow.Position {
		r := startIn(t, follow.Config{Path: path, From: from})
		defer r.stop()
		if from.IsZero() {
			r.untilText("first\n")
		}
		if !r.last.CaughtUp {
			r.untilCaughtUp()
		}
		before := r.text.String()
		text := fmt.Sprintf("line %d\n", i)
		add(t, path, text)
		r.untilText(before + text)
		if i%10 == 0 {
			must(t, os.Rename(path, path+".1"))
		}
		return r.pos
	}
	pos := once(1, follow.Position{})
	descriptors, watches := open(t)
	goroutines := runtime.NumGoroutine()
	for i := 2; i <= 1001; i++ {
		pos = once(i, pos)
	}
	// The last library pass may still be on its way out.
	deadline := time.Now().Add(patience)
	for runtime.NumGoroutine() > goroutines && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	d, w := open(t)
	if d > descriptors || w > watches || runtime.NumGoroutine() > goroutines {
		t.Errorf("descriptors %d, then %d; watches %d, then %d; goroutines %d, then %d",
			descriptors, d, watches, w, goroutines, runtime.NumGoroutine())
	}
}

// One follower that follows for long: each line is a pass of the library, each
// rotation a new file.
func TestLongRunLeaksNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "")
	r := start(t, follow.Config{Path: path})
	r.untilCaughtUp()
	want := ""
	descriptors, watches, goroutines := 0, 0, 0
	for i := range 1000 {
		text := fmt.Sprintf("line %d\n", i)
		add(t, path, text)
		want += text
		r.untilText(want)
		if i == 0 {
			descriptors, watches = open(t)
			goroutines = runtime.NumGoroutine()
		}
	}
	d, w := open(t)
	if d > descriptors || w > watches || runtime.NumGoroutine() > goroutines {
		t.Errorf("descriptors %d, then %d; watches %d, then %d; goroutines %d, then %d",
			descriptors, d, watches, w, goroutines, runtime.NumGoroutine())
	}
}

// Followers of one file do not disturb one another.
func TestManyFollowersOfOneFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "")
	var readers []*reader
	for range 5 {
		r := start(t, follow.Config{Path: path})
		r.untilCaughtUp()
		readers = append(readers, r)
	}
	readers[2].stop()
	want := ""
	for i := range 100 {
		add(t, path, numbered(i, i+1))
		want += numbered(i, i+1)
		for j, r := range readers {
			if j != 2 {
				r.untilText(want)
			}
		}
	}
}

func TestNotARegularFile(t *testing.T) {
	t.Parallel()
	make := map[string]func(path string) error{
		"directory": func(path string) error { return os.Mkdir(path, 0o755) },
		"pipe":      func(path string) error { return unix.Mkfifo(path, 0o644) },
		"socket":    func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o644, 0) },
		"loop":      func(path string) error { return os.Symlink(path, path) },
	}
	for name, create := range make {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "log")
			must(t, create(path))
			r := start(t, follow.Config{Path: path})
			r.untilCaughtUp()
			r.nothing()
			if r.obs.count("") != 1 || r.obs.count("unreadable") != 1 {
				t.Errorf("told %q", r.obs.events)
			}
			must(t, os.Remove(path))
			write(t, path, "one\n")
			r.untilText("one\n")
		})
	}
}

// The path turns bad and good again under a follower: nothing ends it.
func TestPathTurnsBad(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dir")
	path := filepath.Join(dir, "log")
	must(t, os.Mkdir(dir, 0o755))
	write(t, path, "1\n")
	r := start(t, follow.Config{Path: path})
	r.untilText("1\n")

	must(t, os.Remove(path))
	must(t, os.Mkdir(path, 0o755))
	r.untilEvent("unreadable", 1)
	must(t, os.Remove(path))
	r.untilEvent("missing", 1)
	must(t, os.Remove(dir))
	write(t, dir, "a file where the directory was")
	must(t, os.Remove(dir))
	must(t, os.Mkdir(dir, 0o755))
	write(t, path, "2\n")
	r.untilText("1\n2\n")
	add(t, path, "3\n")
	r.untilText("1\n2\n3\n")
	if r.obs.count("unreadable") != 1 || r.obs.count("missing") != 1 {
		t.Errorf("told %q", r.obs.events)
	}
}

// Permission is that of the thread which opens, so Run gets a thread of its own
// that is nobody.
func TestPermissionDeniedThenGranted(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("BAND_TEST_UNPRIVILEGED") == "1" {
			t.Skip("needs root to become nobody")
		}
		t.Fatal("needs root to become nobody; BAND_TEST_UNPRIVILEGED=1 skips this")
	}
	dir, err := os.MkdirTemp("/var/tmp", "follow")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "log")
	write(t, path, "1 old\n2 new\n")
	must(t, os.Chmod(path, 0o600))

	obs := &observer{}
	f := follow.New(follow.Config{Path: path, Observer: obs, Older: func(l []byte) (bool, bool) {
		return bytes.HasPrefix(l, []byte("1")), true
	}})
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{t: t, obs: obs, chunks: make(chan follow.Chunk), ended: make(chan error, 1), cancel: cancel}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if _, err := unix.SetfsuidRetUid(65534); err != nil {
			t.Error(err)
		}
		r.ended <- f.Run(ctx, r.chunks)
	}()
	t.Cleanup(r.stop)
	r.untilCaughtUp()
	r.nothing()
	if r.obs.count("") != 1 || r.obs.count("unreadable open "+path+": permission denied") != 1 {
		t.Errorf("told %q", r.obs.events)
	}
	must(t, os.Chmod(path, 0o644))
	r.untilText("2 new\n")
	// Denied again while open: the descriptor still reads, by any means.
	must(t, os.Chmod(path, 0o600))
	add(t, path, "3 newer\n")
	r.untilText("2 new\n3 newer\n")
}
