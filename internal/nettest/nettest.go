// Package nettest helps tests that send packets.
package nettest

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// InOrder keeps the calling goroutine on one processor until the function that
// it returns is called. What is sent meanwhile, over virtual cables and whatever
// the socket, waits in that processor's queue and arrives in the order in which
// it was sent.
func InOrder(t testing.TB) (end func()) {
	t.Helper()
	runtime.LockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.SchedSetaffinity(0, &all); err != nil {
			t.Error(err)
		}
		runtime.UnlockOSThread()
	}
}
