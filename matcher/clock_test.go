package matcher_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"band/matcher"
)

func TestClock(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		stamps []string
		want   []string // RFC 3339; "": no time
	}{
		{"winter", []string{"2026-11-21 07:51:48.117416"}, []string{"2026-11-21T06:51:48.117416Z"}},
		{"summer", []string{"2026-07-21 07:51:48.117416"}, []string{"2026-07-21T05:51:48.117416Z"}},
		{"not a date", []string{"2026-02-31 07:51:48.117416", "x"}, []string{"", ""}},
		{"the hour that is repeated, in order", []string{
			"2026-10-25 01:59:59.900000", "2026-10-25 02:00:00.000000", "2026-10-25 02:59:59.000000",
			"2026-10-25 02:00:00.000000", "2026-10-25 02:59:59.000000", "2026-10-25 03:00:00.000000",
		}, []string{
			"2026-10-24T23:59:59.9Z", "2026-10-25T00:00:00Z", "2026-10-25T00:59:59Z",
			"2026-10-25T01:00:00Z", "2026-10-25T01:59:59Z", "2026-10-25T02:00:00Z",
		}},
		{"a little disorder is not the hour before", []string{
			"2026-10-25 02:30:00.000000", "2026-10-25 02:10:00.000000", "2026-10-25 02:09:59.980000", "2026-10-25 02:10:01.000000",
		}, []string{"2026-10-25T00:30:00Z", "2026-10-25T01:10:00Z", "2026-10-25T01:09:59.98Z", "2026-10-25T01:10:01Z"}},
		{"the hour that is skipped", []string{"2026-03-29 01:59:59.000000", "2026-03-29 03:00:00.000000"},
			[]string{"2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			clock := matcher.NewClock(nil, berlin)
			for i, stamp := range tt.stamps {
				got := ""
				if at, ok := clock.Time([]byte(stamp)); ok {
					got = at.UTC().Format(time.RFC3339Nano)
				}
				if got != tt.want[i] {
					t.Errorf("%s is %s, want %s", stamp, got, tt.want[i])
				}
			}
		})
	}
}

// A record that was just written is of now, also in the second of two equal
// hours and after a long silence.
func TestClockNear(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	clock := matcher.NewClock(nil, berlin)
	for _, now := range []string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T00:30:00Z"} {
		want, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		clock.Near(want.Add(time.Second))
		if got, ok := clock.Time([]byte("2026-10-25 02:30:00.000000")); !ok || !got.Equal(want) {
			t.Errorf("at %s the stamp is %v", now, got)
		}
	}
}

// readings returns the times of stamps in RFC 3339, "" for what is none.
func readings(clock *matcher.Clock, stamps []string) (all []string) {
	for _, stamp := range stamps {
		at, ok := clock.Time([]byte(stamp))
		if ok {
			all = append(all, at.UTC().Format(time.RFC3339Nano))
		} else {
			all = append(all, "")
		}
	}
	return all
}

func TestClockOfEveryStamp(t *testing.T) {
	tests := []struct {
		name, zone, today string
		stamps            []string
		want              []string // RFC 3339; "": no time
	}{
		{"RFC 3339 tells its zone", "Europe/Berlin", "2026-11-21", []string{
			"2026-11-21T07:51:48.123456+01:00", "2026-11-21T07:51:48Z", "2026-11-21T07:51:48-0530", "2026-11-21 07:51:48.5+14:00",
		}, []string{
			"2026-11-21T06:51:48.123456Z", "2026-11-21T07:51:48Z", "2026-11-21T13:21:48Z", "2026-11-20T17:51:48.5Z",
		}},
		{"also in the hour that is repeated", "Europe/Berlin", "2026-11-21",
			[]string{"2026-10-25T02:30:00+01:00", "2026-10-25T02:30:00+02:00"}, []string{"2026-10-25T01:30:00Z", "2026-10-25T00:30:00Z"}},
		{"without a zone it is local", "Europe/Berlin", "2026-11-21",
			[]string{"2026-11-21 07:51:48", "2026-11-21 07:51:48.123", "2026-07-21T07:51:48"},
			[]string{"2026-11-21T06:51:48Z", "2026-11-21T06:51:48.123Z", "2026-07-21T05:51:48Z"}},
		{"RFC 3164", "Europe/Berlin", "2026-11-21", []string{"Nov 21 07:51:48", "Nov 21 07:51:49", "Nov  1 07:51:48", "Nov 01 07:51:48.123"},
			[]string{"2026-11-21T06:51:48Z", "2026-11-21T06:51:49Z", "2026-11-01T06:51:48Z", "2026-11-01T06:51:48.123Z"}},
		{"its hour that is repeated", "Europe/Berlin", "2026-11-21",
			[]string{"Oct 25 01:59:59", "Oct 25 02:30:00", "Oct 25 02:10:00", "Oct 25 03:00:00"},
			[]string{"2026-10-24T23:59:59Z", "2026-10-25T00:30:00Z", "2026-10-25T01:10:00Z", "2026-10-25T02:00:00Z"}},
		{"the turn of the year", "UTC", "2026-01-01", []string{"Dec 31 23:59:59", "Jan  1 00:00:00", "Dec 31 23:59:58"},
			[]string{"2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "2025-12-31T23:59:58Z"}},
		{"read on the day before", "UTC", "2025-12-31", []string{"Jan  1 00:00:00"}, []string{"2026-01-01T00:00:00Z"}},
		{"read two days before", "UTC", "2025-12-30", []string{"Jan  1 00:00:00"}, []string{"2025-01-01T00:00:00Z"}},
		{"half a year later", "UTC", "2026-11-21", []string{"Nov  1 00:00:00", "Dec 24 00:00:00", "Mar  1 00:00:00", "Jul  1 00:00:00"},
			[]string{"2026-11-01T00:00:00Z", "2025-12-24T00:00:00Z", "2026-03-01T00:00:00Z", "2026-07-01T00:00:00Z"}},
		{"never of a year to come", "UTC", "2026-03-01", []string{"Jan 15 00:00:00", "May  1 00:00:00", "Sep  1 00:00:00", "Feb  1 00:00:00"},
			[]string{"2026-01-15T00:00:00Z", "2025-05-01T00:00:00Z", "2025-09-01T00:00:00Z", "2026-02-01T00:00:00Z"}},
		{"a leap day", "UTC", "2026-11-21", []string{"Feb 29 12:00:00", "Mar  1 12:00:00", "Feb 28 12:00:00"},
			[]string{"2024-02-29T12:00:00Z", "2024-03-01T12:00:00Z", "2024-02-28T12:00:00Z"}},
		{"a leap day of this year", "UTC", "2028-03-01", []string{"Feb 28 12:00:00", "Feb 29 12:00:00", "Mar  1 12:00:00"},
			[]string{"2028-02-28T12:00:00Z", "2028-02-29T12:00:00Z", "2028-03-01T12:00:00Z"}},
		{"the longest time between two", "UTC", "2104-02-27", []string{"Feb 29 12:00:00"}, []string{"2096-02-29T12:00:00Z"}},
		{"a stamp with its year tells those without", "UTC", "2026-11-21", []string{"2020-06-01T00:00:00Z", "Jun  1 00:00:01", "May 31 23:59:59"},
			[]string{"2020-06-01T00:00:00Z", "2020-06-01T00:00:01Z", "2020-05-31T23:59:59Z"}},
		{"no year, but a zone", "Europe/Berlin", "2026-11-21", []string{"Nov 21 07:51:48Z", "Nov 21 07:51:48-0500"},
			[]string{"2026-11-21T07:51:48Z", "2026-11-21T12:51:48Z"}},
		{"a second that leaps", "UTC", "2026-11-21", []string{"2016-12-31T23:59:60Z", "Dec 31 23:59:60", "2016-12-31 23:59:60.5"},
			[]string{"2017-01-01T00:00:00Z", "2017-01-01T00:00:00Z", "2017-01-01T00:00:00.5Z"}},
		{"more digits than nanoseconds", "UTC", "2026-11-21", []string{"2026-11-21T07:51:48.1234567891234Z"}, []string{"2026-11-21T07:51:48.123456789Z"}},
		{"a year long gone", "UTC", "2026-11-21", []string{"0000-01-01 00:00:00.000000", "Jan  1 00:00:00", "9999-12-31 23:59:59", "Jan  1 00:00:00"},
			[]string{"0000-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-01-01T00:00:00Z"}},
		{"no times", "UTC", "2026-11-21", []string{
			"Feb 30 00:00:00", "2026-02-29 00:00:00", "Feb 29 24:00:00", "Nov 21 00:60:00", "Nov 21 00:00:61", "Nov  0 00:00:00", "Nov 32 00:00:00",
			"2026-00-01 00:00:00", "2026-13-01 00:00:00", "2026-11-00 00:00:00", "Foo 21 00:00:00", "anF 21 00:00:00", "nov 21 00:00:00",
			"2026-11-21T07:51:48+24:00", "2026-11-21T07:51:48+01", "2026-11-21T07:51:48.", "2026-11-21_07:51:48", "2026-11-21", "Nov 21", "Nov 21 07:51:48 ", "",
		}, slices.Repeat([]string{""}, 21)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			location, err := time.LoadLocation(tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			today, err := time.Parse(time.DateOnly, tt.today)
			if err != nil {
				t.Fatal(err)
			}
			clock := matcher.NewClock(nil, location)
			clock.Today(today.Add(18 * time.Hour))
			if got := readings(clock, tt.stamps); !slices.Equal(got, tt.want) {
				t.Errorf("%q\nis   %q\nwant %q", tt.stamps, got, tt.want)
			}
		})
	}
}

// A live record is of now, whatever was read before: also a year later in the same
// minute, and when the clock was set back.
func TestClockNearTellsTheYear(t *testing.T) {
	clock := matcher.NewClock(nil, time.UTC)
	clock.Today(time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC))
	for _, tt := range []struct{ now, stamp, want string }{
		{"2026-12-31T23:59:59Z", "Dec 31 23:59:58", "2026-12-31T23:59:58Z"},
		{"2027-01-01T00:00:01Z", "Dec 31 23:59:59", "2026-12-31T23:59:59Z"},
		{"2027-01-01T00:00:01Z", "Jan  1 00:00:00", "2027-01-01T00:00:00Z"},
		{"2026-12-31T23:59:59Z", "Jan  1 00:00:00", "2027-01-01T00:00:00Z"},
		{"2028-01-01T00:00:01Z", "Jan  1 00:00:00", "2028-01-01T00:00:00Z"},
		{"2028-01-01T00:00:01Z", "Jul  1 00:00:00", "2027-07-01T00:00:00Z"},
		{"2028-02-29T00:00:01Z", "Feb 29 00:00:00", "2028-02-29T00:00:00Z"},
	} {
		now, err := time.Parse(time.RFC3339, tt.now)
		if err != nil {
			t.Fatal(err)
		}
		clock.Near(now)
		if got := readings(clock, []string{tt.stamp}); got[0] != tt.want {
			t.Errorf("at %s %s is %s, want %s", tt.now, tt.stamp, got[0], tt.want)
		}
	}
}

// What a source writes behind is added to its local times, and to no others.
func TestClockShift(t *testing.T) {
	clock := matcher.NewClock(nil, time.UTC)
	clock.Near(time.Date(2027, 1, 1, 1, 0, 0, 0, time.UTC))
	clock.Shift(2 * time.Hour)
	got := readings(clock, []string{"2026-12-31 23:00:00", "Dec 31 23:00:00", "2027-01-01T01:00:00Z"})
	if want := slices.Repeat([]string{"2027-01-01T01:00:00Z"}, 3); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	clock.Shift(-26 * time.Hour)
	if got := readings(clock, []string{"Jan  2 03:00:00"}); got[0] != "2027-01-01T01:00:00Z" {
		t.Errorf("%q", got)
	}
}

// A clock that is not told when the log is read takes the time of its making.
func TestClockOfToday(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	if now.Month() == time.February && now.Day() == 29 {
		now = now.AddDate(0, 0, -1)
	}
	if got, ok := matcher.NewClock(nil, time.UTC).Time([]byte(now.Format("Jan _2 15:04:05"))); !ok || !got.Equal(now) {
		t.Errorf("%s is %s", now, got)
	}
}

// Whatever stamps say, in whatever order: no panic, no time without a stamp, no
// stamp without a year that is of the future, and the same again.
func FuzzClock(f *testing.F) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, log []byte, today int64, live bool) {
		now := time.Unix(today%(1<<35), 0)
		clock, second := matcher.NewClock(nil, berlin), matcher.NewClock(nil, berlin)
		for _, c := range []*matcher.Clock{clock, second} {
			c.Today(now)
			if live {
				c.Near(now)
			}
		}
		for stamp := range bytes.Lines(log) {
			stamp = bytes.TrimSuffix(stamp, []byte("\n"))
			at, ok := clock.Time(stamp)
			if again, okAgain := second.Time(stamp); ok != okAgain || !again.Equal(at) {
				t.Fatalf("%q is %v, and %v", stamp, at, again)
			}
			if !ok && !at.IsZero() {
				t.Fatalf("%q is no time, and %v", stamp, at)
			}
			yearless := len(stamp) > 0 && (stamp[0] < '0' || stamp[0] > '9')
			if ok && yearless && at.After(now.Add(26*time.Hour)) {
				t.Fatalf("%q at %v is %v", stamp, now, at)
			}
		}
	})
}

func BenchmarkClock(b *testing.B) {
	for _, name := range []string{"2026-11-21 07:51:48.117416", "Nov 21 07:51:48", "2026-11-21T07:51:48.117416+01:00"} {
		b.Run(name, func(b *testing.B) {
			clock, stamp := matcher.NewClock(nil, time.UTC), []byte(name)
			b.ReportAllocs()
			for b.Loop() {
				clock.Time(stamp)
			}
		})
	}
}
