package matcher_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"band/matcher"
)

func TestRaw(t *testing.T) {
	tests := []struct {
		name, layout, line, message, time string // message "-": not seen; time in RFC 3339
	}{
		{"no layout", "", "2026-11-21 07:51:48 login failed", "2026-11-21 07:51:48 login failed", ""},
		{"date and time", "%Y-%m-%d %H:%M:%S", "2026-11-21 07:51:48 login failed", "login failed", "2026-11-21T07:51:48Z"},
		{"their abbreviations", "%F %T", "2026-11-21 07:51:48\t  login failed", "login failed", "2026-11-21T07:51:48Z"},
		{"brackets", "[%Y-%m-%d %H:%M:%S]", "[2026-11-21 07:51:48] login failed", "login failed", "2026-11-21T07:51:48Z"},
		{"a fraction", "%F %T,%f", "2026-11-21 07:51:48,117 login failed", "login failed", "2026-11-21T07:51:48.117Z"},
		{"a zone", "%d/%b/%Y:%H:%M:%S %z", "21/Nov/2026:07:51:48 +0100 login failed", "login failed", "2026-11-21T06:51:48Z"},
		{"a zone with a colon", "%FT%T%z", "2026-11-21T07:51:48-05:30 login failed", "login failed", "2026-11-21T13:21:48Z"},
		{"no year", "%b %e %T", "Nov  1 07:51:48 login failed", "login failed", "2026-11-01T07:51:48Z"},
		{"no year, with a zone", "%d.%m. %R %z", "01.11. 07:51 Z login failed", "login failed", "2026-11-01T07:51:00Z"},
		{"a year of two digits", "%D %R", "11/21/26 07:51 login failed", "login failed", "2026-11-21T07:51:00Z"},
		{"short names", "%a %b %d %Y %T", "Sat Nov 21 2026 07:51:48 login failed", "login failed", "2026-11-21T07:51:48Z"},
		{"a day in German", "%a %d.%m.%Y %T", "Mit 21.11.2026 07:51:48 login failed", "login failed", "2026-11-21T07:51:48Z"},
		{"names", "%A, %B %d, %Y %I:%M %p", "Saturday, november 21, 2026 07:51 pm login failed", "login failed", "2026-11-21T19:51:00Z"},
		{"midnight", "%F %I:%M %p", "2026-11-21 12:00 AM login failed", "login failed", "2026-11-21T00:00:00Z"},
		{"seconds since 1970", "%s.%f", "1795247508.117416 login failed", "login failed", "2026-11-21T07:51:48.117416Z"},
		{"a sign of its own", "%%(%F)%T", "%(2026-11-21)07:51:48 login failed", "login failed", "2026-11-21T07:51:48Z"},
		{"a name that is no month", "%b %e %T", "Foo  1 07:51:48 login failed", "login failed", ""},
		{"a month that is none", "%m-%d %T", "13-01 07:51:48 login failed", "login failed", ""},
		{"an hour that is none", "%F %I:%M %p", "2026-11-21 13:00 PM login failed", "login failed", ""},
		{"a day that is none", "%F %T", "2026-02-30 07:51:48 login failed", "login failed", ""},
		{"not at the start", "%F %T", "x 2026-11-21 07:51:48 login failed", "-", ""},
		{"half of it", "%F %T", "2026-11-21 07:51 login failed", "-", ""},
		{"an empty line", "%F %T", "", "-", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := named(t, "raw", tt.layout)
			records := frame(f, []byte(tt.line+"\n"))
			if got := messages(records); !slices.Equal(got, []string{tt.message}) {
				t.Fatalf("messages %q, want %q", got, tt.message)
			}
			clock := matcher.NewClock(f, time.UTC)
			clock.Today(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC))
			at, ok := clock.Time(records[0].Stamp)
			if got := at.UTC().Format(time.RFC3339Nano); ok != (tt.time != "") || ok && got != tt.time {
				t.Errorf("time %s, %v; want %q", got, ok, tt.time)
			}
			if got := matcher.Stamp(f, []byte(tt.line)); !slices.Equal(got, records[0].Stamp) {
				t.Errorf("stamp of the line %q, of the record %q", got, records[0].Stamp)
			}
		})
	}
}

// Whatever layout is given, and whatever stands in the log, a stamp is nil or a
// time or none that could be.
func FuzzLayout(f *testing.F) {
	f.Fuzz(func(t *testing.T, layout, line string) {
		format, err := matcher.FormatNamed("raw", layout)
		if err != nil {
			return
		}
		line, _, _ = strings.Cut(line, "\n")
		r := frame(format, []byte(line+"\n"))[0]
		clock := matcher.NewClock(format, time.UTC)
		if at, ok := clock.Time(r.Stamp); ok && (at.Year() < -1 || at.Year() > 10000) {
			t.Errorf("%q by %q is %v", line, layout, at)
		}
		if r.Message != nil && !strings.HasSuffix(line, string(r.Message)) {
			t.Errorf("message %q of %q", r.Message, line)
		}
	})
}
