//go:build !sdjournal

package journal

import (
	"context"
	"errors"
	"io"
)

// ReaderName returns what reads the journal: "journalctl", looked up in PATH, or
// with the build tag sdjournal "sdjournal", this program itself.
func ReaderName() string { return "journalctl" }

func command() []string { return []string{"journalctl"} }

// ReadTo is the child's part where this program reads the journal itself, which
// it does only when it was built with the tag sdjournal: here it is an error.
func ReadTo(context.Context, io.Writer, []string) error {
	return errors.New("built without the tag sdjournal")
}
