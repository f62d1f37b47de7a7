package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	fail2banName = "fail2ban"
	fail2banEtc  = "/etc/fail2ban"
)

// fail2ban is the distribution's, with its own filter and action. It is spared
// what is not compared: it asks no DNS, bans on all ports by one set and one
// command, and drops.
type fail2ban struct{}

func (fail2ban) name() string { return fail2banName }

// FreeSWITCH writes the idle CPU behind the time since 1.10.7, which the filter does
// not know before fail2ban 1.1.1: it matches nothing.
const filterRepair = `[Definition]
_pref_line = ^%(__prefix_line)s(?:(?:\d+-)?\d+-\d+ \d+:\d+:\d+\.\d+)?(?: \d+\.\d+%%)?
`

// filter counts wrong passwords and unknown users. Its other modes ban honest
// phones, which are challenged whenever they register.
const filter = "freeswitch[mode=normal]"

func (p fail2ban) configure(r *room, retries int) error {
	return p.configureIn(r.path("fail2ban"), r, retries)
}

func (fail2ban) configureIn(dir string, r *room, retries int) error {
	err := write(dir, map[string]string{
		"filter.d/freeswitch.local": filterRepair,
		"fail2ban.conf": fmt.Sprintf(`[DEFAULT]
loglevel = INFO
logtarget = %[1]s/fail2ban.log
syslogsocket = auto
socket = %[1]s/fail2ban.sock
pidfile = %[1]s/fail2ban.pid
dbfile = %[1]s/fail2ban.sqlite3
dbpurgeage = 1d
dbmaxmatches = 10

[Definition]
`, r.dir),
		"jail.conf": fmt.Sprintf(`[DEFAULT]
backend = auto
usedns = no
ignoreself = false

[freeswitch]
enabled = true
filter = %s
logpath = %s
maxretry = %d
findtime = 10m
bantime = 1d
action = nftables[type=allports, name=freeswitch, protocol="tcp,udp", blocktype=drop]
`, filter, r.log(), retries),
	})
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "action.d"), 0o755); err != nil {
		return fmt.Errorf("configure fail2ban: %w", err)
	}
	for _, name := range []string{"filter.d/freeswitch.conf", "filter.d/common.conf", "action.d/nftables.conf"} {
		if err := os.Symlink(filepath.Join(fail2banEtc, name), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("configure fail2ban: %w", err)
		}
	}
	return nil
}

func (fail2ban) command(r *room) []string {
	return []string{"fail2ban-server", "-f", "-c", r.path("fail2ban"), "-s", r.path("fail2ban.sock"), "-p", r.path("fail2ban.pid"), "start"}
}

func (fail2ban) ready(ctx context.Context, r *room) bool {
	_, err := command(ctx, "fail2ban-client", "-c", r.path("fail2ban"), "-s", r.path("fail2ban.sock"), "-p", r.path("fail2ban.pid"), "status", "freeswitch")
	return err == nil
}

func (fail2ban) holds(table, set string) bool {
	return table == "f2b-table" && (strings.HasPrefix(set, "addr-set-") || strings.HasPrefix(set, "addr6-set-"))
}
