package jails_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"band/jails"
)

func TestSourceString(t *testing.T) {
	for want, s := range map[string]jails.Source{
		"/var/log/*.log": {File: "/var/log/*.log", Preferred: true},
		"journal: SYSLOG_IDENTIFIER=sshd + _UID=0": {Journal: []string{"SYSLOG_IDENTIFIER=sshd", "+", "_UID=0"}},
	} {
		if got := s.String(); got != want {
			t.Errorf("want %q, got %q", want, got)
		}
	}
}

func TestSource(t *testing.T) {
	const (
		journal   = `source.journal: `
		forgeable = `any local user can write entries with %s, and so have others banned; ` +
			`add a term that says who wrote them, "_UID=0" or "_SYSTEMD_UNIT=..." (or set unsafe = true if there are no such users)`
	)
	longest := strings.Repeat("A", 64)
	tests := []struct {
		name, source string
		want         jails.Source // where nothing is wrong
		problems     []string     // each after "jails.d/ownjail.toml:"; line 2 is [[source]]
	}{
		{"OK: one term", `journal = ["_UID=0"]`, jails.Source{Journal: []string{"_UID=0"}}, nil},
		{"OK: a unit", `journal = ["_SYSTEMD_UNIT=ssh.service"]`, jails.Source{Journal: []string{"_SYSTEMD_UNIT=ssh.service"}}, nil},
		{"OK: a cgroup", `journal = ["_SYSTEMD_CGROUP=/a", "PRIORITY=4"]`, jails.Source{Journal: []string{"_SYSTEMD_CGROUP=/a", "PRIORITY=4"}}, nil},
		{
			"OK: alternatives, each of a known writer", "preferred = true\njournal = [\"A=b\", \"A=c\", \"_UID=0\", \"+\", \"_UID=1\"]",
			jails.Source{Journal: []string{"A=b", "A=c", "_UID=0", "+", "_UID=1"}, Preferred: true}, nil,
		},
		{"OK: anybody", "journal = ['SYSLOG_IDENTIFIER=sshd']\nunsafe = true", jails.Source{Journal: []string{"SYSLOG_IDENTIFIER=sshd"}, Unsafe: true}, nil},
		{"OK: the longest field", `journal = ["_UID=0", "` + longest + `=x"]`, jails.Source{Journal: []string{"_UID=0", longest + "=x"}}, nil},
		{"OK: a value with everything", `journal = ["_UID=0", "MESSAGE=a=b + \u00fc"]`, jails.Source{Journal: []string{"_UID=0", "MESSAGE=a=b + \u00fc"}}, nil},
		{"OK: a file that says safe", "file = '/x'\nunsafe = false", jails.Source{File: "/x"}, nil},

		{"bad: neither", "preferred = true", jails.Source{}, []string{
			`2: source.file: is missing: a source needs a file such as "/var/log/auth.log", a journal such as ["SYSLOG_IDENTIFIER=sshd", "_UID=0"], or an event_socket such as "127.0.0.1:8021"`,
		}},
		{"bad: both", "file = '/x'\njournal = ['_UID=0']", jails.Source{}, []string{
			"4: " + journal + "a source has one of file and journal; write a [[source]] for each",
		}},
		{"bad: both, and bad", "file = 'x'\njournal = []", jails.Source{}, []string{
			`3: source.file: "x" must be an absolute path`,
			"4: " + journal + "a source has one of file and journal; write a [[source]] for each",
		}},
		{"bad: an unsafe file", "file = '/x'\nunsafe = true", jails.Source{}, []string{
			"4: source.unsafe: is for a journal; who can write into a file, its permissions decide",
		}},
		{"bad: no list", "journal = '_UID=0'", jails.Source{}, []string{
			"3: " + journal + `must be a list of terms such as ["SYSLOG_IDENTIFIER=sshd", "_UID=0"], not a string`,
		}},
		{"bad: an empty list", "journal = []", jails.Source{}, []string{
			"3: " + journal + `must not be empty; write terms such as ["SYSLOG_IDENTIFIER=sshd", "_UID=0"]`,
		}},
		{"bad: terms", "journal = [\n'_UID', '/usr/sbin/sshd', '',\n'_uid=0', '=0', '0A=b', 'A-B=c', 'A B=c', '-u=x',\n'" + longest + "A=x', '_UID=', \"_UID=\\u0000\", 0,\n'__CURSOR=x']", jails.Source{}, []string{
			"4: " + journal + `"/usr/sbin/sshd" is no match term; write FIELD=VALUE such as "_UID=0", or "+" between alternatives`,
			"4: " + journal + `"_UID" is no match term; write FIELD=VALUE such as "_UID=0", or "+" between alternatives`,
			"4: " + journal + "must not be empty",
			"5: " + journal + `"" cannot be a field of the journal: up to 64 of A-Z, 0-9 and _, and the first no digit`,
			"5: " + journal + `"-u" cannot be a field of the journal: up to 64 of A-Z, 0-9 and _, and the first no digit`,
			"5: " + journal + `"0A" cannot be a field of the journal: up to 64 of A-Z, 0-9 and _, and the first no digit`,
			"5: " + journal + `"A B" cannot be a field of the journal: up to 64 of A-Z, 0-9 and _, and the first no digit`,
			"5: " + journal + `"A-B" cannot be a field of the journal: up to 64 of A-Z, 0-9 and _, and the first no digit`,
			"5: " + journal + `"_uid" cannot be a field of the journal: up to 64 of A-Z, 0-9 and _, and the first no digit`,
			"6: " + journal + `"` + longest + `A" cannot be a field of the journal: up to 64 of A-Z, 0-9 and _, and the first no digit`,
			"6: " + journal + `"_UID=" has no value`,
			"6: " + journal + `"_UID=\x00" holds a character that cannot be printed`,
			"6: " + journal + "must be a string, not a number",
			"7: " + journal + `"__CURSOR" cannot be matched; journalctl only shows it`,
		}},
		{"bad: + alone", "journal = ['+']", jails.Source{}, []string{"3: " + journal + `"+" must stand between two terms`}},
		{"bad: + first", "journal = ['+', '_UID=0']", jails.Source{}, []string{"3: " + journal + `"+" must stand between two terms`}},
		{"bad: + last", "journal = ['_UID=0', '+']", jails.Source{}, []string{"3: " + journal + `"+" must stand between two terms`}},
		{"bad: + twice", "journal = ['_UID=0', '+', '+', '_UID=1']", jails.Source{}, []string{"3: " + journal + `"+" must stand between two terms`}},
		{"bad: + twice, unsafe", "unsafe = true\njournal = ['A=b', '+', '+', 'A=c']", jails.Source{}, []string{"4: " + journal + `"+" must stand between two terms`}},
		{"bad: anybody", "journal = ['SYSLOG_IDENTIFIER=sshd', 'PRIORITY=6']", jails.Source{}, []string{
			"3: " + journal + fmt.Sprintf(forgeable, "SYSLOG_IDENTIFIER=sshd PRIORITY=6"),
		}},
		{"bad: anybody in one alternative", "journal = ['_SYSTEMD_UNIT=ssh.service', '+', '_COMM=sshd']", jails.Source{}, []string{
			"3: " + journal + fmt.Sprintf(forgeable, "_COMM=sshd"),
		}},
		{"bad: what a user may choose", "journal = ['_EXE=/usr/sbin/sshd', '_CMDLINE=sshd', '_HOSTNAME=a', '_TRANSPORT=syslog', '_SYSTEMD_USER_UNIT=a', 'OBJECT_UID=0']", jails.Source{}, []string{
			"3: " + journal + fmt.Sprintf(forgeable, "_EXE=/usr/sbin/sshd _CMDLINE=sshd _HOSTNAME=a _TRANSPORT=syslog _SYSTEMD_USER_UNIT=a OBJECT_UID=0"),
		}},
		{"bad: a wrong word for unsafe", "journal = ['_UID=0']\nunsafe = 'yes'", jails.Source{}, []string{
			"4: source.unsafe: must be true or false, not a string",
		}},
		{"bad: a key of a pattern", "file = '/x'\nregex = 'x'", jails.Source{}, []string{
			`4: source.regex: unknown key "regex"; it belongs in [[pattern]]`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(sshd, `file = "/var/log/auth.log"`, tt.source, 1)
			cfg := config(map[string]string{"jails.d/ownjail.toml": text})
			var problems []string
			for _, p := range tt.problems {
				problems = append(problems, "jails.d/ownjail.toml:"+p)
			}
			if diff := cmp.Diff(problems, said(cfg)); diff != "" {
				t.Errorf("problems: -want +got:\n%s", diff)
			}
			j := jail(cfg, "ownjail")
			if len(tt.problems) > 0 {
				if j != nil {
					t.Errorf("the jail runs: %+v", j)
				}
				return
			}
			if j == nil {
				t.Fatal("the jail does not run")
			}
			if diff := cmp.Diff([]jails.Source{tt.want}, j.Sources, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// The shipped jails of these tests: two with the sources of a third.
var family = map[string]string{
	"pbx.toml":      "format = 'freeswitch'\n[[source]]\nfile = '/pbx.log'\n[[pattern]]\nname = 'x'\nregex = '<HOST>'\n",
	"pbx-acl.toml":  "format = 'freeswitch'\n\nsources_of = 'pbx'\n[[pattern]]\nname = 'x'\nregex = '<HOST>'\n",
	"pbx-scan.toml": "format = 'freeswitch'\nenabled = false\n\nsources_of = 'pbx'\n[[pattern]]\nname = 'x'\nregex = '<HOST>'\n",
}

// jailOf is a jail of one pattern; its lines 1 to 3 are taken.
const jailOf = "format = 'freeswitch'\npattern = [{ name = 'x', regex = '<HOST>' }]\n\n"

func TestSourcesOf(t *testing.T) {
	const shipped = "/pbx.log, shipped, shipped/pbx.toml:2"
	same := func(sources string) map[string]string {
		return map[string]string{"pbx": sources, "pbx-acl": sources + ", of pbx", "pbx-scan": sources + ", of pbx"}
	}
	with := func(sources map[string]string, name, other string) map[string]string {
		sources[name] = other
		return sources
	}
	tests := []struct {
		name     string
		files    map[string]string // in jails.d
		want     map[string]string // by jail: the sources, where they come from, and whose they are
		problems []string          // each after "jails.d/"
	}{
		{"OK: as shipped", nil, same(shipped), nil},
		{
			"OK: an overlay of the other moves all",
			map[string]string{"pbx.toml": "[[source]]\nfile = '/opt/pbx.log'\n"},
			same("/opt/pbx.log, overlay, jails.d/pbx.toml:1"), nil,
		},
		{
			"OK: a refused overlay of the other moves none",
			map[string]string{"pbx.toml": "[[source]]\nfile = '/opt/pbx.log'\nmaxretry = 1\n"},
			same(shipped), []string{`pbx.toml:3: source.maxretry: unknown key "maxretry"; it belongs to the jail: write it above the first [header]`},
		},
		{
			"OK: the other is switched off",
			map[string]string{"pbx.toml": "enabled = false\n"}, same(shipped), nil,
		},
		{
			"OK: sources of its own instead",
			map[string]string{"pbx-acl.toml": "[[source]]\nfile = '/acl.log'\n"},
			with(same(shipped), "pbx-acl", "/acl.log, overlay, jails.d/pbx-acl.toml:1"), nil,
		},
		{
			"OK: and back with a refused overlay",
			map[string]string{"pbx-acl.toml": "maxretry = 0\n[[source]]\nfile = '/acl.log'\n"},
			same(shipped), []string{"pbx-acl.toml:1: maxretry: 0 is out of range: 1 to 10000"},
		},
		{
			"OK: an own jail, before and behind the other",
			map[string]string{"a.toml": jailOf + "sources_of = 'pbx'", "z.toml": jailOf + "sources_of = 'a'"},
			with(with(same(shipped), "a", shipped+", of pbx"), "z", shipped+", of a"), nil,
		},
		{
			"OK: the other way round than shipped",
			map[string]string{"pbx.toml": "sources_of = 'pbx-acl'\n", "pbx-acl.toml": "[[source]]\nfile = '/acl.log'\n"},
			map[string]string{
				"pbx":      "/acl.log, overlay, jails.d/pbx-acl.toml:1, of pbx-acl",
				"pbx-acl":  "/acl.log, overlay, jails.d/pbx-acl.toml:1",
				"pbx-scan": "/acl.log, overlay, jails.d/pbx-acl.toml:1, of pbx",
			}, nil,
		},
		{
			"OK: what can be read of a jail that is refused",
			map[string]string{"a.toml": jailOf + "maxretry = 0\n[[source]]\nfile = '/a'\n[[source]]\nfile = 'b'\n", "z.toml": jailOf + "sources_of = 'a'"},
			with(same(shipped), "z", "/a, overlay, jails.d/a.toml:5, of a"),
			[]string{"a.toml:4: maxretry: 0 is out of range: 1 to 10000", `a.toml:8: source.file: "b" must be an absolute path`},
		},
		{
			"OK: none, where there are tables",
			map[string]string{"pbx.toml": "sources_of = ''\n[[source]]\nfile = '/opt/pbx.log'\n"},
			same("/opt/pbx.log, overlay, jails.d/pbx.toml:2"), nil,
		},

		{
			"bad: no such jail",
			map[string]string{"a.toml": jailOf + "sources_of = 'freeswitch'", "pbx-acl.toml": "\nsources_of = 'pbxx'\n"},
			same(shipped),
			[]string{`a.toml:4: sources_of: there is no jail "freeswitch"`, `pbx-acl.toml:2: sources_of: there is no jail "pbxx"; did you mean "pbx"?`},
		},
		{
			"bad: no such jail, of the other",
			map[string]string{"pbx.toml": "sources_of = 'none'\n"},
			same(shipped), []string{`pbx.toml:1: sources_of: there is no jail "none"`},
		},
		{
			"bad: both",
			map[string]string{"a.toml": jailOf + "sources_of = 'pbx'\n[[source]]\nfile = '/a'\n", "pbx.toml": "sources_of = 'pbx-acl'\nsource = []\n"},
			same(shipped),
			[]string{
				"a.toml:4: sources_of: a jail has either [[source]] tables or sources_of; leave out the one or the other",
				"pbx.toml:1: sources_of: a jail has either [[source]] tables or sources_of; leave out the one or the other",
				"pbx.toml:1: sources_of: leads back to this jail; one of them needs [[source]] tables",
			},
		},
		{
			"bad: itself",
			map[string]string{"a.toml": jailOf + "sources_of = 'a'", "pbx.toml": "sources_of = 'pbx'\n"},
			same(shipped),
			[]string{
				"a.toml:4: sources_of: leads back to this jail; one of them needs [[source]] tables",
				"pbx.toml:1: sources_of: leads back to this jail; one of them needs [[source]] tables",
			},
		},
		{
			"bad: in a circle with a shipped jail",
			map[string]string{"pbx.toml": "sources_of = 'pbx-acl'\n", "a.toml": jailOf + "sources_of = 'pbx-acl'"},
			with(same(shipped), "a", shipped+", of pbx-acl"),
			[]string{"pbx.toml:1: sources_of: leads back to this jail; one of them needs [[source]] tables"},
		},
		{
			"bad: in a circle of three, and into it",
			map[string]string{"a.toml": jailOf + "sources_of = 'b'", "b.toml": jailOf + "sources_of = 'c'", "c.toml": jailOf + "sources_of = 'b'", "d.toml": jailOf + "sources_of = 'd'"},
			same(shipped),
			[]string{
				`a.toml:4: sources_of: the jail "b" has no source that could be read`,
				"b.toml:4: sources_of: leads back to this jail; one of them needs [[source]] tables",
				"c.toml:4: sources_of: leads back to this jail; one of them needs [[source]] tables",
				"d.toml:4: sources_of: leads back to this jail; one of them needs [[source]] tables",
			},
		},
		{
			"bad: the other is not TOML",
			map[string]string{"a.toml": "x", "z.toml": jailOf + "sources_of = 'a'"},
			same(shipped),
			[]string{"a.toml:1: not valid TOML: unexpected EOF; expected key separator '='", `z.toml:4: sources_of: the jail "a" has no source that could be read`},
		},
		{
			"bad: none",
			map[string]string{"pbx-acl.toml": "sources_of = ''\n"},
			same(shipped), []string{"pbx-acl.toml: source: is missing: a jail needs at least one [[source]], or sources_of"},
		},
		{
			"bad: wrong type",
			map[string]string{"a.toml": jailOf + "sources_of = ['pbx']"},
			same(shipped), []string{"a.toml:4: sources_of: must be a string, not a list"},
		},
		{
			"bad: an overlay leaves nothing to the others",
			map[string]string{"pbx.toml": "source = []\n"},
			same(shipped), []string{"pbx.toml: source: is missing: a jail needs at least one [[source]], or sources_of"},
		},
		{
			"bad: a circle that only a refused overlay closes",
			map[string]string{"pbx.toml": "sources_of = 'pbx-acl'\n", "pbx-acl.toml": "sources_of = 'none'\n"},
			with(same(shipped), "pbx", shipped+", of pbx-acl"),
			[]string{`pbx-acl.toml:1: sources_of: there is no jail "none"`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shipped, own := fstest.MapFS{}, fstest.MapFS{}
			for name, text := range family {
				shipped[name] = &fstest.MapFile{Data: []byte(text)}
			}
			for name, text := range tt.files {
				own["jails.d/"+name] = &fstest.MapFile{Data: []byte(text)}
			}
			cfg := jails.ParseShipped(shipped, own, "", checker{})
			var problems []string
			for _, p := range tt.problems {
				problems = append(problems, "jails.d/"+p)
			}
			if diff := cmp.Diff(problems, said(cfg)); diff != "" {
				t.Errorf("problems: -want +got:\n%s", diff)
			}
			got := map[string]string{}
			for _, j := range cfg.Jails {
				s := ""
				for _, source := range j.Sources {
					s += source.String() + ", "
				}
				s += j.Origins["source"].String()
				if j.SourcesOf != "" {
					s += ", of " + j.SourcesOf
				}
				switch of, ok := j.Origins["sources_of"]; {
				case of.Layer == "shipped" && j.SourcesOf == "pbx" && of.Line >= 3:
				case of.Layer == "overlay" && of.File == "jails.d/"+j.Name+".toml":
				case ok || j.SourcesOf != "":
					t.Errorf("%s: sources_of is from %v", j.Name, of)
				}
				got[j.Name] = s
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("sources: -want +got:\n%s", diff)
			}
		})
	}
}
