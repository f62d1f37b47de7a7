package counter

import "time"

// Shift moves the failures between two times, both included, by a duration: the
// clock that told them was set.
func (c *Counter[E]) Shift(from, to time.Time, by time.Duration) {
	first, last := from.UnixMicro(), to.UnixMicro()
	for _, e := range c.units {
		for _, w := range e.Value.(*unit[E]).windows {
			for i := range w.failures {
				if at := w.failures[i].time; first <= at && at <= last {
					w.failures[i].time = at + by.Microseconds()
				}
			}
		}
	}
}
