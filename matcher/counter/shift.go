package counter

import "time"

// Shift moves the failures between two times, both included, by a duration: the
// clock that told them was set.
func (c *Counter[E]) Shift(from, to time.Time, by time.Duration) {
	first, last := from.UnixMicro(), to.UnixMicro()
	for u := range c.inOrder {
		for i := range u.failures {
			if at := u.failures[i].time; first <= at && at <= last {
				u.failures[i].time = at + by.Microseconds()
			}
		}
	}
}
