package allowlist_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"band/internal/allowlist"

	"golang.org/x/sys/unix"
)

// write writes a file into a directory and returns its path.
func write(t testing.TB, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, "allow.txt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// noted is longer than it takes until a change of a file counts.
const noted = 4 * time.Second

func TestFileLines(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, test := range []struct {
		name, text string
		want       []string
		problem    string
	}{
		{name: "empty"},
		{
			name: "entries",
			text: "# the office\n192.0.2.7\n\n  198.51.100.0/24\t# the branch\r\n2001:DB8::/32\n::ffff:192.0.2.8\nTrunk.Example.com.\n192.0.2.7\n203.0.113.1",
			want: []string{"192.0.2.7", "192.0.2.8", "192.0.2.9", "198.51.100.0/24", "203.0.113.1", "2001:db8::/32"},
		},
		{
			name:    "a slip",
			text:    "192.0.2.7\n192.0.2.256\n192.0.2.8\n",
			want:    []string{"192.0.2.7", "192.0.2.8"},
			problem: `FILE:2: "192.0.2.256" is no address, prefix, host name or absolute path of a file`,
		},
		{
			name:    "everybody",
			text:    "\n0.0.0.0/0\n::/0",
			problem: `FILE:2: "0.0.0.0/0" would exempt everybody; FILE:3: "::/0" would exempt everybody`,
		},
		{
			name:    "a file",
			text:    "/etc/band/other\n192.0.2.7",
			want:    []string{"192.0.2.7"},
			problem: `FILE:1: "/etc/band/other": a file cannot name another`,
		},
		{
			name:    "garbage",
			text:    "192.0.2.7\n" + long + "\n\x00\xff\n192.0.2.8 192.0.2.9\n<b>\n?\n192.0.2.10",
			want:    []string{"192.0.2.7", "192.0.2.10"},
			problem: `FILE:2: 5000 bytes are no address, prefix or host name; FILE:3: "\x00\xff" is no address, prefix, host name or absolute path of a file; FILE:4: "192.0.2.8 192.0.2.9" is no address, prefix, host name or absolute path of a file; and 2 more`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				path := write(t, t.TempDir(), test.text)
				r := newRig(t, nil, path)
				r.zone.put(trunk, time.Hour, "192.0.2.9", "192.0.2.7")
				r.start()
				r.holds(test.want...)
				problem := strings.ReplaceAll(test.problem, "FILE", path)
				if item := r.item(path); item.Err != problem || item.Resolved.IsZero() {
					t.Errorf("the item is %+v", item)
				}
				if problem == "" {
					r.findings()
				} else {
					r.findings("allow-file " + path + ": " + problem + "; the rest of the file counts")
				}
			})
		})
	}
}

func TestFileChanges(t *testing.T) {
	rename := func(t *testing.T, path, text string) {
		if err := os.Rename(write(t, t.TempDir(), text), path); err != nil {
			t.Fatal(err)
		}
	}
	rewrite := func(t *testing.T, path, text string) { write(t, filepath.Dir(path), text) }
	quietly := func(t *testing.T, path, text string) { // with the old time of modification
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		rewrite(t, path, text)
		if err := os.Chtimes(path, time.Time{}, fi.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(t *testing.T, path, text string){
		"rename": rename, "rewrite": rewrite, "quietly": quietly,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				path := write(t, t.TempDir(), "192.0.2.7\nslip!\n")
				r := newRig(t, nil, path).start()
				r.holds("192.0.2.7")
				if n := len(r.board.Findings()); n != 1 {
					t.Errorf("%d findings of a slip", n)
				}
				// At once, when it was read just now, and later.
				for i, wait := range []time.Duration{0, time.Minute} {
					time.Sleep(wait)
					r.told()
					change(t, path, fmt.Sprintf("192.0.2.%d\n", 8+i)) // of the same size
					time.Sleep(noted)
					if r.holds(fmt.Sprintf("192.0.2.%d", 8+i)); !r.told() {
						t.Error("the consumer is not told")
					}
					r.findings()
				}
				time.Sleep(10 * time.Minute)
				if r.told() {
					t.Error("the consumer is told, and nothing changed")
				}
				if n := r.log.count("allowlist file read"); n != 3 {
					t.Errorf("%d log lines tell of three contents", n)
				}
			})
		})
	}
}

// A file that is gone, or is something else, loses nothing of what it held.
func TestFileFails(t *testing.T) {
	for _, test := range []struct {
		name, want string
		put        func(path string) error // in the place of the file
	}{
		{"missing", "stat FILE: no such file or directory", func(string) error { return nil }},
		{"pipe", "open FILE: not a regular file (p---------)", func(path string) error { return unix.Mkfifo(path, 0o600) }},
		{"directory", "open FILE: not a regular file (d---------)", func(path string) error { return os.Mkdir(path, 0o700) }},
		{"device", "open FILE: not a regular file (Dc---------)", func(path string) error { return os.Symlink("/dev/zero", path) }},
		{"loop", "stat FILE: too many levels of symbolic links", func(path string) error { return os.Symlink(path, path) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				dir := t.TempDir()
				path := write(t, dir, "192.0.2.7\n")
				replace := func() {
					t.Helper()
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
					if err := test.put(path); err != nil {
						t.Fatal(err)
					}
				}
				want := strings.ReplaceAll(test.want, "FILE", path)
				r := newRig(t, nil, path).start()
				r.holds("192.0.2.7")
				replace()
				time.Sleep(10 * time.Minute)
				r.holds("192.0.2.7")
				r.findings("allow-file " + path + ": " + want + "; what it held before stays")
				if item := r.item(path); item.Err != want {
					t.Errorf("the item says %q", item.Err)
				}
				_ = os.Remove(path)
				write(t, dir, "192.0.2.7\n")
				time.Sleep(noted)
				r.holds("192.0.2.7")
				r.findings()

				// From the start.
				replace()
				r.stop()
				r = newRig(t, nil, path).start()
				r.holds()
				r.findings("allow-file " + path + ": " + want)
				_ = os.Remove(path)
				write(t, dir, "192.0.2.8\n")
				time.Sleep(noted)
				r.holds("192.0.2.8")
				r.findings()

				replace()
				time.Sleep(noted)
				r.set("192.0.2.8")
				r.findings() // nobody wants to know
			})
		})
	}
}

// A file whose directory comes back as it was is right again.
func TestFileComesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "dir")
		move := func(from, to string) {
			t.Helper()
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := write(t, dir, "192.0.2.7\n")
		r := newRig(t, nil, path).start()
		time.Sleep(time.Minute)
		move(dir, dir+".away")
		if n := len(r.board.Findings()); n != 1 {
			t.Errorf("%d findings of a file that is gone", n)
		}
		move(dir+".away", dir)
		r.findings()
		if item := r.item(path); item.Err != "" {
			t.Errorf("the item says %q", item.Err)
		}
	})
}

// A file that changes twice within the same tick of the clock by which the
// kernel stamps files looks the same, and is read all the same. Not all file
// systems stamp so coarsely; ramfs does.
func TestFileChangesUnseen(t *testing.T) {
	if !inside(t) {
		return
	}
	dir := t.TempDir()
	if err := unix.Mount("ramfs", dir, "ramfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
	stamp := func(path string) [4]int64 {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return [4]int64{st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec}
	}
	for range 1000 {
		same := false
		bubble(t, func(t *testing.T) {
			path := write(t, dir, "192.0.2.7\n")
			r := newRig(t, nil, path)
			before := stamp(path)
			r.start()
			r.holds("192.0.2.7")
			write(t, dir, "192.0.2.8\n")
			if same = stamp(path) == before; same {
				time.Sleep(noted)
				r.holds("192.0.2.8")
			}
		})
		if same {
			return
		}
	}
	t.Fatal("no file changed twice in a tick")
}

// A file that is being written does not lose for a moment what it will hold
// again; one that is written all the time is read nevertheless.
func TestFileBeingWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		path := write(t, dir, "192.0.2.7\n192.0.2.8\n")
		r := newRig(t, nil, path).start()
		r.holds("192.0.2.7", "192.0.2.8")
		time.Sleep(time.Minute)
		r.told()
		for _, text := range []string{"", "192.0.2.7\n", "192.0.2.7\n192.0.2.8\n", "192.0.2.7\n192.0.2.8\n192.0.2.9\n"} {
			write(t, dir, text)
			time.Sleep(1900 * time.Millisecond)
			if r.told() {
				t.Errorf("what is not complete counts: %q", text)
			}
		}
		time.Sleep(noted)
		r.holds("192.0.2.7", "192.0.2.8", "192.0.2.9")

		for i := range 12 {
			write(t, dir, strings.Repeat("#", i)+"\n192.0.2.10\n")
			time.Sleep(time.Second)
		}
		r.holds("192.0.2.10")
	})
}

// A file that is looked at early, since another was added, is not looked at
// twice in a moment.
func TestFileAdded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir, other := t.TempDir(), write(t, t.TempDir(), "192.0.2.9\n")
		path := write(t, dir, "192.0.2.7\n")
		r := newRig(t, nil, path).start()
		time.Sleep(time.Minute + time.Second)
		write(t, dir, "")
		time.Sleep(time.Second) // it was seen, empty
		r.set(path, other)
		r.holds("192.0.2.7", "192.0.2.9")
		r.set(other)
		r.holds("192.0.2.9")
	})
}

func TestFileBounds(t *testing.T) {
	for _, test := range []struct {
		name, text, want string
		held             int
	}{
		{
			name: "entries", held: 100_000,
			text: many(100_002) + strings.Repeat("#", 10<<20), want: "FILE:100001: more than 100000 entries: this and what follows is ignored; the rest of the file counts",
		},
		{
			name: "bytes", held: 2,
			text: "192.0.2.7\n" + strings.Repeat("#", 10<<20-30) + "\n192.0.2.8\n192.0.2.9\n192.0.2.10\n",
			want: "FILE:4: more than 10 MiB: this and what follows is ignored; the rest of the file counts",
		},
		{
			name: "one line",
			text: strings.Repeat("1", 11<<20), want: "FILE:1: more than 10 MiB: this and what follows is ignored; the rest of the file counts",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				path := write(t, t.TempDir(), test.text)
				r := newRig(t, nil, path).start()
				r.findings("allow-file " + path + ": " + strings.ReplaceAll(test.want, "FILE", path))
				if n := len(allowlist.Prefixes(r.Snapshot())); n != test.held {
					t.Errorf("the list holds %d prefixes", n)
				}
			})
		})
	}
}

// many returns lines with that many addresses.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "10.%d.%d.%d\n", i>>16, i>>8&255, i&255)
	}
	return b.String()
}

// Names in files are resolved like any other, after those of the items.
func TestFileNames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		path := write(t, dir, "192.0.2.1\n"+trunk+"\nmissing.example.com\n")
		r := newRig(t, nil, path)
		r.zone.put(trunk, time.Minute, "192.0.2.7")
		r.start()
		r.holds("192.0.2.1", "192.0.2.7")
		r.findings("allow-unresolved missing.example.com: a host name of the allowlist cannot be resolved: lookup missing.example.com: no such host")
		if item := r.item(path); item.Err != "lookup missing.example.com: no such host" {
			t.Errorf("the item says %q", item.Err)
		}
		r.told()
		r.zone.put(trunk, time.Minute, "192.0.2.8")
		time.Sleep(time.Minute)
		if r.holds("192.0.2.1", "192.0.2.7", "192.0.2.8"); !r.told() {
			t.Error("the consumer is not told")
		}
		write(t, dir, "192.0.2.1\n")
		time.Sleep(noted)
		r.holds("192.0.2.1")
		r.findings()
	})
}
