package pipeline

import (
	"bytes"
	"slices"
	"time"

	"band/matcher"
	"band/store"
)

// A canary tells failures that a caller may have forged into the log that
// FreeSWITCH writes by default, where whatever callers send is logged too. The
// idle-CPU field is sampled about once a second, so a genuine record carries
// the value of a neighbour or stands a second from it, and its time is not out
// of order. A forger does not know the value of the moment. He may guess it, or
// forge its neighbours too: the canary stops those who do not know it.
//
// A dedicated log, which holds nothing that callers wrote at the start of a
// line, is taken as it is.
type canary struct {
	Vanilla bool      `json:"vanilla,omitempty"` // records were seen that no dedicated log holds
	Prev    neighbour `json:"prev,omitzero"`     // the last record that may vouch for others
	Held    []held    `json:"held,omitempty"`    // failures that wait for their next neighbour
}

// neighbour is what a record says of the moment at which it was written.
type neighbour struct {
	Time  time.Time `json:"time,omitzero"`
	Taken time.Time `json:"taken,omitzero"` // when it was read, if that was when it was written; else Time
	Idle  string    `json:"idle,omitempty"`

	doubled bool // a second start stands in the text: one of them is a caller's
}

// held is a failure that its neighbour before does not vouch for.
type held struct {
	Prev     neighbour        `json:"prev,omitzero"`
	Own      neighbour        `json:"own"`
	Failures []*store.Failure `json:"failures"`
}

const (
	// sampled is the time after which FreeSWITCH has sampled the idle CPU anew.
	sampled = time.Second
	// alone is how long failures wait for a record that is none.
	alone = time.Second
	// maxHeld is how many of them wait; the oldest of more are doubtful.
	maxHeld = 100
)

// learn looks for records that no dedicated log holds.
func (c *canary) learn(records []matcher.Record) {
	if !c.Vanilla {
		c.Vanilla = slices.ContainsFunc(records, func(r matcher.Record) bool { return r.Stamp != nil && !dedicated(r) })
	}
}

// dedicated reports whether a record may stand in a dedicated log: a warning or
// an error of the three sources that tell of failures.
func dedicated(r matcher.Record) bool {
	level, rest, _ := bytes.Cut(r.Message, []byte("] "))
	file, _, _ := bytes.Cut(rest, []byte(":"))
	return slices.Contains([]string{"[WARNING", "[ERR", "[CRIT", "[ALERT"}, string(level)) &&
		slices.Contains([]string{"sofia_reg.c", "sofia.c", "mod_event_socket.c"}, string(file))
}

// take judges the failures that one record is, and those that waited for it.
// It returns the ones to be counted and how many are doubtful.
//
// Records that do not tell their moment vouch for nothing. Nor do failures,
// until they were accepted themselves: a forger writes several in a row, and
// the records of the call that carried them follow at once. Where nothing but
// failures follows, those that agree with each other are accepted after a while.
// That while is one of the times at which records were taken, as far as those
// are known: the times that forged records tell are made up.
func (c *canary) take(n neighbour, ok bool, failures []*store.Failure) (accepted []*store.Failure, doubtful int) {
	if !c.Vanilla {
		return failures, 0
	}
	if !ok {
		return nil, len(failures) // FreeSWITCH writes no such time
	}
	if len(failures) > 0 && !c.Prev.vouchesBefore(n) {
		c.Held = append(c.Held, held{c.Prev, n, failures})
		if n.Taken.Sub(c.Held[0].Own.Taken) > alone {
			return c.releaseAlone()
		}
		if len(c.Held) > maxHeld {
			doubtful = len(c.Held[0].Failures)
			c.Held = c.Held[1:]
		}
		return nil, doubtful
	}
	if !n.doubled {
		accepted, doubtful = c.release(n)
		c.Prev = n
	}
	return append(accepted, failures...), doubtful
}

// release judges the held failures now that their next neighbour is known.
// Several that agree with each other alone are forged where the values before
// and behind them are the same, and a change of the value where they are not.
func (c *canary) release(next neighbour) (accepted []*store.Failure, doubtful int) {
	for i, h := range c.Held {
		changed := h.Prev.Idle != "" && h.Prev.Idle != next.Idle
		if h.inOrder(next) && (h.Own.allowsBefore(next) || changed && c.agrees(i)) {
			accepted = append(accepted, h.Failures...)
		} else {
			doubtful += len(h.Failures)
		}
	}
	c.Held = nil
	return accepted, doubtful
}

// releaseAlone judges the held failures by each other. The last one, whose next
// neighbour is not known yet, goes on waiting.
func (c *canary) releaseAlone() (accepted []*store.Failure, doubtful int) {
	last := len(c.Held) - 1
	for i, h := range c.Held[:last] {
		if c.agrees(i) {
			accepted = append(accepted, h.Failures...)
			c.Prev = h.Own
		} else {
			doubtful += len(h.Failures)
		}
	}
	c.Held = slices.Clone(c.Held[last:])
	return accepted, doubtful
}

// agrees reports whether a held failure agrees with the one held before it or
// behind it.
func (c *canary) agrees(i int) bool {
	return i > 0 && c.Held[i-1].Own.allowsBefore(c.Held[i].Own) ||
		i+1 < len(c.Held) && c.Held[i].Own.allowsBefore(c.Held[i+1].Own)
}

// vouchesBefore reports whether a record follows n as one of the same moment.
func (n neighbour) vouchesBefore(after neighbour) bool {
	return n.Idle == after.Idle && !after.Time.Before(n.Time.Add(-matcher.Disorder))
}

// allowsBefore reports whether a record could follow n directly: as one of the
// same moment, or so much later that the value was sampled anew. What surrounds a
// forged record is of the call that carried it, and was written with it.
func (n neighbour) allowsBefore(after neighbour) bool {
	later := !n.Taken.IsZero() && after.Taken.Sub(n.Taken) > sampled
	return (n.Idle == after.Idle || later) && !after.Time.Before(n.Time.Add(-matcher.Disorder))
}

// inOrder reports whether the held record's time fits between its neighbours'.
// Where it is older than the one before it, the clock must have been set back,
// and next must be so too.
func (h held) inOrder(next neighbour) bool {
	setBack := func(n neighbour) bool { return n.Time.Before(h.Prev.Time.Add(-matcher.Disorder)) }
	return !h.Own.Time.After(next.Time.Add(matcher.Disorder)) && (!setBack(h.Own) || setBack(next))
}
