package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// inside says that the tests run in a network namespace of their own.
const inside = "BAND_TEST_INSIDE"

// TestMain runs the tests in a network namespace, so that a daemon there bans in
// a kernel's tables and nobody is cut off.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	again := exec.Command(os.Args[0], os.Args[1:]...)
	again.Env = append(os.Environ(), inside+"=1")
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := again.Run(); err != nil {
		if again.ProcessState == nil {
			fmt.Fprintln(os.Stderr, "run the tests in a network namespace, which needs root:", err)
		}
		os.Exit(1)
	}
}
