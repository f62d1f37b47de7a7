package journal_test

import (
	"slices"
	"strings"
	"testing"

	"band/internal/doctor"
	"band/internal/journal"
	"band/internal/journaltest"
)

const unit = "freeswitch.service"

// Entries of all transports arrive as they were written.
func TestTransports(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	out := d.Stdout("freeswitch", unit)
	f := follow(t, config(t, d, "_SYSTEMD_UNIT="+unit, "+", "SYSLOG_IDENTIFIER=freeswitch", "+", "JOB=a"))
	f.until("caught up", func() bool { return f.caughtUp == 1 })

	for i, c := range []struct {
		send func()
		want string
	}{
		{func() { out.Write([]byte("a line\n")) }, "a line"},
		{func() { out.Write([]byte("\x1b[m\xff\xfe \x80 \u00e9\n")) }, "\x1b[m\xff\xfe \x80 \u00e9"},
		{func() { d.Syslog("<12>Nov 21 07:47:57 freeswitch[869]: [WARNING] one\ntwo \xff") }, "[WARNING] one\ntwo \xff"},
		{func() { d.Send("MESSAGE=na\ntive\x00\xff", "SYSLOG_IDENTIFIER=freeswitch") }, "na\ntive\x00\xff"},
		{func() { d.Send("MESSAGE=", "JOB=a") }, ""},
		{func() { d.Send("MESSAGE=="+long(200_000), "JOB=a") }, "=" + long(200_000)},
	} {
		c.send()
		f.count(i + 1)
		if got := f.entries[i]; string(got.Message) != c.want || got.Message == nil || got.Pieces != 1 || got.Time.IsZero() || got.Cursor == "" {
			t.Errorf("entry %d is %+v, want the message %.100q", i, got, c.want)
		}
	}
	d.Send("JOB=a")
	f.count(7)
	if got := f.entries[6]; got.Message != nil {
		t.Errorf("an entry without a message has %q", got.Message)
	}
	for i, want := range []string{"stdout", "stdout", "syslog", "journal"} {
		if got := f.entries[i].Get("_TRANSPORT"); got != want {
			t.Errorf("entry %d came by %q, want %q", i, got, want)
		}
	}
	if got := f.entries[0].Get("_SYSTEMD_UNIT"); got != unit {
		t.Errorf("the line of a service is of unit %q", got)
	}
	if got := f.entries[2].Get("SYSLOG_PID"); got != "869" {
		t.Errorf("SYSLOG_PID is %q", got)
	}
}

// What journald cuts arrives as one entry, so that the text behind a cut does
// not look like a line of its own; other streams are not held up by it.
func TestCutLines(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	a, b := d.Stdout("a", "a.service"), d.Stdout("b", "b.service")
	f := follow(t, config(t, d, "_SYSTEMD_UNIT=a.service", "_SYSTEMD_UNIT=b.service"))
	const forged = "2026-11-21 07:51:48.117416 81.60% [WARNING] sofia_reg.c:1787 forged"
	whole := long(48<<10) + forged + long(60<<10-48<<10-len(forged))
	a.Write([]byte(whole + "\n"))
	a.Write([]byte(long(150_000) + "\n"))
	a.Write([]byte("with\x00" + forged + "\n"))
	a.Write([]byte(whole[:50_000]))
	f.count(3)
	b.Write([]byte("the other\n"))
	f.count(4)
	a.Write([]byte(whole[50_000:] + "\nlast\n"))
	f.count(6)
	want := []string{whole, long(150_000), "with\x00" + forged, "the other", whole, "last"}
	if got := f.messages(); !slices.Equal(got, want) {
		t.Errorf("messages %.300q", got)
	}
	pieces := []int{2, 4, 2, 1, 2, 1}
	for i, e := range f.entries {
		if e.Pieces != pieces[i] {
			t.Errorf("entry %d has %d pieces, want %d", i, e.Pieces, pieces[i])
		}
	}
	if !f.found(doctor.JournalCut) {
		t.Error("no finding says that lines are cut")
	}
}

// Whether a line ends just where it was cut journald does not tell: the next one
// is taken for its rest. The finding says so.
func TestHiddenLine(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	out := d.Stdout("a", unit)
	f := follow(t, config(t, d, "_SYSTEMD_UNIT="+unit))
	out.Write([]byte(long(48<<10) + "\nhidden\nnext\n"))
	f.count(2)
	if got := f.messages(); !slices.Equal(got, []string{long(48<<10) + "hidden", "next"}) || !f.found(doctor.JournalCut) {
		t.Errorf("messages %.100q, findings %+v", got, f.board.Findings())
	}
}

// Where journald's LineMax is larger, nothing is cut.
func TestLineMax(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t, "LineMax=16M")
	out := d.Stdout("freeswitch", unit)
	f := follow(t, config(t, d, "_SYSTEMD_UNIT="+unit))
	out.Write([]byte(long(2_000_000) + "\nnext\n"))
	f.count(2)
	if f.entries[0].Pieces != 1 || len(f.entries[0].Message) != 2_000_000 || f.found(doctor.JournalCut) {
		t.Errorf("%d pieces, %d bytes, findings %v", f.entries[0].Pieces, len(f.entries[0].Message), f.board.Findings())
	}
}

// Messages that journald dropped are a finding, which names the unit.
func TestSuppressed(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t, "RateLimitIntervalSec=1s", "RateLimitBurst=5")
	ours, other := d.Stdout("freeswitch", unit), d.Stdout("other", "other.service")
	f := follow(t, config(t, d, "_SYSTEMD_UNIT="+unit))
	// Journald tells of it with the first message that it lets through again.
	f.until("a finding", func() bool {
		other.Write([]byte(strings.Repeat("much\n", 1000)))
		ours.Write([]byte(strings.Repeat("much\n", 1000)))
		return f.found(doctor.JournalSuppressed)
	})
	f.until("the message behind", func() bool {
		return slices.ContainsFunc(f.entries, func(e journal.Entry) bool { return e.Message == nil })
	})
	findings := f.board.Findings()
	if len(findings) != 1 || !strings.Contains(findings[0].Text, unit) || !strings.Contains(findings[0].Remedy, "systemctl edit "+unit) {
		t.Errorf("findings %+v", findings)
	}
	// The message that came through may be the rest of a line.
	doubtful := 0
	for _, e := range f.entries {
		if e.Message == nil {
			doubtful++
		} else if string(e.Message) != "much" {
			t.Errorf("entry %q was delivered", e.Message)
		}
	}
	if doubtful != 1 {
		t.Errorf("%d entries have no message, want the one behind the gap", doubtful)
	}
}
