package jails_test

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"band/jails"
)

// checker knows four formats, of which raw alone takes a layout and syslog tells
// sessions, and takes any RE2 regex with a <HOST>, without one too in a session.
type checker struct{}

func (checker) Format(name, layout string) error {
	switch {
	case name == "raw" && strings.HasSuffix(layout, "%"):
		return fmt.Errorf("bad layout %q", layout)
	case name == "raw":
		return nil
	case name != "freeswitch" && name != "syslog" && name != "asterisk":
		return fmt.Errorf("unknown format %q", name)
	case layout != "":
		return fmt.Errorf("the format %q tells its own time", name)
	}
	return nil
}

func (c checker) Pattern(format string, p jails.Pattern) error {
	if err := c.Format(format, ""); err != nil {
		panic("asked about a pattern of a format that was refused: " + format)
	}
	if p.Event == "" && !strings.Contains(p.Regex, "<HOST>") && format != "syslog" {
		return errors.New("it names no <HOST>")
	}
	if p.Counts == "another-user" && format == "freeswitch" {
		return errors.New("it has no session")
	}
	_, err := regexp.Compile(p.Regex)
	return err
}

// config parses files, whose paths are those below the configuration directory.
func config(files map[string]string) *jails.Config {
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return jails.Parse(fsys, "/etc/band", checker{})
}

// jail returns the jail of that name, nil when the configuration has none.
func jail(cfg *jails.Config, name string) *jails.Jail {
	for i := range cfg.Jails {
		if cfg.Jails[i].Name == name {
			return &cfg.Jails[i]
		}
	}
	return nil
}

// said returns the problems as they are shown, without the directory.
func said(cfg *jails.Config) []string {
	var all []string
	for _, p := range cfg.Problems {
		all = append(all, strings.TrimPrefix(p.Error(), "/etc/band/"))
	}
	return all
}

// sshd is a complete jail; its lines 1 to 7 are taken.
const sshd = `format = "syslog"
[[source]]
file = "/var/log/auth.log"
[[pattern]]
name = "password"
regex = '''^Failed password .* from <HOST>$'''

`

func TestBadJail(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // each after "jails.d/ownjail.toml"
	}{
		{"bad: empty file", "", []string{
			`: format: is missing: a jail needs a format such as "freeswitch"`,
			`: pattern: is missing: a jail needs at least one [[pattern]]`,
			`: source: is missing: a jail needs at least one [[source]], or sources_of`,
		}},
		{"bad: unknown key near a known one", "maxretrys = 3\n" + sshd, []string{
			`:1: maxretrys: unknown key "maxretrys"; did you mean "maxretry"?`,
		}},
		{"bad: unknown key near two known ones", "ipv66_prefix = 64\n" + sshd, []string{
			`:1: ipv66_prefix: unknown key "ipv66_prefix"; did you mean "ipv6_prefix"?`,
		}},
		{"bad: unknown key near none", "colour = 3\n" + sshd, []string{
			`:1: colour: unknown key "colour"; known keys: enabled, dry_run, format, time, findtime, maxretry, bantime, distinct, ports, services, ipv4_prefix, ipv6_prefix, aggregate, sources_of, clear_on, trust, source, pattern, escalate`,
		}},
		{"bad: key in the wrong case", "MaxRetry = 3\n" + sshd, []string{
			`:1: MaxRetry: unknown key "MaxRetry"; keys are lower case: write "maxretry"`,
		}},
		{"bad: both cases", "maxretry = 3\nMAXRETRY = 4\n" + sshd, []string{
			`:2: MAXRETRY: unknown key "MAXRETRY"; keys are lower case: write "maxretry"`,
		}},
		{"bad: key of the jail below a header", sshd + "maxretry = 3\n", []string{
			`:8: pattern.password.maxretry: unknown key "maxretry"; it belongs to the jail: write it above the first [header]`,
		}},
		{"bad: key of a pattern in the jail", "regex = 'x'\n" + sshd, []string{
			`:1: regex: unknown key "regex"; it belongs in [[pattern]]`,
		}},
		{"bad: key of band.toml", "allow = []\n" + sshd, []string{
			`:1: allow: unknown key "allow"; it belongs in band.toml`,
		}},
		{"bad: misspelt tables", strings.NewReplacer("[[pattern]]", "[[patterns]]", "[[source]]", "[[sorce]]").Replace(sshd), []string{
			`: source: is missing: a jail needs at least one [[source]], or sources_of`,
			`:2: sorce: unknown key "sorce"; did you mean "source"?`,
			`:4: patterns: unknown key "patterns"; did you mean "pattern"?`,
		}},
		{"bad: single brackets", strings.NewReplacer("[[", "[", "]]", "]").Replace(sshd), []string{
			`:2: source: must be written as [[source]] above its keys`,
			`:4: pattern: must be written as [[pattern]] above its keys`,
		}},
		{"bad: quoted key", "\"max.retry\" = 1\n" + sshd, []string{
			`:1: "max.retry": unknown key "max.retry"; did you mean "maxretry"?`,
		}},

		{"bad: wrong types", "enabled = 'yes'\nfindtime = 1.5\nmaxretry = '5'\nbantime = true\nports = 5060\nipv4_prefix = 24.0\nipv6_prefix = [64]\n" + sshd, []string{
			`:1: enabled: must be true or false, not a string`,
			`:2: findtime: must be a number of seconds such as 600, or "90s", "10m", "1h30m", "1d12h", "2w", not a number with a point`,
			`:3: maxretry: must be a whole number such as 5, not a string`,
			`:4: bantime: must be a number of seconds such as 600, or "90s", "10m", "1h30m", "1d12h", "2w", "forever", not a boolean`,
			`:5: ports: must be "all" or a table such as { udp = [5060], tcp = [5060, 5061] }, not a number`,
			`:6: ipv4_prefix: must be a whole number such as 32, not a number with a point`,
			`:7: ipv6_prefix: must be a whole number such as 64, not a list`,
		}},
		{"bad: wrong types in tables", "format = 1979-05-27\nsource = '/var/log/x'\n[[pattern]]\nname = 1\nregex = ['x']\nkind = {}\nenabled = 1\nunsafe = 'no'\n", []string{
			`:1: format: must be a string, not a date`,
			`:2: source: must be written as [[source]] above its keys`,
			`:4: pattern.#1.name: must be a string, not a number`,
			`:5: pattern.#1.regex: must be a string in '''...''', not a list`,
			`:6: pattern.#1.kind: must be a string, not a table`,
			`:7: pattern.#1.enabled: must be true or false, not a number`,
			`:8: pattern.#1.unsafe: must be true or false, not a string`,
		}},
		{"bad: out of range", "findtime = '366d'\nmaxretry = 10001\nbantime = 0\nipv4_prefix = 7\nipv6_prefix = 129\n" + sshd, []string{
			`:1: findtime: 366d is out of range: 1s to 365d`,
			`:2: maxretry: 10001 is out of range: 1 to 10000`,
			`:3: bantime: 0 is out of range: at least 1s, or "forever"`,
			`:4: ipv4_prefix: 7 is out of range: 8 to 32`,
			`:5: ipv6_prefix: 129 is out of range: 16 to 128`,
		}},
		{"bad: empty strings", "format = ''\n[[source]]\nfile = ''\n[[pattern]]\nname = ''\nregex = '''\n\n'''\nkind = ''\n", []string{
			`:1: format: must not be empty`,
			`:3: source.file: must not be empty`,
			`:5: pattern.#1.name: must not be empty`,
			`:6: pattern.#1.regex: must not be empty`,
			`:9: pattern.#1.kind: must not be empty`,
		}},
		{"bad: a name that would write to the terminal", strings.Replace(sshd, "password", `\u001b[2J`, 1), []string{
			`:5: pattern.#1.name: "\x1b[2J" holds a character that cannot be printed`,
		}},

		{"bad: ports", "[ports]\nudp = [0, 5060, 65536]\ntcp = ['5060',\n 5061]\nsctp = [1]\nUDP = []\n", []string{
			`: format: is missing: a jail needs a format such as "freeswitch"`,
			`: pattern: is missing: a jail needs at least one [[pattern]]`,
			`: source: is missing: a jail needs at least one [[source]], or sources_of`,
			`:2: ports.udp: 0 is out of range: 1 to 65535`,
			`:2: ports.udp: 65536 is out of range: 1 to 65535`,
			`:3: ports.tcp: must be a whole number such as 5060, not a string`,
			`:5: ports.sctp: unknown key "sctp"; known keys: udp, tcp`,
			`:6: ports.UDP: unknown key "UDP"; keys are lower case: write "udp"`,
		}},
		{"bad: one port without a list", "ports.udp = 5060\n" + sshd, []string{
			`:1: ports.udp: must be a list of ports such as [5060, 5080], not a number`,
		}},
		{"bad: no port at all", "ports = { udp = [], tcp = [] }\n" + sshd, []string{
			`:1: ports: names no port; for every port write "all"`,
		}},
		{"bad: ports in a word", "ports = 'sip'\n" + sshd, []string{
			`:1: ports: "sip" is not a set of ports; write "all" or a table such as { udp = [5060], tcp = [5060, 5061] }`,
		}},

		{"bad: sources", sshd + "[[source]]\nfile = 'auth.log'\n[[source]]\nfile = '/var/log/[a'\n[[source]]\n", []string{
			`:9: source.file: "auth.log" must be an absolute path`,
			`:11: source.file: "/var/log/[a" is not a valid glob`,
			`:12: source.file: is missing: a source needs a file such as "/var/log/auth.log", a journal such as ["SYSLOG_IDENTIFIER=sshd", "_UID=0"], or an event_socket such as "127.0.0.1:8021"`,
		}},
		{"bad: the regex of the second pattern", sshd + "# another\n[[pattern]]\nname = 'user'\nkind = 'user'\n\nregex = '''Invalid user('''\n", []string{
			"jails.d/ownjail.toml:13: pattern.user.regex: error parsing regexp: missing closing ): `Invalid user(`",
		}},
		{"bad: every pattern off", sshd + "enabled = false\n", []string{
			`:8: pattern: no pattern is enabled, so nothing would ever match; to switch the jail off write enabled = false`,
		}},
		{"bad: distinct users of a pattern that names none", "distinct = 'user'\n" + sshd, []string{
			`:7: pattern.password.regex: the pattern "password" must name the user with <F-USER>...</F-USER>, because of distinct = "user"`,
		}},
		{"bad: every pattern that is on never counts", sshd + "counts = 'never'\n[[pattern]]\nname = 'x'\nregex = '<HOST>'\nenabled = false\n", []string{
			`:8: pattern: every pattern that is enabled has counts = "never", so nobody would ever be banned`,
		}},
		{"bad: another user of a pattern that names none", sshd + "counts = 'another-user'\nenabled = false\n[[pattern]]\nname = 'x'\nregex = '<HOST> <USER>'\n", []string{
			`:6: pattern.password.regex: the pattern "password" must name the user with <F-USER>...</F-USER>, because of counts = "another-user"`,
		}},
		{"bad: counts", sshd + "counts = 'sometimes'\n[[pattern]]\nname = 'x'\nregex = '<HOST>'\ncounts = true\n", []string{
			`:8: pattern.password.counts: "sometimes" is not known; write "always", "never" or "another-user"`,
			`:12: pattern.x.counts: must be "always", "never" or "another-user", not a boolean`,
		}},
		{"bad: a layout for a format with its own", "time = '%s'\n" + sshd, []string{
			`:1: time: the format "syslog" tells its own time`,
		}},
		{"bad: layout", "time = '%'\n" + strings.Replace(sshd, "syslog", "raw", 1), []string{
			`:1: time: bad layout "%"`,
		}},
		{"bad: a layout of an unknown format", "time = '%'\n" + strings.Replace(sshd, "syslog", "rwa", 1), []string{
			`:2: format: unknown format "rwa"`,
		}},
		{"bad: a layout that would write to the terminal", "time = \"\\u001b\"\n" + sshd, []string{
			`:1: time: "\x1b" holds a character that cannot be printed`,
		}},
		{"bad: dry_run", "dry_run = 'yes'\n" + sshd, []string{
			`:1: dry_run: must be true or false, not a string`,
		}},
		{"bad: services", "services = ['/usr/sbin/sshd', '', 'freeswitch',\n 'systemd-journald', \"a\\tb\", 22]\n" + sshd, []string{
			`:1: services: "/usr/sbin/sshd" is a path; write the name of the process alone`,
			`:1: services: must not be empty`,
			`:2: services: "a\tb" holds a character that cannot be printed`,
			`:2: services: "systemd-journald" is too long: Linux keeps 15 bytes of a process's name; write "systemd-journal"`,
			`:2: services: must be a string, not a number`,
		}},
		{"bad: services without a list", "services = 'sshd'\n" + sshd, []string{
			`:1: services: must be a list of names such as ["freeswitch"], not a string`,
		}},
		{"bad: escalate", sshd + "[escalate]\nfactor = 0.99\nmax = '0s'\nforget = '366d'\nall_jails = 1\nfactr = 2\nmaxretry = 3\n", []string{
			`:9: escalate.factor: 0.99 is out of range: 1 to 1000`,
			`:10: escalate.max: 0s is out of range: at least 1s, or "forever"`,
			`:11: escalate.forget: 366d is out of range: 1s to 365d`,
			`:12: escalate.all_jails: must be true or false, not a number`,
			`:13: escalate.factr: unknown key "factr"; did you mean "factor"?`,
			`:14: escalate.maxretry: unknown key "maxretry"; it belongs to the jail: write it above the first [header]`,
		}},
		{"bad: more of escalate", "escalate = { factor = 1001, max = 1.5, forget = 'forever' }\n" + sshd, []string{
			`:1: escalate.factor: 1001 is out of range: 1 to 1000`,
			`:1: escalate.forget: "forever" is not a duration; write a number of seconds such as 600, or "90s", "10m", "1h30m", "1d12h", "2w"`,
			`:1: escalate.max: must be a number of seconds such as 600, or "90s", "10m", "1h30m", "1d12h", "2w", "forever", not a number with a point`,
		}},
		{"bad: escalate by what is no number", "escalate.factor = nan\n" + sshd, []string{
			`:1: escalate.factor: NaN is out of range: 1 to 1000`,
		}},
		{"bad: escalate without end", "escalate.factor = inf\n" + sshd, []string{
			`:1: escalate.factor: +Inf is out of range: 1 to 1000`,
		}},
		{"bad: escalate by a word", "escalate.factor = '2'\n" + sshd, []string{
			`:1: escalate.factor: must be a number such as 2 or 1.5, not a string`,
		}},
		{"bad: escalate alone", "escalate = 2\n" + sshd, []string{
			`:1: escalate: must be a table such as { factor = 2, max = "1w" }, not a number`,
		}},
		{"bad: escalate twice", sshd + "[[escalate]]\nfactor = 2\n", []string{
			`:8: escalate: must be a table such as { factor = 2, max = "1w" }, not a list`,
		}},
		{"bad: keys of escalate and band.toml in the jail", "factor = 2\nfreeswitch = '/x'\n" + sshd, []string{
			`:1: factor: unknown key "factor"; it belongs in [escalate]`,
			`:2: freeswitch: unknown key "freeswitch"; it belongs in band.toml`,
		}},
		{"bad: aggregate", "aggregate = 1\n" + sshd, []string{
			`:1: aggregate: 1 is out of range: 2 to 256, or 0 for never`,
		}},
		{"bad: a larger aggregate", "aggregate = 257\n" + sshd, []string{
			`:1: aggregate: 257 is out of range: 2 to 256, or 0 for never`,
		}},
		{"bad: aggregate off", "aggregate = false\n" + sshd, []string{
			`:1: aggregate: must be a whole number such as 8, not a boolean`,
		}},

		{"bad: distinct hosts", "distinct = 'host'\n" + sshd, []string{
			`:1: distinct: "host" is not known; write "user", or "" for none`,
		}},
		{"bad: pattern without a name or a regex", sshd + "[[pattern]]\n[[pattern]]\nname = 'x'\n", []string{
			`:8: pattern.#2.name: is missing: a pattern needs a name`,
			`:8: pattern.#2.regex: is missing: a pattern needs a regex in '''...''', or an event`,
			`:9: pattern.x.regex: is missing: a pattern needs a regex in '''...''', or an event`,
		}},
		{"bad: a pattern twice", sshd + "[[pattern]]\nname = 'password'\nregex = '('\n", []string{
			`:9: pattern.#2.name: the name "password" is taken by the pattern on line 4`,
			"jails.d/ownjail.toml:10: pattern.#2.regex: error parsing regexp: missing closing ): `(`",
		}},
		{"bad: unknown format", strings.Replace(sshd, "syslog", "sylog", 1), []string{
			`:1: format: unknown format "sylog"`,
		}},
		{"bad: a refused regex and an unknown key", sshd + "nam = 1\n[[pattern]]\nname = 'x'\nregex = '<HOST>('\n", []string{
			`:8: pattern.password.nam: unknown key "nam"; did you mean "name"?`,
			"jails.d/ownjail.toml:11: pattern.x.regex: error parsing regexp: missing closing ): `<HOST>(`",
		}},

		{"bad: an event socket", sshd + "[[source]]\nevent_socket = 'localhost:8021'\n[[source]]\nevent_socket = '127.0.0.1'\npassword_file = 'secret'\n[[source]]\nevent_socket = 8021\n", []string{
			`:9: source.event_socket: "localhost:8021" is no address and port; write one such as "127.0.0.1:8021"`,
			`:11: source.event_socket: "127.0.0.1" is no address and port; write one such as "127.0.0.1:8021"`,
			`:12: source.password_file: "secret" must be an absolute path`,
			`:14: source.event_socket: must be an address and a port such as "127.0.0.1:8021", not a number`,
		}},
		{"bad: what goes with no event socket, or with nothing else", sshd + "[[source]]\nfile = '/x'\npassword_file = '/y'\n[[source]]\njournal = ['_UID=0']\nevent_socket = '[::1]:8021'\n[[source]]\nevent_socket = '[::1]:8021'\nunsafe = true\n", []string{
			`:10: source.password_file: is for an event_socket`,
			`:13: source.event_socket: a source has one of journal and event_socket; write a [[source]] for each`,
			`:16: source.unsafe: is for a journal; FreeSWITCH alone writes events`,
		}},
		{"bad: patterns for events", sshd + "user = 'x'\n[[pattern]]\nname = 'both'\nregex = '<HOST>'\nevent = 'a::b'\n[[pattern]]\nname = 'where'\nevent = 'a::b'\nwhere = 'x'\n[[pattern]]\nname = 'empty'\nevent = ''\nwhere = { x = [1] }\ncounts = 'never'\n", []string{
			`:8: pattern.password.user: is for a pattern with an event; a regex names the host with <HOST>, and the user with <F-USER>...</F-USER>`,
			`:12: pattern.both.event: a pattern has either a regex, for lines, or an event; write a [[pattern]] for each`,
			`:16: pattern.where.where: must be a table such as { user-agent = ["friendly-scanner", "sipcli*"] }, not a string`,
			`:17: pattern.empty.regex: is missing: a pattern needs a regex in '''...''', or an event`,
			`:19: pattern.empty.event: must not be empty`,
			`:20: pattern.empty.where.x: must be a string, not a number`,
		}},
		{"bad: sessions of events", sshd + "[[pattern]]\nname = 'x'\nevent = 'a::b'\ncounts = 'never'\n", []string{
			`:11: pattern.x.counts: is for a regex: events have no sessions`,
		}},
		{"bad: distinct users of events that name none", "distinct = 'user'\n" + strings.ReplaceAll(sshd, "^Failed", "^<USER> Failed") + "[[pattern]]\nname = 'x'\nevent = 'a::b'\n", []string{
			`:11: pattern.x.event: the pattern "x" must name the user with user = "to-user" or the like, because of distinct = "user"`,
		}},
		{"bad: successes", "clear_on = ['pasword']\ntrust = '366d'\n" + sshd, []string{
			`:1: clear_on: the jail has no pattern "pasword"`,
			`:2: trust: 366d is out of range: 0s to 365d`,
		}},
		{"bad: nothing but successes", "clear_on = ['password']\n" + sshd, []string{
			`:1: clear_on: every pattern that is enabled and counts tells of a success, so nobody would ever be banned`,
		}},
		{"bad: failures taken for successes", "clear_on = ['a', 'b', 'c']\n" + sshd + "[[pattern]]\nname = 'a'\nevent = 'sofia::register_failure'\n[[pattern]]\nname = 'b'\nevent = 'verto::login'\n[[pattern]]\nname = 'c'\nevent = 'sofia::register_attempt'\nwhere = { auth-result = 'SUCCESS' }\n", []string{
			`:1: clear_on: the pattern "a" is for sofia::register_failure, which tells of no success: it would forgive all failures`,
			`:1: clear_on: the pattern "b" is for every verto::login, also for those that failed; say in its where which succeeded`,
		}},
		{"bad: trust in nothing", "trust = '1h'\n" + sshd, []string{
			`:1: trust: nothing tells of a success; name patterns that do in clear_on`,
		}},

		{"bad: not TOML", sshd + "[[pattern]]\nname = password\n", []string{
			`:9: not valid TOML: expected value but found "password" instead`,
		}},
		{"bad: no equals sign", "maxretry 5\n" + sshd, []string{
			`:1: not valid TOML: expected '.' or '=', but got '5' instead`,
		}},
		{"bad: no value at the end of the file", "maxretry =", []string{
			`:1: not valid TOML: unexpected EOF; expected value`,
		}},
		{"bad: no value", "findtime = '1m'\nmaxretry =\n" + sshd, []string{
			`:2: not valid TOML: expected value but found '\n' instead`,
		}},
		{"bad: a key twice", "maxretry = 3\n\nmaxretry = 4\n" + sshd, []string{
			`:3: not valid TOML: Key 'maxretry' has already been defined.`,
		}},
		{"bad: escapes in a regex", strings.ReplaceAll(sshd, "'''^Failed", `"\d`) + "\"\n", []string{
			`:6: not valid TOML: invalid escape in string '\d'; write a regex between ''' and '''`,
		}},
		{"bad: a control character", "maxretry = 3\nformat = 'a\x00'\n", []string{
			`:2: not valid TOML: TOML files cannot contain control characters: '0x00'`,
		}},
		{"bad: not UTF-8", "maxretry = 3\nformat = 'a\xff'\n", []string{
			`:2: not valid TOML: invalid UTF-8 byte: 0xff`,
		}},
		{"bad: UTF-16", "\xff\xfef\x00o\x00", []string{
			`:1: not valid TOML: files cannot contain NULL bytes; probably using UTF-16; TOML files must be UTF-8`,
		}},
		{"bad: a string that is not closed", sshd + "[[pattern]]\nname = 'x'\nregex = '''\n<HOST>\n\n", []string{
			`:10: not valid TOML: unexpected EOF; expected "'''"`,
		}},
		{"bad: too long", strings.Repeat("#", 1<<20) + "\n", []string{
			`: cannot be read: it is longer than 1048576 bytes`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(map[string]string{"jails.d/ownjail.toml": tt.text})
			var want []string
			for _, w := range tt.want {
				want = append(want, "jails.d/ownjail.toml"+strings.TrimPrefix(w, "jails.d/ownjail.toml"))
			}
			if diff := cmp.Diff(want, said(cfg)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for _, p := range cfg.Problems {
				if p.Jail != "ownjail" {
					t.Errorf("%v: is of jail %q", p, p.Jail)
				}
			}
			if j := jail(cfg, "ownjail"); j != nil {
				t.Errorf("the jail runs: %+v", j)
			}
			if jail(cfg, "freeswitch") == nil {
				t.Error("it stopped the shipped jail")
			}
		})
	}
}

func TestBadBand(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // each after "band.toml"
		allow      []string // what is left of it
		maxRetry   int      // that the shipped jail runs with
	}{
		{"bad: unknown keys", "max_retry = 3\nports = 'all'\n[[pattern]]\nregex = 'x'\n", []string{
			`:1: max_retry: unknown key "max_retry"; did you mean "maxretry"?`,
			`:2: ports: unknown key "ports"; it belongs in a jail file`,
			`:3: pattern: unknown key "pattern"; it belongs in a jail file`,
		}, nil, 5},
		{"bad: one value of several", "findtime = '10 m'\nmaxretry = 7\n", []string{
			`:1: findtime: "10 m" is not a duration; write a number of seconds such as 600, or "90s", "10m", "1h30m", "1d12h", "2w"`,
		}, nil, 7},
		{"bad: entries of allow", `allow = [
  "192.0.2.7", "192.0.2.7/24",
  "pbx.example.com",
  # a comment
  "2001:db8::1/32", "fe80::1%eth0", 7,
  "2001:db8::/32", "192.0.2.07", "::ffff:198.51.100.9/120",
  "0.0.0.0/0",
]`, []string{
			`:2: allow: "192.0.2.7/24" has host bits set; write "192.0.2.0/24"`,
			`:5: allow: "2001:db8::1/32" has host bits set; write "2001:db8::/32"`,
			`:5: allow: "fe80::1%eth0" is no address, prefix, host name or absolute path of a file`,
			`:5: allow: must be a string such as "192.0.2.7", not a number`,
			`:6: allow: "192.0.2.07" is no address, prefix, host name or absolute path of a file`,
			`:6: allow: "::ffff:198.51.100.9/120" has host bits set; write "198.51.100.0/24"`,
			`:7: allow: "0.0.0.0/0" would exempt everybody`,
		}, []string{"192.0.2.7", "pbx.example.com", "2001:db8::/32"}, 5},
		{"bad: allow is no list", "allow = '192.0.2.7'\n", []string{
			`:1: allow: must be a list such as ["192.0.2.7", "2001:db8::/32", "trunk.example.com"], not a string`,
		}, nil, 5},
		{"bad: not TOML, and the rest still counts", "allow = ['192.0.2.7']\nmaxretry = 7\nbantime = 1h\nfindtime 5\nipv6_prefix = 200\n", []string{
			`:3: not valid TOML: expected a top-level item to end with a newline, comment, or EOF, but got 'h' instead`,
			`:5: ipv6_prefix: 200 is out of range: 16 to 128`,
		}, []string{"192.0.2.7"}, 7},
		{"bad: a list that does not end, and the rest still counts", "maxretry = 7\nallow = [\n '192.0.2.7',\n '192.0.2.8'\n\n\n", []string{
			`:6: not valid TOML: expected a comma (',') or array terminator (']'), but got end of file`,
		}, nil, 7},
		{"bad: a comma is missing, and the rest still counts", "allow = [\n '192.0.2.7'\n '192.0.2.8',\n '192.0.2.9',\n]\nmaxretry = 7\n", []string{
			`:3: not valid TOML: expected a comma (',') or array terminator (']'), but got '''`,
		}, []string{"192.0.2.7"}, 7},
		{"bad: keys below a header", "[escalate]\nmaxretry = 7\nports = 'all'\nFactor = 2\n", []string{
			`:2: escalate.maxretry: unknown key "maxretry"; write it above the first [header]`,
			`:3: escalate.ports: unknown key "ports"; it belongs in a jail file`,
			`:4: escalate.Factor: unknown key "Factor"; keys are lower case: write "factor"`,
		}, nil, 5},
		{"bad: one key of escalate", "maxretry = 7\n[escalate]\nfactor = 0\nmax = '1d'\n", []string{
			`:3: escalate.factor: 0 is out of range: 1 to 1000`,
		}, nil, 7},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(map[string]string{"band.toml": tt.text})
			var want []string
			for _, w := range tt.want {
				want = append(want, "band.toml"+w)
			}
			if diff := cmp.Diff(want, said(cfg)); diff != "" {
				t.Errorf("problems: -want +got:\n%s", diff)
			}
			for _, p := range cfg.Problems {
				if p.Jail != "" {
					t.Errorf("%v: is of jail %q", p, p.Jail)
				}
			}
			var allow []string
			for _, p := range cfg.Allow {
				allow = append(allow, p.String())
			}
			if diff := cmp.Diff(tt.allow, allow); diff != "" {
				t.Errorf("allow: -want +got:\n%s", diff)
			}
			j := jail(cfg, "freeswitch")
			if j == nil {
				t.Fatal("the shipped jail does not run")
			}
			if j.MaxRetry != tt.maxRetry || j.FindTime != 10*time.Minute || j.BanTime != time.Hour {
				t.Errorf("maxretry %d, findtime %v, bantime %v", j.MaxRetry, j.FindTime, j.BanTime)
			}
		})
	}
}

func TestDuration(t *testing.T) {
	const (
		forms    = `a number of seconds such as 600, or "90s", "10m", "1h30m", "1d12h", "2w"`
		findtime = "is out of range: 1s to 365d"
		bantime  = `is out of range: at least 1s, or "forever"`
	)
	tests := []struct {
		name, key, value string
		want             time.Duration
		err              string
	}{
		{"OK: bare integer", "bantime", `600`, 600 * time.Second, ""},
		{"OK: seconds", "findtime", `"90s"`, 90 * time.Second, ""},
		{"OK: minutes", "findtime", `"10m"`, 10 * time.Minute, ""},
		{"OK: hours and minutes", "findtime", `"1h30m"`, 90 * time.Minute, ""},
		{"OK: days and hours", "bantime", `"1d12h"`, 36 * time.Hour, ""},
		{"OK: weeks", "bantime", `"2w"`, 14 * 24 * time.Hour, ""},
		{"OK: all units", "bantime", `"1w1d1h1m1s"`, 8*24*time.Hour + time.Hour + time.Minute + time.Second, ""},
		{"OK: forever", "bantime", `"forever"`, 0, ""},
		{"OK: -1", "bantime", `-1`, 0, ""},
		{"OK: shortest", "bantime", `1`, time.Second, ""},
		{"OK: shortest findtime", "findtime", `"1s"`, time.Second, ""},
		{"OK: longest findtime", "findtime", `"365d"`, 365 * 24 * time.Hour, ""},
		{"OK: longest that fits", "bantime", `9223372036`, 9223372036 * time.Second, ""},

		{"bad: parsecs", "findtime", `"5 parsecs"`, 0, `"5 parsecs" is not a duration; write ` + forms},
		{"bad: parsecs of a ban", "bantime", `"5 parsecs"`, 0, `"5 parsecs" is not a duration; write ` + forms + `, "forever"`},
		{"bad: empty", "findtime", `""`, 0, `"" is not a duration; write ` + forms},
		{"bad: no unit", "findtime", `"600"`, 0, `"600" is not a duration; write ` + forms},
		{"bad: milliseconds", "findtime", `"500ms"`, 0, `"500ms" is not a duration; write ` + forms},
		{"bad: fraction", "findtime", `"1.5h"`, 0, `"1.5h" is not a duration; write ` + forms},
		{"bad: upside down", "findtime", `"1m1h"`, 0, `"1m1h" is not a duration; write ` + forms},
		{"bad: a line end", "findtime", `"1m\n"`, 0, `"1m\n" is not a duration; write ` + forms},
		{"bad: negative in words", "findtime", `"-5m"`, 0, `"-5m" is not a duration; write ` + forms},
		{"bad: forever for findtime", "findtime", `"forever"`, 0, `"forever" is not a duration; write ` + forms},
		{"bad: float", "findtime", `600.0`, 0, `must be ` + forms + `, not a number with a point`},
		{"bad: -1 for findtime", "findtime", `-1`, 0, `-1 ` + findtime},
		{"bad: negative", "bantime", `-2`, 0, `-2 ` + bantime},
		{"bad: zero", "findtime", `0`, 0, `0 ` + findtime},
		{"bad: zero in words", "bantime", `"0s"`, 0, `0s ` + bantime},
		{"bad: over the bound", "findtime", `"365d1s"`, 0, `365d1s ` + findtime},
		{"bad: overflow of an integer", "bantime", `9223372037`, 0, `9223372037 ` + bantime},
		{"bad: underflow of an integer", "bantime", `-9223372037`, 0, `-9223372037 ` + bantime},
		{"bad: overflow of the digits", "bantime", `"99999999999999999999s"`, 0, `99999999999999999999s ` + bantime},
		{"bad: overflow of a product", "bantime", `"9999999w"`, 0, `9999999w ` + bantime},
		{"bad: overflow of the sum", "bantime", `"15250w4d"`, 0, `15250w4d ` + bantime},
		{"bad: overflow of the sum, all around", "bantime", `"15250w106751d2562047h"`, 0, `15250w106751d2562047h ` + bantime},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(map[string]string{"jails.d/ownjail.toml": tt.key + " = " + tt.value + "\n" + sshd})
			if tt.err != "" {
				want := []string{"jails.d/ownjail.toml:1: " + tt.key + ": " + tt.err}
				if diff := cmp.Diff(want, said(cfg)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				return
			}
			j := jail(cfg, "ownjail")
			if j == nil {
				t.Fatalf("refused: %v", cfg.Problems)
			}
			if got := map[string]time.Duration{"findtime": j.FindTime, "bantime": j.BanTime}[tt.key]; got != tt.want {
				t.Errorf("want %v, got %v", tt.want, got)
			}
		})
	}
}

func TestParseBanTime(t *testing.T) {
	for text, want := range map[string]time.Duration{"1d12h": 36 * time.Hour, "forever": 0, "-1": 0, "600": 10 * time.Minute} {
		if got, err := jails.ParseBanTime(text); got != want || err != nil {
			t.Errorf("%q: want %v, got %v, %v", text, want, got, err)
		}
	}
	for _, text := range []string{"", "0s", "0", "-2", "1x", "99999999999w"} {
		if got, err := jails.ParseBanTime(text); err == nil {
			t.Errorf("%q: taken for %v", text, got)
		}
	}
}

func TestGoodJail(t *testing.T) {
	const file = "/etc/band/jails.d/ownjail.toml"
	builtIn := jails.Origin{Layer: "built-in"}
	at := func(line int) jails.Origin { return jails.Origin{Layer: "overlay", File: file, Line: line} }
	tests := []struct {
		name, text string
		want       jails.Jail
	}{
		{"OK: only what is required", sshd, jails.Jail{
			Name: "ownjail", Enabled: true, Format: "syslog",
			Sources:  []jails.Source{{File: "/var/log/auth.log"}},
			Patterns: []jails.Pattern{{Name: "password", Regex: `^Failed password .* from <HOST>$`, Kind: "failure", Counts: "always", Enabled: true}},
			FindTime: 10 * time.Minute, BanTime: time.Hour, MaxRetry: 5, IPv4Prefix: 32, IPv6Prefix: 64,
			Escalate: jails.Escalate{Factor: 1, Max: 28 * 24 * time.Hour, Forget: 30 * 24 * time.Hour},
			Origins: map[string]jails.Origin{
				"enabled": builtIn, "dry_run": builtIn, "aggregate": builtIn, "findtime": builtIn, "maxretry": builtIn, "bantime": builtIn,
				"ports": builtIn, "ipv4_prefix": builtIn, "ipv6_prefix": builtIn,
				"format": at(1), "source": at(2),
				"pattern.password": at(4), "pattern.password.regex": at(6), "pattern.password.kind": builtIn,
				"pattern.password.counts": builtIn, "pattern.password.enabled": builtIn, "pattern.password.unsafe": builtIn,
				"escalate.factor": builtIn, "escalate.max": builtIn, "escalate.forget": builtIn, "escalate.all_jails": builtIn,
			},
		}},
		{"OK: every key", `# all of it
enabled = false
dry_run = true
format = "raw"
time = "%s.%f"
findtime = 60
maxretry = 3
bantime = 3600
distinct = "user"
ports = { tcp = [
	2222, 22, 22] }
services = ["ownjail", "SIP proxy (old)"]
ipv4_prefix = 31
ipv6_prefix = 48
aggregate = 128
source = [{ file = "/var/log/auth.log" }, { file = "/var/log/*/auth.log", preferred = true }, { journal = [
	"_UID=0", "SYSLOG_IDENTIFIER=sshd", "+", "MESSAGE_ID=x=y z" ], unsafe = true }]
[[pattern]]
name = "password"
regex = '''
<HOST> one <USER>
'''
kind = "password"
counts = "another-user"
enabled = false
unsafe = true
[[pattern]]
regex = "<HOST> two (?P<user>x)"
name = "user name"
counts = "never"
[escalate]
all_jails = true
factor = 1.5
forget = "365d"
max = "1d"
`, jails.Jail{
			Name: "ownjail", DryRun: true, Format: "raw", Time: "%s.%f", Distinct: "user",
			Sources: []jails.Source{
				{File: "/var/log/auth.log"}, {File: "/var/log/*/auth.log", Preferred: true},
				{Journal: []string{"_UID=0", "SYSLOG_IDENTIFIER=sshd", "+", "MESSAGE_ID=x=y z"}, Unsafe: true},
			},
			Patterns: []jails.Pattern{
				{Name: "password", Regex: "<HOST> one <USER>", Kind: "password", Counts: "another-user", Unsafe: true},
				{Name: "user name", Regex: "<HOST> two (?P<user>x)", Kind: "failure", Counts: "never", Enabled: true},
			},
			FindTime: time.Minute, MaxRetry: 3, BanTime: time.Hour, IPv4Prefix: 31, IPv6Prefix: 48, Aggregate: 128,
			Ports: jails.Ports{TCP: []uint16{22, 2222}}, Services: []string{"ownjail", "SIP proxy (old)"},
			Escalate: jails.Escalate{Factor: 1.5, Max: 24 * time.Hour, Forget: 365 * 24 * time.Hour, AllJails: true},
			Origins: map[string]jails.Origin{
				"enabled": at(2), "dry_run": at(3), "format": at(4), "time": at(5), "findtime": at(6), "maxretry": at(7), "bantime": at(8),
				"distinct": at(9), "ports": at(10), "services": at(12), "ipv4_prefix": at(13), "ipv6_prefix": at(14), "aggregate": at(15),
				"source": at(16), "pattern.password": at(18), "pattern.password.regex": at(20), "pattern.password.kind": at(23),
				"pattern.password.counts": at(24), "pattern.password.enabled": at(25), "pattern.password.unsafe": at(26),
				"pattern.user name": at(27), "pattern.user name.regex": at(28), "pattern.user name.kind": builtIn,
				"pattern.user name.counts": at(30), "pattern.user name.enabled": builtIn, "pattern.user name.unsafe": builtIn,
				"escalate.all_jails": at(32), "escalate.factor": at(33), "escalate.forget": at(34), "escalate.max": at(35),
			},
		}},
	}
	for _, tt := range tests {
		for _, form := range []struct{ name, text string }{
			{"", tt.text},
			{", CRLF", strings.ReplaceAll(tt.text, "\n", "\r\n")},
			{", byte order mark", "\ufeff" + tt.text},
		} {
			t.Run(tt.name+form.name, func(t *testing.T) {
				cfg := config(map[string]string{"jails.d/ownjail.toml": form.text})
				if len(cfg.Problems) > 0 {
					t.Fatal(cfg.Problems)
				}
				if diff := cmp.Diff(&tt.want, jail(cfg, "ownjail"), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
	}
}
