package source_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"band/internal/doctor"
	"band/internal/source"
	"band/matcher"
)

const (
	stamp = "2026-11-21 07:51:48.117416 81.60% "
	fail  = stamp + "[WARNING] sofia_reg.c:1787 SIP auth failure (REGISTER) on sofia profile 'internal' for ["
	end   = "] from ip 198.51.100.70\n"
)

// read reads a log until it has been caught up with, or done says that it is enough.
func read(t *testing.T, path string, cursor json.RawMessage, done func(source.Batch) bool) {
	t.Helper()
	format, err := matcher.FormatNamed("freeswitch", "")
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	file, err := source.NewFile(source.FileConfig{
		Path: path, Format: format, Cursor: cursor, New: true, Log: quiet, Board: doctor.NewBoard(quiet, time.Now),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	batches, ended := make(chan source.Batch), make(chan error, 1)
	go func() { ended <- file.Run(ctx, batches) }()
	for {
		select {
		case b := <-batches:
			if done(b) {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				return
			}
		case <-ctx.Done():
			t.Fatal("what should come never came")
		}
	}
}

// Records that are glued onto a session's cut line, and longer than what is
// read at once, are found, and the cursor behind each record leads to the next.
func TestGluedAndLong(t *testing.T) {
	cut := "9e63daf3-4092-ae72-581d-afa700a15c96 " + stamp
	cut += strings.Repeat("x", 2047-len(cut))
	var log []byte
	for _, size := range []int{10, 70 << 10, 700 << 10, 700 << 10, 1_500_000} {
		log = append(log, cut+fail+strings.Repeat("y", size)+end...)
	}
	log = append(log, stamp+"[NOTICE] a.c:1 x\n"...)
	path := filepath.Join(t.TempDir(), "freeswitch.log")
	if err := os.WriteFile(path, log, 0o644); err != nil {
		t.Fatal(err)
	}
	failures := 0
	count := func(b source.Batch) {
		for _, r := range b.Records {
			if bytes.HasPrefix(r.Message, []byte("[WARNING]")) && bytes.HasSuffix(r.Message, []byte("198.51.100.70")) {
				failures++
			}
		}
	}
	read(t, path, nil, func(b source.Batch) bool {
		count(b)
		return b.CaughtUp && failures == 5
	})
	// The same with a restart behind each batch.
	failures = 0
	var cursor json.RawMessage
	for failures < 5 {
		read(t, path, cursor, func(b source.Batch) bool {
			if b.Cursor == nil {
				return false
			}
			count(b)
			cursor = b.Cursor
			return true
		})
	}
	if failures != 5 {
		t.Errorf("%d failures were read with restarts, want 5", failures)
	}
}

// A record whose last line has no newline yet is not taken for a whole one,
// however long its writer pauses.
func TestTornRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "freeswitch.log")
	write := func(text string) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write(fail + "1000@pbx] from ip 198.51.100.7")
	resume := time.AfterFunc(1500*time.Millisecond, func() { write("0\n") }) // longer than a quiet second
	defer resume.Stop()
	var messages []string
	read(t, path, nil, func(b source.Batch) bool {
		for _, r := range b.Records {
			messages = append(messages, string(r.Message))
		}
		return len(messages) > 0
	})
	if len(messages) != 1 || !strings.HasSuffix(messages[0], " 198.51.100.70") {
		t.Errorf("messages %q", messages)
	}
}
