package jails

import (
	"fmt"
	"math"
	"time"
)

// Escalate is how bans grow of a unit that is banned again and again.
type Escalate struct {
	Factor   float64       // a ban lasts so many times as long as the one before, 1 to 1000; 1: no longer
	Max      time.Duration // how long at most; never less than the bantime; 0: for ever
	Forget   time.Duration // a unit that was not banned for so long starts anew; 1 s to 365 days
	AllJails bool          // bans by all jails count, not only the jail's own
}

// escalateLayer is what one [escalate] table sets.
type escalateLayer struct {
	factor      *setting[float64]
	max, forget *setting[time.Duration]
	allJails    *setting[bool]
}

// escalate reads the [escalate] table.
func (t *table) escalate() escalateLayer {
	v, ok := t.values["escalate"]
	if !ok {
		return escalateLayer{}
	}
	values, ok := v.(map[string]any)
	if !ok {
		t.report(t.line("escalate"), t.key("escalate"), "%v", wrongType(`a table such as { factor = 2, max = "1w" }`, v))
		return escalateLayer{}
	}
	inner := t.inner(member(t.path, "escalate"), t.key("escalate"), values)
	inner.only(EscalateTable)
	return escalateLayer{
		factor:   read(inner, "factor", asFactor),
		max:      read(inner, "max", asDuration(time.Second, math.MaxInt64, true)),
		forget:   read(inner, "forget", asDuration(time.Second, 365*day, false)),
		allJails: read(inner, "all_jails", asBool),
	}
}

const maxFactor = 1000

func asFactor(v any) (float64, error) {
	var f float64
	switch v := v.(type) {
	case int64:
		f = float64(v)
	case float64:
		f = v
	default:
		return 0, wrongType("a number such as 2 or 1.5", v)
	}
	if !(f >= 1 && f <= maxFactor) { // not a number is neither
		return 0, fmt.Errorf("%v is out of range: 1 to %d", v, maxFactor)
	}
	return f, nil
}
