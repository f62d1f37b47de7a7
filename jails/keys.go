package jails

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// Key is one key of the configuration, as the documentation lists it.
type Key struct {
	Table   string // BandTable, JailTable, SourceTable, PatternTable or PortsTable
	Name    string
	Default string // as TOML; "" when there is none
	Doc     string
}

// The tables that keys belong to.
const (
	BandTable    = "band.toml"
	JailTable    = "a jail file"
	SourceTable  = "[[source]]"
	PatternTable = "[[pattern]]"
	PortsTable   = "ports"
)

// Keys returns every key that the configuration knows, in the order in which
// they are best explained. Any other key is refused: a key that does nothing is a lie.
func Keys() []Key {
	return []Key{
		{BandTable, "allow", `[]`, `Addresses and prefixes that are never counted and never banned, such as "192.0.2.7" and "2001:db8::/32".`},
		{BandTable, "findtime", `"10m"`, `Default of all jails.`},
		{BandTable, "maxretry", `5`, `Default of all jails.`},
		{BandTable, "bantime", `"1h"`, `Default of all jails.`},
		{BandTable, "ipv4_prefix", `32`, `Default of all jails.`},
		{BandTable, "ipv6_prefix", `64`, `Default of all jails.`},

		{JailTable, "enabled", `true`, `Whether the jail runs.`},
		{JailTable, "format", ``, `How records are framed and where their time stands. Required.`},
		{JailTable, "findtime", `"10m"`, `The window in which failures add up, 1s to 365d. A bare number is seconds.`},
		{JailTable, "maxretry", `5`, `How many failures within findtime lead to a ban, 1 to 10000.`},
		{JailTable, "bantime", `"1h"`, `How long a ban lasts, 1s or more; "forever" or -1 for one that does not end. A bare number is seconds.`},
		{JailTable, "distinct", `""`, `"user": only failures that name different users add up; for enumeration.`},
		{JailTable, "ports", `"all"`, `What a ban covers: "all", or the ports of a table such as { udp = [5060], tcp = [5060, 5061] }.`},
		{JailTable, "ipv4_prefix", `32`, `How many bits of an IPv4 address are counted and banned together, 8 to 32.`},
		{JailTable, "ipv6_prefix", `64`, `How many bits of an IPv6 address are counted and banned together, 16 to 128.`},
		{JailTable, "source", ``, `Where records come from, one [[source]] table each. At least one. In an overlay they replace all shipped ones.`},
		{JailTable, "pattern", ``, `What a failure looks like, one [[pattern]] table each. At least one. In an overlay they merge with the shipped ones by name.`},

		{SourceTable, "file", ``, `The absolute path of a log file; may be a glob. Required.`},
		{SourceTable, "preferred", `false`, `While this source is being written, failures of the jail's other sources do not count.`},

		{PatternTable, "name", ``, `What the pattern is called; once per file. Required.`},
		{PatternTable, "regex", ``, `An RE2 regex that matches the whole record and names the offender with <HOST>. Required.`},
		{PatternTable, "kind", `"failure"`, `Failures of different kinds are counted apart and the larger count decides; for records that one attempt writes one of each.`},
		{PatternTable, "enabled", `true`, `Whether the pattern is used.`},
		{PatternTable, "unsafe", `false`, `Accept a regex by which a forged record could name a victim.`},

		{PortsTable, "udp", `[]`, `UDP ports, 1 to 65535.`},
		{PortsTable, "tcp", `[]`, `TCP ports, 1 to 65535.`},
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

// unknownKey says what was probably meant by a key that the table does not know.
func unknownKey(table, name string) string {
	text := fmt.Sprintf("unknown key %q; ", name)
	known := keysOf(table)
	for _, k := range known {
		if strings.EqualFold(k, name) {
			return text + fmt.Sprintf("keys are lower case: write %q", k)
		}
	}
	for _, other := range []string{JailTable, PatternTable, SourceTable, BandTable} {
		switch {
		case !slices.Contains(keysOf(other), name):
		case other == JailTable && table != BandTable:
			// The classic slip of TOML: a key below a header belongs to that header.
			return text + "it belongs to the jail: write it above the first [header]"
		default:
			return text + "it belongs in " + other
		}
	}
	best, distance := "", 0
	for _, k := range known {
		d := levenshtein.Distance(strings.ToLower(name), k, nil)
		if d <= max(1, len(k)/3) && (best == "" || d < distance) {
			best, distance = k, d
		}
	}
	if best != "" {
		return text + fmt.Sprintf("did you mean %q?", best)
	}
	return text + "known keys: " + strings.Join(known, ", ")
}
