package services

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Rival is another program that bans.
type Rival struct {
	Program string // the name of its file
	PID     int
}

// String returns the rival as in "fail2ban-server (pid 812)".
func (r Rival) String() string { return fmt.Sprintf("%s (pid %d)", r.Program, r.PID) }

// banning are the programs that ban, with the interpreters that run those that
// are scripts. CrowdSec only decides; its bouncer bans.
var banning = []struct{ program, interpreter string }{
	{"fail2ban-server", "python"},
	{"event_guard.php", "php"}, // FusionPBX, app/event_guard/resources/service
	{"crowdsec-firewall-bouncer", ""},
	{"sshg-blocker", ""}, // sshguard, which is a shell script around it
}

// Beside returns the other programs that ban in our network namespace, in the
// order of their PIDs. It is an error that they may be hidden from us. Every
// process may read the command lines that tell of them, so no capability is
// needed.
func Beside() ([]Rival, error) {
	all, err := pids()
	if err != nil {
		return nil, fmt.Errorf("look for programs that ban: %w", err)
	}
	var rivals []Rival
	for _, pid := range all {
		argv, err := arguments(pid)
		if gone(err) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("look for programs that ban: %w", err)
		}
		program := bans(argv)
		if program == "" {
			continue
		}
		if elsewhere, err := (process{pid: pid}).elsewhere(); err != nil {
			return nil, fmt.Errorf("look for programs that ban: %w", err)
		} else if !elsewhere {
			rivals = append(rivals, Rival{program, pid})
		}
	}
	return rivals, nil
}

// bans returns which of the programs that ban a command line runs, "" if none.
func bans(argv []string) string {
	if len(argv) == 0 {
		return ""
	}
	file := path.Base(argv[0])
	for _, b := range banning {
		script := b.interpreter != "" && strings.HasPrefix(file, b.interpreter) &&
			slices.ContainsFunc(argv[1:], func(arg string) bool { return path.Base(arg) == b.program })
		if script || file == b.program {
			return b.program
		}
	}
	return ""
}
