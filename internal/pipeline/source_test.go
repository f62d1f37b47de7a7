package pipeline_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"band/internal/pipeline"
	"band/internal/source"
)

// While the preferred log is written, the other one does not count.
func TestPreferred(t *testing.T) {
	r := newRig(t, nil)
	jail := r.Jails["freeswitch"]
	other := func(now time.Time, text string) pipeline.Decision {
		return r.take(r.vanilla, now, text) // neighbours that agree: it is not the canary that decides
	}

	// Nothing is known of the preferred log: the other one counts.
	other(after(9), line(after(0), steady, chatter)+repeat(2, after(1), wrong("x", attacker)))
	equal(t, "counts without it", r.counts(), "freeswitch "+unit+" 2")
	equal(t, "unconfirmed", jail.Stats.Unconfirmed, 2)
	equal(t, "unconfirmed since", jail.Stats.UnconfirmedSince, after(1))

	// It is written, by whatever record: the other one is passed over.
	r.take(r.preferred, after(20), line(after(20), steady, challenge("x", "203.0.113.5")))
	equal(t, "unconfirmed when it is written", jail.Stats.Unconfirmed, 0)
	equal(t, "since when it is written", jail.Stats.UnconfirmedSince, time.Time{})
	other(after(30), repeat(9, after(20), wrong("x", attacker)))
	other(after(620), line(after(620), steady, wrong("x", attacker)))
	equal(t, "counts while it is written", r.counts(), "freeswitch "+unit+" 2")
	equal(t, "passed", jail.Stats.Passed, uint64(10))
	equal(t, "matched", r.hosts(), attacker+" "+attacker)

	// Both hold the same attempts: the windows do not add up.
	r.take(r.preferred, after(22), repeat(4, after(20), wrong("x", attacker)))
	equal(t, "counts of both", r.counts(), "freeswitch "+unit+" 4")
	equal(t, "bans of both", r.inForce(after(30)), "")

	// Ten minutes of silence, to the microsecond.
	silent := after(23).Add(10 * time.Minute)
	other(silent, line(silent, steady, wrong("x", "198.51.100.8")))
	equal(t, "counts after ten minutes", r.counts(), "freeswitch "+unit+" 4")
	equal(t, "unconfirmed after ten minutes", jail.Stats.Unconfirmed, 0)
	silent = silent.Add(time.Microsecond)
	d := other(silent.Add(time.Minute), repeat(5, silent, wrong("x", "198.51.100.8")))
	equal(t, "unconfirmed in silence", jail.Stats.Unconfirmed, 5)
	equal(t, "unconfirmed since", jail.Stats.UnconfirmedSince, silent)
	equal(t, "bans in silence", len(d.Bans), 1)

	r.take(r.preferred, after(700), line(after(700), steady, rejected("203.0.113.5")))
	equal(t, "unconfirmed when it is back", jail.Stats.Unconfirmed, 0)
	other(after(701), line(after(701), steady, wrong("x", "198.51.100.9")))
	equal(t, "counts when it is back", r.counts(), "freeswitch "+unit+" 4, freeswitch-acl 203.0.113.5/32 1")
}

// Whether the preferred log is written is known after a restart too, and of
// each jail apart.
func TestPreferredAfterRestart(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		c := load(t, nil)
		r := newRig(t, nil)
		r.take(r.preferred, after(1), line(after(1), steady, challenge("x", attacker)))
		r.restart(c, snapshot)
		r.take(r.vanilla, after(100), line(after(99), steady, chatter)+line(after(100), steady, wrong("x", attacker)))
		equal(t, "counts", r.counts(), "")
		equal(t, "passed", r.Jails["freeswitch"].Stats.Passed, uint64(1))
	}
}

// live gives a source one record that is read so late after the time it tells.
func live(r *rig, s *pipeline.Source, now time.Time, late time.Duration, message string) pipeline.Decision {
	return r.take(s, now, line(now.Add(-late), steady, message))
}

func TestOffset(t *testing.T) {
	tests := []struct {
		name        string
		late        time.Duration
		skew, shift time.Duration
	}{
		{"on time", 0, 0, 0},
		{"slow by 40 s", 40 * time.Second, 40 * time.Second, 0},
		{"two hours behind", 2 * time.Hour, 0, 2 * time.Hour},
		{"two hours behind, and slow", 2*time.Hour + 80*time.Second, 80 * time.Second, 2 * time.Hour},
		{"an hour ahead", -time.Hour, 0, -time.Hour},
		{"Nepal", 5*time.Hour + 45*time.Minute, 0, 5*time.Hour + 45*time.Minute},
		{"as far as zones are apart", 26 * time.Hour, 0, 26 * time.Hour},
		{"slow by 20 min, which no zone is", 20 * time.Minute, 20 * time.Minute, 0},
		{"a clock that was never set", 20 * 365 * 24 * time.Hour, 20 * 365 * 24 * time.Hour, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := load(t, nil)
			r := newRig(t, nil)
			r.preferred.Live = true
			for i := range 3 {
				equal(t, "offset", r.preferred.Offset, time.Duration(0))
				live(r, r.preferred, after(float64(i)), tt.late, challenge("x", attacker))
				equal(t, "skew", r.preferred.Skew, tt.late)
			}
			equal(t, "offset", r.preferred.Offset, tt.shift)
			for range 2 {
				d := live(r, r.preferred, after(10), tt.late, wrong("x", attacker))
				equal(t, "offset", r.preferred.Offset, tt.shift)
				equal(t, "the failure's time", d.Batch.Events[0].Failure.Time, after(10).Add(tt.shift-tt.late).Truncate(time.Microsecond))
				r.restart(c, true)
			}
			r.preferred.Live = true
			live(r, r.preferred, after(11), tt.late, challenge("x", attacker))
			equal(t, "skew", r.preferred.Skew, tt.skew)
		})
	}
}

// Only batches in a row that agree speak for an offset, and only live ones
// that tell a time.
func TestOffsetNotLearnt(t *testing.T) {
	hours := func(h float64) time.Duration { return time.Duration(h * float64(time.Hour)) }
	r := newRig(t, nil)
	r.preferred.Live = true
	for i, late := range []time.Duration{hours(2), hours(2), 0, hours(2), hours(2), hours(3), hours(3), hours(2), hours(2), 10 * time.Minute, hours(2)} {
		live(r, r.preferred, after(float64(i)), late, challenge("x", attacker))
		equal(t, fmt.Sprint("offset after batch ", i), r.preferred.Offset, time.Duration(0))
	}

	r = newRig(t, nil)
	for i := range 9 {
		live(r, r.preferred, after(float64(i)), hours(2), challenge("x", attacker))
	}
	equal(t, "offset of what is caught up with", r.preferred.Offset, time.Duration(0))

	// Lines of sessions that tell no time, a quarter of an hour after the last
	// record that did, say nothing of zones.
	r.vanilla.Live = true
	live(r, r.vanilla, after(0), 0, chatter)
	for i := range 9 {
		r.take(r.vanilla, after(900+float64(i)), "9e63daf3-4092-ae72-581d-afa700a15c96 a=rtpmap:0 PCMU/8000\n")
	}
	equal(t, "offset of lines without a time", r.vanilla.Offset, time.Duration(0))
}

// The zone that a source turns out to write in may change back.
func TestOffsetUnlearnt(t *testing.T) {
	r := newRig(t, nil)
	r.preferred.Live = true
	for i := range 3 {
		live(r, r.preferred, after(float64(i)), 2*time.Hour, challenge("x", attacker))
	}
	for i := range 3 {
		live(r, r.preferred, after(float64(10+i)), 0, challenge("x", attacker))
	}
	equal(t, "offset", r.preferred.Offset, time.Duration(0))
	live(r, r.preferred, after(20), 0, challenge("x", attacker))
	equal(t, "skew", r.preferred.Skew, time.Duration(0))
}

// In the hour that a clock repeats, a source goes on after a restart where it
// was: in the second one.
func TestRepeatedHour(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	second := time.Date(2026, 10, 25, 1, 10, 0, 0, time.UTC) // 02:10, for the second time
	for _, restart := range []bool{false, true} {
		c := load(t, nil)
		r := &rig{t: t, location: berlin}
		r.begin(c)
		for i, at := range []time.Time{second.Add(-20 * time.Minute), second, second.Add(time.Minute)} {
			d := r.take(r.preferred, second.Add(24*time.Hour), line(at.In(berlin), steady, wrong("x", attacker)))
			equal(t, fmt.Sprintf("restart %v, record %d", restart, i), d.Batch.Events[0].Failure.Time, at)
			if restart {
				r.restart(c, true)
			}
		}
	}
}

// Of a source that is read as it is written, it is the time of reading that
// tells which of the two hours is meant.
func TestRepeatedHourLive(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, location: berlin}
	r.begin(load(t, nil))
	r.preferred.Live = true
	for _, at := range []time.Time{time.Date(2026, 10, 25, 1, 10, 0, 0, time.UTC), time.Date(2027, 10, 31, 0, 10, 0, 0, time.UTC)} {
		d := r.take(r.preferred, at, line(at.In(berlin), steady, wrong("x", attacker)))
		equal(t, "time", d.Batch.Events[0].Failure.Time, at)
		equal(t, "skew", r.preferred.Skew, time.Duration(0))
	}
}

// No stamp that a caller can forge stops the pipeline or reaches the disk.
func TestStampsOfNoClock(t *testing.T) {
	for _, zone := range []int{-12, 0, 14} {
		for _, stamp := range []string{"9999-12-31 23:59:59.999999", "0000-01-01 00:00:00.000000", "0001-01-01 00:00:00.000000", "0000-00-00 00:00:00.000000"} {
			t.Run(fmt.Sprint(stamp, " ", zone), func(t *testing.T) {
				c := load(t, overlays{"freeswitch": "maxretry = 1"})
				r := &rig{t: t, location: time.FixedZone("", zone*3600)}
				r.begin(c)
				r.vanilla.Live, r.preferred.Live = true, true
				for i := range 5 {
					now := after(float64(i))
					r.take(r.vanilla, now, line(now.In(r.location), steady, chatter), stamp+" 81.60% "+chatter+"\n")
					r.take(r.preferred, now, stamp+" 81.60% "+wrong("x", attacker)+"\n")
				}
				equal(t, "offset", r.vanilla.Offset, time.Duration(0))
				equal(t, "offset", r.preferred.Offset, time.Duration(0))
				equal(t, "in force", r.inForce(after(9)), "freeswitch "+unit)
				r.restart(c, false)
				equal(t, "in force after a restart", r.inForce(after(9)), "freeswitch "+unit)
				equal(t, "read", read(t, r.preferred), 5)
			})
		}
	}
}

// A position that cannot be read is an error, not a fresh start.
func TestDamagedPosition(t *testing.T) {
	for _, raw := range []string{`7`, `{"at":1,"offset":"two hours"}`} {
		r := newRig(t, nil)
		b := r.take(r.preferred, after(0), line(after(0), steady, chatter)).Batch
		b.Cursors = map[string]json.RawMessage{r.preferred.Name: json.RawMessage(raw)}
		r.Apply(b)
		if _, err := r.NewSource(r.preferred.Name, source.ViaFile, format(t), time.UTC); err == nil {
			t.Errorf("%s was read", raw)
		}
	}
}
