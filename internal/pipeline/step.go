package pipeline

import (
	"time"

	"band/store"
)

// Step moves what is known along with a clock that was set, so that bans last
// as long as they were meant to, and failures add up as they happened. What was
// told before from or after at is left as it is: another clock told it, that of
// the machine before it was booted.
func (p *Pipeline) Step(from, at, to time.Time, sources []*Source) Decision {
	step := store.Step{From: from.Truncate(time.Microsecond), At: at.Truncate(time.Microsecond), To: to.Truncate(time.Microsecond)}
	d := Decision{now: step.To}
	d.Batch = store.Batch{Events: []store.Event{{Step: &step}}}
	for b := range p.state.inForce(step.At) {
		d.Keys = append(d.Keys, b.Key())
	}
	p.state.step(step)
	for b := range p.state.inForce(step.To) {
		d.Keys = append(d.Keys, b.Key())
	}
	for _, j := range p.Jails {
		move(step, &j.Stats.LastMatch, &j.Stats.UnconfirmedSince)
	}
	for _, s := range sources {
		s.step(step)
		if s.at != nil || !s.Begins.IsZero() {
			p.note(&d.Batch, s)
		}
	}
	return d
}

// step moves what is known with the clock.
func (s *state) step(step store.Step) {
	for _, bans := range s.bans {
		for _, b := range bans {
			move(step, &b.Since, &b.Until, &b.Lifted)
		}
	}
	for key, at := range s.successes {
		move(step, &at)
		s.successes[key] = at
	}
	for entry, a := range s.allowed {
		move(step, &a.Since, &a.Until)
		s.allowed[entry] = a
	}
	s.counter.Shift(step.From, step.At, step.To.Sub(step.At))
}

// step notes that the clock was set. Whether the writer of the source follows is
// to be learnt: FreeSWITCH keeps a clock of its own. Sessions are short, and begin
// anew.
func (s *Source) step(step store.Step) {
	s.drift += step.To.Sub(step.At)
	s.sessions = nil
	move(step, &s.Last, &s.Begins)
	move(step, &s.canary.Prev.Taken)
	for i := range s.canary.Held {
		move(step, &s.canary.Held[i].Prev.Taken)
		move(step, &s.canary.Held[i].Own.Taken)
	}
}

// move moves the times of one thing, of which the first tells when it happened.
// The zero time is none.
func move(step store.Step, began *time.Time, others ...*time.Time) {
	if began.Before(step.From) || began.After(step.At) {
		return
	}
	for _, t := range append(others, began) {
		if !t.IsZero() {
			*t = t.Add(step.To.Sub(step.At))
		}
	}
}
