package jails_test

import (
	"regexp"
	"strings"
	"testing"
)

// compile turns a pattern into the regex that a record is held against: . is
// any byte of it, ^ its start and $ its end.
func compile(t *testing.T, pattern string) *regexp.Regexp {
	t.Helper()
	re, err := regexp.Compile("(?s)" + strings.NewReplacer(
		"<HOST>", `(?P<host>[0-9A-Fa-f:.]+)`, "<F-USER>", "(?P<user>", "</F-USER>", ")").Replace(pattern))
	if err != nil {
		t.Fatal(err)
	}
	return re
}

func TestShippedPatterns(t *testing.T) {
	const (
		auth    = "[WARNING] sofia_reg.c:1787 SIP auth failure (REGISTER) on sofia profile 'internal' for [1001@pbx] from ip 203.0.113.9"
		unknown = "[WARNING] sofia_reg.c:3210 Can't find user [1001@pbx] from 203.0.113.9\n" +
			"You must define a domain called 'pbx' in your directory and add a user with the id=\"1001\" attribute\n" +
			"and you must configure your device to use the proper domain in its authentication credentials."
	)
	edit := func(s, old, new string) string {
		if !strings.Contains(s, old) {
			t.Fatalf("%q holds no %q", s, old)
		}
		return strings.Replace(s, old, new, 1)
	}
	tests := []struct{ name, record, pattern, host, user string }{
		{"OK: wrong password", auth, "auth-failure", "203.0.113.9", "1001@pbx"},
		{"OK: INVITE", edit(auth, "REGISTER", "INVITE"), "auth-failure", "203.0.113.9", "1001@pbx"},
		{"OK: another line of the source", edit(auth, ":1787", ":1702"), "auth-failure", "203.0.113.9", "1001@pbx"},
		{"OK: the function in the log", edit(auth, "SIP", "sofia_reg_handle_register_token() SIP"), "auth-failure", "203.0.113.9", "1001@pbx"},
		{"OK: IPv6", edit(auth, "203.0.113.9", "2001:db8::9"), "auth-failure", "2001:db8::9", "1001@pbx"},
		{"OK: a domain in brackets", edit(auth, "@pbx", "@[2001:db8::1]"), "auth-failure", "203.0.113.9", "1001@[2001:db8::1]"},
		{"OK: a quote in the profile", edit(auth, "'internal'", "'it's'"), "auth-failure", "203.0.113.9", "1001@pbx"},
		{"OK: unknown user", unknown, "unknown-user", "203.0.113.9", "1001@pbx"},
		{"OK: unknown empty user", strings.ReplaceAll(unknown, "1001", ""), "unknown-user", "203.0.113.9", "@pbx"},
		{"OK: unknown user, IPv6", edit(unknown, "203.0.113.9", "2001:db8::9"), "unknown-user", "2001:db8::9", "1001@pbx"},

		{"forged: an address in the user", edit(auth, "1001@pbx", "x] from ip 192.0.2.99@pbx"), "auth-failure", "203.0.113.9", "x] from ip 192.0.2.99@pbx"},
		{"forged: a folded header", edit(auth, "1001@pbx", "x] from ip 192.0.2.99\n b@pbx"), "auth-failure", "203.0.113.9", "x] from ip 192.0.2.99\n b@pbx"},
		{"forged: an address in the unknown user", edit(unknown, "1001@pbx", "x] from 192.0.2.99@pbx"), "unknown-user", "203.0.113.9", "x] from 192.0.2.99@pbx"},
		{"forged: a folded unknown user", edit(unknown, "1001@pbx", "x] from 192.0.2.99\n You must define@pbx"), "unknown-user", "203.0.113.9", "x] from 192.0.2.99\n You must define@pbx"},

		{"no match: a host name that begins like an address", auth + ".evil.example", "", "", ""},
		{"no match: something after the address", auth + " ", "", "", ""},
		{"no match: a line end after the address", auth + "\n", "", "", ""},
		{"no match: something before the level", "x " + auth, "", "", ""},
		{"no match: a line above the level", "x\n" + auth, "", "", ""},
		{"no match: another level", edit(auth, "WARNING", "INFO"), "", "", ""},
		{"no match: another source file", edit(auth, "sofia_reg.c", "sofia.c"), "", "", ""},
		{"no match: a challenge", edit(auth, "failure", "challenge"), "", "", ""},
		{"no match: an unknown user of one line", strings.SplitN(unknown, "\n", 2)[0], "", "", ""},
		{"no match: an unknown user of two lines", unknown[:strings.LastIndex(unknown, "\n")], "", "", ""},
		{"no match: an unknown user and more", unknown + "\n x", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var pattern, host, user string
			for _, p := range shipped(t).Patterns {
				if p.Regex == "" {
					continue // it is for events
				}
				if m := compile(t, p.Regex).FindStringSubmatch(tt.record); m != nil {
					if pattern != "" {
						t.Errorf("both %s and %s match", pattern, p.Name)
					}
					re := compile(t, p.Regex)
					pattern, host, user = p.Name, m[re.SubexpIndex("host")], m[re.SubexpIndex("user")]
				}
			}
			if pattern != tt.pattern || host != tt.host || user != tt.user {
				t.Errorf("want %q %q %q, got %q %q %q", tt.pattern, tt.host, tt.user, pattern, host, user)
			}
		})
	}
}
