// Package version tells which build this is.
package version

import (
	"fmt"
	"runtime"
)

// version is set by the linker, see the Makefile.
var version = "unknown"

// String returns the version, and what it was built with.
func String() string {
	return fmt.Sprintf("%s (%s %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
