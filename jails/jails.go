package jails

import (
	"fmt"
	"net/netip"
	"time"
)

// Config is what a configuration directory says, with every value checked.
type Config struct {
	Jails      []Jail    // the valid jails, enabled or not, sorted by name
	Allow      []Entry   // in the order of band.toml
	FreeSWITCH string    // the directory of FreeSWITCH's configuration; "" for the usual places
	Problems   []Problem // everything that is wrong, sorted by file and line

	// Metrics is where scrapes are answered over TCP; the zero AddrPort: nowhere.
	Metrics netip.AddrPort
}

// Jail is one protection: where its records come from, what counts as a
// failure, how many are too many, and what a ban then covers.
type Jail struct {
	Name       string
	Enabled    bool
	DryRun     bool // everything happens but the kernel
	Format     string
	Time       string // strftime(3) layout of the stamp that a line of the format "raw" begins with
	Sources    []Source
	SourcesOf  string // the jail whose sources these are; "": its own
	Patterns   []Pattern
	FindTime   time.Duration // 1 s to 365 days
	BanTime    time.Duration // 1 s or more; 0: for ever
	MaxRetry   int           // 1 to 10000
	Distinct   string        // "user": failures add up only when they name different users; "": all do
	Ports      Ports
	Services   []string      // names as in /proc/PID/comm, whose listening ports are to be covered
	ClearOn    []string      // names of patterns that tell of a success: it forgives the failures of its unit before
	Trust      time.Duration // for which a success forgives those behind it too, but for many; 0: not
	IPv4Prefix int           // bits of an IPv4 unit, 8 to 32
	IPv6Prefix int           // bits of an IPv6 unit, 16 to 128
	Aggregate  int           // when so many units of an IPv4 /24 or IPv6 /48 are banned it is, 2 to 256; 0: never
	Escalate   Escalate

	// Origins tells where each value comes from, by the name of its key:
	// "findtime", "escalate.max", "source" for all sources together (they may
	// come from the file of another jail), "pattern.NAME" for a pattern itself
	// and "pattern.NAME.regex" for a value of it. A key that is not there was
	// not set.
	Origins map[string]Origin
}

// Pattern is a regex of a jail, or what it asks of an event; a record that it
// matches is a failure, unless Counts or the jail's ClearOn say otherwise.
//
// Failures of different kinds are counted apart and the larger count decides,
// because one attempt may write a record of each: for a user that does not
// exist, FreeSWITCH writes "Can't find user" and then "SIP auth failure".
type Pattern struct {
	Name  string
	Regex string // as written, <HOST> and its like included; "": it is for events
	Kind  string

	// Event is the name of the events that the pattern is for, such as
	// "sofia::register_failure", Host the field that tells whom to ban, User the
	// one that tells the user, "" for none. Where are fields, and texts of which
	// each must be one: whatever the case of letters, * stands for any text.
	Event, Host, User string
	Where             map[string][]string

	// Counts is "always", "never" for a record that is no failure itself but
	// lends its host and user to the others of its session, or "another-user"
	// for one that is a failure only when its session named another user before.
	Counts string

	Enabled bool
	Unsafe  bool // the operator vouches for a regex that would be refused as forgeable
}

// Ports are the ports that a ban covers, sorted and each once. The zero value
// covers every port of every protocol. Otherwise a list that is empty covers
// none of its protocol.
type Ports struct{ UDP, TCP []uint16 }

// All reports whether a ban covers every port of every protocol.
func (p Ports) All() bool { return len(p.UDP) == 0 && len(p.TCP) == 0 }

// Origin is where a value comes from.
type Origin struct {
	Layer string // "built-in", "band.toml", "shipped" or "overlay"; a jail file that overlays nothing is an "overlay" too
	File  string // "" for built-in
	Line  int    // from 1; 0 for built-in
}

// String returns "layer, file:line", or the layer alone where there is no file.
func (o Origin) String() string {
	if o.File == "" {
		return o.Layer
	}
	return fmt.Sprintf("%s, %s:%d", o.Layer, o.File, o.Line)
}

// Problem is one thing that is wrong with the configuration.
type Problem struct {
	File string
	Line int    // from 1; 0 when no line is to blame
	Key  string // such as "findtime" or "pattern.NAME.regex"; "" when no key is to blame

	// Jail is the jail whose file is refused because of it, "" for band.toml.
	// When Config.Jails still holds a jail of that name, it is the shipped one,
	// which runs without the refused overlay.
	Jail string

	Text string // what is wrong, and what was probably meant
}

// Error returns "file:line: key: text", without the parts that are not known.
func (p Problem) Error() string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d", p.Line)
	}
	s += ": "
	if p.Key != "" {
		s += p.Key + ": "
	}
	return s + p.Text
}

// Checker judges what only the matcher can judge.
type Checker interface {
	// Format returns an error unless there is a record format of that name
	// whose times may have that layout; layout is "" where the jail sets none.
	Format(name, layout string) error
	// Pattern returns an error unless p can be used on records of that format.
	// It is asked for disabled patterns too, those for events among them, and never with a format that
	// Format refuses without a layout. Where the format tells sessions, p may name no host: its
	// failures take that of their session.
	Pattern(format string, p Pattern) error
}
