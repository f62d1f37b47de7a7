package pulse_test

import (
	"testing"
	"testing/synctest"
	"time"

	"band/internal/pulse"
)

// Whenever they begin to wait, those who wait a second and those who wait two meet.
func TestNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, begun := range []time.Duration{0, time.Nanosecond, 300 * time.Millisecond, time.Second, 1900 * time.Millisecond} {
			time.Sleep(begun)
			for _, every := range []time.Duration{time.Second, 2 * time.Second} {
				next := pulse.Next(every)
				if at := time.Now().Add(next); next <= 0 || next > every || !at.Equal(at.Truncate(every)) {
					t.Errorf("at %v every %v: in %v", time.Now(), every, next)
				}
			}
		}
	})
}
