package counter

import "slices"

const (
	// evidenceKept is how many failures of all keep their evidence, and
	// evidencePerWindow how many of a window. Evidence takes more room than all
	// that is counted.
	evidenceKept      = 10_000
	evidencePerWindow = 5
)

// evidence holds what belongs to the newest failures, known by its number.
type evidence[E any] struct {
	kept []E // a ring
	last uint64
}

// keep gives e a number, in the place of the oldest when there are too many.
func (all *evidence[E]) keep(e E) uint64 {
	if len(all.kept) < evidenceKept {
		all.kept = append(all.kept, e)
	} else {
		all.kept[all.last%evidenceKept] = e
	}
	all.last++
	return all.last
}

// of returns what has the number, nil where it is not kept any more.
func (all *evidence[E]) of(number uint64) *E {
	if number == 0 || all.last-number >= evidenceKept {
		return nil
	}
	return &all.kept[(number-1)%evidenceKept]
}

// drop lets go of what has the number, if it is still kept.
func (all *evidence[E]) drop(number uint64) {
	if e := all.of(number); e != nil {
		*e = *new(E)
	}
}

func (all *evidence[E]) clone() evidence[E] { return evidence[E]{slices.Clone(all.kept), all.last} }
