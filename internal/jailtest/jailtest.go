// Package jailtest runs jail tests: files that hold a jail, a log, and who is
// to be banned by it.
package jailtest

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing/fstest"

	"band/internal/config"
	"band/internal/replay"
	"band/jails"
	"band/store"
)

// Suffix of the name of a test. The name begins with that of the jail, up to
// the first dot: freeswitch.one-typo.jailtest.
const Suffix = ".jailtest"

// separator parts the jail, the log and what is expected.
const separator = "----------"

// Run runs the test in the file at path of fsys and returns what differs from
// what it expects, "" where nothing does. A test that cannot be read is an
// error.
//
// The first part of a test is a jail file, which overlays a shipped jail of
// that name; where it is empty, the jail of base is tested. The second part is
// a log. The third lists on each line a host, its attempts, and "banned" where
// it is; or "error: " and a part of what is wrong with the jail file.
func Run(ctx context.Context, fsys fs.FS, path string, base *jails.Config) (diff string, err error) {
	text, err := fs.ReadFile(fsys, path)
	if err != nil {
		return "", err
	}
	parts := strings.Split("\n"+string(text), "\n"+separator+"\n")
	if len(parts) != 3 {
		return "", fmt.Errorf("%s: a test is a jail, a log and what is expected, parted by two lines %s; there are %d", path, separator, len(parts)-1)
	}
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	if strings.TrimSpace(parts[0]) != "" {
		base = config.LoadFS(fstest.MapFS{"jails.d/" + name + ".toml": {Data: []byte(strings.TrimPrefix(parts[0], "\n"))}}, "")
	}
	want := strings.TrimSpace(parts[2])
	if problem, ok := strings.CutPrefix(want, "error: "); ok {
		return missing(problem, name, base), nil
	}
	tested, err := config.Only(base, name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	result, err := replay.Run(ctx, tested, []io.Reader{strings.NewReader(strings.TrimPrefix(parts[1], "\n") + "\n")})
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return compare(want, outcome(result, name)), nil
}

// missing returns how the problems of a jail differ from the one expected.
func missing(problem, name string, c *jails.Config) string {
	var all []string
	for _, p := range c.Problems {
		if strings.Contains(p.Error(), problem) {
			return ""
		}
		all = append(all, p.Error())
	}
	return fmt.Sprintf("jail %s should be refused with %q, and has: %s", name, problem, strings.Join(all, "; "))
}

// outcome writes a result as a test does.
func outcome(r *replay.Result, jail string) string {
	var lines []string
	attempts := r.Attempts[jail]
	for _, host := range slices.SortedFunc(maps.Keys(attempts), netip.Addr.Compare) {
		line := host.String() + " " + strconv.Itoa(attempts[host])
		if slices.ContainsFunc(r.Bans, func(b store.Ban) bool { return b.Unit.Contains(host) }) {
			line += " banned"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// compare returns the lines that only one of the two has.
func compare(want, got string) string {
	var diff []string
	fields := func(text string) (lines []string) {
		for line := range strings.Lines(text) {
			if line = strings.Join(strings.Fields(line), " "); line != "" {
				lines = append(lines, line)
			}
		}
		return lines
	}
	wanted, found := fields(want), fields(got)
	for _, line := range wanted {
		if !slices.Contains(found, line) {
			diff = append(diff, "expected, and not found: "+line)
		}
	}
	for _, line := range found {
		if !slices.Contains(wanted, line) {
			diff = append(diff, "found, and not expected: "+line)
		}
	}
	return strings.Join(diff, "\n")
}
