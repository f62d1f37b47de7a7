package matcher_test

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"band/matcher"
)

func named(t testing.TB, name, layout string) matcher.Format {
	t.Helper()
	f, err := matcher.FormatNamed(name, layout)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// messages returns the messages of records, "-" for one that patterns never see.
func messages(records []matcher.Record) (all []string) {
	for _, r := range records {
		if r.Message == nil {
			all = append(all, "-")
		} else {
			all = append(all, string(r.Message))
		}
	}
	return all
}

func TestFormatNamed(t *testing.T) {
	for _, name := range matcher.Formats() {
		if _, err := matcher.FormatNamed(name, ""); err != nil {
			t.Error(err)
		}
	}
	tests := []struct{ name, layout, err string }{
		{"freeswich", "", `unknown format "freeswich"; the formats are: freeswitch, freeswitch-json, syslog, asterisk, raw`},
		{"freeswich", "%F %T", `unknown format "freeswich"`},
		{"syslog", "%F %T", `a layout is for the format "raw"`},
		{"raw", "%F", "it lacks the hour (%H, or %I with %p) and the minute (%M)"},
		{"raw", "%H:%M:%S", "it lacks the month (%m or %b) and the day (%d or %e)"},
		{"raw", "%F %I:%M", "it lacks %p to its %I"},
		{"raw", "%F %T %Q", "%Q is not known"},
		{"raw", "%F %T %Y", "%Y stands twice"},
		{"raw", "%F %T %", "ends with a lone %"},
		{"raw", "%F %T \xff", "not text"},
		{"raw", "now", "it lacks the month"},
	}
	for _, tt := range tests {
		if _, err := matcher.FormatNamed(tt.name, tt.layout); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s with %q: %v, want %q", tt.name, tt.layout, err, tt.err)
		}
	}
}

func TestFormatsSay(t *testing.T) {
	tests := []struct {
		name                 string
		spans, session, idle bool
	}{
		{"freeswitch", true, false, true},
		{"freeswitch-json", false, false, false},
		{"syslog", false, true, false},
		{"asterisk", true, false, false},
		{"raw", false, false, false},
	}
	for _, tt := range tests {
		f := named(t, tt.name, "")
		if matcher.SpansLines(f) != tt.spans || matcher.TellsSession(f) != tt.session || matcher.TellsIdle(f) != tt.idle {
			t.Errorf("%s: %v %v %v", tt.name, matcher.SpansLines(f), matcher.TellsSession(f), matcher.TellsIdle(f))
		}
	}
}

// fragments are what logs of all formats are made of, for logs that look like
// one and are not.
var fragments = []string{
	"\n", "\n", "\n", " ", "x", "\t", "\x1b[m\x1b[35m", "\x1b[m", "\r", "[", "]", ": ", "\xff",
	stamp, fail, uuid, "81.60% ",
	"Nov 21 07:00:00 ", "2026-11-21T07:00:00.123456+01:00 ", "Feb 29 23:59:60 ", "host ", "sshd[811]: ", "kernel: ", "[sshd] ",
	"[2026-11-21 07:51:48] ", "[Nov 21 07:51:48.117] ", "NOTICE[1638][C-00000fa9] chan_sip.c: ", "asterisk[123]: ",
	"ERROR[7]: pjproject:0 <?>: \tsip_transport.c Error processing 60 bytes packet from UDP 192.0.2.1:5060 :\n",
	`{"timestamp":1795247508117416,"level":4,"file":"sofia_reg.c","line":1787,"message":"`, `\n"}`, `"session":"x",`,
}

// formats returns every format, raw once more with a layout.
func formats(t testing.TB) []matcher.Format {
	var all []matcher.Format
	for _, name := range matcher.Formats() {
		all = append(all, named(t, name, ""))
	}
	return append(all, named(t, "raw", "%b %e %T"))
}

// checkFraming checks what holds for records of every format: how the log is cut
// into pieces does not change them, all of it is in one of them, and nothing is
// told by them that is not in their first lines.
func checkFraming(t interface {
	Helper()
	Fatalf(string, ...any)
}, f matcher.Format, log []byte, pieces [][]byte) {
	t.Helper()
	whole, cut := frame(f, log), frame(f, pieces...)
	if !reflect.DeepEqual(whole, cut) {
		t.Fatalf("%T of %q: whole, and cut: %s", f, log, cmp.Diff(whole, cut))
	}
	var end int64
	lines := 1
	for _, r := range whole {
		text := log[end:r.End]
		if !bytes.Equal(bytes.TrimSuffix(text, []byte("\n")), r.Text) || r.Line != lines {
			t.Fatalf("%T: record %q at line %d of %q ends at %d", f, r.Text, r.Line, log, r.End)
		}
		end, lines = r.End, lines+bytes.Count(text, []byte("\n"))
		if r.Sealed || !r.Time.IsZero() {
			t.Fatalf("%T: a stream vouches for nothing: %+v", f, r)
		}
		first, _, _ := bytes.Cut(r.Text, []byte("\n"))
		at := bytes.Index(r.Text, r.Message)
		json := bytes.HasPrefix(r.Text, []byte("{")) && bytes.HasPrefix(r.Message, []byte("["))
		if r.Message != nil && !json && (at < 0 || at > len(first)) {
			t.Fatalf("%T: message %q of %q", f, r.Message, r.Text)
		}
		if r.Session != nil && !bytes.HasPrefix(r.Message, append(bytes.Clone(r.Session), ": "...)) {
			t.Fatalf("%T: session %q of %q", f, r.Session, r.Text)
		}
		if r.Stamp != nil && !json && !bytes.Equal(matcher.Stamp(f, text), r.Stamp) {
			t.Fatalf("%T: stamp %q of %q", f, r.Stamp, r.Text)
		}
		matcher.NewClock(f, time.UTC).Time(r.Stamp)
	}
	if end != int64(len(log)) {
		t.Fatalf("%T: records end at %d of %d bytes", f, end, len(log))
	}
}

func TestFramingOfEveryFormat(t *testing.T) {
	all := formats(t)
	rapid.Check(t, func(t *rapid.T) {
		log := []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom(fragments), 0, 40).Draw(t, "log"), ""))
		var pieces [][]byte
		for rest := log; len(rest) > 0; {
			n := min(len(rest), rapid.IntRange(1, 70).Draw(t, "piece"))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		checkFraming(t, rapid.SampledFrom(all).Draw(t, "format"), log, pieces)
	})
}

func FuzzFormats(f *testing.F) {
	f.Fuzz(func(t *testing.T, log []byte, piece uint8) {
		for _, f := range formats(t) {
			checkFraming(t, f, log, slices.Collect(slices.Chunk(log, max(1, int(piece)))))
			r := matcher.FromJournal(f, matcher.Entry{Message: bytes.Clone(log), Identifier: "sshd", PID: "811"})
			if !r.Sealed || r.Line != 0 || r.End != 0 {
				t.Fatalf("%T: %+v", f, r)
			}
		}
	})
}

func BenchmarkFramingOthers(b *testing.B) {
	tests := map[string][2]string{
		"syslog":   {"", "2026-11-21T07:00:00.123456+01:00 host sshd[811]: Failed password for root from 198.51.100.7 port 22 ssh2\n"},
		"asterisk": {"", "[2026-11-21 07:51:48] NOTICE[1638] chan_sip.c: Registration from '<sip:1@pbx>' failed for '198.51.100.7' - Wrong password\n"},
		"raw":      {"%F %T", "2026-11-21 07:51:48 login failed from 198.51.100.7\n"},
	}
	for name, tt := range tests {
		b.Run(name, func(b *testing.B) {
			f := named(b, name, tt[0])
			log := bytes.Repeat([]byte(tt[1]), 1000)
			b.SetBytes(int64(len(log)))
			b.ReportAllocs()
			for b.Loop() {
				framer := matcher.NewFramer(f)
				framer.Push(log)
				for _, ok := framer.Next(); ok; _, ok = framer.Next() {
				}
			}
		})
	}
}
