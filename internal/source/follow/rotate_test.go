package follow_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"band/internal/source/follow"
)

// The styles of rotation. rotate is given the number of the rotation, from 1.
var styles = []struct {
	name    string
	rate    int // lines a second, 0 for as fast as possible
	symlink bool
	rotate  func(w *writer, n int)
}{
	{name: "rename and create", rate: 10_000, rotate: func(w *writer, n int) {
		w.rename(n)
		w.reopen()
	}},
	{name: "rename, 20 ms gap", rate: 10_000, rotate: func(w *writer, n int) {
		w.rename(n)
		time.Sleep(20 * time.Millisecond)
		w.reopen()
	}},
	{name: "rename, old descriptor until HUP", rate: 10_000, rotate: func(w *writer, n int) {
		w.rename(n)
		w.touch()
		w.lines(200)
		w.reopen()
	}},
	{name: "rename shifting numbers", rate: 10_000, rotate: func(w *writer, n int) {
		for i := n; i > 0; i-- {
			_ = os.Rename(fmt.Sprint(w.path, ".", i), fmt.Sprint(w.path, ".", i+1))
		}
		must(w.t, os.Rename(w.path, w.path+".1"))
		w.reopen()
	}},
	{name: "delete and create", rate: 10_000, rotate: func(w *writer, n int) {
		w.await("the file opened", func() bool { return descriptors(w.t, w.path) > 1 })
		must(w.t, os.Remove(w.path))
		w.reopen()
	}},
	{name: "symlink swap", rate: 10_000, symlink: true, rotate: func(w *writer, n int) {
		w.link(n)
		w.reopen()
	}},
	{name: "copytruncate", rate: 10_000, rotate: func(w *writer, n int) {
		began := w.next - 900 // it is in this generation
		w.await("a reader of this generation", func() bool { return w.taken.Load() > int64(began) })
		text, err := os.ReadFile(w.path)
		must(w.t, err)
		must(w.t, os.WriteFile(fmt.Sprint(w.path, ".", n), text, 0o644))
		w.gone = append(w.gone, w.next)
		w.lines(between)
		must(w.t, os.Truncate(w.path, 0))
	}},
	{name: "full speed, rename and create", rotate: func(w *writer, n int) {
		w.rename(n)
		w.reopen()
	}},
}

// between is how many lines are written between a copy and the truncation: neither
// in the copy nor in the file after, a reader has them by luck.
const between = 20

// writer writes numbered lines, in one write(2) each.
type writer struct {
	t     *testing.T
	path  string
	file  *os.File
	next  int
	rate  int
	began time.Time
	gone  []int        // the first of those written between a copy and the truncation
	taken atomic.Int64 // the last line that the reader has
}

// await waits for a follower that the machine did not let run: what is deleted
// before it was opened is nobody's to read.
func (w *writer) await(what string, ok func() bool) {
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("never came: %s", what)
		}
	}
}

// descriptors counts those of this process, the writer's with them, that lead to path.
func descriptors(t *testing.T, path string) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && to == path {
			n++
		}
	}
	return n
}

func (w *writer) rename(n int) { must(w.t, os.Rename(w.path, fmt.Sprint(w.path, ".", n))) }

func (w *writer) touch() {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_WRONLY, 0o644)
	must(w.t, err)
	must(w.t, f.Close())
}

func (w *writer) link(n int) {
	target := fmt.Sprintf("%s-target-202611%04d", w.path, n)
	must(w.t, os.WriteFile(target, nil, 0o644))
	_ = os.Remove(w.path + ".new")
	must(w.t, os.Symlink(target, w.path+".new"))
	must(w.t, os.Rename(w.path+".new", w.path))
}

func (w *writer) reopen() {
	if w.file != nil {
		must(w.t, w.file.Close())
	}
	f, err := os.OpenFile(w.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(w.t, err)
	w.file = f
}

// numberedLine is as long as a log line at least.
func numberedLine(n int) string {
	return fmt.Sprintf("%08d %s\n", n, strings.Repeat("x", 60+n%151))
}

func (w *writer) lines(n int) {
	for range n {
		if _, err := w.file.WriteString(numberedLine(w.next)); err != nil {
			w.t.Error(err)
		}
		w.next++
		if w.rate > 0 && w.next%10 == 0 {
			due := w.began.Add(time.Second * time.Duration(w.next) / time.Duration(w.rate))
			time.Sleep(time.Until(due))
		}
	}
}

// tally counts numbered lines.
type tally struct {
	pending string
	seen    map[int]int
	last    int
	garbled int
}

func (y *tally) take(c follow.Chunk) {
	if c.NewFile && y.pending != "" {
		y.garbled++
		y.pending = ""
	}
	lines := strings.SplitAfter(y.pending+string(c.Data), "\n")
	y.pending = lines[len(lines)-1]
	for _, l := range lines[:len(lines)-1] {
		n, err := strconv.Atoi(l[:min(8, len(l))])
		if err != nil || l != numberedLine(n) {
			y.garbled++
			continue
		}
		y.seen[n]++
		y.last = n
	}
}

// check reports what was lost and duplicated of n lines, but for those that may be.
func (y *tally) check(n int, gone ...int) (lost, unrecoverable, twice int) {
	for i := range n {
		switch k := y.seen[i]; {
		case k == 0 && slices.ContainsFunc(gone, func(first int) bool { return first <= i && i < first+between }):
			unrecoverable++
		case k == 0:
			lost++
		case k > 1:
			twice++
		}
	}
	return lost, unrecoverable, twice
}

func TestRotation(t *testing.T) {
	t.Parallel()
	for _, s := range styles {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			lines, rotations := 50_000, 49
			if s.rate == 0 {
				lines *= 4
			}
			w := &writer{t: t, path: filepath.Join(t.TempDir(), "log"), rate: s.rate}
			if s.symlink {
				w.link(0)
			}
			w.reopen()
			defer func() { w.file.Close() }()
			r := start(t, follow.Config{Path: w.path})
			r.untilCaughtUp()

			written := make(chan int, 1)
			go func() {
				w.began = time.Now()
				for n := 1; n <= rotations; n++ {
					w.lines(lines / (rotations + 1))
					s.rotate(w, n)
				}
				w.lines(lines / (rotations + 1))
				written <- w.next
			}()
			y := &tally{seen: make(map[int]int)}
			total := -1
			quiet := time.NewTimer(3 * patience)
			for done := false; !done; {
				select {
				case total = <-written:
				case c := <-r.chunks:
					y.take(c)
					w.taken.Store(int64(y.last))
					if len(c.Data) > 0 || total < 0 {
						quiet.Reset(3 * patience)
					}
				case <-quiet.C:
					done = true
				}
				// When all has come, or the last has, wait a little for what must not come.
				if total >= 0 && y.seen[total-1] > 0 {
					quiet.Reset(1500 * time.Millisecond)
					for waiting := true; waiting; {
						select {
						case c := <-r.chunks:
							y.take(c)
						case <-quiet.C:
							waiting = false
						}
					}
					done = true
				}
			}
			lost, unrecoverable, twice := y.check(total, w.gone...)
			t.Logf("%d lines, %d rotations: %d lost, %d twice, %d garbled; %d of %d written between copy and truncation lost",
				total, rotations, lost, twice, y.garbled, unrecoverable, between*len(w.gone))
			if total < 0 || lost+twice+y.garbled+r.obs.count("lost") > 0 || r.obs.count("truncated") != len(w.gone) {
				t.Errorf("%d lost, %d twice, %d garbled: %q", lost, twice, y.garbled, r.obs.events)
			}
		})
	}
}

// The follower is stopped anywhere and resumed from the last position taken, again
// and again, while the file is rotated: at times twice within a tick of the clock of
// files, at times while the follower lists the directory.
func TestCrashesDuringRotation(t *testing.T) {
	t.Parallel()
	shift := func(w *writer, suffix string) {
		for n := 99; n > 0; n-- {
			_ = os.Rename(fmt.Sprint(w.path, ".", n, suffix), fmt.Sprint(w.path, ".", n+1, suffix))
		}
	}
	for name, rotate := range map[string]func(w *writer, n int){
		"a name each":      func(w *writer, n int) { w.rename(n) },
		"dates":            func(w *writer, n int) { must(w.t, os.Rename(w.path, fmt.Sprintf("%s-20261121%06d", w.path, n))) },
		"shifting numbers": func(w *writer, n int) { shift(w, ""); w.rename(1) },
		"compressed": func(w *writer, n int) { // as logrotate does with delaycompress
			shift(w, ".gz")
			if os.Rename(w.path+".1", w.path+".2") == nil {
				compress(w.t, w.path+".2")
			}
			w.rename(1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crashes(t, rotate)
		})
	}
}

func crashes(t *testing.T, rotate func(w *writer, n int)) {
	w := &writer{t: t, path: filepath.Join(t.TempDir(), "log")}
	w.reopen()
	defer func() { w.file.Close() }()
	w.lines(5)
	y := &tally{seen: make(map[int]int)}
	var from follow.Position
	const seed = 2
	rng := rand.New(rand.NewPCG(1, seed))
	// run takes what comes until life is over, or it is killed in the middle of a chunk.
	run := func(life <-chan time.Time) {
		ctx, cancel := context.WithCancel(t.Context())
		obs := &observer{}
		f := follow.New(follow.Config{Path: w.path, From: from, Observer: obs})
		out, ended := make(chan follow.Chunk), make(chan error, 1)
		go func() { ended <- f.Run(ctx, out) }()
		for alive := true; alive; {
			select {
			case c := <-out:
				n := len(c.Data)
				if rng.IntN(20) == 0 {
					// A position is behind a record; there is none before the first.
					n = strings.LastIndexByte(string(c.Data[:rng.IntN(n+1)]), '\n') + 1
					alive = false
				}
				if n > 0 {
					from = c.At(n)
					c.Data = c.Data[:n]
					y.take(c)
				}
				alive = alive && (life != nil || n == 0)
			case <-life:
				alive = false
			}
		}
		cancel()
		must(t, <-ended)
		if obs.count("lost") > 0 {
			t.Errorf("%q", obs.events)
		}
	}
	// Before the first position there is nothing to resume at.
	for from.IsZero() {
		run(nil)
	}

	var written atomic.Int64
	go func() {
		rng := rand.New(rand.NewPCG(2, seed))
		for n := range 40 {
			w.lines(rng.IntN([]int{3, 30, 500}[rng.IntN(3)]))
			rotate(w, n)
			if rng.IntN(3) == 0 {
				w.touch()
				w.lines(rng.IntN(30)) // before the writer reopens
			}
			w.reopen()
			if rng.IntN(2) == 0 {
				time.Sleep(time.Duration(rng.IntN(150)) * time.Millisecond) // the life of a generation
			}
		}
		w.lines(3)
		written.Store(int64(w.next))
	}()
	runs := 0
	for deadline := time.Now().Add(3 * patience); time.Now().Before(deadline); runs++ {
		if n := int(written.Load()); n > 0 && y.seen[n-1] > 0 {
			break
		}
		run(time.After(time.Duration(rng.IntN(300+10*runs)) * time.Millisecond)) // longer on a busy machine
	}
	run(time.After(1500 * time.Millisecond))
	total := int(written.Load())
	lost, _, twice := y.check(total)
	t.Logf("%d runs, %d lines: %d lost, %d twice, %d garbled", runs, total, lost, twice, y.garbled)
	if total == 0 || lost+twice+y.garbled > 0 || runs < 5 {
		t.Errorf("%d runs: %d lost, %d twice, %d garbled", runs, lost, twice, y.garbled)
	}
}

// A writer that never noticed the rotation goes on with the old file while
// another already writes the new one.
func TestOldFileGrowsAfterTheNewOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "old 1\n")
	r := start(t, follow.Config{Path: path})
	r.untilCaughtUp()
	must(t, os.Rename(path, path+".1"))
	add(t, path, "new 1\n")
	r.untilText("old 1\nnew 1\n")
	add(t, path+".1", "old 2\n")
	r.untilText("old 1\nnew 1\nold 2\n")
	if !r.last.NewFile || r.pos.Offset != int64(len("new 1\n")) {
		t.Errorf("new file %v, position %+v", r.last.NewFile, r.pos)
	}
	add(t, path, "new 2\n")
	r.untilText("old 1\nnew 1\nold 2\nnew 2\n")
	r.nothing()
}

func TestRenamedAndStillWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "1\n")
	r := start(t, follow.Config{Path: path})
	r.untilCaughtUp()
	must(t, os.Rename(path, path+".1"))
	r.untilEvent("missing", 1)
	add(t, path+".1", "2\n")
	r.untilText("1\n2\n")
	write(t, path, "") // as logrotate creates it, long before the writer is told
	r.untilEvent("opened", 2)
	r.nothing()
	add(t, path+".1", "3\n")
	r.untilText("1\n2\n3\n")
	add(t, path, "4\n")
	r.untilText("1\n2\n3\n4\n")
	if !r.last.NewFile {
		t.Error("the new file is not said to be new")
	}
}

func TestNameComesBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "1\n")
	r := start(t, follow.Config{Path: path})
	r.untilCaughtUp()
	must(t, os.Rename(path, path+".away"))
	add(t, path, "2\n")
	r.untilText("1\n2\n")
	must(t, os.Rename(path, path+".other"))
	must(t, os.Rename(path+".away", path))
	add(t, path, "3\n")
	r.untilText("1\n2\n3\n")
	r.nothing()
}

func TestTruncation(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]string{
		"and nothing":         "",
		"to smaller":          "new 1\n",
		"to the same size":    "new content 1\nnew content 2\n",
		"to a bigger size":    "new content 1\nnew content 2\nnew content 3\n",
		"behind a hole":       "hole",
		"without a newline":   "new",
		"with the same start": "old content 1\nnew content 2\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "log")
			before := "old content 1\nold content 2\n"
			write(t, path, before)
			r := start(t, follow.Config{Path: path})
			r.untilCaughtUp()
			if after == "hole" {
				// A writer that does not append, at its old offset.
				must(t, os.Truncate(path, 0))
				f, err := os.OpenFile(path, os.O_WRONLY, 0)
				must(t, err)
				_, err = f.WriteAt([]byte("after the hole\n"), 50<<20+17)
				must(t, err)
				must(t, f.Close())
				after = "after the hole\n"
			} else {
				write(t, path, after) // truncates
			}
			r.untilEvent("truncated", 1)
			r.untilText(before + after)
			add(t, path, "more\n")
			r.untilText(before + after + "more\n")
			first := false
			for _, c := range r.seen[1:] {
				first = first || c.NewFile
			}
			if !first {
				t.Error("the rewound file is not said to be new")
			}
			r.nothing()
			if n := r.obs.count("truncated"); n != 1 {
				t.Errorf("told %d times", n)
			}
		})
	}
}

// The follower is behind when the file is copied and truncated: the copy, which may
// be compressed by then, has what it did not read, from the middle of a line on.
func TestCopyOfTheTruncated(t *testing.T) {
	t.Parallel()
	for _, compressed := range []bool{false, true} {
		t.Run(fmt.Sprint("compressed ", compressed), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "log")
			before, after := numbered(0, 30_000), numbered(30_000, 30_100)
			write(t, path, before)
			r := start(t, follow.Config{Path: path})
			r.until("a first chunk", func(c follow.Chunk) bool { return len(c.Data) > 0 })
			copyFile(t, path, path+".1")
			if compressed {
				compress(t, path+".1")
			}
			write(t, path, after)
			r.untilText(before + after)
			r.nothing()
			// It begins once, and once more after the truncation.
			n := 0
			for _, c := range r.seen {
				if c.NewFile {
					n++
				}
			}
			if n != 2 || r.obs.count("truncated") != 1 {
				t.Errorf("%d beginnings, told %q", n, r.obs.events)
			}
		})
	}
}

// A copy of what was read before it was truncated is not taken for a generation
// that came and went unseen, though it was written in the same tick.
func TestCopyIsNoGeneration(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	before, after := numbered(0, 100), numbered(100, 200)
	write(t, path, before)
	r := start(t, follow.Config{Path: path})
	r.untilText(before)
	copyFile(t, path, path+".20261121")
	must(t, os.Truncate(path, 0))
	fi, err := os.Stat(path)
	must(t, err)
	must(t, os.Chtimes(path+".20261121", fi.ModTime(), fi.ModTime()))
	r.untilEvent("truncated", 1)
	must(t, os.Rename(path, path+".1"))
	write(t, path, after)
	r.untilText(before + after)
	r.nothing()

	// The same after a restart.
	r.stop()
	again := start(t, follow.Config{Path: path, From: r.pos})
	again.nothing()
}

// Generations that come and go too fast to be opened by name are found by the
// names they were rotated to, even if all were written in the same tick.
func TestRotatedUnseen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	w := &writer{t: t, path: path}
	w.reopen()
	defer func() { w.file.Close() }()
	r := start(t, follow.Config{Path: path})
	r.untilCaughtUp()
	y := &tally{seen: make(map[int]int)}
	for n := range 8 {
		for k := range 3 {
			w.lines(20)
			w.rename(3*n + k)
			w.reopen()
		}
		w.lines(20)
		r.until("the burst", func(c follow.Chunk) bool {
			c.Data = []byte(r.text.String()[r.text.Len()-len(c.Data):])
			y.take(c)
			return y.seen[w.next-1] > 0
		})
	}
	r.nothing()
	if lost, _, twice := y.check(w.next); lost+twice+y.garbled > 0 {
		t.Errorf("%d lines: %d lost, %d twice, %d garbled", w.next, lost, twice, y.garbled)
	}
	unseen := r.obs.count("opened log.")
	t.Logf("%d of 24 generations were found by their rotated names", unseen)
	if unseen == 0 {
		t.Error("every generation was opened by its first name: nothing was tested")
	}
}
