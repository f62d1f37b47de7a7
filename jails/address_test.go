package jails_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMetrics(t *testing.T) {
	for value, want := range map[string]struct{ at, problem string }{
		`""`:                     {"", ""},
		`"127.0.0.1:9719"`:       {"127.0.0.1:9719", ""},
		`"0.0.0.0:1"`:            {"0.0.0.0:1", ""},
		`"[::1]:65535"`:          {"[::1]:65535", ""},
		`"[fe80::1%eth0]:9719"`:  {"[fe80::1%eth0]:9719", ""},
		`"[::ffff:192.0.2.7]:9"`: {"192.0.2.7:9", ""},

		`9719`:                     {"", `must be an address and a port such as "127.0.0.1:9719", not a number`},
		`true`:                     {"", `must be an address and a port such as "127.0.0.1:9719", not a boolean`},
		`["127.0.0.1:9719"]`:       {"", `must be an address and a port such as "127.0.0.1:9719", not a list`},
		`":9719"`:                  {"", `":9719" names no address; write "127.0.0.1:9719", or "0.0.0.0:9719" for all addresses of this host`},
		`"*:9719"`:                 {"", `"*" is no address, and a name is not looked up; write one such as "127.0.0.1:9719"`},
		`"localhost:9719"`:         {"", `"localhost" is no address, and a name is not looked up; write one such as "127.0.0.1:9719"`},
		`"127.0.0.1"`:              {"", `"127.0.0.1" has no port; write "127.0.0.1:9719"`},
		`"::1"`:                    {"", `"::1" has no port, or lacks the brackets around an IPv6 address; write one such as "[::1]:9719"`},
		`"::1:9719"`:               {"", `"::1:9719" has no port, or lacks the brackets around an IPv6 address; write one such as "[::1]:9719"`},
		`"[::1]"`:                  {"", `"[::1]" is no address and port; write one such as "127.0.0.1:9719"`},
		`"9719"`:                   {"", `"9719" is no address and port; write one such as "127.0.0.1:9719"`},
		`"http://127.0.0.1:9719"`:  {"", `"http://127.0.0.1:9719" is no address and port; write one such as "127.0.0.1:9719"`},
		`"127.0.0.1:0"`:            {"", `"0" is no port: 1 to 65535, as in "127.0.0.1:9719"`},
		`"127.0.0.1:65536"`:        {"", `"65536" is no port: 1 to 65535, as in "127.0.0.1:9719"`},
		`"[::1]:http"`:             {"", `"http" is no port: 1 to 65535, as in "[::1]:9719"`},
		`"127.0.0.1:9719/metrics"`: {"", `"9719/metrics" is no port: 1 to 65535, as in "127.0.0.1:9719"`},
		`"192.0.2.300:9719"`:       {"", `"192.0.2.300" is no address, and a name is not looked up; write one such as "127.0.0.1:9719"`},
		`"a\u0007:9719"`:           {"", `"a\a" is no address, and a name is not looked up; write one such as "127.0.0.1:9719"`},
	} {
		cfg := config(map[string]string{"band.toml": "# where\nmetrics = " + value + "\n"})
		var problems []string
		if want.problem != "" {
			problems = []string{"band.toml:2: metrics: " + want.problem}
		}
		var at netip.AddrPort
		if want.at != "" {
			at = netip.MustParseAddrPort(want.at)
		}
		if diff := cmp.Diff(problems, said(cfg)); diff != "" || cfg.Metrics != at {
			t.Errorf("%s: taken for %v; problems: -want +got:\n%s", value, cfg.Metrics, diff)
		}
	}
	cfg := config(map[string]string{"jails.d/sshd.toml": "metrics = '127.0.0.1:9719'\n"})
	want := []string{`jails.d/sshd.toml:1: metrics: unknown key "metrics"; it belongs in band.toml`}
	if diff := cmp.Diff(want, said(cfg)); diff != "" {
		t.Errorf("in a jail file: -want +got:\n%s", diff)
	}
}
