package store

import (
	"encoding/json"
	"maps"
	"net/netip"
	"time"
)

// Failure is a record that a pattern matched. Via is the kind of its source
// ("file", "preferred file"), Record an excerpt of it as evidence. On
// the disk times are cut to microseconds and turned to UTC, and bytes that are
// not UTF-8 become U+FFFD.
type Failure struct {
	Jail    string       `json:"jail"`
	Unit    netip.Prefix `json:"unit"`
	Host    netip.Addr   `json:"host,omitzero"`
	Kind    string       `json:"kind,omitempty"`
	Via     string       `json:"via,omitempty"`
	Time    time.Time    `json:"time,omitzero"`
	Pattern string       `json:"pattern,omitempty"`
	User    string       `json:"user,omitempty"`
	Record  string       `json:"record,omitempty"`
}

// Ban shuts out a unit since one time until another; a zero Until is for ever.
// Failures is their count at the decision, of units where Origin is "network";
// the others are "jail" and "manual". Repeat is how many bans went before it that
// make it longer. A dry run is decided and kept, and not enforced.
type Ban struct {
	Jail     string       `json:"jail"`
	Unit     netip.Prefix `json:"unit"`
	Since    time.Time    `json:"since,omitzero"`
	Until    time.Time    `json:"until,omitzero"`
	Failures int          `json:"failures,omitempty"`
	Origin   string       `json:"origin,omitempty"`
	Repeat   int          `json:"repeat,omitempty"`
	DryRun   bool         `json:"dry_run,omitempty"`
	Reason   string       `json:"reason,omitempty"`
	Evidence []Failure    `json:"evidence,omitempty"`
}

// Lift ends the ban of a unit by a jail before its time.
type Lift struct {
	Jail string       `json:"jail"`
	Unit netip.Prefix `json:"unit"`
	At   time.Time    `json:"at,omitzero"`
}

// Success forgives a unit in a jail its failures before.
type Success struct {
	Jail string       `json:"jail"`
	Unit netip.Prefix `json:"unit"`
	At   time.Time    `json:"at,omitzero"`
}

// Allow puts an entry on the allowlist until a time, or takes it off; a zero
// Until is for ever. Entry is an address, a prefix or a host name.
type Allow struct {
	Entry  string    `json:"entry"`
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"`
	Reason string    `json:"reason,omitempty"`
	Gone   bool      `json:"gone,omitempty"`
}

// Resolved is what a host name of the allowlist stood for when it was last
// looked up; nothing where it is not on the allowlist any more.
type Resolved struct {
	Name  string       `json:"name"`
	Addrs []netip.Addr `json:"addrs,omitempty"`
}

// Step is a clock that was set, at the moment that was At by the clock before and
// To by the one since: what the state tells of the times From to At moves along.
type Step struct {
	From time.Time `json:"from,omitzero"`
	At   time.Time `json:"at,omitzero"`
	To   time.Time `json:"to,omitzero"`
}

// Event is one change; exactly one field is set. The order of events within a
// batch matters.
type Event struct {
	Failure  *Failure  `json:"failure,omitempty"`
	Ban      *Ban      `json:"ban,omitempty"`
	Lift     *Lift     `json:"lift,omitempty"`
	Success  *Success  `json:"success,omitempty"`
	Allow    *Allow    `json:"allow,omitempty"`
	Resolved *Resolved `json:"resolved,omitempty"`
	Step     *Step     `json:"step,omitempty"`
}

// Batch is what one decision changed: one line of the log, applied whole or
// not at all. Keys of Cursors are UTF-8, values JSON; neither is looked into.
// A batch is at most 64 MiB when encoded.
type Batch struct {
	Cursors map[string]json.RawMessage `json:"cursors,omitempty"`
	Events  []Event                    `json:"events,omitempty"`
}

// stored returns the batch as it goes to the disk: the owner may still read
// its own, so what changes is copied.
func (b Batch) stored() Batch {
	events := make([]Event, len(b.Events))
	for i, e := range b.Events {
		switch {
		case e.Failure != nil:
			f := e.Failure.stored()
			events[i].Failure = &f
		case e.Ban != nil:
			ban := *e.Ban
			ban.Since, ban.Until = stamp(ban.Since), stamp(ban.Until)
			ban.Evidence = make([]Failure, len(e.Ban.Evidence))
			for j, f := range e.Ban.Evidence {
				ban.Evidence[j] = f.stored()
			}
			events[i].Ban = &ban
		case e.Lift != nil:
			lift := *e.Lift
			lift.At = stamp(lift.At)
			events[i].Lift = &lift
		case e.Success != nil:
			success := *e.Success
			success.At = stamp(success.At)
			events[i].Success = &success
		case e.Allow != nil:
			allow := *e.Allow
			allow.Since, allow.Until = stamp(allow.Since), stamp(allow.Until)
			events[i].Allow = &allow
		case e.Resolved != nil:
			events[i].Resolved = e.Resolved
		case e.Step != nil:
			events[i].Step = &Step{stamp(e.Step.From), stamp(e.Step.At), stamp(e.Step.To)}
		}
	}
	return Batch{Cursors: b.Cursors, Events: events}
}

func (f Failure) stored() Failure {
	f.Time = stamp(f.Time)
	return f
}

func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// withValidCursors returns the batch without the cursors that are not JSON,
// which would keep its bans from the disk.
func (b Batch) withValidCursors() Batch {
	b.Cursors = maps.Clone(b.Cursors)
	maps.DeleteFunc(b.Cursors, func(_ string, raw json.RawMessage) bool { return !json.Valid(raw) })
	return b
}

// urgent says that the batch must be on stable storage at once.
func (b Batch) urgent() bool {
	for _, e := range b.Events {
		if e.Ban != nil || e.Lift != nil || e.Allow != nil || e.Step != nil {
			return true
		}
	}
	return false
}

// weight is about the encoded size of the batch in bytes, without encoding it.
func (b Batch) weight() int {
	const object = 160 // keys, times and addresses of one
	n := 32
	for name, raw := range b.Cursors {
		n += len(name) + len(raw) + 8
	}
	for _, e := range b.Events {
		n += object
		switch {
		case e.Failure != nil:
			n += e.Failure.weight()
		case e.Ban != nil:
			n += len(e.Ban.Reason)
			for _, f := range e.Ban.Evidence {
				n += object + f.weight()
			}
		case e.Allow != nil:
			n += len(e.Allow.Entry) + len(e.Allow.Reason)
		case e.Resolved != nil:
			n += len(e.Resolved.Name) + 48*len(e.Resolved.Addrs)
		}
	}
	return n
}

func (f Failure) weight() int { return len(f.User) + len(f.Record) }
