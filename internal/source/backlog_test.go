package source_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"band/internal/doctor"
	"band/internal/journal"
	"band/internal/journaltest"
	"band/internal/source"
	"band/matcher"
)

// What nobody takes is the backlog: it grows with the log, also when that is
// rotated, ages, and is none as soon as all of it was taken.
func TestBacklog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "freeswitch.log")
	size := 0
	write := func(records int) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i := range records {
			n, err := fmt.Fprintf(f, "%s%d%s", fail, i, end)
			if err != nil {
				t.Fatal(err)
			}
			size += n
		}
	}
	write(10_000) // more than is read at once
	format, err := matcher.FormatNamed("freeswitch", "")
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	file, err := source.NewFile(source.FileConfig{
		Path: path, Format: format, New: true, Log: quiet, Board: doctor.NewBoard(quiet, time.Now),
	})
	if err != nil {
		t.Fatal(err)
	}
	if b := file.Backlog(); b != (source.Backlog{}) {
		t.Errorf("before anything is read %+v", b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	batches, ended := make(chan source.Batch), make(chan error, 1)
	go func() { ended <- file.Run(ctx, batches) }()
	until := func(what string, is func(source.Backlog) bool) (b source.Backlog) {
		t.Helper()
		for give := time.Now().Add(20 * time.Second); time.Now().Before(give); time.Sleep(5 * time.Millisecond) {
			if b = file.Backlog(); is(b) {
				return b
			}
		}
		t.Fatalf("%s, which never came: %+v of %d bytes", what, b, size)
		return b
	}
	whole := func(b source.Backlog) bool { return b.Bytes == int64(size) && b.Age > 0 }
	first := until("nobody takes the log", whole)
	until("time passes", func(b source.Backlog) bool { return b.Age > 2*first.Age })
	write(1)
	second := until("it grows", whole)
	if second.Age <= first.Age {
		t.Errorf("what came later made the oldest younger: %v, then %v", first.Age, second.Age)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(100)
	until("it is rotated", whole)

	<-batches
	until("some of it is taken", func(b source.Backlog) bool { return b.Bytes > 0 && b.Bytes < int64(size) })
	none := func(b source.Backlog) bool { return b == source.Backlog{} }
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for {
			select {
			case <-batches:
			case <-ctx.Done():
				return
			}
		}
	}()
	until("all is taken", none)

	if err := os.WriteFile(path, []byte("half a record"), 0o644); err != nil { // truncated, as by copytruncate
		t.Fatal(err)
	}
	until("it is truncated, and what there is of a record is taken", none)
	cancel()
	<-drained
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Entries that nobody takes are a backlog as old as the oldest of them.
func TestBacklogOfJournal(t *testing.T) {
	journald := journaltest.Start(t)
	t.Setenv("PATH", journald.Bin+":"+os.Getenv("PATH"))
	match, err := journal.ParseMatch([]string{"SYSLOG_IDENTIFIER=sshd"})
	if err != nil {
		t.Fatal(err)
	}
	format, err := matcher.FormatNamed("syslog", "")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := source.NewJournalStream("journal", match, format, nil, time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	j := source.NewJournal(source.JournalConfig{Streams: []*source.JournalStream{stream}, Log: quiet, Board: doctor.NewBoard(quiet, time.Now)})
	if b := j.Backlog(); b != (source.Backlog{}) {
		t.Errorf("before anything is read %+v", b)
	}
	journald.Syslog("<38>Nov 21 07:47:57 sshd[1]: one")
	journald.Sync()
	written := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	batches, ended := make(chan source.Batch), make(chan error, 1)
	go func() { ended <- j.Run(ctx, batches) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	until := func(what string, is func(source.Backlog) bool) {
		t.Helper()
		for give := time.Now().Add(20 * time.Second); !is(j.Backlog()); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(give) {
				t.Fatalf("%s, which never came: %+v", what, j.Backlog())
			}
		}
	}
	take := func(what string, is func(source.Batch) bool) {
		t.Helper()
		for {
			select {
			case b := <-batches:
				if is(b) {
					return
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%s never came", what)
			}
		}
	}
	until("nobody takes it", func(b source.Backlog) bool { return b.Age > 0 })
	if least, b := time.Since(written), j.Backlog(); b.Age < least-10*time.Millisecond {
		t.Errorf("%v old, and written %v ago", b.Age, least)
	}
	older := j.Backlog().Age + 100*time.Millisecond
	until("time passes", func(b source.Backlog) bool { return b.Age > older })
	take("the entry", func(b source.Batch) bool { return len(b.Records) > 0 })
	until("it is taken", func(b source.Backlog) bool { return b == source.Backlog{} })
}
