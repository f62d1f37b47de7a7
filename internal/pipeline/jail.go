package pipeline

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"band/jails"
	"band/matcher"
	"band/matcher/counter"
)

// A Jail is an enabled jail at work.
type Jail struct {
	jails.Jail
	Stats     JailStats
	patterns  []*matcher.Pattern
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
}

// NewJail compiles the enabled patterns of a jail.
func NewJail(j jails.Jail) (*Jail, error) {
	compiled := &Jail{Jail: j}
	for _, p := range j.Patterns {
		if !p.Enabled {
			continue
		}
		pattern, err := matcher.Compile(p.Name, p.Kind, p.Regex, p.Unsafe)
		if err != nil {
			return nil, fmt.Errorf("jail %s, pattern %s: %w", j.Name, p.Name, err)
		}
		compiled.patterns = append(compiled.patterns, pattern)
	}
	return compiled, nil
}

// Match returns the first of the jail's patterns that matches the record.
func (j *Jail) Match(r matcher.Record) (*matcher.Pattern, matcher.Match, bool) {
	if r.Message != nil {
		for _, p := range j.patterns {
			if m, ok := p.Match(r.Message); ok {
				return p, m, true
			}
		}
	}
	return nil, matcher.Match{}, false
}

// Nearest returns the name of the pattern that agrees the longest with a message
// that none matches, and how far, as [matcher.Pattern.Near] tells it.
func (j *Jail) Nearest(message []byte) (name string, matched int, expected string) {
	matched = -1
	for _, p := range j.patterns {
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

// prefersOther reports whether a failure that s tells is to be told by a
// preferred source of the jail, which is being written.
func (j *Jail) prefersOther(s *Source, at time.Time) bool {
	if len(j.preferred) == 0 || slices.Contains(j.preferred, s) {
		return false
	}
	for _, p := range j.preferred {
		if !p.Last.IsZero() && at.Sub(p.Last) <= writtenWithin {
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
	}
}

// unit returns what is counted and banned for a match: the prefix that the
// record names, but never a wider one than the jail files may set.
func (j *Jail) unit(m matcher.Match) netip.Prefix {
	bits, widest := j.IPv4Prefix, 8
	if m.Host.Is6() {
		bits, widest = j.IPv6Prefix, 16
	}
	if m.Bits > 0 {
		bits = max(m.Bits, widest)
	}
	return netip.PrefixFrom(m.Host, bits).Masked()
}
