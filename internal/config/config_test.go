package config_test

import (
	"testing"
	"testing/fstest"

	"band/internal/config"
	"band/jails"
)

// Only records that tell their session lend each other what they name.
func TestSessions(t *testing.T) {
	jail := func(format, pattern string) *jails.Config {
		text := "format = '" + format + "'\nsource = [{ file = '/x' }]\n[[pattern]]\nname = 'x'\nenabled = true\n" + pattern
		return config.LoadFS(fstest.MapFS{"jails.d/own.toml": {Data: []byte(text)}}, "")
	}
	for _, tt := range []struct{ format, pattern, problem string }{
		{"syslog", "regex = '^failed$'\n", ""},
		{"asterisk", "regex = '^failed$'\n", "jails.d/own.toml:6: pattern.x.regex: the pattern has no <HOST>: it cannot tell whom to ban"},
		{"syslog", "regex = '^failed for <USER>$'\ncounts = 'another-user'\n", ""},
		{"asterisk", "regex = '^<HOST> failed for <USER>$'\ncounts = 'another-user'\n", "jails.d/own.toml:6: pattern.x.regex: counts = \"another-user\" is for records that tell their session; those of the format \"asterisk\" do not"},
	} {
		c := jail(tt.format, tt.pattern)
		got := ""
		for _, p := range c.Problems {
			got += p.Error()
		}
		if got != tt.problem {
			t.Errorf("%s, %s: want %q, got %q", tt.format, tt.pattern, tt.problem, got)
		}
	}
}

// Every shipped jail is accepted by the matcher, and none is missing.
func TestShipped(t *testing.T) {
	c := config.Load("/nonexistent")
	for _, p := range c.Problems {
		t.Error(p)
	}
	enabled := map[string]bool{
		"freeswitch": true, "freeswitch-acl": true, "freeswitch-scan": true, "freeswitch-scanner": true,
		"sshd": true, "asterisk": false, "portscan": false,
	}
	for _, j := range c.Jails {
		if want, known := enabled[j.Name]; !known || j.Enabled != want {
			t.Errorf("jail %s: enabled %v, want %v", j.Name, j.Enabled, want)
		}
		delete(enabled, j.Name)
	}
	for name := range enabled {
		t.Errorf("jail %s is not shipped", name)
	}
}
