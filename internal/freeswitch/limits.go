package freeswitch

import (
	"fmt"
	"slices"
	"strings"
)

// What is read is bounded. The stock configuration has 162 files and half a
// megabyte.
const (
	maxFile     = 16 << 20 // bytes of one file
	maxText     = 64 << 20 // bytes of all files, as often as they are included, and of what their variables stand for
	maxFiles    = 10_000   // as often as they are included
	maxDepth    = 100      // of includes: that of FreeSWITCH
	maxNames    = 100_000  // of files and directories that includes look at
	maxPath     = 4096     // bytes: PATH_MAX
	maxLine     = 1 << 20  // bytes that variables may make of a line: where FreeSWITCH cuts lines
	maxVariable = 256      // bytes of a variable's name
	maxNesting  = 1000     // of elements
	maxElements = 250_000  // that matter
	maxProblems = 100
)

// A ledger counts against the limits, and remembers what is wrong.
type ledger struct {
	names    int  // that were looked at
	spent    int  // of maxText
	stopped  bool // nothing more is read
	problems []string
}

// problem remembers what is wrong at a place.
func (l *ledger) problem(at Place, format string, args ...any) {
	l.complain(at.String() + ": " + fmt.Sprintf(format, args...))
}

// complain remembers what is wrong, once.
func (l *ledger) complain(text string) {
	if slices.Contains(l.problems, text) {
		return // a file that is included twice
	}
	if len(l.problems) == maxProblems-1 {
		text, l.stopped = "there are more problems; the rest may not be read", true
	}
	if len(l.problems) < maxProblems {
		l.problems = append(l.problems, text)
	}
}

// stop ends the reading for what is too much.
func (l *ledger) stop(format string, args ...any) {
	if !l.stopped {
		l.stopped = true
		l.complain(fmt.Sprintf(format, args...) + ": the rest is not read")
	}
}

// spend counts bytes, and reports whether they may be read.
func (l *ledger) spend(bytes int) bool {
	if l.spent += bytes; l.spent > maxText {
		l.stop("the files and what their variables stand for have more than %d MiB", maxText>>20)
	}
	return !l.stopped
}

// look counts names that were looked at.
func (l *ledger) look(names int) {
	if l.names += names; l.names > maxNames {
		l.stop("includes look at more than %d names", maxNames)
	}
}

// shown returns s as a problem quotes it.
func shown(s string) string {
	const enough = 100
	if len(s) > enough {
		s = s[:enough] + "..."
	}
	return fmt.Sprintf("%q", strings.TrimSpace(s))
}
