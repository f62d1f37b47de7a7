package services

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A process is one that runs. It may end at any time: that is no error.
type process struct {
	pid  int
	name string    // of its first thread, as the kernel has it
	uids [4]uint32 // real, effective, saved, and that of what it makes
}

// uid is the user of the sockets that the process makes.
func (p process) uid() uint32 { return p.uids[3] }

// named reports whether the process has one of the names.
func (p process) named(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		const kept = 15 // TASK_COMM_LEN without the final 0
		return p.name == name[:min(len(name), kept)]
	})
}

// pids returns the processes of our PID namespace.
func pids() ([]int, error) {
	// A process of this number always runs.
	if _, err := head("/proc/1/status"); err != nil {
		return nil, fmt.Errorf("the processes of others are hidden, by hidepid of /proc or ProtectProc of the unit: %w", err)
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read /proc: %w", err)
	}
	var all []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			all = append(all, pid)
		}
	}
	slices.Sort(all)
	return all, nil
}

// processes returns those of our PID namespace that run.
func processes() ([]process, error) {
	all, err := pids()
	if err != nil {
		return nil, err
	}
	return inspect(all)
}

// inspect returns those of the processes that still run.
func inspect(pids []int) ([]process, error) {
	var all []process
	for _, pid := range pids {
		status, err := head(fmt.Sprintf("/proc/%d/status", pid))
		if gone(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		p, runs, err := parseStatus(status)
		if err != nil {
			return nil, fmt.Errorf("parse the status of process %d: %w", pid, err)
		}
		if runs {
			p.pid = pid
			all = append(all, p)
		}
	}
	return all, nil
}

// parseStatus reads the text of /proc/PID/status (proc_pid_status(5)), in whose
// names a newline is escaped. A process that ended and waits for its parent
// does not run.
func parseStatus(status []byte) (p process, runs bool, err error) {
	var state string
	uids := 0
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":\t")
		switch key {
		case "Name":
			p.name = value
		case "State":
			state = value
		case "Uid":
			uids, err = fmt.Sscan(value, &p.uids[0], &p.uids[1], &p.uids[2], &p.uids[3])
		}
	}
	if err == nil && (p.name == "" || state == "" || uids == 0) {
		err = errors.New("no name, state or user")
	}
	return p, !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X"), err
}

// arguments returns the command line of a process, or its beginning; none for
// one of the kernel's.
func arguments(pid int) ([]string, error) {
	line, err := head(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(line) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00"), nil
}

// sockets returns the inodes of the sockets that the process holds.
func (p process) sockets() (map[uint32]bool, error) {
	path := fmt.Sprintf("/proc/%d/fd", p.pid)
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	files, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	inodes := make(map[uint32]bool)
	for _, file := range files {
		target, err := os.Readlink(path + "/" + file)
		if gone(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		if number, ok := strings.CutPrefix(target, "socket:["); ok {
			if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32); err == nil {
				inodes[uint32(inode)] = true
			}
		}
	}
	return inodes, nil
}

// elsewhere reports whether the process ended or lives in another network
// namespace. Unlike the link /proc/PID/ns/net, these files may be read by all,
// and each namespace has its own.
func (p process) elsewhere() (bool, error) {
	ours, err := os.Stat("/proc/thread-self/net/dev")
	if err != nil {
		return false, err
	}
	its, err := os.Stat(fmt.Sprintf("/proc/%d/net/dev", p.pid))
	if gone(err) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	return !os.SameFile(ours, its), nil
}

// head returns the beginning of a file, which processes can make long.
func head(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var text bytes.Buffer
	if _, err := io.CopyN(&text, file, 4096); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return text.Bytes(), nil
}

// gone reports whether an error says that a process or a file of its ended.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}
