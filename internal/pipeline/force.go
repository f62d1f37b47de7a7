package pipeline

import (
	"iter"
	"time"
)

// EachInForce yields the bans in force at time t, in no order. Unlike InForce it
// costs no memory: with 100,000 bans that is the cheap way to count them. They must
// not be changed.
func (p *Pipeline) EachInForce(t time.Time) iter.Seq[*Ban] { return p.state.inForce(t) }
