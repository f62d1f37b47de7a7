package services

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A cgroup is the directory of one of version 2.
type cgroup string

// cgroup returns that of the process, "" where it is in none but the root, which
// is nobody's own.
func (p process) cgroup() (cgroup, error) {
	text, err := head(fmt.Sprintf("/proc/%d/cgroup", p.pid))
	if gone(err) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	path := parseCgroup(string(text))
	if path == "" {
		return "", nil
	}
	// Version 2 is mounted alone, or beside version 1.
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(mount, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return cgroup(filepath.Join(mount, path)), nil
		}
	}
	return "", nil
}

// parseCgroup returns the path of version 2 in the text of /proc/PID/cgroup
// (cgroups(7)), "" for the root and for what lies outside of our namespace.
func parseCgroup(text string) string {
	for line := range strings.Lines(text) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::/")
		if ok && filepath.IsLocal(path) {
			return path
		}
	}
	return ""
}

// members returns the processes in the cgroup, not in those below it. One that
// another PID namespace hides is an error.
func (c cgroup) members() ([]process, error) {
	path := filepath.Join(string(c), "cgroup.procs")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []int
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", path, err)
		}
		if pid == 0 {
			return nil, errors.New("its cgroup has processes that are hidden from us")
		}
		all = append(all, pid)
	}
	return inspect(all)
}

// ids returns what the kernel calls the cgroup in what it tells about sockets,
// and that of the socket unit whose sockets systemd hands to it, which has the
// same name and makes them in a cgroup of its own (systemd.socket(5)).
func (c cgroup) ids() ([]uint64, error) {
	dirs := []string{string(c)}
	if unit, ok := strings.CutSuffix(string(c), ".service"); ok {
		dirs = append(dirs, unit+".socket")
	}
	var ids []uint64
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if gone(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		ids = append(ids, info.Sys().(*syscall.Stat_t).Ino)
	}
	return ids, nil
}
