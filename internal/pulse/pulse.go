// Package pulse lets all that looks around in this process do so at the same
// moments: the processor of an idle machine wakes up once for all of it.
package pulse

import "time"

// Next returns how long it is until the next of the moments that lie that far apart,
// by the clock on the wall: more than nothing, and never longer than that.
func Next(every time.Duration) time.Duration {
	now := time.Now()
	return now.Truncate(every).Add(every).Sub(now)
}
