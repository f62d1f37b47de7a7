package matcher_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"band/matcher"
)

const (
	stamp = "2026-11-21 07:51:48.117416 "
	fail  = "[WARNING] sofia_reg.c:1787 SIP auth failure (REGISTER) on sofia profile 'internal' for [1000@pbx] from ip 198.51.100.70"
	uuid  = "9e63daf3-4092-ae72-581d-afa700a15c96 "
)

func format(t testing.TB) matcher.Format {
	t.Helper()
	f, err := matcher.FormatNamed("freeswitch", "")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// frame cuts input into records, given in pieces.
func frame(f matcher.Format, pieces ...[]byte) (records []matcher.Record) {
	framer := matcher.NewFramer(f)
	for _, piece := range pieces {
		framer.Push(bytes.Clone(piece))
		for r, ok := framer.Next(); ok; r, ok = framer.Next() {
			records = append(records, r)
		}
	}
	for r, ok := framer.Flush(); ok; r, ok = framer.Flush() {
		records = append(records, r)
	}
	return records
}

func TestFraming(t *testing.T) {
	tests := []struct {
		name, input string
		want        []string // the messages; "-" for a record that patterns never see
	}{
		{"with the CPU field", stamp + "81.60% " + fail + "\n", []string{fail}},
		{"without it, before 1.10.7", stamp + fail + "\n", []string{fail}},
		{"idle", stamp + "100.00% " + fail + "\n", []string{fail}},
		{"busy", stamp + "0.00% " + fail + "\n", []string{fail}},
		{"no newline at the end", stamp + "81.60% " + fail, []string{fail}},
		{"two records", stamp + fail + "\n" + stamp + "81.60% [NOTICE] a.c:1 x\n", []string{fail, "[NOTICE] a.c:1 x"}},
		{"a continuation", stamp + fail + "\n b@host] from ip 203.0.113.9\n", []string{fail + "\n b@host] from ip 203.0.113.9"}},
		{"a header folded by a tab", stamp + fail + "\n\tx " + stamp + "b@host] from ip 203.0.113.9\n", []string{fail + "\n\tx " + stamp + "b@host] from ip 203.0.113.9"}},
		{"an empty continuation", stamp + fail + "\n\n", []string{fail + "\n"}},
		{"a carriage return stays", stamp + fail + "\r\n", []string{fail + "\r"}},
		{"function names", stamp + "[WARNING] sofia_reg.c:1787 f() x\n", []string{"[WARNING] sofia_reg.c:1787 f() x"}},
		{"a session's record ends one and is never seen", stamp + fail + "\n" + uuid + stamp + fail + "\n", []string{fail, "-"}},
		{"a session's record without a time", stamp + fail + "\n" + uuid + "Dialplan: x\n", []string{fail, "-"}},
		{"a Call-ID in place of the UUID", stamp + fail + "\na84b4c76e66710@pc33 " + stamp + fail + "\n", []string{fail, "-"}},
		{"glued onto a session's line that was cut", uuid + stamp + strings.Repeat("x", 2047-len(uuid+stamp)) + stamp + fail + "\n" + stamp + fail + "\n", []string{"-", fail, fail}},
		{"behind a session's line that was not", uuid + stamp + strings.Repeat("x", 2048-len(uuid+stamp)) + stamp + fail + "\n", []string{"-"}},
		{"console colours", "\x1b[m\x1b[35m" + stamp + fail + "\n", []string{fail}},
		{"rsyslog", "Nov 21 07:00:00 pbx freeswitch[123]: " + stamp + "98.53% " + fail + "\n", []string{fail}},
		{"rsyslog, ISO time", "2026-11-21T07:00:00.123456+01:00 pbx freeswitch[123]: " + stamp + fail + "\n", []string{fail}},
		{"lines before the first record", "x\ny\n" + stamp + fail + "\n", []string{"-", fail}},
		{"a start that is not at column 0", " " + stamp + fail + "\n" + stamp + fail + "\n", []string{"-", fail}},
		{"no file and line", stamp + fail + "\n" + stamp + "[WARNING] SIP auth failure\n", []string{fail + "\n" + stamp + "[WARNING] SIP auth failure"}},
		{"no level", stamp + fail + "\n" + stamp + "sofia_reg.c:1 x\n", []string{fail + "\n" + stamp + "sofia_reg.c:1 x"}},
		{"a CPU field that is none", stamp + fail + "\n" + stamp + "1% " + fail + "\n", []string{fail + "\n" + stamp + "1% " + fail}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, r := range frame(format(t), []byte(tt.input)) {
				if r.Message == nil {
					got = append(got, "-")
				} else {
					got = append(got, string(r.Message))
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("messages %q\nwant     %q", got, tt.want)
			}
		})
	}
}

// A live record is only given out when the next one begins, or on Flush.
func TestNextWaits(t *testing.T) {
	framer := matcher.NewFramer(format(t))
	framer.Push([]byte(stamp + fail + "\n"))
	if r, ok := framer.Next(); ok {
		t.Fatalf("%q was given out before anything followed", r.Text)
	}
	framer.Push([]byte(" b@h] from ip 203.0.113.9\n2026-11-21 07:5"))
	if r, ok := framer.Next(); ok {
		t.Fatalf("%q was given out before the next line was whole", r.Text)
	}
	framer.Push([]byte("1:48.117416 [NOTICE] a.c:1 x\n"))
	r, ok := framer.Next()
	if want := fail + "\n b@h] from ip 203.0.113.9"; !ok || string(r.Message) != want {
		t.Fatalf("Next = %q, %v; want %q", r.Message, ok, want)
	}
	if r, ok = framer.Flush(); !ok || string(r.Message) != "[NOTICE] a.c:1 x" || r.Line != 3 {
		t.Fatalf("Flush = %q at line %d, %v", r.Message, r.Line, ok)
	}
	if framer.Pending() != 0 {
		t.Errorf("%d bytes pending after Flush", framer.Pending())
	}
}

// A record of any length keeps its head and its tail, and takes bounded memory.
func TestHugeRecord(t *testing.T) {
	for _, filler := range []string{"x", "y\n "} {
		framer := matcher.NewFramer(format(t))
		framer.Push([]byte(stamp + "[WARNING] sofia_reg.c:1787 for ["))
		chunk := []byte(strings.Repeat(filler, 256<<10/len(filler)))
		var size int64 = int64(len(stamp) + len("[WARNING] sofia_reg.c:1787 for ["))
		for range 60 {
			framer.Push(bytes.Clone(chunk))
			size += int64(len(chunk))
			if r, ok := framer.Next(); ok {
				t.Fatalf("a record of %d bytes was given out", len(r.Text))
			}
			if n := framer.Pending(); n > matcher.MaxRecord+2<<20 {
				t.Fatalf("%d bytes pending", n)
			}
		}
		const end = "] from ip 198.51.100.70\n"
		framer.Push([]byte(end + stamp + fail + "\n"))
		size += int64(len(end))
		r, ok := framer.Next()
		if !ok || !bytes.HasPrefix(r.Message, []byte("[WARNING] sofia_reg.c:1787 for [")) || !bytes.HasSuffix(r.Message, []byte("] from ip 198.51.100.70")) {
			t.Fatalf("%v, message of %d bytes: head or tail is missing", ok, len(r.Message))
		}
		if r.End != size {
			t.Errorf("the record ends at %d, want %d", r.End, size)
		}
		if r, ok = framer.Flush(); !ok || string(r.Message) != fail {
			t.Errorf("the record behind it: %v, %q", ok, r.Message)
		}
	}
}

// Where the middle is left out, an attacker's text must not end up at the
// start of a line, where it would look like a record.
func TestHugeRecordForgesNothing(t *testing.T) {
	forged := []byte(stamp + "81.60% " + strings.Replace(fail, "198.51.100.70", "192.0.2.1", 1) + " ")
	endless := bytes.Repeat(forged, 8<<20/len(forged))
	start := []byte(stamp + fail + strings.Repeat("\n "+strings.Repeat("y", 1000), 4300)) // over half of MaxRecord
	for size := 1 << 20; size < 1<<20+len(forged); size++ {                               // so that it is cut everywhere
		framer := matcher.NewFramer(format(t))
		framer.Push(bytes.Clone(start))
		for piece := range slices.Chunk(endless, size) {
			framer.Push(slices.Clip(piece))
			for r, ok := framer.Next(); ok; r, ok = framer.Next() {
				t.Fatalf("in pieces of %d: a record was found inside a line: %.200q", size, r.Message)
			}
		}
	}
}

func recordings(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("../testdata/freeswitch/*.log")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	logs := make(map[string][]byte)
	for _, path := range paths {
		if logs[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return logs
}

// The records, put together again, are the recording: none lost, none twice.
func TestFramingLosesNothing(t *testing.T) {
	for name, log := range recordings(t) {
		var all []byte
		lines := 0
		for _, r := range frame(format(t), log) {
			if r.Line != lines+1 {
				t.Fatalf("%s: record at line %d says line %d", name, lines+1, r.Line)
			}
			all = append(all, r.Text...)
			if int(r.End) > len(all) { // not glued to the next one
				all = append(all, '\n')
			}
			lines = bytes.Count(all, []byte("\n"))
			if r.End != int64(len(all)) {
				t.Fatalf("%s: record ends at %d, says %d", name, len(all), r.End)
			}
		}
		if !bytes.Equal(all, log) {
			t.Errorf("%s: the records are not the log", name)
		}
	}
}

// How the stream is cut into pieces does not change the records.
func TestPiecesDoNotMatter(t *testing.T) {
	var inputs [][]byte
	for _, log := range recordings(t) {
		inputs = append(inputs, log)
	}
	slices.SortFunc(inputs, bytes.Compare)
	f := format(t)
	rapid.Check(t, func(t *rapid.T) {
		log := rapid.SampledFrom(inputs).Draw(t, "log")
		from := rapid.IntRange(0, len(log)).Draw(t, "from")
		log = log[from:min(len(log), from+20_000)]
		whole := frame(f, log)
		var pieces [][]byte
		for rest := log; len(rest) > 0; {
			n := min(len(rest), rapid.IntRange(1, 700).Draw(t, "piece"))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		cut := frame(f, pieces...)
		if !reflect.DeepEqual(whole, cut) {
			t.Fatalf("whole, and cut: %s", cmp.Diff(whole, cut))
		}
	})
}

func FuzzFraming(f *testing.F) {
	f.Add([]byte(stamp+fail+"\n"), uint8(3))
	f.Add([]byte(uuid+stamp+fail+"\n\x1b[m\x1b[35m"+stamp+fail), uint8(40))
	f.Add([]byte(stamp+fail+"\r\n\tx "+stamp+"b@host] from ip 203.0.113.9\n"), uint8(9))
	f.Add([]byte("Nov 21 07:00:00 pbx freeswitch[123]: "+stamp+"98.53% "+fail+"\n b] from ip 203.0.113.9\r\n"), uint8(100))
	f.Fuzz(func(t *testing.T, log []byte, piece uint8) {
		fs := format(t)
		whole := frame(fs, log)
		var cut []matcher.Record
		if piece > 0 {
			cut = frame(fs, slices.Collect(slices.Chunk(log, int(piece)))...)
		} else {
			cut = whole
		}
		if !reflect.DeepEqual(whole, cut) {
			t.Fatalf("whole, and in pieces of %d: %s", piece, cmp.Diff(whole, cut))
		}
		var end int64
		for _, r := range whole {
			if r.End <= end || r.End > int64(len(log)) {
				t.Fatalf("a record ends at %d, the one before at %d", r.End, end)
			}
			end = r.End
			if r.Message != nil && !bytes.HasPrefix(r.Message, []byte("[")) {
				t.Fatalf("message %q", r.Message)
			}
		}
		if end != int64(len(log)) {
			t.Fatalf("records end at %d of %d bytes", end, len(log))
		}
	})
}

func BenchmarkFraming(b *testing.B) {
	f := format(b)
	log := recordings(b)["01_basic.freeswitch.log"]
	b.SetBytes(int64(len(log)))
	b.ReportAllocs()
	for b.Loop() {
		framer := matcher.NewFramer(f)
		framer.Push(log)
		for _, ok := framer.Next(); ok; _, ok = framer.Next() {
		}
	}
}
