package jails_test

import (
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"band/jails"
)

// Values of different files that contradict each other.
func TestContradictions(t *testing.T) {
	const (
		hour = time.Hour
		week = 7 * 24 * time.Hour
		own  = "enabled = true\nformat = 'syslog'\nsource = [{ file = '/x' }]\npattern = [{ name = 'x', regex = '<HOST>' }]\n" // 4 lines
	)
	type values struct {
		MaxRetry          int // 9 where the jail's own file is read
		BanTime, Max      time.Duration
		Aggregate         int
		Escalates, Absent bool
	}
	tests := []struct {
		name, band, jail string
		freeswitch, own  values
		problems         []string
	}{
		{
			"OK: a long bantime and a limit that nobody set", "escalate.factor = 2\nbantime = '5w'\n", "",
			values{5, 5 * week, 5 * week, 0, true, false}, values{9, 5 * week, 5 * week, 0, true, false}, nil,
		},
		{
			"OK: forever and a limit that nobody set", "escalate.factor = 2\n", "bantime = 'forever'\n",
			values{9, 0, 0, 0, true, false}, values{9, 0, 0, 0, true, false}, nil,
		},
		{
			"OK: a limit of nothing", "escalate.max = '1m'\n", "",
			values{5, hour, time.Minute, 0, false, false}, values{9, hour, time.Minute, 0, false, false}, nil,
		},
		{
			"OK: as long as bantime", "escalate = { factor = 1.1, max = '1h' }\n", "",
			values{5, hour, hour, 0, true, false}, values{9, hour, hour, 0, true, false}, nil,
		},
		{
			"bad: both in band.toml", "bantime = '2h'\n[escalate]\nfactor = 2\nmax = '1h'\n", "",
			values{5, 2 * hour, 2 * hour, 0, true, false}, values{9, 2 * hour, 2 * hour, 0, true, false},
			[]string{`band.toml:4: escalate.max: "1h" is less than bantime, "2h" (band.toml, /etc/band/band.toml:1); write that or more, or "forever"`},
		},
		{
			"bad: below the built-in bantime", "[escalate]\nfactor = 2\nmax = '59m'\n", "",
			values{5, hour, hour, 0, true, false}, values{9, hour, hour, 0, true, false},
			[]string{`band.toml:3: escalate.max: "59m" is less than bantime, "1h" (built-in); write that or more, or "forever"`},
		},
		{
			"bad: a jail's bantime and band.toml", "escalate = { factor = 2, max = '1d' }\n", "bantime = 'forever'\n",
			values{9, 0, 0, 0, true, false}, values{9, 0, 0, 0, true, false},
			[]string{
				`band.toml:1: escalate.max: "1d" is less than bantime, "forever" (overlay, /etc/band/jails.d/freeswitch.toml:2); write that or more, or "forever"`,
				`band.toml:1: escalate.max: "1d" is less than bantime, "forever" (overlay, /etc/band/jails.d/own.toml:6); write that or more, or "forever"`,
			},
		},
		{
			"bad: a jail's limit", "bantime = '2h'\n", "[escalate]\nfactor = 2\nmax = '1h'\n",
			values{5, 2 * hour, 4 * week, 0, false, false}, values{Absent: true},
			[]string{
				`jails.d/freeswitch.toml:4: escalate.max: "1h" is less than bantime, "2h" (band.toml, /etc/band/band.toml:1); write that or more, or "forever"`,
				`jails.d/own.toml:8: escalate.max: "1h" is less than bantime, "2h" (band.toml, /etc/band/band.toml:1); write that or more, or "forever"`,
			},
		},
		{
			"OK: as many as IPv4 holds", "aggregate = 2\nipv4_prefix = 25\nipv6_prefix = 48\n", "",
			values{5, hour, 4 * week, 2, false, false}, values{9, hour, 4 * week, 2, false, false}, nil,
		},
		{
			"OK: as many as IPv6 holds", "aggregate = 256\nipv4_prefix = 24\nipv6_prefix = 56\n", "",
			values{5, hour, 4 * week, 256, false, false}, values{9, hour, 4 * week, 256, false, false}, nil,
		},
		{
			"bad: more than both hold", "aggregate = 17\nipv4_prefix = 28\nipv6_prefix = 52\n", "",
			values{5, hour, 4 * week, 0, false, false}, values{9, hour, 4 * week, 0, false, false},
			[]string{"band.toml:1: aggregate: 17 is never reached: the units of a /24 of IPv4 are 16 by ipv4_prefix, 28 (band.toml, /etc/band/band.toml:2), and those of a /48 of IPv6 16 by ipv6_prefix, 52 (band.toml, /etc/band/band.toml:3)"},
		},
		{
			"bad: aggregate of networks", "ipv4_prefix = 16\n", "aggregate = 2\nipv6_prefix = 48\n",
			values{5, hour, 4 * week, 0, false, false}, values{Absent: true},
			[]string{
				"jails.d/freeswitch.toml:2: aggregate: 2 is never reached: the units of a /24 of IPv4 are 1 by ipv4_prefix, 16 (band.toml, /etc/band/band.toml:1), and those of a /48 of IPv6 1 by ipv6_prefix, 48 (overlay, /etc/band/jails.d/freeswitch.toml:3)",
				"jails.d/own.toml:6: aggregate: 2 is never reached: the units of a /24 of IPv4 are 1 by ipv4_prefix, 16 (band.toml, /etc/band/band.toml:1), and those of a /48 of IPv6 1 by ipv6_prefix, 48 (overlay, /etc/band/jails.d/own.toml:7)",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"band.toml": tt.band, "jails.d/own.toml": own + "maxretry = 9\n" + tt.jail}
			if tt.jail != "" {
				files["jails.d/freeswitch.toml"] = "maxretry = 9\n" + tt.jail
			}
			cfg := config(files)
			if diff := cmp.Diff(tt.problems, said(cfg)); diff != "" {
				t.Errorf("problems: -want +got:\n%s", diff)
			}
			for name, want := range map[string]values{"freeswitch": tt.freeswitch, "own": tt.own} {
				got := values{Absent: true}
				if j := jail(cfg, name); j != nil {
					got = values{j.MaxRetry, j.BanTime, j.Escalate.Max, j.Aggregate, j.Escalate.Factor > 1, false}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: -want +got:\n%s", name, diff)
				}
			}
		})
	}
}

// Who wrote the overlay is told of what the shipped jail does not fit.
func TestBlame(t *testing.T) {
	shipped := fstest.MapFS{"pbx.toml": {Data: []byte(`format = "syslog"
distinct = "user"
source = [{ file = "/pbx.log" }]
[[pattern]]
name = "x"
regex = "<HOST> <USER>"
counts = "another-user"
[[pattern]]
name = "y"
regex = "<HOST>"
counts = "never"
`)}}
	const text = " must name the user with <F-USER>...</F-USER>, because of "
	for overlay, want := range map[string]string{
		"[[pattern]]\nname = 'y'\ncounts = 'another-user'\n":              `:3: pattern.y.counts: the pattern "y"` + text + `counts = "another-user"`,
		"[[pattern]]\nname = 'x'\nregex = '<HOST>'\n":                     `:3: pattern.x.regex: the pattern "x"` + text + `counts = "another-user"`,
		"[[pattern]]\nname = 'z'\nregex = '<HOST>'\n":                     `:3: pattern.z.regex: the pattern "z"` + text + `distinct = "user"`,
		"distinct = 'user'\n[[pattern]]\nname = 'y'\ncounts = 'always'\n": `:1: distinct: the pattern "y"` + text + `distinct = "user"`,
	} {
		own := fstest.MapFS{"jails.d/pbx.toml": {Data: []byte(overlay)}}
		cfg := jails.ParseShipped(shipped, own, "/etc/band", checker{})
		if diff := cmp.Diff([]string{"jails.d/pbx.toml" + want}, said(cfg)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", overlay, diff)
		}
		if jail(cfg, "pbx") == nil {
			t.Errorf("%s: the shipped jail does not run", overlay)
		}
	}
	cfg := config(map[string]string{"jails.d/freeswitch.toml": "[[pattern]]\nname = 'auth-failure'\ncounts = 'another-user'\n"})
	if diff := cmp.Diff([]string{"jails.d/freeswitch.toml:3: pattern.auth-failure.counts: it has no session"}, said(cfg)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A record that only lends its host and user needs to name no user, and one of
// a session no host.
func TestCounts(t *testing.T) {
	cfg := config(map[string]string{"jails.d/ownjail.toml": "distinct = 'user'\n" + `format = "syslog"
[[source]]
file = "/var/log/auth.log"
[[pattern]]
name = "opened"
regex = '^Connection from <HOST>$'
counts = "never"
[[pattern]]
name = "off"
regex = '^off$'
enabled = false
[[pattern]]
name = "failed"
regex = '^Failed password for <F-USER>\S+</F-USER>$'
`})
	j := jail(cfg, "ownjail")
	if j == nil {
		t.Fatal(cfg.Problems)
	}
	var got []string
	for _, p := range j.Patterns {
		got = append(got, p.Name+" "+p.Counts)
	}
	if diff := cmp.Diff([]string{"opened never", "off always", "failed always"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// The freeswitch format knows no sessions: the Checker refuses it there.
	cfg = config(map[string]string{"jails.d/freeswitch.toml": "[[pattern]]\nname = 'x'\nregex = '^x$'\n"})
	if diff := cmp.Diff([]string{"jails.d/freeswitch.toml:3: pattern.x.regex: it names no <HOST>"}, said(cfg)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFormatDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"forever": 0, "1s": time.Second, "1h30m": 90 * time.Minute, "1w1d1h1m1s": 8*24*time.Hour + time.Hour + time.Minute + time.Second,
	} {
		if got := jails.FormatDuration(d); got != want {
			t.Errorf("%v: want %s, got %s", d, want, got)
		}
		if again, err := jails.ParseBanTime(want); err != nil || again != d {
			t.Errorf("%s: want %v, got %v, %v", want, d, again, err)
		}
	}
}
