package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"band/internal/config"
	"band/internal/doctor"
	"band/internal/pipeline"
	"band/internal/source"
	"band/jails"
	"band/matcher"
	"band/store"
)

// openReader is a source that is open and says nothing.
type openReader struct{ unread time.Duration }

func (openReader) Run(ctx context.Context, _ chan<- source.Batch) error { <-ctx.Done(); return nil }
func (openReader) Ready() <-chan struct{}                               { return nil }
func (openReader) State() source.State                                  { return source.Open }
func (r openReader) Backlog() source.Backlog                            { return source.Backlog{Age: r.unread} }

// A jail of two logs, on a day of which the test sets the time.
func quietDay(t *testing.T) (d *Daemon, logs []*following, now *time.Time) {
	t.Helper()
	off := &fstest.MapFile{Data: []byte("enabled = false\n")}
	c := config.LoadFS(fstest.MapFS{"jails.d/freeswitch.toml": off, "jails.d/freeswitch-acl.toml": off, "jails.d/sshd.toml": off, "jails.d/door.toml": {Data: []byte(`
format = "syslog"
[[source]]
file = "/var/log/a.log"
[[source]]
file = "/var/log/b.log"
[[pattern]]
name  = "failed"
regex = '^door: failed from <HOST>$'
`)}}, "")
	p, err := pipeline.New(c)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC)
	now = &start
	clock := func() time.Time { return *now }
	quiet := slog.New(slog.DiscardHandler)
	d = &Daemon{Config: Config{Now: clock}, started: start, pipeline: p, board: doctor.NewBoard(quiet, clock)}
	format, err := matcher.FormatNamed("syslog", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/var/log/a.log", "/var/log/b.log"} {
		s, err := d.newSource(sourceKey{path: path, format: "syslog"}, source.ViaFile, format)
		if err != nil {
			t.Fatal(err)
		}
		s.input, s.caughtUp, s.Live = &input{reader: openReader{}}, true, true
		s.Watch(p.Jails["door"], false)
		d.sources = append(d.sources, s)
	}
	return d, d.sources, now
}

// say lets lines be written to a log now.
func (d *Daemon) say(t *testing.T, log *following, n int, text string) {
	t.Helper()
	d.pipeline.Take(log.Source, framed(t, n, text), nil, d.Now())
}

// framed returns the records that n lines are.
func framed(t *testing.T, n int, text string) []matcher.Record {
	t.Helper()
	format, err := matcher.FormatNamed("syslog", "")
	if err != nil {
		t.Fatal(err)
	}
	framer := matcher.NewFramer(format)
	framer.Push([]byte(strings.Repeat(text+"\n", n)))
	return framer.Drain(nil)
}

func (d *Daemon) kinds() string {
	d.watch()
	var kinds []string
	for _, f := range d.board.Findings() {
		kinds = append(kinds, strings.TrimSpace(fmt.Sprintf("%s %s%s", f.Kind, f.Jail, f.Source)))
	}
	slices.Sort(kinds)
	return strings.Join(kinds, ", ")
}

func record(at time.Time, text string) string { return at.Format(time.RFC3339) + " host " + text }

func TestSilence(t *testing.T) {
	d, logs, now := quietDay(t)
	expect := func(when, want string) {
		t.Helper()
		if got := d.kinds(); got != want {
			t.Errorf("%s: findings %q, want %q", when, got, want)
		}
	}
	expect("at the start", "")
	d.say(t, logs[0], 500, record(*now, "door: opened"))
	d.say(t, logs[1], 1, record(*now, "door: opened"))
	*now = now.Add(25 * time.Hour)
	expect("when nobody speaks", "")

	d.say(t, logs[0], 600, record(*now, "door: opened"))
	expect("when a neighbour speaks, and no record is a failure", "jail-unmatched door, source-silent /var/log/b.log (syslog)")
	d.say(t, logs[1], 1, record(*now, "door: failed from 198.51.100.7"))
	expect("after a failure in the silent one", "")
}

func TestNotUnderstood(t *testing.T) {
	d, logs, now := quietDay(t)
	d.say(t, logs[0], 99, "who knows what this is")
	if got := d.kinds(); got != "" {
		t.Errorf("after a few lines: %s", got)
	}
	d.say(t, logs[0], 1, "who knows what this is")
	if got := d.kinds(); got != "source-not-understood /var/log/a.log (syslog)" {
		t.Errorf("after a hundred: %s", got)
	}
	d.say(t, logs[0], 1, record(*now, "door: opened"))
	if got := d.kinds(); got != "" {
		t.Errorf("after one that is understood: %s", got)
	}
	d.say(t, logs[0], 100, "another format from now on")
	if got := d.kinds(); got != "source-not-understood /var/log/a.log (syslog)" {
		t.Errorf("after a hundred more: %s", got)
	}
}

// A jail that has never matched is no more than a note where another finds failures
// in the same log.
func TestUnmatchedBeside(t *testing.T) {
	d, logs, now := quietDay(t)
	window, err := pipeline.NewJail(jails.Jail{Name: "window", Format: "syslog", Sources: []jails.Source{{File: "/var/log/a.log"}}, Patterns: []jails.Pattern{
		{Name: "broken", Kind: "failure", Regex: `^window: broken from <HOST>$`, Enabled: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	d.pipeline.Jails["window"] = window
	logs[0].Watch(window, false)
	d.say(t, logs[0], 1000, record(*now, "door: opened"))
	*now = now.Add(25 * time.Hour)
	severities := func() string {
		all := d.kinds()
		for _, f := range d.board.Findings() {
			all += fmt.Sprintf(" %s=%s", f.Jail, f.Severity)
		}
		return all
	}
	if got, want := severities(), "jail-unmatched door, jail-unmatched window door=warning window=warning"; got != want {
		t.Errorf("without a failure: %q, want %q", got, want)
	}
	d.say(t, logs[0], 1, record(*now, "door: failed from 198.51.100.7"))
	if got, want := severities(), "jail-unmatched window, source-silent /var/log/b.log (syslog) =warning window=note"; got != want {
		t.Errorf("with a failure of the other: %q, want %q", got, want)
	}
}

// A source that is read late is found, and is not taken for one with another clock.
func TestLagging(t *testing.T) {
	d, logs, now := quietDay(t)
	const lagging, disagrees = "source-lagging /var/log/a.log (syslog)", "clock-disagrees /var/log/a.log (syslog)"
	expect := func(when, want string) {
		t.Helper()
		if got := d.kinds(); got != want {
			t.Errorf("%s: findings %q, want %q", when, got, want)
		}
	}
	say := func(text string) {
		t.Helper()
		d.take(source.Batch{Source: logs[0].Name, Records: framed(t, 1, text)})
	}
	unread := func(age time.Duration) { logs[0].input = &input{reader: openReader{unread: age}} }
	say(record(*now, "door: opened"))
	unread(time.Minute)
	expect("a minute behind", "")
	unread(10 * time.Minute)
	say(record(now.Add(-10*time.Minute), "door: opened"))
	expect("ten minutes behind", lagging)
	for range 5 { // which is no other zone
		*now = now.Add(time.Second)
		say(record(now.Add(-15*time.Minute), "door: opened"))
	}
	unread(0)
	say(record(now.Add(-15*time.Minute), "door: opened"))
	expect("with the last of it", "")
	if logs[0].Offset != 0 {
		t.Errorf("what was read late is taken for that of another zone, %v away", logs[0].Offset)
	}
	say(record(now.Add(-10*time.Minute), "door: opened"))
	expect("not behind, and ten minutes late", disagrees)
	say(record(now.Add(10*time.Minute), "door: opened"))
	expect("ten minutes early", disagrees)
	if f := d.board.Findings()[0]; !strings.Contains(f.Text, "10m0s from now") {
		t.Errorf("it says: %s", f.Text)
	}
	say(record(*now, "door: opened"))
	expect("in time", "")

	logs[0].input = &input{reader: closedReader{}}
	expect("while it is being opened", "")
	*now = now.Add(3 * time.Minute)
	expect("when it still is", lagging)
}

// closedReader is a source that is being opened all the time.
type closedReader struct{ openReader }

func (closedReader) State() source.State { return source.Opening }

// That units are forgotten is found, and is past when it does not go on.
func TestEvicted(t *testing.T) {
	d, _, now := quietDay(t)
	expect := func(when, want string) {
		t.Helper()
		if got := d.kinds(); got != want {
			t.Errorf("%s: findings %q, want %q", when, got, want)
		}
	}
	expect("when all have room", "")
	d.evicted-- // as if one more were forgotten now than when it was looked the last time
	expect("when one had not", "units-evicted")
	*now = now.Add(59 * time.Minute)
	d.board.Expire()
	expect("within the hour", "units-evicted")
	*now = now.Add(time.Minute)
	d.board.Expire()
	expect("after it", "")
}

// A disk that hangs is found as long as it does, and for an hour after.
func TestSlowDisk(t *testing.T) {
	d, _, now := quietDay(t)
	expect := func(when, want string) {
		t.Helper()
		d.board.Expire()
		if got := d.kinds(); got != want {
			t.Errorf("%s: findings %q, want %q", when, got, want)
		}
	}
	d.storeHealth(store.Health{Slow: time.Second})
	expect("at once", "state-slow")
	*now = now.Add(5 * time.Hour)
	expect("when it still hangs", "state-slow")
	d.storeHealth(store.Health{Slow: 5 * time.Hour})
	d.storeHealth(store.Health{})
	*now = now.Add(59 * time.Minute)
	expect("within the hour", "state-slow")
	*now = now.Add(time.Minute)
	expect("after it", "")
	d.storeHealth(store.Health{Slow: time.Second})
	d.storeHealth(store.Health{Err: errors.New("gone")})
	expect("when it fails", "state-failing, state-slow")
	d.storeHealth(store.Health{})
	expect("when it is well again", "state-slow")
}

// What the kernel says is told in words.
func TestRefusing(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("open netlink socket: %w", os.NewSyscallError("socket", unix.EPROTONOSUPPORT)), "the kernel lacks netlink for netfilter (CONFIG_NETFILTER_NETLINK): open netlink socket: socket: protocol not supported"},
		{fmt.Errorf("read ruleset generation: %w", unix.EINVAL), "the kernel lacks nf_tables (CONFIG_NF_TABLES)"},
		{fmt.Errorf("list table inet band: %w", unix.EAFNOSUPPORT), "the kernel lacks the family inet of nf_tables"},
		{fmt.Errorf("write table inet band: %w", unix.EOPNOTSUPP), "the kernel lacks sets of nf_tables"},
		{fmt.Errorf("write table inet band: %w", unix.ENOENT), "the kernel lacks an expression of nf_tables"},
		{fmt.Errorf("write table inet band: %w", unix.EPERM), "band may not change nftables"},
		{fmt.Errorf("write table inet band: %w", unix.ENOBUFS), "bans do not reach the kernel: write table inet band: no buffer space"},
	} {
		if f := refusing(tt.err); !strings.Contains(f.Text, tt.want) || !strings.Contains(f.Text, tt.err.Error()) || f.Remedy == "" {
			t.Errorf("%v: it says %q, and not %q", tt.err, f.Text, tt.want)
		}
	}
}
