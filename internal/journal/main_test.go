package journal_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"band/internal/doctor"
	"band/internal/journal"
	"band/internal/journaltest"
)

// TestMain runs the tests. As "journal-reader" it is the child that band is when
// it was built with the tag sdjournal, and as "follow" a band that is killed.
func TestMain(m *testing.M) {
	var mode string
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "journal-reader":
		if err := journal.ReadTo(context.Background(), os.Stdout, os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "follow":
		quiet := slog.New(slog.DiscardHandler)
		j := journal.New(journal.Config{Command: os.Args[2:], Board: doctor.NewBoard(quiet, time.Now)})
		_ = j.Run(context.Background(), make(chan journal.Batch))
	default:
		goleak.VerifyTestMain(m)
	}
}

const patience = 30 * time.Second

// following is a Journal that runs, and what came of it.
type following struct {
	t       testing.TB
	board   *doctor.Board
	journal *journal.Journal
	batches chan journal.Batch
	cancel  context.CancelFunc
	ended   chan error

	entries  []journal.Entry
	position journal.Position
	caughtUp int
}

func parse(t testing.TB, terms ...string) journal.Match {
	t.Helper()
	m, err := journal.ParseMatch(terms)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// config returns a configuration that reads d's journal.
func config(t testing.TB, d *journaltest.Journald, terms ...string) journal.Config {
	quiet := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		quiet = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	c := journal.Config{
		Matches: []journal.Match{parse(t, terms...)},
		Command: d.Enter("journalctl"),
		Log:     quiet, Board: doctor.NewBoard(quiet, time.Now),
	}
	if journal.ReaderName() != "journalctl" {
		c.Command = d.Enter(os.Args[0], "journal-reader")
	}
	return c
}

// follow runs a Journal until the test ends.
func follow(t testing.TB, c journal.Config) *following {
	t.Helper()
	f := start(t, c)
	t.Cleanup(f.stop)
	return f
}

func start(t testing.TB, c journal.Config) *following {
	f := &following{
		t: t, board: c.Board, journal: journal.New(c), position: c.From,
		batches: make(chan journal.Batch), ended: make(chan error, 1),
	}
	f.journal.Hurry()
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	go func() { f.ended <- f.journal.Run(ctx, f.batches) }()
	return f
}

// stop ends the Journal, and takes nothing more from it.
func (f *following) stop() {
	f.t.Helper()
	f.cancel()
	select {
	case err := <-f.ended:
		f.ended <- err
		if err != nil {
			f.t.Error(err)
		}
	case <-time.After(patience):
		f.t.Fatal("Run does not return")
	}
}

// until takes batches until done is true.
func (f *following) until(what string, done func() bool) {
	f.t.Helper()
	deadline := time.After(patience)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !done() {
		select {
		case b := <-f.batches:
			f.take(b)
		case <-poll.C:
		case <-deadline:
			f.t.Fatalf("%s: not within %v; %d entries, findings %+v", what, patience, len(f.entries), f.board.Findings())
		}
	}
}

func (f *following) take(b journal.Batch) {
	f.entries = append(f.entries, b.Entries...)
	if !b.Resume.IsZero() {
		f.position = b.Resume
	}
	if b.CaughtUp {
		f.caughtUp++
	}
}

// count takes batches until there are n entries.
func (f *following) count(n int) {
	f.t.Helper()
	f.until(fmt.Sprintf("%d entries", n), func() bool { return len(f.entries) >= n })
}

// messages returns what was read.
func (f *following) messages() []string {
	var all []string
	for _, e := range f.entries {
		all = append(all, string(e.Message))
	}
	return all
}

// found reports whether there is a finding of that kind.
func (f *following) found(kind doctor.Kind) bool {
	return slices.ContainsFunc(f.board.Findings(), func(x doctor.Finding) bool { return x.Kind == kind })
}

// numberOf returns the number of a message such as "n17 xxx".
func numberOf(t testing.TB, e journal.Entry) (i int) {
	t.Helper()
	if _, err := fmt.Sscanf(string(e.Message), "n%d", &i); err != nil {
		t.Fatalf("message %q: %v", e.Message, err)
	}
	return i
}

// numbered returns those of n numbered messages that were not read, and reports
// what was read twice or out of order.
func (f *following) numbered(n int) (missing []int) {
	f.t.Helper()
	next := 0
	for _, e := range f.entries {
		i := numberOf(f.t, e)
		if i < next {
			f.t.Errorf("message %d came behind %d", i, next-1)
		}
		for ; next < i; next++ {
			missing = append(missing, next)
		}
		next = i + 1
	}
	for ; next < n; next++ {
		missing = append(missing, next)
	}
	return missing
}

func long(n int) string { return strings.Repeat("x", n) }
