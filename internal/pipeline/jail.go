package pipeline

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"band/jails"
	"band/matcher"
	"band/matcher/counter"
	"band/store"
)

// A Jail is an enabled jail at work.
type Jail struct {
	jails.Jail
	Stats     JailStats
	lines     []*matcher.Pattern          // patterns for lines
	events    []*matcher.Pattern          // and for events
	successes map[*matcher.Pattern]bool   // patterns that tell of one
	notAlways map[*matcher.Pattern]counts // of patterns that are no failure by themselves
	sessions  bool                        // whether records of one session belong together
	preferred []*Source
}

// JailStats is what a jail has seen since the start.
type JailStats struct {
	Records   uint64
	Failures  uint64 // counted ones
	Exempt    uint64 // those of hosts that are never counted
	Passed    uint64 // those that a preferred source tells better
	Banned    uint64 // bans decided
	LastMatch time.Time

	// Unconfirmed are the failures, and the time of the first, that other
	// sources told since a preferred one fell silent.
	Unconfirmed      int
	UnconfirmedSince time.Time
	// Unheard are the failures in a row that were passed because a preferred source
	// tells them better, and that it did not tell.
	Unheard int
}

// NewJail compiles the enabled patterns of a jail.
func NewJail(j jails.Jail) (*Jail, error) {
	compiled := &Jail{Jail: j, notAlways: make(map[*matcher.Pattern]counts), successes: make(map[*matcher.Pattern]bool)}
	format, err := matcher.FormatNamed(j.Format, j.Time)
	if err != nil {
		return nil, fmt.Errorf("jail %s: %w", j.Name, err)
	}
	for _, p := range j.Patterns {
		if !p.Enabled {
			continue
		}
		pattern, err := Compile(format, p)
		if err != nil {
			return nil, fmt.Errorf("jail %s, pattern %s: %w", j.Name, p.Name, err)
		}
		if pattern.Event() != "" {
			compiled.events = append(compiled.events, pattern)
		} else {
			compiled.lines = append(compiled.lines, pattern)
		}
		if slices.Contains(j.ClearOn, p.Name) {
			compiled.successes[pattern] = true
		}
		if c := counts(p.Counts); c != always {
			compiled.notAlways[pattern] = c
		}
		compiled.sessions = compiled.sessions || counts(p.Counts) != always || !pattern.HasHost()
	}
	return compiled, nil
}

// Compile makes a pattern of a jail for records of its format, or for events. An error
// says what is wrong with the pattern, and not whose it is.
func Compile(format matcher.Format, p jails.Pattern) (*matcher.Pattern, error) {
	switch {
	case p.Event != "":
		return matcher.CompileEvent(p.Name, p.Kind, matcher.Conditions{Event: p.Event, Host: p.Host, User: p.User, Where: p.Where}, p.Unsafe)
	case matcher.TellsSession(format):
		return matcher.CompileSession(p.Name, p.Kind, p.Regex, p.Unsafe)
	}
	return matcher.Compile(p.Name, p.Kind, p.Regex, p.Unsafe)
}

// Events returns the names of the events that the jail's patterns are for, each once.
func (j *Jail) Events() []string {
	var names []string
	for _, p := range j.events {
		if !slices.Contains(names, p.Event()) {
			names = append(names, p.Event())
		}
	}
	return names
}

// Lines reports whether any of the jail's patterns is for lines, not for events.
func (j *Jail) Lines() bool { return len(j.lines) > 0 }

// failsByEvents reports whether any of the jail's patterns for events is of a failure.
func (j *Jail) failsByEvents() bool {
	return slices.ContainsFunc(j.events, func(p *matcher.Pattern) bool { return !j.successes[p] })
}

// Match returns the first of the jail's patterns for lines that matches the record.
func (j *Jail) Match(r matcher.Record) (*matcher.Pattern, matcher.Match, bool) {
	if r.Message != nil {
		for _, p := range j.lines {
			if m, ok := p.Match(r.Message); ok {
				return p, m, true
			}
		}
	}
	return nil, matcher.Match{}, false
}

// Failures returns the failures that a record brings to light: one, as a rule,
// and those of its session that waited for a host; and the match that did, with
// no pattern where none matches. Sessions are what the records before told, of
// one source. The failures lack Via and Unit.
func (j *Jail) Failures(known *Sessions, r matcher.Record, at time.Time) (*matcher.Pattern, matcher.Match, []*store.Failure) {
	pattern, match, ok := j.Match(r)
	if !ok {
		return nil, match, nil
	}
	return pattern, match, j.failures(known, &r, at, pattern, match)
}

// failures is Failures of a record that a pattern matches.
func (j *Jail) failures(known *Sessions, r *matcher.Record, at time.Time, pattern *matcher.Pattern, match matcher.Match) []*store.Failure {
	failure := &store.Failure{
		Jail: j.Name, Host: match.Host, Kind: pattern.Kind, Time: at,
		Pattern: pattern.Name, User: cut(match.User, userLength), Record: excerpt(r.Text),
	}
	if !j.sessions {
		return []*store.Failure{failure}
	}
	return known.take(string(r.Session), failure, j.counts(pattern))
}

// counts tells when a match of the pattern is a failure.
func (j *Jail) counts(p *matcher.Pattern) counts {
	if c, ok := j.notAlways[p]; ok {
		return c
	}
	return always
}

// Nearest returns the name of the pattern that agrees the longest with a message
// that none matches, and how far, as [matcher.Pattern.Near] tells it.
func (j *Jail) Nearest(message []byte) (name string, matched int, expected string) {
	matched = -1
	for _, p := range j.lines {
		if n, next := p.Near(message); n > matched {
			name, matched, expected = p.Name, n, next
		}
	}
	return name, max(matched, 0), expected
}

// writtenWithin is how long a preferred source may be quiet before what other
// sources tell counts again. Every registration of an honest phone leaves a
// record, so that silence of this length means that nobody writes.
const writtenWithin = 10 * time.Minute

// readWithin is how long a live source takes to be read.
const readWithin = 10 * time.Second

// prefersOther reports whether a failure that s tells at time now is to be told by a
// preferred source of the jail, which is being written. What a live source tells just
// happened, whatever it says: a caller may forge a record of the time before.
func (j *Jail) prefersOther(s *Source, at, now time.Time) bool {
	if len(j.preferred) == 0 || slices.Contains(j.preferred, s) {
		j.Stats.Unheard = 0
		return false
	}
	if live := now.Add(-readWithin); s.Live && at.Before(live) {
		at = live
	}
	for _, p := range j.preferred {
		switch {
		case p.Readable && !at.Before(p.ReadableSince):
			return true
		case p.Readable, p.events: // it has not seen what happened then
		case !p.Last.IsZero() && at.Sub(p.Last) <= writtenWithin:
			return true
		}
	}
	j.Stats.Unconfirmed++
	if j.Stats.UnconfirmedSince.IsZero() {
		j.Stats.UnconfirmedSince = at
	}
	return false
}

// heard notes that a source of the jail is being written.
func (j *Jail) heard(s *Source) {
	if slices.Contains(j.preferred, s) {
		j.Stats.Unconfirmed, j.Stats.UnconfirmedSince = 0, time.Time{}
	}
}

// threshold is what the jail tolerates.
func (j *Jail) threshold() threshold {
	return threshold{
		Threshold: counter.Threshold{MaxRetry: j.MaxRetry, FindTime: j.FindTime},
		distinct:  j.Distinct == "user",
		aggregate: j.Aggregate > 0,
		trust:     j.Trust,
		forget:    j.Escalate.Forget,
	}
}

// unit returns what is counted and banned for a host: the prefix that the
// record names, if named is not 0, but never a wider one than the jail files may
// set.
func (j *Jail) unit(host netip.Addr, named int) netip.Prefix {
	bits, widest := j.IPv4Prefix, 8
	if host.Is6() {
		bits, widest = j.IPv6Prefix, 16
	}
	if named > 0 {
		bits = max(named, widest)
	}
	return netip.PrefixFrom(host, bits).Masked()
}
