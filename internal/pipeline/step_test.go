package pipeline_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"band/internal/pipeline"
	"band/store"
)

const day = 24 * time.Hour

// set sets the clock, at a moment, of a machine that was booted an hour before
// the start of these tests.
func (r *rig) set(at time.Time, by time.Duration) pipeline.Decision {
	return r.keep(r.Step(start.Add(-time.Hour), at, at.Add(by), []*pipeline.Source{r.preferred, r.vanilla}))
}

// A clock that is set changes neither how long a ban lasts nor what adds up.
func TestStep(t *testing.T) {
	for _, by := range []time.Duration{day, -day, 37 * time.Minute, -37 * time.Minute, 20 * 365 * day} {
		for _, restart := range []string{"no", "log", "snapshot"} {
			t.Run(fmt.Sprintf("%v, restart %s", by, restart), func(t *testing.T) {
				c := load(t, nil)
				r := newRig(t, nil)
				r.take(r.preferred, after(10), repeat(5, after(0), wrong("x", "198.51.100.70")), repeat(4, after(5), wrong("x", "198.51.100.71")))
				r.take(r.preferred, after(20), repeat(5, after(10), wrong("x", "198.51.100.72")))
				r.unban("198.51.100.72/32", after(21))
				r.keep(r.Ban([]netip.Prefix{prefix("203.0.113.0/24")}, 30*time.Minute, "", after(22)))
				r.keep(r.Allow(store.Allow{Entry: "192.0.2.1", Since: after(23), Until: after(600)}))
				r.keep(r.Ban([]netip.Prefix{prefix("198.51.100.80/32")}, time.Second, "", after(24)))

				d := r.set(after(100), by)
				equal(t, "what the kernel is told of", fmt.Sprint(len(d.Keys)), "4") // of two bans, before and after
				if restart != "no" {
					r.restart(c, restart == "snapshot")
				}
				later := func(seconds float64) time.Time { return after(seconds).Add(by) }
				equal(t, "in force", r.inForce(later(101)), "freeswitch 198.51.100.70/32, manual 203.0.113.0/24")
				equal(t, "before the end", r.inForce(later(1821)), "freeswitch 198.51.100.70/32, manual 203.0.113.0/24")
				equal(t, "behind it", r.inForce(later(1823)), "freeswitch 198.51.100.70/32")
				equal(t, "behind the other", r.inForce(later(3605)), "")
				equal(t, "allowed until", r.Allowed()[0].Until, later(600))

				d = r.take(r.preferred, later(120), line(later(119), steady, wrong("x", "198.51.100.71")))
				if len(d.Bans) != 1 || !d.Bans[0].Since.Equal(later(119)) {
					t.Errorf("four failures before and one after: %v", d.Bans)
				}
			})
		}
	}
}

// What was told before the machine was booted, or by a clock that was ahead, is
// as it was: the clock was wrong and is right.
func TestStepOfAWrongClock(t *testing.T) {
	r := newRig(t, nil)
	r.keep(r.Ban([]netip.Prefix{prefix("198.51.100.1/32")}, time.Hour, "", after(0)))
	booted, now := after(60).Add(8*time.Hour), after(90).Add(8*time.Hour) // it took local time for UTC
	equal(t, "by the wrong clock", r.inForce(now), "")
	r.keep(r.Ban([]netip.Prefix{prefix("198.51.100.2/32")}, time.Hour, "", now))
	d := r.keep(r.Step(booted, now, after(90), nil))
	equal(t, "by the right clock", r.inForce(after(90)), "manual 198.51.100.1/32, manual 198.51.100.2/32")
	equal(t, "what the kernel is told of", len(d.Keys), 3)
	equal(t, "behind both ends", r.inForce(after(3691)), "")

	r = newRig(t, nil)
	r.keep(r.Ban([]netip.Prefix{prefix("198.51.100.1/32")}, time.Hour, "", after(0)))
	booted, now = after(60).Add(-day), after(90).Add(-day) // it has no clock of its own
	r.keep(r.Step(booted, now, after(90), nil))
	equal(t, "by the right clock", r.inForce(after(3599)), "manual 198.51.100.1/32")
	equal(t, "behind the end", r.inForce(after(3601)), "")
}

// Failures told by a clock that was ahead never add up with those of a day later.
func TestStepBackFramesNobody(t *testing.T) {
	r := newRig(t, nil)
	r.take(r.preferred, after(10), repeat(4, after(0), wrong("x", attacker)))
	r.set(after(20), -day)
	d := r.take(r.preferred, after(30), line(after(30), steady, wrong("x", attacker)))
	if len(d.Bans) > 0 {
		t.Errorf("banned for failures that lie a day apart: %v", d.Bans)
	}
}

// FreeSWITCH keeps the time that it took at its start: it does not notice that the
// clock was set, until somebody tells it to.
func TestStepUnnoticed(t *testing.T) {
	for _, by := range []time.Duration{37 * time.Minute, -37 * time.Minute, 3 * day, 20 * 365 * day} {
		t.Run(by.String(), func(t *testing.T) {
			r := newRig(t, nil)
			r.preferred.Live = true
			live(r, r.preferred, after(0), 0, challenge("x", attacker))
			r.set(after(1), by)
			later := func(seconds float64) time.Time { return after(seconds).Add(by) }
			for i := range 3 {
				live(r, r.preferred, later(float64(10+i)), by, challenge("x", attacker))
			}
			equal(t, "offset", r.preferred.Offset, by)
			r.take(r.preferred, later(20), repeat(5, after(15), wrong("x", attacker)))
			equal(t, "in force", r.inForce(later(21)), "freeswitch "+unit)
			equal(t, "behind the end", r.inForce(later(3620)), "")

			for i := range 3 { // fsctl sync_clock
				live(r, r.preferred, later(float64(30+i)), 0, challenge("x", attacker))
			}
			equal(t, "offset", r.preferred.Offset, time.Duration(0))
		})
	}
}
