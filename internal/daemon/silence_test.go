package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"band/internal/config"
	"band/internal/doctor"
	"band/internal/pipeline"
	"band/internal/source"
	"band/matcher"
)

// openReader is a source that is open and says nothing.
type openReader struct{}

func (openReader) Run(ctx context.Context, _ chan<- source.Batch) error { <-ctx.Done(); return nil }
func (openReader) Ready() <-chan struct{}                               { return nil }
func (openReader) State() source.State                                  { return source.Open }

// A jail of two logs, on a day of which the test sets the time.
func quietDay(t *testing.T) (d *Daemon, logs []*following, now *time.Time) {
	t.Helper()
	c := config.LoadFS(fstest.MapFS{"jails.d/door.toml": {Data: []byte(`
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
	format, err := matcher.FormatNamed("syslog", "")
	if err != nil {
		t.Fatal(err)
	}
	framer := matcher.NewFramer(format)
	framer.Push([]byte(strings.Repeat(text+"\n", n)))
	d.pipeline.Take(log.Source, framer.Drain(nil), nil, d.Now())
}

func (d *Daemon) kinds() string {
	d.watchMatches(d.pipeline.Jails["door"])
	for _, s := range d.sources {
		d.watchSilence(s)
	}
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
}
