package jails

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// Key is one key of the configuration, as the documentation lists it.
type Key struct {
	Table   string // BandTable, JailTable, SourceTable, PatternTable, PortsTable or EscalateTable
	Name    string
	Default string // as TOML; "" when there is none
	Doc     string
}

// The tables that keys belong to.
const (
	BandTable     = "band.toml"
	JailTable     = "a jail file"
	SourceTable   = "[[source]]"
	PatternTable  = "[[pattern]]"
	PortsTable    = "ports"
	EscalateTable = "[escalate]"
)

// Keys returns every key that the configuration knows, in the order in which
// they are best explained. Any other key is refused: a key that does nothing is a lie.
func Keys() []Key {
	return []Key{
		{BandTable, "allow", `[]`, `What is never counted and never banned: addresses, prefixes and host names, such as "192.0.2.7", "2001:db8::/32" and "trunk.example.com", and the absolute paths of files with one of these on each line.`},
		{BandTable, "freeswitch", `""`, `The directory of FreeSWITCH's configuration, which holds freeswitch.xml, where it is not one of the usual places.`},
		{BandTable, "metrics", `""`, `Where Prometheus may scrape metrics over TCP, an address and a port such as "127.0.0.1:9719"; "" for nowhere. Whoever can reach it can read them.`},
		{BandTable, "dry_run", `false`, `Default of all jails.`},
		{BandTable, "findtime", `"10m"`, `Default of all jails.`},
		{BandTable, "maxretry", `5`, `Default of all jails.`},
		{BandTable, "bantime", `"1h"`, `Default of all jails.`},
		{BandTable, "ipv4_prefix", `32`, `Default of all jails.`},
		{BandTable, "ipv6_prefix", `64`, `Default of all jails.`},
		{BandTable, "aggregate", `0`, `Default of all jails.`},
		{BandTable, "escalate", ``, `Default of all jails, key by key.`},

		{JailTable, "enabled", `true`, `Whether the jail runs.`},
		{JailTable, "dry_run", `false`, `Decide, record and report bans, but leave the kernel alone.`},
		{JailTable, "format", ``, `How records are framed and where their time stands. Required.`},
		{JailTable, "time", `""`, `The strftime(3) layout of the time that each line begins with, such as "%Y-%m-%d %H:%M:%S"; for the format "raw".`},
		{JailTable, "findtime", `"10m"`, `The window in which failures add up, 1s to 365d. A bare number is seconds.`},
		{JailTable, "maxretry", `5`, `How many failures within findtime lead to a ban, 1 to 10000.`},
		{JailTable, "bantime", `"1h"`, `How long a ban lasts, 1s or more; "forever" or -1 for one that does not end. A bare number is seconds.`},
		{JailTable, "distinct", `""`, `"user": only failures that name different users add up; for enumeration.`},
		{JailTable, "ports", `"all"`, `What a ban covers: "all", or the ports of a table such as { udp = [5060], tcp = [5060, 5061] }.`},
		{JailTable, "services", `[]`, `Processes, such as ["freeswitch"], whose listening ports the jail should cover: one that it does not cover is reported. The names are those of /proc/PID/comm.`},
		{JailTable, "ipv4_prefix", `32`, `How many bits of an IPv4 address are counted and banned together, 8 to 32.`},
		{JailTable, "ipv6_prefix", `64`, `How many bits of an IPv6 address are counted and banned together, 16 to 128.`},
		{JailTable, "aggregate", `0`, `When so many units of one IPv4 /24 or IPv6 /48 are banned by the jail, that network is, 2 to 256; 0 for never.`},
		{JailTable, "sources_of", `""`, `The name of a jail whose sources are this one's too, instead of [[source]] tables.`},
		{JailTable, "clear_on", `[]`, `The names of patterns that tell of a success: it forgives the failures of its host before. They are no failures themselves.`},
		{JailTable, "trust", `"0s"`, `How long a success forgives failures behind it as well, up to 365d: only ten times maxretry lead to a ban then.`},
		{JailTable, "source", ``, `Where records come from, one [[source]] table each. At least one. In an overlay they replace all shipped ones.`},
		{JailTable, "pattern", ``, `What a failure looks like, one [[pattern]] table each. At least one. In an overlay they merge with the shipped ones by name.`},
		{JailTable, "escalate", ``, `How bans grow of who is banned again and again, an [escalate] table.`},

		{SourceTable, "file", ``, `The absolute path of a log file; may be a glob. This, journal or event_socket is required.`},
		{SourceTable, "journal", ``, `Entries of the journal: match terms as journalctl(1) takes them, such as ["SYSLOG_IDENTIFIER=sshd", "_UID=0"]. Those of different fields must all hold, of the same field any; "+" separates alternatives. This, file or event_socket is required.`},
		{SourceTable, "event_socket", ``, `The address and port of FreeSWITCH's event socket, such as "127.0.0.1:8021". Patterns with an event are for it. This, file or journal is required.`},
		{SourceTable, "password_file", `""`, `The absolute path of a file whose first line is the event socket's password. Without it FreeSWITCH's own configuration tells it.`},
		{SourceTable, "preferred", `false`, `While this source is being written, failures of the jail's other sources do not count.`},
		{SourceTable, "optional", `false`, `The file or the event socket need not exist: that it does not is nothing to report.`},
		{SourceTable, "unsafe", `false`, `Accept entries that any local user could have written.`},

		{PatternTable, "name", ``, `What the pattern is called; once per file. Required.`},
		{PatternTable, "regex", ``, `An RE2 regex that matches the whole record and names the offender with <HOST>. In a format that tells sessions, "syslog", it may lack <HOST>: a failure without a host takes that of its session. This or event is required.`},
		{PatternTable, "event", ``, `The name of an event, such as "sofia::register_failure", in place of a regex. This or regex is required.`},
		{PatternTable, "host", ``, `The field of the event that tells the offender: "network-ip", "network_ip" or "verto_client_address". With an event it is required.`},
		{PatternTable, "user", `""`, `The field of the event that tells the user, such as "to-user".`},
		{PatternTable, "where", `{}`, `What fields of the event must be, such as { user-agent = ["friendly-scanner", "sipcli*"] }: one of the texts each, whatever the case; * stands for any text.`},
		{PatternTable, "kind", `"failure"`, `Failures of different kinds are counted apart and the larger count decides; for records that one attempt writes one of each.`},
		{PatternTable, "counts", `"always"`, `"never": the record is no failure itself, but lends its host and user to the other records of its session; "another-user": it is a failure only when its session named another user before.`},
		{PatternTable, "enabled", `true`, `Whether the pattern is used.`},
		{PatternTable, "unsafe", `false`, `Accept a regex by which a forged record could name a victim.`},

		{PortsTable, "udp", `[]`, `UDP ports, 1 to 65535.`},
		{PortsTable, "tcp", `[]`, `TCP ports, 1 to 65535.`},

		{EscalateTable, "factor", `1`, `Each ban of a unit lasts so many times as long as the one before, 1 to 1000; 1 for no longer.`},
		{EscalateTable, "max", `"4w"`, `How long a ban lasts at most, bantime or more; "forever" or -1 for no limit. Where it is not set, and bantime is longer, it is bantime.`},
		{EscalateTable, "forget", `"30d"`, `A unit that was not banned for so long starts anew, 1s to 365d.`},
		{EscalateTable, "all_jails", `false`, `Whether bans by all jails count, not only those by the jail itself.`},
	}
}

// keysOf returns the names of the keys of a table.
func keysOf(table string) []string {
	var names []string
	for _, k := range Keys() {
		if k.Table == table {
			names = append(names, k.Name)
		}
	}
	return names
}

// unknownKey says what was probably meant by a key that the table, in a file
// whose own table is root, does not know.
func unknownKey(root, table, name string) string {
	text := fmt.Sprintf("unknown key %q; ", name)
	known := keysOf(table)
	for _, k := range known {
		if strings.EqualFold(k, name) {
			return text + fmt.Sprintf("keys are lower case: write %q", k)
		}
	}
	for _, other := range []string{root, JailTable, PatternTable, SourceTable, EscalateTable, BandTable} {
		switch {
		case !slices.Contains(keysOf(other), name):
		case other != root:
			return text + "it belongs in " + other
		// The classic slip of TOML: a key below a header belongs to that header.
		case root == JailTable:
			return text + "it belongs to the jail: write it above the first [header]"
		default:
			return text + "write it above the first [header]"
		}
	}
	if best := nearest(name, known); best != "" {
		return text + fmt.Sprintf("did you mean %q?", best)
	}
	return text + "known keys: " + strings.Join(known, ", ")
}

// nearest returns the word that was probably meant by a name, "" where none is
// like it.
func nearest(name string, words []string) string {
	best, distance := "", 0
	for _, w := range words {
		d := levenshtein.Distance(strings.ToLower(name), w, nil)
		if d <= max(1, len(w)/3) && (best == "" || d < distance) {
			best, distance = w, d
		}
	}
	return best
}
