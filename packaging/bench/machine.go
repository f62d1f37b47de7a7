package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is on what and of what the figures are.
type machine struct {
	Date, CPU, System, Kernel, Disk  string
	CPUs                             int
	Memory                           string // GiB
	Band, Fail2ban, Nft, Grep, Go    string
	LoadBefore, LoadAfter            string
	Lines, Attackers, Failures, Runs string
	Megabytes                        string // of the log
	Quick                            bool
}

func (b *bench) machine(ctx context.Context) (*machine, error) {
	s := generate(b.lines, b.attackers)
	m := &machine{
		Date: time.Now().Format(time.DateOnly), CPUs: runtime.NumCPU(), Go: runtime.Version(), LoadBefore: load(),
		CPU: within("/proc/cpuinfo", `model name\s*: (.*)`), System: within("/etc/os-release", `PRETTY_NAME="(.*)"`),
		Kernel: within("/proc/sys/kernel/osrelease", `([0-9.]+)`),
		Lines:  number(float64(b.lines)), Attackers: number(float64(b.attackers)), Failures: digits(s.failures),
		Runs: strconv.Itoa(b.runs), Megabytes: number(float64(len(s.text)) / 1e6), Quick: b.quick,
	}
	if kilobytes, err := strconv.ParseFloat(within("/proc/meminfo", `MemTotal:\s+(\d+)`), 64); err == nil {
		m.Memory = number(kilobytes / (1 << 20))
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(b.dir, &fs); err != nil {
		return nil, fmt.Errorf("look at %s: %w", b.dir, err)
	}
	m.Disk = filesystem(fs.Type)
	for _, tool := range []struct {
		version *string
		args    []string
	}{
		{&m.Band, []string{b.bin + "/band", "--version"}},
		{&m.Fail2ban, []string{"fail2ban-server", "--version"}},
		{&m.Nft, []string{"nft", "--version"}},
		{&m.Grep, []string{"grep", "--version"}},
	} {
		out, err := command(ctx, tool.args...)
		if err != nil {
			return nil, err
		}
		*tool.version, _, _ = strings.Cut(out, "\n")
	}
	return m, nil
}

// load is how busy the machine was in the last minute.
func load() string { return within("/proc/loadavg", `^(\S+)`) }

// within returns what a regular expression finds in a file, "unknown" for nothing.
func within(path, regex string) string {
	text, err := os.ReadFile(path)
	if m := regexp.MustCompile(`(?m)` + regex).FindSubmatch(text); err == nil && len(m) > 1 {
		return string(m[1])
	}
	return "unknown"
}

// filesystem names what the temporary directory is on: an fsync costs nothing on
// some.
func filesystem(magic int64) string {
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	}
	if name, ok := names[magic]; ok {
		return name
	}
	return fmt.Sprintf("a file system of type %#x", magic)
}
