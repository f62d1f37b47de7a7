package journal_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"band/internal/doctor"
	"band/internal/journal"
	"band/internal/journaltest"
)

// number sends messages from n<from> up to n<to>, that one not included.
func number(d *journaltest.Journald, from, to int) {
	for i := from; i < to; i++ {
		d.Send(fmt.Sprintf("MESSAGE=n%d %s", i, long(100)), "SYSLOG_IDENTIFIER=numbers")
	}
}

const numbers = "SYSLOG_IDENTIFIER=numbers"

// A Journal that begins where another one ended, behind any batch, loses nothing
// and repeats nothing.
func TestResume(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	number(d, 0, 500)
	c := config(t, d, numbers)
	var all []journal.Entry
	for sent := 500; len(all) < 1000; {
		f := start(t, c)
		if len(all) >= 400 && sent == 500 {
			sent = 1000
			number(d, 500, sent)
		}
		f.count(min(sent-len(all), 100))
		f.stop()
		all = append(all, f.entries...)
		text, err := json.Marshal(f.position)
		if err != nil {
			t.Fatal(err)
		}
		c.From = journal.Position{}
		if err := json.Unmarshal(text, &c.From); err != nil {
			t.Fatal(err)
		}
		if findings := f.board.Findings(); len(findings) > 0 {
			t.Errorf("findings %+v", findings)
		}
	}
	f := &following{t: t, entries: all}
	if missing := f.numbered(1000); len(missing) > 0 {
		t.Errorf("%d messages were lost: %v", len(missing), missing)
	}
}

// The same where the last batch ended within lines: each arrives whole, once.
func TestResumeWithinLines(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	a, b, c := d.Stdout("a", unit), d.Stdout("b", unit), d.Stdout("c", unit)
	cfg := config(t, d, "_SYSTEMD_UNIT="+unit)
	f := start(t, cfg)
	a.Write([]byte("A" + long(50_000)))
	b.Write([]byte("one\n"))
	f.count(1)
	c.Write([]byte("C" + long(100_000)))
	b.Write([]byte("two\n"))
	f.count(2)
	f.until("the position to move", func() bool { return f.position.Begun != "" })
	f.stop()

	cfg.From = f.position
	a.Write([]byte("A\n"))
	b.Write([]byte("three\n"))
	f = start(t, cfg)
	f.count(2)
	f.stop()
	if got := f.messages(); !slices.Equal(got, []string{"A" + long(50_000) + "A", "three"}) {
		t.Errorf("messages %.200q", got)
	}
	if f.position.Begun == "" {
		t.Error("the line that goes on is not in the position")
	}

	cfg.From = f.position
	f = follow(t, cfg)
	f.until("caught up", func() bool { return f.caughtUp == 1 })
	c.Write([]byte("C\n"))
	f.count(1)
	b.Write([]byte("four\n"))
	f.count(2)
	if got := f.messages(); !slices.Equal(got, []string{"C" + long(100_000) + "C", "four"}) {
		t.Errorf("messages %.200q", got)
	}
	f.until("the position without a beginning", func() bool { return f.position.Begun == "" })
	if findings := f.board.Findings(); len(findings) != 1 || findings[0].Kind != doctor.JournalCut {
		t.Errorf("findings %+v", findings)
	}
}

// The first start begins with what is not older than Since, and knows of a line
// that was cut just before.
func TestSince(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	out := d.Stdout("a", unit)
	c := config(t, d, "_SYSTEMD_UNIT="+unit, "+", numbers)
	out.Write([]byte("old\n" + long(50_000)))
	f := start(t, c)
	f.count(1)
	f.until("the beginning of the line", func() bool { return f.position.Begun != "" })
	f.stop()
	c.Since = time.Now()
	number(d, 0, 1)
	out.Write([]byte("rest\n"))
	f = follow(t, c)
	f.count(2)
	if got := f.messages(); got[0] != "n0 "+long(100) || got[1] != long(50_000)+"rest" {
		t.Errorf("messages %.100q", got)
	}
}

// A position that the journal no longer has, or never had, is a finding, and the
// journal is read from the time of it.
func TestPositionIsGone(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	number(d, 0, 5)
	c := config(t, d, numbers)
	f := start(t, c)
	f.count(5)
	f.stop()
	end := f.position

	garbage := journal.Position{Cursor: "s=;i=zz;t=" + journal.Cursor(fmt.Sprintf("%x", f.entries[2].Time.UnixMicro()))}
	for name, test := range map[string]struct {
		from journal.Position
		want []string
	}{
		"refused":            {garbage, []string{"n2", "n3", "n4"}},
		"refused, no time":   {journal.Position{Cursor: "nonsense"}, []string{"n1", "n2", "n3", "n4"}},
		"of a time to come":  {journal.Position{Cursor: "s=00000000000000000000000000000001;i=1;b=00000000000000000000000000000001;m=1;t=7fffffffffffff;x=1"}, []string{"n1", "n2", "n3", "n4"}},
		"of another journal": {journal.Position{Cursor: swapped(f.entries[2].Cursor)}, []string{"n2", "n3", "n4"}},
	} {
		c.From, c.Since = test.from, f.entries[1].Time
		g := start(t, c)
		g.count(len(test.want))
		g.until("caught up", func() bool { return g.caughtUp == 1 })
		g.stop()
		for i, want := range test.want {
			if got := g.messages()[i]; !strings.HasPrefix(got, want+" ") {
				t.Errorf("%s: message %d is %.10q, want %s", name, i, got, want)
			}
		}
		if !g.found(doctor.JournalGap) {
			t.Errorf("%s: findings %+v", name, g.board.Findings())
		}
	}

	// What follows the position is there, only the entry itself is not.
	number(d, 5, 10)
	d.Rotate()
	number(d, 10, 20)
	d.Vacuum()
	c.From, c.Since = end, time.Time{}
	g := follow(t, c)
	g.count(10)
	if got := g.messages(); !strings.HasPrefix(got[0], "n10 ") || !strings.HasPrefix(got[9], "n19 ") {
		t.Errorf("messages %.10q", got)
	}
	if !g.found(doctor.JournalGap) {
		t.Error("no finding says that entries are lost")
	}
}

// swapped returns a cursor of the same time in a journal of another journald.
func swapped(c journal.Cursor) journal.Cursor {
	fields := strings.Split(string(c), ";")
	for i, f := range fields {
		switch f[:2] {
		case "s=", "b=":
			fields[i] = f[:2] + strings.Repeat("0", 31) + "1"
		}
	}
	return journal.Cursor(strings.Join(fields, ";"))
}

// While nothing comes that is wanted, the position goes with what is not: else
// journald would have deleted it one day.
func TestPositionMovesOn(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	number(d, 0, 1)
	c := config(t, d, numbers)
	f := start(t, c)
	f.count(1)
	before := f.position
	d.Send("MESSAGE=other")
	d.Rotate()
	d.Send("MESSAGE=other")
	f.until("the position to move on", func() bool { return f.position != before && f.position.Cursor.After(before.Cursor) })
	moved := f.position
	d.Send("MESSAGE=other")
	f.until("the position to move on", func() bool { return f.position != moved })
	f.stop()
	d.Vacuum()
	number(d, 1, 3)
	c.From = f.position
	g := follow(t, c)
	g.count(2)
	if got := g.messages(); !strings.HasPrefix(got[0], "n1 ") {
		t.Errorf("messages %.10q", got)
	}
	if findings := g.board.Findings(); len(findings) > 0 {
		t.Errorf("findings %+v", findings)
	}
}
