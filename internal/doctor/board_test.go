package doctor_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"band/internal/doctor"
)

// rig is a Board whose clock the test sets.
type rig struct {
	*doctor.Board
	t      *testing.T
	now    time.Time
	log    bytes.Buffer
	events []string
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, now: time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC)}
	plain := slog.NewTextHandler(&r.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "remedy" {
			return slog.Attr{}
		}
		return a
	}})
	r.Board = doctor.NewBoard(slog.New(plain), func() time.Time { return r.now })
	r.Changed = func(f doctor.Finding, over bool) { r.events = append(r.events, fmt.Sprint(f.Text, " ", over)) }
	return r
}

// logged checks what was logged since the last time, and that those who watch
// were told as often.
func (r *rig) logged(want ...string) {
	r.t.Helper()
	got := strings.Split(strings.TrimSuffix(r.log.String(), "\n"), "\n")
	if r.log.Len() == 0 {
		got = nil
	}
	if d := cmp.Diff(want, got); d != "" {
		r.t.Errorf("the log (-want +got):\n%s", d)
	}
	if len(r.events) != len(got) {
		r.t.Errorf("%d lines are logged, and those who watch are told %q", len(got), r.events)
	}
	r.log.Reset()
	r.events = nil
}

func (r *rig) stand(want ...string) {
	r.t.Helper()
	got := []string{}
	for _, f := range r.Findings() {
		got = append(got, f.Text)
	}
	if d := cmp.Diff(append([]string{}, want...), got); d != "" {
		r.t.Errorf("the findings (-want +got):\n%s", d)
	}
}

func missing(text string) doctor.Finding {
	return doctor.Finding{Kind: doctor.SourceMissing, Severity: doctor.Warning, Source: "a.log", Text: text}
}

const (
	begins = `level=WARN msg=finding kind=source-missing source=a.log text=`
	ends   = `level=INFO msg="finding is over" kind=source-missing source=a.log`
)

func TestOnce(t *testing.T) {
	r := newRig(t)
	r.Raise(missing("one"))
	r.Raise(missing("two"))
	r.Raise(doctor.Finding{Kind: doctor.DryRun, Severity: doctor.Note, Jail: "sshd", Text: "dry"})
	r.stand("two", "dry")
	r.logged(begins+"one", "level=INFO msg=finding kind=dry-run jail=sshd text=dry")
	r.Clear(doctor.SourceMissing, "", "b.log")
	r.Clear(doctor.SourceMissing, "sshd", "a.log")
	r.Clear(doctor.SourceSilent, "", "a.log")
	r.stand("two", "dry")
	r.logged()
	r.Clear(doctor.SourceMissing, "", "a.log")
	r.Clear(doctor.SourceMissing, "", "a.log")
	r.stand("dry")
	r.logged(ends)
}

func TestSeverity(t *testing.T) {
	r := newRig(t)
	clock := doctor.Finding{Kind: doctor.ClockDisagrees, Severity: doctor.Warning, Source: "a.log", Text: "offset"}
	r.Raise(clock)
	r.Raise(missing("missing"))
	r.stand("offset", "missing")
	r.logged("level=WARN msg=finding kind=clock-disagrees source=a.log text=offset", begins+"missing")
	clock.Severity, clock.Text = doctor.Error, "skew"
	r.Raise(clock)
	r.Raise(doctor.Finding{Kind: doctor.AllowFile, Severity: doctor.Note, Text: "note"})
	r.stand("skew", "missing", "note")
	r.logged("level=ERROR msg=finding kind=clock-disagrees source=a.log text=skew", "level=INFO msg=finding kind=allow-file text=note")
	r.ClearSource("a.log")
	r.stand("note")
}

func TestClearAll(t *testing.T) {
	r := newRig(t)
	for _, jail := range []string{"a", "b", "c"} {
		r.Raise(doctor.Finding{Kind: doctor.DryRun, Severity: doctor.Warning, Jail: jail, Text: jail})
	}
	r.Raise(missing("a.log"))
	r.ClearAll(doctor.DryRun, func(f doctor.Finding) bool { return f.Jail == "b" })
	r.stand("b", "a.log")
	r.ClearAll(doctor.DryRun, nil)
	r.stand("a.log")
}

func TestExpire(t *testing.T) {
	r := newRig(t)
	past := missing("past")
	past.For = time.Hour
	r.Raise(past)
	r.now = r.now.Add(59 * time.Minute)
	r.Raise(past)
	r.now = r.now.Add(59 * time.Minute)
	r.Expire()
	r.stand("past")
	r.now = r.now.Add(time.Minute)
	r.Expire()
	r.stand()
	r.logged(begins+"past", ends)

	r.Past(doctor.SourceMissing, "", "a.log", time.Hour)
	r.stand()
	r.Raise(missing("present"))
	r.now = r.now.Add(100 * time.Hour)
	r.Expire()
	r.stand("present")
	r.Past(doctor.SourceMissing, "", "a.log", time.Hour)
	r.now = r.now.Add(time.Hour - 1)
	r.Expire()
	r.stand("present")
	r.now = r.now.Add(1)
	r.Expire()
	r.stand()
	r.logged(begins+"present", ends)
}

// A finding that comes and goes every second is what it is at any moment, but does
// not fill the log; and in the end the log is right.
func TestFlapping(t *testing.T) {
	r := newRig(t)
	lines := 0
	const hours = 4
	for range hours * 3600 / 2 {
		r.now = r.now.Add(time.Second)
		r.Raise(missing("x"))
		r.stand("x")
		r.now = r.now.Add(time.Second)
		r.Clear(doctor.SourceMissing, "", "a.log")
		r.stand()
		r.Expire()
		lines += strings.Count(r.log.String(), "\n")
		r.log.Reset()
		r.events = nil
	}
	if perHour := lines / hours; perHour < 2 || perHour > 10 {
		t.Errorf("%d lines an hour", perHour)
	}
	for _, on := range []bool{false, true} {
		r = newRig(t)
		for range 100 {
			r.Raise(missing("x"))
			r.Clear(doctor.SourceMissing, "", "a.log")
		}
		if on {
			r.Raise(missing("x"))
		}
		want := []string{}
		for range 4 {
			want = append(want, begins+"x", ends)
		}
		r.logged(append(want, begins+`x often="it comes and goes; that is not said again within the hour"`)...)
		r.now = r.now.Add(time.Hour)
		r.Expire()
		r.Expire()
		if on {
			r.logged()
			r.Clear(doctor.SourceMissing, "", "a.log")
		}
		r.logged(ends)
		r.Raise(missing("y"))
		r.logged(begins + "y")
	}
}
