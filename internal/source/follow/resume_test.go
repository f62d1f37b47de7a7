package follow_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"band/internal/source/follow"

	"pgregory.net/rapid"
)

// age sets the time of a file's last write, so that the order of the rotated
// ones is not a matter of clock ticks.
func age(t testing.TB, path string, by time.Duration) {
	t.Helper()
	at := time.Now().Add(-by)
	must(t, os.Chtimes(path, at, at))
}

func compress(t testing.TB, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	fi, err := os.Stat(path)
	must(t, err)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err = z.Write(text)
	must(t, err)
	must(t, z.Close())
	must(t, os.WriteFile(path+".gz", b.Bytes(), 0o644))
	must(t, os.Chtimes(path+".gz", fi.ModTime(), fi.ModTime()))
	must(t, os.Remove(path))
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, text, 0o644))
}

// TestResume reads half of a file, stops, lets the file be rotated in many
// ways, and resumes: the rest comes exactly once, in order.
func TestResume(t *testing.T) {
	t.Parallel()
	const name = "fs.log"
	taken, rest := numbered(0, 300), numbered(300, 600)
	between, present := numbered(600, 900), numbered(900, 1200)
	cases := []struct {
		name   string
		rotate func(t *testing.T, path string) // finds taken and rest at path
		want   string
		lost   bool
	}{
		{"not rotated", func(t *testing.T, path string) {}, rest, false},
		{"numbers", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".1"))
			write(t, path, present)
		}, rest + present, false},
		{"numbers, twice", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".2"))
			age(t, path+".2", time.Hour)
			write(t, path+".1", between)
			age(t, path+".1", time.Minute)
			write(t, path+".3", "older\n")
			age(t, path+".3", 2*time.Hour)
			write(t, path, present)
		}, rest + between + present, false},
		{"logrotate dateext", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+"-20261120"))
			age(t, path+"-20261120", time.Hour)
			write(t, path+"-20261121", between)
			age(t, path+"-20261121", time.Minute)
			write(t, path, present)
		}, rest + between + present, false},
		{"logrotate dateext before the extension", func(t *testing.T, path string) {
			stem := strings.TrimSuffix(path, ".log")
			must(t, os.Rename(path, stem+"-20261120.log"))
			age(t, stem+"-20261120.log", time.Hour)
			write(t, stem+"-20261121.log", between)
			age(t, stem+"-20261121.log", time.Minute)
			write(t, stem+"-other.log", "another log\n")
			write(t, path+"-errors", "another log\n")
			write(t, path, present)
		}, rest + between + present, false},
		{"logrotate dateformat before the extension, compressed", func(t *testing.T, path string) {
			stem := strings.TrimSuffix(path, ".log")
			must(t, os.Rename(path, stem+"-2026-11-20_100000.log"))
			age(t, stem+"-2026-11-20_100000.log", time.Hour)
			compress(t, stem+"-2026-11-20_100000.log")
			write(t, stem+"-2026-11-21_100000.log", between)
			age(t, stem+"-2026-11-21_100000.log", time.Minute)
			write(t, path, present)
		}, rest + between + present, false},
		{"FreeSWITCH's own dates", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".2026-11-20-10-00-00.1"))
			age(t, path+".2026-11-20-10-00-00.1", time.Hour)
			write(t, path+".2026-11-21-10-00-00.1", between)
			age(t, path+".2026-11-21-10-00-00.1", time.Minute)
			write(t, path, present)
		}, rest + between + present, false},
		{"any name with the inode", func(t *testing.T, path string) {
			must(t, os.Rename(path, filepath.Join(filepath.Dir(path), "kept")))
			write(t, path, present)
		}, rest + present, false},
		{"copytruncate", func(t *testing.T, path string) {
			copyFile(t, path, path+".1")
			write(t, path, present)
		}, rest + present, false},
		{"copytruncate, grown to more than before", func(t *testing.T, path string) {
			copyFile(t, path, path+".1")
			write(t, path, present+strings.Repeat("x", 1<<20)+"\n")
		}, rest + present + strings.Repeat("x", 1<<20) + "\n", false},
		{"compressed", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".2"))
			age(t, path+".2", time.Hour)
			compress(t, path+".2")
			write(t, path+".1", between)
			age(t, path+".1", time.Minute)
			compress(t, path+".1")
			write(t, path, present)
		}, rest + between + present, false},
		{"being compressed", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".1"))
			copyFile(t, path+".1", path+".x")
			compress(t, path+".x")
			must(t, os.Rename(path+".x.gz", path+".1.gz"))
			write(t, path, present)
		}, rest + present, false},
		{"compressed and damaged", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".1"))
			compress(t, path+".1")
			fi, err := os.Stat(path + ".1.gz")
			must(t, err)
			must(t, os.Truncate(path+".1.gz", fi.Size()/4))
			write(t, path, present)
		}, present, true},
		{"compressed, and not by gzip", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".2"))
			age(t, path+".2", time.Hour)
			write(t, path+".1.xz", "what cannot be read\n")
			write(t, path+".2.xz", "not even half of it yet")
			write(t, path, present)
		}, rest + present, true},
		// The test gives the present file the inode of the cursor, as a file system
		// may that had it back.
		{"inode reused", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".1"))
			compress(t, path+".1")
			write(t, path, present)
		}, rest + present, false},
		{"inode reused, the old file copied away", func(t *testing.T, path string) {
			copyFile(t, path, path+".1")
			must(t, os.Remove(path))
			write(t, path, present)
		}, rest + present, false},
		{"inode reused, the old file gone", func(t *testing.T, path string) {
			must(t, os.Remove(path))
			write(t, path, present)
		}, present, true},
		{"gone", func(t *testing.T, path string) {
			must(t, os.Remove(path))
			write(t, path, present)
		}, present, true},
		{"truncated", func(t *testing.T, path string) {
			write(t, path, "")
			add(t, path, present)
		}, present, true},
		{"replaced by a longer copy", func(t *testing.T, path string) {
			copyFile(t, path, path+".new")
			add(t, path+".new", present)
			must(t, os.Rename(path+".new", path))
		}, rest + present, false},
		{"present missing", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".1"))
		}, rest, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), name)
			write(t, path, taken)
			r := start(t, follow.Config{Path: path})
			r.untilCaughtUp()
			r.untilText(taken)
			r.stop()
			text, err := json.Marshal(r.pos)
			must(t, err)
			var from follow.Position
			must(t, json.Unmarshal(text, &from))
			if from != r.pos {
				t.Errorf("%s is not %+v", text, r.pos)
			}

			add(t, path, rest)
			c.rotate(t, path)
			if strings.HasPrefix(c.name, "inode reused") {
				fi, err := os.Stat(path)
				must(t, err)
				from.Inode = fi.Sys().(*syscall.Stat_t).Ino
			}
			r = start(t, follow.Config{Path: path, From: from, Older: func([]byte) (bool, bool) { return true, true }})
			r.untilText(c.want)
			if r.obs.count("lost") > 0 != c.lost {
				t.Errorf("told %q", r.obs.events)
			}
			if c.name == "present missing" {
				r.untilEvent("missing", 1)
				write(t, path, present)
				c.want += present
			}
			add(t, path, "more\n")
			r.untilText(c.want + "more\n")
			r.nothing()
		})
	}
}

// A cursor whose file is not there yet, as when its mount is late, is kept.
func TestResumeWhenTheFileIsLate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "mount", "log")
	must(t, os.Mkdir(filepath.Dir(path), 0o755))
	write(t, path, numbered(0, 100))
	r := start(t, follow.Config{Path: path})
	r.untilCaughtUp()
	r.stop()
	must(t, os.Rename(filepath.Dir(path), filepath.Join(dir, "away")))
	from := r.pos
	r = start(t, follow.Config{Path: path, From: from})
	r.untilCaughtUp()
	if r.pos != from {
		t.Errorf("the position became %+v", r.pos)
	}
	must(t, os.Rename(filepath.Join(dir, "away"), filepath.Dir(path)))
	add(t, path, "more\n")
	r.untilText("more\n")
	if r.obs.count("lost") > 0 {
		t.Errorf("%q", r.obs.events)
	}
}

// Several generations may be written within one tick of the clock of files. What
// was read of them is not read again after restarts.
func TestResumeWithinOneTick(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fs.log")
	first, second, third := numbered(0, 100), numbered(100, 200), numbered(200, 300)
	put := func(text string) { // as the newest, of the same time
		t.Helper()
		write(t, path+".new", text)
		tick := time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC)
		must(t, os.Chtimes(path+".new", tick, tick))
		must(t, os.Rename(path+".new", path))
	}
	put(first)
	r := start(t, follow.Config{Path: path})
	r.untilCaughtUp()
	must(t, os.Rename(path, path+".2"))
	put(second)
	r.untilText(first + second)
	r.stop()
	from := r.pos
	r = start(t, follow.Config{Path: path, From: from})
	r.untilCaughtUp()
	r.stop()
	from = r.pos
	must(t, os.Rename(path, path+".1"))
	put(third)
	r = start(t, follow.Config{Path: path, From: from})
	r.untilText(third)
	r.nothing()
}

// What a link led to in between is found by its name, which differs in a date.
func TestResumeBehindALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	link := func(day int, text string) {
		t.Helper()
		target := filepath.Join(dir, fmt.Sprintf("fs.202611%02d.txt", day))
		write(t, target, text)
		must(t, os.Symlink(target, path+".new"))
		must(t, os.Rename(path+".new", path))
	}
	link(19, numbered(0, 100))
	r := start(t, follow.Config{Path: path})
	r.untilCaughtUp()
	r.stop()
	link(20, numbered(100, 200))
	write(t, filepath.Join(dir, "other.20261120.txt"), "another log\n")
	link(21, numbered(200, 300))
	from := r.pos
	r = start(t, follow.Config{Path: path, From: from})
	r.untilText(numbered(100, 300))
}

func TestFirstStartBisects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		// Records begin with a number; continuations and garbage cannot tell.
		var text strings.Builder
		type line struct {
			at     int
			number int
			dated  bool
		}
		var lines []line
		number := 0
		for range rapid.IntRange(0, 60).Draw(t, "lines") {
			l := line{at: text.Len()}
			if l.dated = rapid.Bool().Draw(t, "dated"); l.dated {
				number += rapid.IntRange(0, 3).Draw(t, "step")
				l.number = number
				fmt.Fprintf(&text, "%d", number)
			} else {
				text.WriteString("continued")
			}
			text.WriteString(strings.Repeat(" ", rapid.SampledFrom([]int{0, 1, 50, 5000, 70_000}).Draw(t, "length")))
			text.WriteString("\n")
			lines = append(lines, l)
		}
		unfinished := text.Len()
		if rapid.Bool().Draw(t, "unfinished") {
			text.WriteString("7 unfinish")
		}
		since := rapid.IntRange(0, number+2).Draw(t, "since")

		want, dated := unfinished, false
		for _, l := range lines {
			dated = dated || l.dated
			if l.dated && l.number >= since {
				want = l.at
				break
			}
		}
		if !dated {
			want = 0
		}
		path := filepath.Join(dir, "log")
		must(t, os.WriteFile(path, []byte(text.String()), 0o644))
		r := startIn(t, follow.Config{Path: path, Older: func(l []byte) (bool, bool) {
			var n int
			if _, err := fmt.Sscanf(string(l), "%d", &n); err != nil {
				return false, false
			}
			return n < since, true
		}})
		defer r.stop()
		for !r.last.CaughtUp {
			r.take(<-r.chunks)
		}
		if got := r.text.String(); got != text.String()[want:] {
			t.Fatalf("began %d bytes before the end, want %d", len(got), text.Len()-want)
		}
	})
}

func TestIsRotated(t *testing.T) {
	t.Parallel()
	for base, names := range map[string]struct{ rotated, others []string }{
		"fs.log": {
			[]string{
				"fs.log.1", "fs.log.0", "fs.log.12", "fs.log.1.gz", "fs.log.2.xz", "fs.log.2.bz2", "fs.log.2.zst", "fs.log.old",
				"fs.log-20261121", "fs.log-20261121.gz", "fs.log-2026-11-21", "fs.log-20261121-1795282184", "fs.log.1795282184",
				"fs.log.2026-11-21-10-00-00.1", "fs.log.2026-11-21_10:00:00", "fs.log.2026-11-21T10:00:00Z",
				"fs.1.log", "fs.1.log.gz", "fs-20261121.log", "fs-2026-11-21.log.gz", "fs-2026-11-21_100000.log", "fs_2026112110.log",
			},
			[]string{"fs.log", "fs.log.gz", "fs.log.swp", "fs.log~", "fs.log2", "fs-2.log", "fs-errors.log", "fs.log-errors", "fs.log.1.d", "x.fs.log.1", "fs.json.1", ""},
		},
		"messages": {
			[]string{"messages.1", "messages.1.gz", "messages-20261121", "messages-20261121.xz", "messages.old"},
			[]string{"messages", "messages.log", "messages2", "messages.gz", "messages.1.log"},
		},
	} {
		for _, name := range names.rotated {
			if !follow.IsRotated(base, name) {
				t.Errorf("%s was rotated from %s", name, base)
			}
		}
		for _, name := range names.others {
			if follow.IsRotated(base, name) {
				t.Errorf("%s is not one that was rotated from %s", name, base)
			}
		}
	}
}
