package source_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"band/internal/journal"
	"band/internal/source"
	"band/matcher"
)

// line is what a program of a stream wrote to its standard output.
func line(stream int, text string) journal.Entry {
	return journal.Entry{Message: []byte(text), Fields: []journal.Field{
		{Name: "_TRANSPORT", Value: "stdout"}, {Name: "_STREAM_ID", Value: fmt.Sprint(stream)},
	}}
}

// Many programs whose records never end take no more memory than a few, and the
// one that was heard of last is still understood.
func TestUnfinishedRecordsAreBounded(t *testing.T) {
	format, err := matcher.FormatNamed("freeswitch", "")
	if err != nil {
		t.Fatal(err)
	}
	entries := source.NewEntries(format)
	text := strings.Repeat("x", 48<<10)
	for stream := range 12 {
		entries.Take(line(stream, fail))
		for range (3 << 20) / len(text) {
			entries.Take(line(stream, text))
		}
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	if got := m.HeapAlloc >> 20; got > 32 {
		t.Errorf("%d MiB are held", got)
	}
	entries.Take(line(11, strings.TrimSuffix(end, "\n")))
	records := entries.Take(line(11, stamp+"[NOTICE] a.c:1 x"))
	if len(records) != 1 || !bytes.HasPrefix(records[0].Message, []byte("[WARNING]")) || !bytes.Contains(records[0].Message, []byte("198.51.100.70")) {
		t.Errorf("of the last program came %d records", len(records))
	}
}
