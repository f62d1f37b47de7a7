package jails_test

import (
	"strings"
	"testing"
	"time"

	"band/jails"
)

// FuzzParse feeds the same text to every place where a file may stand. Whatever
// it holds, the shipped jail runs, what is refused is explained at a line of the
// text, and what is accepted is within the bounds.
func FuzzParse(f *testing.F) {
	f.Add(sshd)
	f.Add("allow = [\"192.0.2.7\", \"2001:db8::/32\"]\nfindtime = 60\nmaxretry = 3\nbantime = \"1d12h\"\nipv4_prefix = 24\nipv6_prefix = 48\n")
	f.Add("enabled = false\nports = { udp = [1], tcp = [] }\n[[pattern]]\nname = \"auth-failure\"\nunsafe = true\n")
	f.Add("MaxRetry = 1\nbantime = -1\nports = \"all\"\nsource = [{ file = \"x\" }, 1]\npattern = { name = 1 }\n")
	f.Add("enabled = false\nmaxretry 9\nformat = '''\n")
	f.Add("dry_run = true\nfreeswitch = \"/conf\"\nmetrics = \"[::1]:9719\"\naggregate = 8\nbantime = \"8w\"\n[escalate]\nfactor = 1.5\nmax = \"1d\"\nforget = 60\nall_jails = true\n")
	f.Add("format = \"raw\"\ntime = \"%s\"\nservices = [\"sshd\"]\nsources_of = \"freeswitch\"\npattern = [{ name = \"x\", regex = \"<HOST> <USER>\", counts = \"another-user\" }]\n")
	f.Add("[[source]]\njournal = [\"A=b\", \"_UID=0\", \"+\", \"_SYSTEMD_UNIT=c\"]\n[[source]]\njournal = [\"A=b\"]\nunsafe = true\n")
	f.Fuzz(func(t *testing.T, text string) {
		cfg := config(map[string]string{"band.toml": text, "jails.d/freeswitch.toml": text, "jails.d/new.toml": text})
		refused := map[string]bool{}
		for _, p := range cfg.Problems {
			refused[p.Jail] = true
			if p.Line < 0 || p.Line > 1+strings.Count(text, "\n") {
				t.Errorf("%v: there is no such line", p)
			}
			if p.Text == "" || !strings.HasPrefix(p.File, "/etc/band/") {
				t.Errorf("%#v does not say what or where", p)
			}
		}
		if jail(cfg, "freeswitch") == nil {
			t.Errorf("the shipped jail does not run: %v", cfg.Problems)
		}
		if (jail(cfg, "new") == nil) != refused["new"] {
			t.Errorf("the new jail runs %v: %v", jail(cfg, "new") != nil, cfg.Problems)
		}
		for _, j := range cfg.Jails {
			ok := j.FindTime >= time.Second && j.FindTime <= 365*24*time.Hour &&
				(j.BanTime == 0 || j.BanTime >= time.Second) &&
				j.MaxRetry >= 1 && j.MaxRetry <= 10000 &&
				j.IPv4Prefix >= 8 && j.IPv4Prefix <= 32 && j.IPv6Prefix >= 16 && j.IPv6Prefix <= 128 &&
				(j.Aggregate == 0 || j.Aggregate >= 2 && j.Aggregate <= 256) &&
				j.Escalate.Factor >= 1 && j.Escalate.Factor <= 1000 &&
				j.Escalate.Forget >= time.Second && j.Escalate.Forget <= 365*24*time.Hour &&
				(j.Escalate.Factor == 1 || j.Escalate.Max == 0 || j.BanTime > 0 && j.Escalate.Max >= j.BanTime) &&
				checker{}.Format(j.Format, j.Time) == nil && len(j.Sources) > 0 && len(j.Patterns) > 0
			for _, s := range j.Sources {
				kinds := 0
				for _, is := range []bool{s.File != "", len(s.Journal) > 0, s.EventSocket.IsValid()} {
					if is {
						kinds++
					}
				}
				ok = ok && kinds == 1 && (len(s.Journal) > 0 || !s.Unsafe) && (s.EventSocket.IsValid() || s.PasswordFile == "")
				for alternative := range strings.SplitSeq(strings.Join(s.Journal, "\x00"), "\x00+\x00") {
					ok = ok && (len(s.Journal) == 0 || alternative != "" && (s.Unsafe || strings.Contains(alternative, "_TRANSPORT=kernel") || strings.Contains(alternative, "_UID=") || strings.Contains(alternative, "_SYSTEMD_")))
				}
			}
			for _, s := range j.Services {
				ok = ok && len(s) >= 1 && len(s) <= 15 && !strings.Contains(s, "/")
			}
			names := map[string]bool{}
			for _, p := range j.Patterns {
				ok = ok && (p.Regex == "") == (p.Event != "") && p.Name != "" && p.Kind != "" && p.Counts != "" && !names[p.Name] && checker{}.Pattern(j.Format, p) == nil
				names[p.Name] = true
			}
			if !ok {
				t.Errorf("accepted: %+v", j)
			}
			for key, o := range j.Origins {
				if (o.Layer == "built-in") != (o.File == "") || (o.File == "") != (o.Line == 0) {
					t.Errorf("jail %s: %s comes from %+v", j.Name, key, o)
				}
			}
		}
		for _, e := range cfg.Allow {
			if again, err := jails.ParseEntry(e.String()); err != nil || again != e {
				t.Errorf("allow holds %#v", e)
			}
		}
	})
}

var _ jails.Checker = checker{}
