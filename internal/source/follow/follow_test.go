package follow_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"band/internal/source/follow"

	"go.uber.org/goleak"
)

// The tests mostly wait for clocks, so more of them run at once than there are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const patience = 20 * time.Second

// observer notes what it is told.
type observer struct {
	mu     sync.Mutex
	events []string
	end    atomic.Int64
}

func (o *observer) note(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, fmt.Sprintf(format, args...))
}

func (o *observer) Opened(path string, _ uint64) { o.note("opened %s", filepath.Base(path)) }
func (o *observer) Missing(err error)            { o.note("missing %v", err) }
func (o *observer) Unreadable(err error)         { o.note("unreadable %v", err) }
func (o *observer) Truncated(path string)        { o.note("truncated %s", filepath.Base(path)) }
func (o *observer) Lost(path, text string)       { o.note("lost %s: %s", filepath.Base(path), text) }

func (o *observer) Reaches(end int64) { o.end.Store(end) }

func (o *observer) count(prefix string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, e := range o.events {
		if strings.HasPrefix(e, prefix) {
			n++
		}
	}
	return n
}

// reader runs a follower and collects what it sends.
type reader struct {
	t      fataler
	obs    *observer
	chunks chan follow.Chunk
	cancel context.CancelFunc
	ended  chan error

	text strings.Builder // all data so far
	last follow.Chunk
	seen []follow.Chunk // flags only
	pos  follow.Position
}

func start(t testing.TB, c follow.Config) *reader {
	t.Helper()
	r := startIn(t, c)
	t.Cleanup(r.stop)
	return r
}

// fataler is what testing.TB and rapid.T share.
type fataler interface {
	Helper()
	Errorf(string, ...any)
	Error(...any)
	Fatalf(string, ...any)
	Fatal(...any)
}

// startIn is start, to be stopped by the caller.
func startIn(t fataler, c follow.Config) *reader {
	t.Helper()
	r := &reader{t: t, obs: &observer{}, chunks: make(chan follow.Chunk), ended: make(chan error, 1)}
	c.Observer = r.obs
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	f := follow.New(c)
	go func() { r.ended <- f.Run(ctx, r.chunks) }()
	select {
	case <-f.Ready():
	case <-time.After(patience):
		t.Fatal("the follower never became ready")
	}
	return r
}

func (r *reader) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		r.t.Error("Run did not end with its context")
	}
}

func (r *reader) take(c follow.Chunk) {
	if len(c.Data) > 256<<10 {
		r.t.Errorf("a chunk of %d bytes", len(c.Data))
	}
	r.pos = c.At(len(c.Data))
	r.text.Write(c.Data)
	r.last = c
	c.Data = nil
	r.seen = append(r.seen, c)
}

// until takes chunks until done says so.
func (r *reader) until(what string, done func(follow.Chunk) bool) {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case c := <-r.chunks:
			r.take(c)
			if done(c) {
				return
			}
		case <-deadline:
			text := r.text.String()
			r.t.Fatalf("never came: %s; got %d bytes ending %q; %q", what, len(text), text[max(0, len(text)-200):], r.obs.events)
		}
	}
}

func (r *reader) untilText(want string) {
	r.t.Helper()
	if r.text.String() == want {
		return
	}
	r.until(fmt.Sprintf("%.300q", want), func(follow.Chunk) bool { return r.text.String() == want })
}

func (r *reader) untilCaughtUp() {
	r.t.Helper()
	r.until("the end", func(c follow.Chunk) bool { return c.CaughtUp })
}

// nothing fails if data comes within a while in which what comes late would come.
func (r *reader) nothing() {
	r.t.Helper()
	r.quietFor(1500 * time.Millisecond)
}

// quietFor fails if data comes within a while.
func (r *reader) quietFor(long time.Duration) {
	r.t.Helper()
	deadline := time.After(long)
	for {
		select {
		case c := <-r.chunks:
			if r.take(c); len(c.Data) > 0 {
				r.t.Fatalf("unexpected: %q", r.text.String()[max(0, r.text.Len()-len(c.Data)):])
			}
		case <-deadline:
			return
		}
	}
}

func (r *reader) untilEvent(prefix string, n int) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for r.obs.count(prefix) < n {
		select {
		case c := <-r.chunks:
			r.take(c)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("never told %q: %q", prefix, r.obs.events)
		}
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func add(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func numbered(from, to int) string {
	var b bytes.Buffer
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%08d of the lines, with %s\n", i, strings.Repeat("x", i%97))
	}
	return b.String()
}

func TestExistingThenAppended(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	want := numbered(0, 20_000) // several chunks
	write(t, path, want)
	r := start(t, follow.Config{Path: path})
	r.untilCaughtUp()
	if r.text.String() != want {
		t.Fatal("the file was not read as it is")
	}
	if !r.seen[0].NewFile || r.seen[1].NewFile || r.seen[0].CaughtUp || r.seen[0].Settled {
		t.Errorf("flags of the first chunks: %+v %+v", r.seen[0], r.seen[1])
	}
	if !r.last.Settled || r.last.ModTime.IsZero() {
		t.Errorf("flags of the last chunk: settled %v at %v", r.last.Settled, r.last.ModTime)
	}
	for i := range 50 {
		add(t, path, numbered(i, i+1))
		want += numbered(i, i+1)
		r.untilText(want)
	}
	// Many lines, and lines longer than a chunk, at once.
	long := strings.Repeat("y", 700<<10) + "\n" + numbered(0, 100)
	add(t, path, long)
	r.untilText(want + long)
	huge := strings.Repeat("z", 5<<20) + "\n"
	add(t, path, huge)
	r.untilText(want + long + huge)
	r.nothing()
}

func TestEmptyAndMissingReachTheEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "empty"), "")
	for name, opened := range map[string]bool{"empty": true, "missing": false, "no/directory": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, name)
			r := start(t, follow.Config{Path: path})
			r.untilCaughtUp()
			if got := r.pos.IsZero(); got == opened {
				t.Errorf("position %+v", r.pos)
			}
			if r.obs.count("opened") == 1 != opened || r.obs.count("missing") == 1 == opened {
				t.Errorf("told %q", r.obs.events)
			}
			r.nothing()
			if r.obs.count("missing") > 1 {
				t.Errorf("told more than once: %q", r.obs.events)
			}
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			add(t, path, "one\n")
			r.untilText("one\n")
			add(t, path, "two\n")
			r.untilText("one\ntwo\n")
		})
	}
}

func TestUnfinishedLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "whole\npart")
	r := start(t, follow.Config{Path: path})
	r.untilCaughtUp()
	if r.last.Settled {
		t.Error("an unfinished line is not settled at once")
	}
	r.until("settled", func(c follow.Chunk) bool { return c.Settled })
	r.untilText("whole\npart")
	add(t, path, "ly")
	r.untilText("whole\npartly")
	add(t, path, " written\nnext\n")
	r.until("settled", func(c follow.Chunk) bool { return c.Settled })
	r.untilText("whole\npartly written\nnext\n")
}

// A chunk is never settled in the middle of a record whose writer pauses less
// than a second, at whatever byte without a newline or page boundary it pauses.
func TestSettledNeverInMidRecord(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "")
	r := start(t, follow.Config{Path: path})
	r.untilCaughtUp()

	// A record is two lines; the first ends in a newline exactly at a page
	// boundary, as an attacker may arrange.
	var ends []int64
	size := int64(0)
	var pieces []string
	for i := range 24 {
		pad := int(4096-size%4096) - 2
		first := "A" + strings.Repeat("a", pad) + "\n"
		second := strings.Repeat("b", i*500+10) + "\n"
		switch i % 3 {
		case 0:
			pieces = append(pieces, first, second)
		case 1:
			pieces = append(pieces, first[:pad/2], first[pad/2:], second[:5], second[5:])
		case 2:
			pieces = append(pieces, first+second[:3], second[3:])
		}
		size += int64(len(first) + len(second))
		ends = append(ends, size)
	}
	go func() {
		for _, p := range pieces {
			add(t, path, p)
			time.Sleep(40 * time.Millisecond) // the writer's pause, not synchronisation
		}
	}()
	settled := 0
	r.until("all", func(c follow.Chunk) bool {
		end := c.Start + int64(len(c.Data))
		if c.Settled && end > 0 {
			settled++
			if !slices.Contains(ends, end) {
				t.Errorf("settled at %d, in the middle of a record", end)
			}
		}
		return c.Settled && end == size
	})
	if settled < 3 { // on a busy machine several are seen at once
		t.Errorf("only %d of %d records were seen settled while writing", settled, len(ends))
	}
}

func TestAPageExactlySettlesAfterASecond(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, strings.Repeat("x", 4095)+"\n")
	r := start(t, follow.Config{Path: path})
	r.untilCaughtUp()
	if r.last.Settled {
		t.Error("settled at a page boundary at once")
	}
	r.until("settled", func(c follow.Chunk) bool { return c.Settled && len(c.Data) == 0 })
}

func TestBackPressureLosesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	write(t, path, numbered(0, 10))
	r := start(t, follow.Config{Path: path})
	r.untilCaughtUp()
	want := numbered(0, 10)
	// Nobody receives while the file is rotated and deleted many times.
	for i := range 20 {
		text := numbered(100*i, 100*i+100)
		add(t, path, text)
		want += text
		time.Sleep(60 * time.Millisecond) // the life of a generation
		must(t, os.Remove(path))
	}
	add(t, path, "end\n")
	r.untilText(want + "end\n")
}

func TestPositionAt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	want := numbered(0, 3000)
	write(t, path, want)
	r := start(t, follow.Config{Path: path})
	r.untilCaughtUp()
	c := r.last
	r.stop()
	for _, n := range []int{0, 1, 63, 64, 65, 255, 256, 257, len(c.Data) - 1, len(c.Data)} {
		p := c.At(n)
		if p.Path != path || p.Inode == 0 || p.Offset != c.Start+int64(n) {
			t.Fatalf("At(%d) = %+v", n, p)
		}
		r := start(t, follow.Config{Path: path, From: p})
		r.untilCaughtUp()
		if got := r.text.String(); got != want[p.Offset:] {
			t.Errorf("from %d: %d bytes, want %d", p.Offset, len(got), len(want)-int(p.Offset))
		}
		r.stop()
	}
}
