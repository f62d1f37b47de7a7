package jails_test

import (
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"band/jails"
)

var sipPorts = []uint16{5060, 5061, 5066, 5070, 5080, 5081, 7443, 8021, 8081, 8082}

// shipped returns the FreeSWITCH jail without any configuration.
func shipped(t *testing.T) *jails.Jail {
	t.Helper()
	cfg := config(nil)
	j := jail(cfg, "freeswitch")
	if j == nil || len(cfg.Problems) > 0 {
		t.Fatalf("the shipped jail does not run: %v", cfg.Problems)
	}
	return j
}

func TestShipped(t *testing.T) {
	j := shipped(t)
	patterns := j.Patterns
	j.Patterns = nil
	origins := maps.Clone(j.Origins)
	for key, o := range j.Origins {
		if o.Layer == "shipped" && o.File == "shipped/freeswitch.toml" && o.Line > 0 {
			delete(origins, key)
		} else if o != (jails.Origin{Layer: "built-in"}) {
			t.Errorf("%s comes from %+v", key, o)
		}
	}
	j.Origins = nil
	want := &jails.Jail{
		Name: "freeswitch", Enabled: true, Format: "freeswitch",
		ClearOn: []string{"authenticated", "verto-authenticated", "registered"}, Trust: 8 * time.Hour,
		Sources: []jails.Source{
			{EventSocket: netip.MustParseAddrPort("127.0.0.1:8021"), Preferred: true},
			{File: "/var/log/freeswitch/band.log", Preferred: true}, {File: "/var/log/freeswitch/freeswitch.log"},
			{Journal: []string{"_SYSTEMD_UNIT=freeswitch.service", "+", "SYSLOG_IDENTIFIER=freeswitch", "_UID=0"}},
		},
		Services: []string{"freeswitch"},
		FindTime: 10 * time.Minute, BanTime: time.Hour, MaxRetry: 5,
		Ports: jails.Ports{UDP: sipPorts, TCP: sipPorts}, IPv4Prefix: 32, IPv6Prefix: 64,
		Escalate: jails.Escalate{Factor: 1, Max: 28 * 24 * time.Hour, Forget: 30 * 24 * time.Hour},
	}
	if diff := cmp.Diff(want, j, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var kinds []string
	for _, p := range patterns {
		kinds = append(kinds, p.Name+" "+p.Kind)
		if off := p.Name == "wrong-call-state" || p.Name == "registered"; p.Enabled == off || p.Unsafe {
			t.Errorf("pattern %s: enabled %v, unsafe %v", p.Name, p.Enabled, p.Unsafe)
		}
	}
	if diff := cmp.Diff([]string{
		"auth-failure failure", "unknown-user unknown-user", "failure-event failure", "verto-failure-event failure",
		"wrong-call-state failure", "authenticated failure", "verto-authenticated failure", "registered failure",
	}, kinds); diff != "" {
		t.Errorf("patterns: -want +got:\n%s", diff)
	}
	// What a jail does not set itself, band.toml must be able to set.
	builtIn := slices.Sorted(maps.Keys(origins))
	if diff := cmp.Diff([]string{
		"aggregate", "bantime", "dry_run", "enabled", "escalate.all_jails", "escalate.factor", "escalate.forget", "escalate.max",
		"findtime", "ipv4_prefix", "ipv6_prefix", "maxretry",
		"pattern.auth-failure.counts", "pattern.auth-failure.enabled", "pattern.auth-failure.kind", "pattern.auth-failure.unsafe",
		"pattern.authenticated.counts", "pattern.authenticated.enabled", "pattern.authenticated.kind", "pattern.authenticated.unsafe",
		"pattern.failure-event.counts", "pattern.failure-event.enabled", "pattern.failure-event.kind", "pattern.failure-event.unsafe",
		"pattern.registered.counts", "pattern.registered.kind", "pattern.registered.unsafe",
		"pattern.unknown-user.counts", "pattern.unknown-user.enabled", "pattern.unknown-user.unsafe",
		"pattern.verto-authenticated.counts", "pattern.verto-authenticated.enabled", "pattern.verto-authenticated.kind", "pattern.verto-authenticated.unsafe",
		"pattern.verto-failure-event.counts", "pattern.verto-failure-event.enabled", "pattern.verto-failure-event.kind", "pattern.verto-failure-event.unsafe",
		"pattern.wrong-call-state.counts", "pattern.wrong-call-state.kind", "pattern.wrong-call-state.unsafe",
	}, builtIn); diff != "" {
		t.Errorf("built-in values: -want +got:\n%s", diff)
	}
}

// A shipped jail is also an example: copied under another name it must work.
func TestShippedAsACopy(t *testing.T) {
	files, err := fs.Glob(jails.Shipped(), "*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no shipped files: %v", err)
	}
	for _, file := range files {
		text, err := fs.ReadFile(jails.Shipped(), file)
		if err != nil {
			t.Fatal(err)
		}
		cfg := config(map[string]string{"jails.d/copy.toml": string(text)})
		if len(cfg.Problems) > 0 {
			t.Errorf("%s: %v", file, cfg.Problems)
		}
		original, copied := jail(cfg, strings.TrimSuffix(file, ".toml")), jail(cfg, "copy")
		original.Name, original.Origins, copied.Origins = "copy", nil, nil
		if diff := cmp.Diff(original, copied, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("%s: -original +copy:\n%s", file, diff)
		}
	}
}

func TestLayers(t *testing.T) {
	const own = "/etc/band/jails.d/freeswitch.toml"
	band := func(line int) jails.Origin {
		return jails.Origin{Layer: "band.toml", File: "/etc/band/band.toml", Line: line}
	}
	over := func(line int) jails.Origin { return jails.Origin{Layer: "overlay", File: own, Line: line} }
	tests := []struct {
		name          string
		band, overlay string
		change        func(*jails.Jail) // of the shipped jail
	}{
		{"OK: nothing", "", "", func(*jails.Jail) {}},
		{"OK: an empty overlay", "", "# nothing yet\n", func(*jails.Jail) {}},
		{"OK: defaults of all jails", "findtime = 60\nmaxretry = 3\nbantime = 'forever'\nipv4_prefix = 24\nipv6_prefix = 56\n", "", func(j *jails.Jail) {
			j.FindTime, j.MaxRetry, j.BanTime, j.IPv4Prefix, j.IPv6Prefix = time.Minute, 3, 0, 24, 56
			j.Origins["findtime"], j.Origins["maxretry"], j.Origins["bantime"] = band(1), band(2), band(3)
			j.Origins["ipv4_prefix"], j.Origins["ipv6_prefix"] = band(4), band(5)
		}},
		{"OK: more defaults of all jails", "dry_run = true\naggregate = 8\n[escalate]\nfactor = 2\nmax = 'forever'\nforget = '1d'\nall_jails = true\n", "", func(j *jails.Jail) {
			j.DryRun, j.Aggregate = true, 8
			j.Escalate = jails.Escalate{Factor: 2, Forget: 24 * time.Hour, AllJails: true}
			j.Origins["dry_run"], j.Origins["aggregate"] = band(1), band(2)
			j.Origins["escalate.factor"], j.Origins["escalate.max"] = band(4), band(5)
			j.Origins["escalate.forget"], j.Origins["escalate.all_jails"] = band(6), band(7)
		}},
		{"OK: the overlay wins over each of them", "dry_run = true\naggregate = 8\nescalate = { factor = 2, max = '1d' }\n", "dry_run = false\naggregate = 0\n[escalate]\nmax = '2d'\n", func(j *jails.Jail) {
			j.Escalate.Factor, j.Escalate.Max = 2, 48*time.Hour
			j.Origins["dry_run"], j.Origins["aggregate"] = over(1), over(2)
			j.Origins["escalate.factor"], j.Origins["escalate.max"] = band(3), over(4)
		}},
		{"OK: services, and the journal instead of files", "", "services = ['freeswitch']\n[[source]]\njournal = ['_SYSTEMD_UNIT=freeswitch.service']\npreferred = true\n", func(j *jails.Jail) {
			j.Services = []string{"freeswitch"}
			j.Sources = []jails.Source{{Journal: []string{"_SYSTEMD_UNIT=freeswitch.service"}, Preferred: true}}
			j.Origins["services"], j.Origins["source"] = over(1), over(2)
		}},
		{"OK: the overlay wins over band.toml", "findtime = 60\nmaxretry = 3\n", "\nmaxretry = 9\n", func(j *jails.Jail) {
			j.FindTime, j.MaxRetry = time.Minute, 9
			j.Origins["findtime"], j.Origins["maxretry"] = band(1), over(2)
		}},
		{"OK: single values", "", "enabled = false\nformat = 'syslog'\nports = 'all'\nbantime = '2w'\n", func(j *jails.Jail) {
			j.Enabled, j.Format, j.Ports, j.BanTime = false, "syslog", jails.Ports{}, 14*24*time.Hour
			j.Origins["enabled"], j.Origins["format"], j.Origins["ports"], j.Origins["bantime"] = over(1), over(2), over(3), over(4)
		}},
		{"OK: ports replace both lists", "", "ports.udp = [5080, 5060]\n", func(j *jails.Jail) {
			j.Ports = jails.Ports{UDP: []uint16{5060, 5080}}
			j.Origins["ports"] = over(1)
		}},
		{"OK: sources replace all shipped ones", "", "[[source]]\nfile = '/a/*.log'\n[[source]]\nfile = '/b'\n", func(j *jails.Jail) {
			j.Sources = []jails.Source{{File: "/a/*.log"}, {File: "/b"}}
			j.Origins["source"] = over(1)
		}},
		{"OK: patterns merge by name", "", `
[[pattern]]
name = "unknown-user"
enabled = false

[[pattern]]
name = "acl"
regex = '''^denied <HOST>$'''

[[pattern]]
kind = "auth"
unsafe = true
regex = "<HOST>"
counts = "never"
name = "auth-failure"
`, func(j *jails.Jail) {
			j.Patterns[1].Enabled = false
			j.Origins["pattern.unknown-user.enabled"] = over(4)
			j.Patterns[0].Regex, j.Patterns[0].Kind, j.Patterns[0].Unsafe = "<HOST>", "auth", true
			j.Patterns[0].Counts = "never"
			j.Origins["pattern.auth-failure.counts"] = over(14)
			j.Origins["pattern.auth-failure.kind"] = over(11)
			j.Origins["pattern.auth-failure.unsafe"] = over(12)
			j.Origins["pattern.auth-failure.regex"] = over(13)
			j.Patterns = append(j.Patterns, jails.Pattern{Name: "acl", Regex: "^denied <HOST>$", Kind: "failure", Counts: "always", Enabled: true})
			j.Origins["pattern.acl"], j.Origins["pattern.acl.regex"] = over(6), over(8)
			for _, key := range []string{"kind", "counts", "enabled", "unsafe"} {
				j.Origins["pattern.acl."+key] = jails.Origin{Layer: "built-in"}
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := shipped(t)
			tt.change(want)
			files := map[string]string{"band.toml": tt.band}
			if tt.overlay != "" {
				files["jails.d/freeswitch.toml"] = tt.overlay
			}
			cfg := config(files)
			if len(cfg.Problems) > 0 {
				t.Fatal(cfg.Problems)
			}
			if diff := cmp.Diff(want, jail(cfg, "freeswitch"), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A refused overlay costs what it would have changed, not the protection.
func TestBadOverlay(t *testing.T) {
	const auth, user = "pattern.auth-failure.regex", "pattern.x.regex"
	tests := []struct {
		name, overlay string
		want          []string // each after "jails.d/freeswitch.toml"
		off           int      // the line of the enabled = false that is respected
		dry           int      // the line of the dry_run = true that is
	}{
		{"bad: a value", "maxretry = 0\nbantime = 60\n", []string{":1: maxretry: 0 is out of range: 1 to 10000"}, 0, 0},
		{"bad: a regex", "maxretry = 9\n[[pattern]]\nname = 'auth-failure'\nregex = 'x'\n", []string{":4: " + auth + ": it names no <HOST>"}, 0, 0},
		{"bad: a new pattern without regex", "[[pattern]]\nname = 'x'\n", []string{":1: " + user + ": is missing: a pattern needs a regex in '''...''', or an event"}, 0, 0},
		{"bad: no source left", "source = []\n", []string{": source: is missing: a jail needs at least one [[source]], or sources_of"}, 0, 0},
		{"bad: not TOML", "maxretry = 9\nbantime = 1h\n", []string{":2: not valid TOML: expected a top-level item to end with a newline, comment, or EOF, but got 'h' instead"}, 0, 0},

		{"bad: a value, and off", "maxretry = 0\nenabled = false\n", []string{":1: maxretry: 0 is out of range: 1 to 10000"}, 2, 0},
		{"bad: an unknown key, and off", "enabled = false # for now\nmaxretrys = 1\n", []string{`:2: maxretrys: unknown key "maxretrys"; did you mean "maxretry"?`}, 1, 0},
		{"bad: not TOML, and off above it", "enabled = false\nmaxretry 9\n", []string{":2: not valid TOML: expected '.' or '=', but got '9' instead"}, 1, 0},
		{"bad: not TOML, and off below it", "format = \"freeswitch\nmaxretry =\n\nenabled = false\n", []string{":1: not valid TOML: strings cannot contain newlines"}, 4, 0},
		{"bad: a string that does not end, and off", "enabled = false\n[[pattern]]\nname = 'x'\nregex = '''<HOST>\n", []string{`:4: not valid TOML: unexpected EOF; expected "'''"`}, 1, 0},
		{"bad: an array that does not end, and off", "ports.udp = [5060\nenabled = false\n", []string{":2: not valid TOML: expected a comma (',') or array terminator (']'), but got 'e'"}, 0, 0},

		{"bad: off of the wrong type", "enabled = 'false'\n", []string{":1: enabled: must be true or false, not a string"}, 0, 0},
		{"bad: off in the wrong case", "Enabled = false\n", []string{`:1: Enabled: unknown key "Enabled"; keys are lower case: write "enabled"`}, 0, 0},
		{"bad: a pattern that is off below a broken header", "[[pattern]\nname = 'auth-failure'\nenabled = false\n", []string{":1: not valid TOML: expected end of table array name delimiter ']', but got '\\n' instead"}, 0, 0},
		{"bad: a value, and on", "maxretry = 0\nenabled = true\n", []string{":1: maxretry: 0 is out of range: 1 to 10000"}, 0, 0},

		{"bad: a value, and dry", "dry_run = true\nmaxretry = 0\n", []string{":2: maxretry: 0 is out of range: 1 to 10000"}, 0, 1},
		{"bad: not TOML, and dry and off above it", "enabled = false\ndry_run = true\nmaxretry 9\n", []string{":3: not valid TOML: expected '.' or '=', but got '9' instead"}, 1, 2},
		{"bad: a value, and wet", "maxretry = 0\ndry_run = false\n", []string{":1: maxretry: 0 is out of range: 1 to 10000"}, 0, 0},
		{"bad: dry of the wrong type", "dry_run = 1\n", []string{":1: dry_run: must be true or false, not a number"}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(map[string]string{"jails.d/freeswitch.toml": tt.overlay})
			var problems []string
			for _, w := range tt.want {
				problems = append(problems, "jails.d/freeswitch.toml"+w)
			}
			if diff := cmp.Diff(problems, said(cfg)); diff != "" {
				t.Errorf("problems: -want +got:\n%s", diff)
			}
			want := shipped(t)
			if tt.off > 0 {
				want.Enabled = false
				want.Origins["enabled"] = jails.Origin{Layer: "overlay", File: "/etc/band/jails.d/freeswitch.toml", Line: tt.off}
			}
			if tt.dry > 0 {
				want.DryRun = true
				want.Origins["dry_run"] = jails.Origin{Layer: "overlay", File: "/etc/band/jails.d/freeswitch.toml", Line: tt.dry}
			}
			if diff := cmp.Diff(want, jail(cfg, "freeswitch"), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("jail: -want +got:\n%s", diff)
			}
		})
	}
}

// refuser knows no format at all.
type refuser struct{ checker }

func (refuser) Format(name, _ string) error { return fmt.Errorf("unknown format %q", name) }

// A shipped jail that is refused itself is left out, and said so once.
func TestShippedRefused(t *testing.T) {
	for name, overlay := range map[string]string{"alone": "", "with an overlay": "maxretry = 3\n", "with a bad overlay": "source = 1\n"} {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{"jails.d/freeswitch.toml": &fstest.MapFile{Data: []byte(overlay)}}
			cfg := jails.Parse(files, "/etc/band", refuser{})
			var got []string
			for _, p := range cfg.Problems {
				if p.File == "shipped/freeswitch.toml" && p.Line > 0 && p.Jail == "freeswitch" {
					got = append(got, p.Key+": "+p.Text)
				}
			}
			if diff := cmp.Diff([]string{`format: unknown format "freeswitch"`}, got); diff != "" || len(cfg.Jails) > 0 {
				t.Errorf("jails %v; problems: -want +got:\n%s", cfg.Jails, diff)
			}
		})
	}
}

// The documented defaults must be the real ones, and every documented key accepted.
func TestKeys(t *testing.T) {
	for _, k := range jails.Keys() {
		if k.Doc == "" || !strings.HasSuffix(k.Doc, ".") {
			t.Errorf("%s %s: its doc is no sentence: %q", k.Table, k.Name, k.Doc)
		}
		if k.Default == "" {
			isTable := k.Name == "source" || k.Name == "pattern" || k.Name == "escalate"
			if !isTable && !strings.HasSuffix(strings.ToLower(k.Doc), "required.") {
				t.Errorf("%s %s: has no default and is not said to be required", k.Table, k.Name)
			}
			continue
		}
		write := func(line string) map[string]string {
			switch k.Table {
			case jails.BandTable:
				return map[string]string{"band.toml": line, "jails.d/ownjail.toml": sshd}
			case jails.JailTable:
				return map[string]string{"jails.d/ownjail.toml": line + sshd}
			case jails.SourceTable:
				return map[string]string{"jails.d/ownjail.toml": sshd + "[[source]]\nfile = '/b'\n" + line}
			case jails.PatternTable:
				return map[string]string{"jails.d/ownjail.toml": sshd + line}
			case jails.EscalateTable:
				return map[string]string{"jails.d/ownjail.toml": sshd + "[escalate]\n" + line}
			case jails.PortsTable:
				other := map[string]string{"udp": "tcp", "tcp": "udp"}[k.Name]
				return map[string]string{"jails.d/ownjail.toml": sshd + "[ports]\n" + other + " = [1]\n" + line}
			}
			t.Fatalf("%s %s: no such table has defaults", k.Table, k.Name)
			return nil
		}
		real, documented := config(write("")), config(write(k.Name+" = "+k.Default+"\n"))
		if len(documented.Problems) > 0 {
			t.Errorf("%s %s: %v", k.Table, k.Name, documented.Problems)
		}
		if diff := cmp.Diff(real, documented, cmpopts.IgnoreFields(jails.Jail{}, "Origins"), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("%s %s: -real +documented:\n%s", k.Table, k.Name, diff)
		}
	}
}
