package journal_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"band/internal/journal"
)

// readAll returns the entries of a recording and the error behind them, nil at
// its end.
func readAll(r io.Reader) (entries []journal.Entry, err error) {
	reader := journal.NewReader(r)
	for {
		e, err := reader.Next()
		if err == io.EOF {
			return entries, nil
		}
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
}

// field writes a field in the form with a length.
func field(name, value string) string {
	return name + "\n" + string(binary.LittleEndian.AppendUint64(nil, uint64(len(value)))) + value + "\n"
}

func TestReader(t *testing.T) {
	t.Parallel()
	const head = "__CURSOR=s=1;i=a;t=660c48f15b19c\n__REALTIME_TIMESTAMP=1795247190684060\n__MONOTONIC_TIMESTAMP=1\n"
	entry := func(message []byte, fields ...journal.Field) journal.Entry {
		return journal.Entry{
			Cursor: "s=1;i=a;t=660c48f15b19c", Time: time.UnixMicro(1795247190684060),
			Message: message, Fields: fields, Pieces: 1,
		}
	}
	for _, test := range []struct {
		name, text string
		want       []journal.Entry
		err        error
	}{
		{"OK: empty", "", nil, nil},
		{"OK: one", head + "MESSAGE=a\n\n", []journal.Entry{entry([]byte("a"))}, nil},
		{"OK: two, with empty lines between", head + "MESSAGE=a\n\n\n" + head + "MESSAGE=b\n\n", []journal.Entry{entry([]byte("a")), entry([]byte("b"))}, nil},
		{"OK: an empty message is a message", head + "MESSAGE=\n\n", []journal.Entry{entry([]byte{})}, nil},
		{"OK: none", head + "PRIORITY=6\n\n", []journal.Entry{entry(nil, journal.Field{Name: "PRIORITY", Value: "6"})}, nil},
		{"OK: bytes", head + field("MESSAGE", "a\n__CURSOR=x\n\n\x00\xff") + "\n", []journal.Entry{entry([]byte("a\n__CURSOR=x\n\n\x00\xff"))}, nil},
		{"OK: a field several times", head + "JOB=a\n" + field("JOB", "b\n") + "\n", []journal.Entry{entry(nil, journal.Field{Name: "JOB", Value: "a"}, journal.Field{Name: "JOB", Value: "b\n"})}, nil},
		{"OK: an equals sign in the value", head + "MESSAGE=a=b=\n\n", []journal.Entry{entry([]byte("a=b="))}, nil},
		{"OK: a long line", head + "MESSAGE=" + long(200_000) + "\n\n", []journal.Entry{entry([]byte(long(200_000)))}, nil},
		{"OK: a time that none can be", "__CURSOR=x\n__REALTIME_TIMESTAMP=18446744073709551615\n\n", []journal.Entry{{Cursor: "x", Pieces: 1}}, nil},
		{"OK: a field that is too long is left out", head + "A=" + long(65<<10) + "\n" + field("B", long(65<<10)) + "C=c\n\n", []journal.Entry{entry(nil, journal.Field{Name: "C", Value: "c"})}, nil},
		{
			"OK: what journalctl leaves where it stands", head + "MESSAGE=torn\n" + head + "MESSAGE=a\n\n",
			[]journal.Entry{entry([]byte("a"))}, nil,
		},
		{
			"OK: a line in pieces, with another stream's between",
			head + "_STREAM_ID=1\n_LINE_BREAK=line-max\nMESSAGE=a\nPRIORITY=6\n\n" + head + "_STREAM_ID=2\nMESSAGE=b\n\n" + head + "_STREAM_ID=1\nPRIORITY=3\nMESSAGE=c\n\n",
			[]journal.Entry{
				entry([]byte("b"), journal.Field{Name: "_STREAM_ID", Value: "2"}),
				func() journal.Entry {
					e := entry([]byte("ac"), journal.Field{Name: "_STREAM_ID", Value: "1"}, journal.Field{Name: "_LINE_BREAK", Value: "line-max"}, journal.Field{Name: "PRIORITY", Value: "6"})
					e.Pieces = 2
					return e
				}(),
			}, nil,
		},
		{
			"OK: a line that does not end", head + "_STREAM_ID=1\n_LINE_BREAK=line-max\nMESSAGE=a\n\n" + head + "MESSAGE=b\n\n",
			[]journal.Entry{entry([]byte("b"))}, nil,
		},
		{
			"OK: what comes behind a gap is not believed",
			"__CURSOR=s=1;i=9\n_TRANSPORT=driver\nMESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e\n\n" + head + "_STREAM_ID=1\nMESSAGE=rest of a line\n\n",
			[]journal.Entry{
				{Cursor: "s=1;i=9", Fields: []journal.Field{{Name: "_TRANSPORT", Value: "driver"}, {Name: "MESSAGE_ID", Value: "a596d6fe7bfa4994828e72309e95d61e"}}, Pieces: 1},
				entry(nil, journal.Field{Name: "_STREAM_ID", Value: "1"}),
			}, nil,
		},
		{
			"OK: nor is a line that goes on over it",
			head + "_STREAM_ID=1\n_LINE_BREAK=line-max\nMESSAGE=a\n\n__CURSOR=s=1;i=c\n_TRANSPORT=driver\nMESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e\n\n__CURSOR=s=1;i=d\n_STREAM_ID=1\nMESSAGE=b\n\n",
			[]journal.Entry{
				{Cursor: "s=1;i=c", Fields: []journal.Field{{Name: "_TRANSPORT", Value: "driver"}, {Name: "MESSAGE_ID", Value: "a596d6fe7bfa4994828e72309e95d61e"}}, Pieces: 1},
				{Cursor: "s=1;i=d", Fields: []journal.Field{{Name: "_STREAM_ID", Value: "1"}, {Name: "_LINE_BREAK", Value: "line-max"}}, Pieces: 2},
			}, nil,
		},
		{
			"OK: what comes later is", head + "_TRANSPORT=driver\nMESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e\n\n__CURSOR=s=1;i=c\n_STREAM_ID=1\nMESSAGE=a\n\n",
			[]journal.Entry{
				entry(nil, journal.Field{Name: "_TRANSPORT", Value: "driver"}, journal.Field{Name: "MESSAGE_ID", Value: "a596d6fe7bfa4994828e72309e95d61e"}),
				{Cursor: "s=1;i=c", Message: []byte("a"), Fields: []journal.Field{{Name: "_STREAM_ID", Value: "1"}}, Pieces: 1},
			}, nil,
		},
		{"bad: it ends within an entry", head + "MESSAGE=a\n\n" + head, []journal.Entry{entry([]byte("a"))}, io.ErrUnexpectedEOF},
		{"bad: it ends within a line", head + "MESS", nil, io.ErrUnexpectedEOF},
		{"bad: it ends within a long line", head + "MESSAGE=" + long(200_000), nil, io.ErrUnexpectedEOF},
		{"bad: it ends within a length", head + "MESSAGE\n\x01\x00", nil, io.ErrUnexpectedEOF},
		{"bad: it ends within a value", head + "MESSAGE\n\x05\x00\x00\x00\x00\x00\x00\x00ab", nil, io.ErrUnexpectedEOF},
		{"bad: a length that lies", head + "MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffab\n\n", nil, io.ErrUnexpectedEOF},
		{"bad: a length that is too small", head + "MESSAGE\n\x01\x00\x00\x00\x00\x00\x00\x00ab\n\n", nil, journal.ErrFormat},
		{"bad: no field", head + "lower=a\n\n", nil, journal.ErrFormat},
		{"bad: no name", head + "=a\n\n", nil, journal.ErrFormat},
		{"bad: a name that is too long", head + strings.Repeat("A", 65) + "=a\n\n", nil, journal.ErrFormat},
		{"bad: a long line that is no field", head + strings.Repeat("A", 200_000), nil, journal.ErrFormat},
	} {
		for how, r := range map[string]io.Reader{"whole": strings.NewReader(test.text), "by bytes": iotest.OneByteReader(strings.NewReader(test.text))} {
			got, err := readAll(r)
			if !errors.Is(err, test.err) {
				t.Errorf("%s, %s: error %v, want %v", test.name, how, err, test.err)
			}
			if diff := cmp.Diff(test.want, got, exactly); diff != "" {
				t.Errorf("%s, %s: %s", test.name, how, diff)
			}
		}
	}
}

// exactly tells messages that are empty from those that are not there.
var exactly = cmp.Options{
	cmp.Comparer(func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }),
	cmp.Comparer(func(a, b []journal.Field) bool { return slices.Equal(a, b) }),
}

// Of a message that is too long the middle is left out, in whatever form and in
// how many pieces it comes.
func TestLongMessages(t *testing.T) {
	t.Parallel()
	message := "BEGIN" + long(12<<20) + "END"
	want := "BEGIN" + long(journal.MaxMessage-8) + "END"
	var pieces strings.Builder
	for piece := range slices.Chunk([]byte(message), 48<<10) {
		pieces.WriteString("__CURSOR=x\n_STREAM_ID=1\n_LINE_BREAK=line-max\nMESSAGE=" + string(piece) + "\n\n")
	}
	pieces.WriteString("__CURSOR=x\n_STREAM_ID=1\nMESSAGE=\n\n")
	for name, text := range map[string]string{
		"line":   "__CURSOR=x\nMESSAGE=" + message + "\n\n",
		"length": "__CURSOR=x\n" + field("MESSAGE", message) + "\n",
		"pieces": pieces.String(),
	} {
		got, err := readAll(strings.NewReader(text))
		if err != nil || len(got) != 1 || string(got[0].Message) != want {
			t.Errorf("%s: %d entries, error %v", name, len(got), err)
		}
	}
}

// Lines that do not end are not held without bound, and of one that was given up
// no part is taken for a message.
func TestManyLines(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	begin := func(stream, text string) {
		b.WriteString("__CURSOR=x\n_STREAM_ID=" + stream + "\n_LINE_BREAK=line-max\nMESSAGE=" + text + "\n\n")
	}
	begin("first", "half")
	for i := range 5 {
		begin(strings.Repeat("s", i+1), long(8<<20))
	}
	begin("last", "half")
	for _, stream := range []string{"first", "s", "last"} {
		b.WriteString("__CURSOR=x\n_STREAM_ID=" + stream + "\nMESSAGE= a line\n\n")
	}
	got, err := readAll(&b)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d entries, error %v", len(got), err)
	}
	for i, want := range []string{"", "", "half a line"} {
		if string(got[i].Message) != want || (got[i].Message == nil) != (want == "") {
			t.Errorf("message %d is %.20q, want %q", i, got[i].Message, want)
		}
	}
}

// What was written is read, however the stream is cut.
func TestReadsWhatWasWritten(t *testing.T) {
	t.Parallel()
	value := rapid.SliceOfN(rapid.Byte(), 0, 300)
	rapid.Check(t, func(t *rapid.T) {
		var b bytes.Buffer
		var want []journal.Entry
		for range rapid.IntRange(0, 5).Draw(t, "entries") {
			e := journal.Entry{Cursor: "x", Pieces: 1}
			b.WriteString("__CURSOR=x\n")
			for range rapid.IntRange(0, 5).Draw(t, "fields") {
				f := journal.Field{Name: rapid.StringMatching(`[A-Z][A-Z0-9_]{0,63}`).Draw(t, "name"), Value: string(value.Draw(t, "value"))}
				if f.Name != "MESSAGE" {
					e.Fields = append(e.Fields, f)
					b.WriteString(field(f.Name, f.Value))
				}
			}
			if rapid.Bool().Draw(t, "a message") {
				e.Message = value.Draw(t, "message")
				b.WriteString(field("MESSAGE", string(e.Message)))
			}
			b.WriteByte('\n')
			want = append(want, e)
		}
		var r io.Reader = &b
		if rapid.Bool().Draw(t, "halves") {
			r = iotest.HalfReader(r)
		}
		got, err := readAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, exactly); diff != "" {
			t.Fatal(diff)
		}
	})
}

// recording opens a recording of testdata/freeswitch.
func recording(t testing.TB, name string) []byte {
	t.Helper()
	file, err := os.Open("../../testdata/freeswitch/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The recordings parse completely, with the failures that were made and forged.
func TestRecordings(t *testing.T) {
	t.Parallel()
	failure := regexp.MustCompile(`(?s)\[WARNING\] sofia_reg\.c:\d+ SIP auth failure .* from ip (\S+?)\s*$`)
	console := map[string]int{
		"198.51.100.70": 3, "198.51.100.71": 2, "2001:db8:bad::66": 2,
		"198.51.100.72": 2, "198.51.100.73": 1, "198.51.100.74": 1,
		"192.0.2.60": 1, "192.0.2.12": 5, "192.0.2.42": 1, // forged
	}
	for _, test := range []struct {
		name    string
		entries int
		want    map[string]int
	}{
		{"10_journal_stdout_console.export.gz", 1205, console},
		{"11_journal_mod_syslog.export.gz", 428, map[string]int{"198.51.100.70": 3, "198.51.100.71": 2, "2001:db8:bad::66": 2, "198.51.100.75": 1, "192.0.2.42": 1}},
	} {
		data := recording(t, test.name)
		if !journal.IsExport(data) {
			t.Errorf("%s is not taken for an export", test.name)
		}
		entries, err := readAll(bytes.NewReader(data))
		if err != nil || len(entries) != test.entries {
			t.Errorf("%s: %d entries, error %v, want %d", test.name, len(entries), err, test.entries)
		}
		got := map[string]int{}
		for _, e := range entries {
			if m := failure.FindSubmatch(e.Message); m != nil {
				got[string(m[1])]++
			}
			if e.Get("SYSLOG_IDENTIFIER") != "freeswitch" || e.Time.Year() != 2026 || e.Cursor.Time() != e.Time {
				t.Errorf("%s: entry %+v", test.name, e)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
	if journal.IsExport([]byte("2026-11-21 07:51:48.117416 81.60% [WARNING]")) {
		t.Error("a log is taken for an export")
	}
}

// Whatever the stream is, reading ends, holds no more than it may, and how the
// stream is cut changes nothing.
func FuzzReader(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readAll(bytes.NewReader(data))
		again, err2 := readAll(iotest.OneByteReader(bytes.NewReader(data)))
		if diff := cmp.Diff(got, again, exactly); diff != "" || (err == nil) != (err2 == nil) {
			t.Errorf("errors %v and %v, entries %s", err, err2, diff)
		}
		size := 0
		for _, e := range got {
			size += len(e.Message)
			for _, f := range e.Fields {
				size += len(f.Value)
			}
		}
		if size > len(data) {
			t.Errorf("%d bytes were made of %d", size, len(data))
		}
	})
}

func BenchmarkReader(b *testing.B) {
	for _, name := range []string{"10_journal_stdout_console.export.gz", "11_journal_mod_syslog.export.gz"} {
		data := recording(b, name)
		b.Run(strings.TrimSuffix(name, ".export.gz"), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			entries := 0
			for b.Loop() {
				all, err := readAll(bytes.NewReader(data))
				if err != nil {
					b.Fatal(err)
				}
				entries += len(all)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(entries), "ns/entry")
		})
	}
}
