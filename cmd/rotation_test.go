package cmd_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"band/internal/control"
)

// rotating writes failures to a log at 10,000 a second while that is rotated.
type rotating struct {
	t    *testing.T
	log  string
	file *os.File
	n    int // failures written
	gone int // more of them, which nobody can be sure to read

	records func() int // how many the daemon has taken
}

func (r *rotating) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rotating) reopen() {
	r.t.Helper()
	var err error
	if r.file != nil {
		r.must(r.file.Close())
	}
	r.file, err = os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	r.must(err)
}

func (r *rotating) write(source netip.Addr) {
	_, err := r.file.WriteString(failure(time.Now(), source))
	r.must(err)
}

// failures writes the next ones, each of a source of its own for a round of all
// sources: of 50,000 one half of the sources has five, and the other has four.
func (r *rotating) failures(n int, began time.Time) {
	const sources = 11_112
	for range n {
		i := r.n % sources
		if round := r.n / sources; round == 4 {
			i *= 2
		}
		r.write(netip.AddrFrom4([4]byte{11, 0, byte(i >> 8), byte(i)}))
		if r.n++; r.n%10 == 0 {
			time.Sleep(time.Until(began.Add(time.Duration(r.n) * time.Second / 10_000)))
		}
	}
}

// Through 49 rotations at 10,000 failures a second the daemon counts each failure
// once: who failed five times is banned, and who failed four times is not.
func TestRotation(t *testing.T) {
	t.Parallel()
	for _, style := range []struct {
		name      string
		symlink   bool
		rotations int // in the short form
		rotate    func(r *rotating, n int)
	}{
		{"rename, old descriptor until HUP", false, 49, func(r *rotating, n int) {
			r.must(os.Rename(r.log, fmt.Sprint(r.log, ".", n)))
			created, err := os.Create(r.log)
			r.must(err)
			r.must(created.Close())
			r.failures(200, time.Time{})
			r.reopen()
		}},
		{"numbers that shift", false, 9, func(r *rotating, n int) {
			for i := n; i > 0; i-- {
				_ = os.Rename(fmt.Sprint(r.log, ".", i), fmt.Sprint(r.log, ".", i+1))
			}
			r.must(os.Rename(r.log, r.log+".1"))
			r.reopen()
		}},
		{"symlink swap", true, 9, func(r *rotating, n int) {
			r.link(n)
			r.reopen()
		}},
		{"copytruncate", false, 9, func(r *rotating, n int) {
			// Not before the daemon, which a busy machine may keep waiting, reads this generation.
			until(r.t, func() bool { return r.records() > r.n-500 }, func() string { return "the log is not read" })
			text, err := os.ReadFile(r.log)
			r.must(err)
			r.must(os.WriteFile(fmt.Sprint(r.log, ".", n), text, 0o644))
			for i := range 20 { // each of a source of its own
				r.write(netip.AddrFrom4([4]byte{12, byte(n), 0, byte(i)}))
				r.gone++
			}
			r.must(os.Truncate(r.log, 0))
		}},
	} {
		t.Run(style.name, func(t *testing.T) {
			const each = 1000
			rotations := style.rotations
			if long() {
				rotations = 49
			}
			h := newHost(t)
			r := &rotating{t: t, log: h.log()}
			if style.symlink {
				r.link(0)
			}
			r.reopen()
			h.start()
			h.follows()
			r.records = func() int { return int(h.status().Sources[0].Records) }
			began := time.Now()
			for n := 1; n <= rotations; n++ {
				r.failures(n*each-r.n, began)
				style.rotate(r, n)
			}
			r.failures((rotations+1)*each-r.n, began)
			r.must(r.file.Close())

			within(t, 3*deadline, func() bool { return r.records() >= r.n }, func() string {
				return fmt.Sprintf("%d of %d records were taken:\n%s", r.records(), r.n, h.banctl("status"))
			})
			h.quiet(r.records)
			s := h.status()
			failures := int(s.Jails[slices.IndexFunc(s.Jails, func(j control.JailStatus) bool { return j.Name == "freeswitch" })].Failures)
			more := r.records() - r.n
			t.Logf("%d failures, %d rotations: %d records and %d failures counted, with %d of %d written between copy and truncation",
				r.n, rotations, r.records(), failures, more, r.gone)
			if more < 0 || more > r.gone || failures != r.records() {
				t.Errorf("%d records and %d failures, want %d and up to %d more", r.records(), failures, r.n, r.gone)
			}
			want := []string{}
			for i := range max(0, r.n-4*11_112) {
				want = append(want, fmt.Sprintf("11.0.%d.%d", 2*i>>8, 2*i&255))
			}
			slices.Sort(want)
			bans, _ := h.list()
			got := []string{}
			for _, b := range bans {
				got = append(got, b.Unit)
				if b.Failures != 5 {
					t.Errorf("%s is banned for %d failures", b.Unit, b.Failures)
				}
			}
			if slices.Sort(got); !slices.Equal(want, got) {
				t.Errorf("bans (-want +got):\n%.2000s", cmp.Diff(want, got))
			}
		})
	}
}

func (r *rotating) link(n int) {
	target := fmt.Sprintf("%s-target-202611%04d", r.log, n)
	r.must(os.WriteFile(target, nil, 0o644))
	r.must(os.Symlink(target, r.log+".new"))
	r.must(os.Rename(r.log+".new", r.log))
}

// quiet waits until a count has not moved for longer than a file is read that was
// rotated away.
func (h *host) quiet(count func() int) {
	h.t.Helper()
	last, since := count(), time.Now()
	within(h.t, 3*deadline, func() bool {
		if now := count(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 2*time.Second
	}, func() string { return "it never comes to rest" })
}

// The log is rotated while the daemon is down, twice in most cases: it finds the
// file that it was reading, finishes that first, and goes on to the newer ones.
func TestRotatedWhileDown(t *testing.T) {
	for name, names := range map[string][]string{ // of the file that was read, and the one after it
		"numbers":                      {".2", ".1"},
		"numbers, compressed":          {".2.gz", ".1.gz"},
		"numbers, compressed later":    {".2.gz", ".1"},
		"dates":                        {"-20261120", "-20261121"},
		"dates, compressed":            {"-20261120.gz", "-20261121.gz"},
		"dates of FreeSWITCH":          {".2026-11-20-10-00-00.1", ".2026-11-21-10-00-00.1"},
		"once":                         {".1"},
		"once, by copying":             {".1 copied"},
		"by a name that nothing knows": {"~kept"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			var want []string
			generation := func(from, to int) (text string) {
				for i := from; i < to; i++ {
					user := fmt.Sprintf("user%02d", i)
					want = append(want, user)
					text += strings.Replace(failure(time.Now(), netip.MustParseAddr("198.51.100.70")), "1000@pbx", user+"@pbx", 1)
				}
				return text
			}
			put := func(path, text string) {
				t.Helper()
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			h.jails = map[string]string{"freeswitch": fmt.Sprintf("maxretry = 99\n[[source]]\nfile = %q\n", h.log())}
			text := generation(0, 4)
			put(h.log(), text)
			daemon := h.start()
			// The state tells the failures in the order in which they were read.
			counted := func() (users []string) {
				state, err := os.ReadFile(h.dir + "/lib/state.log")
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				for _, match := range regexp.MustCompile(`"user":"(user\d\d)`).FindAllSubmatch(state, -1) {
					users = append(users, string(match[1]))
				}
				return users
			}
			until(t, func() bool { return len(counted()) == 4 }, func() string { return "the first failures are not counted" })
			daemon.Process.Kill()
			daemon.Wait()

			put(h.log(), text+generation(4, 8))
			for i, suffix := range names {
				if i > 0 {
					put(h.log(), generation(8, 12))
				}
				suffix, copied := strings.CutSuffix(suffix, " copied")
				rotated := h.log() + strings.TrimSuffix(suffix, ".gz")
				if err := os.Rename(h.log(), rotated); err != nil {
					t.Fatal(err)
				}
				text, err := os.ReadFile(rotated)
				if err != nil {
					t.Fatal(err)
				}
				if copied {
					put(h.log(), "") // which has another inode than the copy
					if err := os.Rename(rotated, h.log()); err != nil {
						t.Fatal(err)
					}
					put(rotated, string(text))
				}
				if strings.HasSuffix(suffix, ".gz") {
					gzipped(t, rotated, text)
				}
			}
			put(h.log(), generation(12, 16))
			h.start()
			until(t, func() bool { return len(counted()) >= len(want) }, func() string {
				return fmt.Sprintf("counted: %v, want %v", counted(), want)
			})
			h.quiet(func() int { return len(counted()) })
			if diff := cmp.Diff(want, counted()); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
		})
	}
}

// gzipped compresses a file as gzip does: the times stay.
func gzipped(t *testing.T, path string, text []byte) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path + ".gz")
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	for _, step := range []func() error{
		func() error { _, err := z.Write(text); return err }, z.Close, f.Close,
		func() error { return os.Chtimes(path+".gz", info.ModTime(), info.ModTime()) },
		func() error { return os.Remove(path) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}
