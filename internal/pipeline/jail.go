package pipeline

import (
	"fmt"
	"net/netip"
	"time"

	"band/jails"
	"band/matcher"
	"band/matcher/counter"
)

// A Jail is an enabled jail at work.
type Jail struct {
	jails.Jail
	Stats    JailStats
	patterns []*matcher.Pattern
}

// JailStats is what a jail has seen since the start.
type JailStats struct {
	Records   uint64
	Failures  uint64 // counted ones
	Exempt    uint64 // those of hosts that are never counted
	Banned    uint64 // bans decided
	LastMatch time.Time
}

func newJail(j jails.Jail) (*Jail, error) {
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

// match returns the first of the jail's patterns that matches the message.
func (j *Jail) match(message []byte) (*matcher.Pattern, matcher.Match, bool) {
	for _, p := range j.patterns {
		if m, ok := p.Match(message); ok {
			return p, m, true
		}
	}
	return nil, matcher.Match{}, false
}

// threshold is what the jail tolerates.
func (j *Jail) threshold() counter.Threshold {
	return counter.Threshold{MaxRetry: j.MaxRetry, FindTime: j.FindTime}
}

// unit returns what is counted and banned for a host.
func (j *Jail) unit(host netip.Addr) netip.Prefix {
	bits := j.IPv4Prefix
	if host.Is6() {
		bits = j.IPv6Prefix
	}
	return netip.PrefixFrom(host, bits).Masked()
}
