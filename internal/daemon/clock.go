package daemon

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"band/internal/doctor"
	"band/internal/pipeline"
)

// clockSet is by how much the clock must have been set for it to matter.
const clockSet = 10 * time.Second

// clock tells whether somebody set the clock: it went on by as much as the time
// that passed, or not.
type clock struct {
	told   time.Time // what it told
	passed time.Time // when that was, on the clock that nobody sets
}

func startClock(now time.Time) clock { return clock{now.Round(0), time.Now()} }

// expected returns what the clock would tell had nobody set it.
func (c clock) expected() time.Time { return c.told.Add(time.Since(c.passed)) }

// watchClock moves everything along when the clock was set, before anything is
// decided by the new one. The kernel's timeouts do not know the clock; nor, for
// that, do what is left of a ban and what an attacker has on his account.
func (d *Daemon) watchClock() {
	now, expected := d.Now(), d.clock.expected()
	by := now.Sub(expected)
	if by.Abs() < clockSet {
		return
	}
	booted := expected.Add(-uptime())
	d.clock, d.started = startClock(now), d.started.Add(by)
	var sources []*pipeline.Source
	for _, s := range d.sources {
		sources = append(sources, s.Source)
	}
	d.carryOut(d.pipeline.Step(booted, expected, now, sources))
	d.allow.Set(d.allowItems())
	direction := "forward"
	if by < 0 {
		direction = "back"
	}
	d.board.Raise(doctor.Finding{
		Kind: doctor.ClockStepped, Severity: doctor.Warning, For: time.Hour,
		Text:   fmt.Sprintf("the clock was set %s by %v; bans last as long as they were meant to", direction, by.Abs().Round(time.Second)),
		Remedy: "let the clock be kept by NTP; a service that keeps a clock of its own must learn of it (FreeSWITCH: fs_cli -x 'fsctl sync_clock')",
	})
}

// uptime is the time since the machine was booted.
func uptime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0 // it is there since Linux 2.6.39; without it nothing counts as told by this clock
	}
	return time.Duration(t.Nano())
}
