package pipeline

import (
	"net/netip"
	"slices"
	"time"

	"band/store"
)

// counts tells when a record that a pattern matched is a failure. In each case
// it lends its host and user to the other records of its session.
type counts string

const (
	always      counts = "always"
	never       counts = "never"
	anotherUser counts = "another-user" // when its session named another user before
)

const (
	// sessionLength is how long records of one session belong together. A
	// program's number is used again some time after it ended; sshd grants two
	// minutes to log in (LoginGraceTime).
	sessionLength = 3 * time.Minute
	// maxSessions is how many are known at once, of the newest records. They
	// are kept with the position of their source.
	maxSessions = 50
	// maxWaiting is how many failures of one wait for its host.
	maxWaiting = 5
)

// Sessions are what the records of a source told of their sessions, the one that
// was heard of last at the end. The zero value knows none.
type Sessions []session

// session is what the records that one process wrote for one connection tell a
// jail together.
type session struct {
	Jail    string           `json:"jail"`
	ID      string           `json:"id"`
	Heard   time.Time        `json:"heard"`
	Host    netip.Addr       `json:"host,omitzero"`
	User    string           `json:"user,omitempty"`
	Waiting []*store.Failure `json:"waiting,omitempty"` // without a host yet
}

// take returns the failures that a record brings to light, each with a host.
func (all *Sessions) take(id string, f *store.Failure, when counts) []*store.Failure {
	if id == "" {
		if when != always || !f.Host.IsValid() {
			return nil
		}
		return []*store.Failure{f}
	}
	s := all.of(f.Jail, id, f.Time)
	if f.Host.IsValid() && s.Host.IsValid() && f.Host != s.Host {
		*s = session{Jail: s.Jail, ID: s.ID, Heard: s.Heard} // another one with the same number
	}
	another := s.User != "" && f.User != "" && f.User != s.User
	if f.User != "" {
		s.User = f.User
	}
	told := s.Host.IsValid()
	if f.Host.IsValid() {
		s.Host = f.Host
	}
	failures := s.Waiting
	if when == always || when == anotherUser && another {
		if told || !f.Host.IsValid() {
			failures = append(failures, f)
		} else {
			failures = []*store.Failure{f} // it tells the attempts that waited better
		}
	}
	if !s.Host.IsValid() {
		s.Waiting = failures[max(0, len(failures)-maxWaiting):]
		return nil
	}
	s.Waiting = nil
	for _, f := range failures {
		f.Host = s.Host
	}
	return failures
}

// of returns the session of that number, a new one where none was heard of for
// a while.
func (all *Sessions) of(jail, id string, at time.Time) *session {
	s := session{Jail: jail, ID: id}
	i := slices.IndexFunc(*all, func(s session) bool { return s.Jail == jail && s.ID == id })
	if i >= 0 {
		if at.Sub((*all)[i].Heard).Abs() <= sessionLength {
			s = (*all)[i]
		}
		*all = slices.Delete(*all, i, i+1)
	}
	s.Heard = at
	*all = append(*all, s)
	if over := len(*all) - maxSessions; over > 0 {
		*all = slices.Delete(*all, 0, over)
	}
	return &(*all)[len(*all)-1]
}
