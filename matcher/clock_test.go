package matcher_test

import (
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
			clock := matcher.NewClock(berlin)
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
	clock := matcher.NewClock(berlin)
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
