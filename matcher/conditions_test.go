package matcher_test

import (
	"strings"
	"testing"

	"band/matcher"
)

func TestConditions(t *testing.T) {
	const text = "Event-Subclass: a%3A%3Ab\nEvent-Name: CUSTOM\nnetwork-ip: %3A%3Affff%3A198.51.100.7\nnetwork_ip: fe80%3A%3A1%25eth0\n" +
		"verto_client_address: 198.51.100.8%3A60815\nto-user: a%5D%20b\nuser-agent: SIPcli/v1.8\nempty: _undef_"
	for _, test := range []struct {
		name       string
		conditions matcher.Conditions
		host, user string // host "": no match
	}{
		{"OK: a host", matcher.Conditions{Host: "network-ip"}, "198.51.100.7", ""},
		{"OK: a zone", matcher.Conditions{Host: "network_ip"}, "fe80::1", ""},
		{"OK: a port", matcher.Conditions{Host: "verto_client_address"}, "198.51.100.8", ""},
		{"OK: a user", matcher.Conditions{Host: "network-ip", User: "to-user"}, "198.51.100.7", "a] b"},
		{"OK: no user", matcher.Conditions{Host: "network-ip", User: "from-user"}, "198.51.100.7", ""},
		{"OK: the case plays no part", matcher.Conditions{Host: "network-ip", Where: map[string][]string{"user-agent": {"x", "sipCLI/V1.8"}}}, "198.51.100.7", ""},
		{"OK: a beginning", matcher.Conditions{Host: "network-ip", Where: map[string][]string{"user-agent": {"sipcli*"}}}, "198.51.100.7", ""},
		{"OK: an end", matcher.Conditions{Host: "network-ip", Where: map[string][]string{"user-agent": {"*1.8"}}}, "198.51.100.7", ""},
		{"OK: a middle", matcher.Conditions{Host: "network-ip", Where: map[string][]string{"user-agent": {"s*cli*v*"}}}, "198.51.100.7", ""},
		{"OK: anything", matcher.Conditions{Host: "network-ip", Where: map[string][]string{"to-user": {"*"}}}, "198.51.100.7", ""},
		{"bad: a part", matcher.Conditions{Host: "network-ip", Where: map[string][]string{"user-agent": {"sipcli"}}}, "", ""},
		{"bad: twice the same", matcher.Conditions{Host: "network-ip", Where: map[string][]string{"user-agent": {"sip*sip*"}}}, "", ""},
		{"bad: an end over the beginning", matcher.Conditions{Host: "network-ip", Where: map[string][]string{"user-agent": {"SIPcli/v1.8*8"}}}, "", ""},
		{"bad: one of two", matcher.Conditions{Host: "network-ip", Where: map[string][]string{"user-agent": {"*"}, "to-user": {"x"}}}, "", ""},
		{"bad: a field that is not there", matcher.Conditions{Host: "network-ip", Where: map[string][]string{"from-user": {"*"}}}, "", ""},
		{"bad: another event", matcher.Conditions{Event: "a::c", Host: "network-ip"}, "", ""},
		{"bad: no host", matcher.Conditions{Host: "from-user"}, "", ""},
		{"bad: no address", matcher.Conditions{Host: "to-user"}, "", ""},
	} {
		c := test.conditions
		if c.Event == "" {
			c.Event = "a::b"
		}
		p, err := matcher.CompileEvent("x", "", c, true)
		if err != nil {
			t.Fatal(err)
		}
		m, ok := p.Match([]byte(text))
		if host := m.Host.String(); ok != (test.host != "") || ok && (host != test.host || m.User != test.user) {
			t.Errorf("%s: %v, host %s, user %q", test.name, ok, host, m.User)
		}
	}
	for _, test := range []struct {
		name, problem string
		conditions    matcher.Conditions
	}{
		{"no event", `no event has the name ""`, matcher.Conditions{Host: "network-ip"}},
		{"a line end", `no event has the name "a\nexit"`, matcher.Conditions{Event: "a\nexit", Host: "network-ip"}},
		{"no host", "the pattern has no host", matcher.Conditions{Event: "a::b"}},
		{"a field of a caller", `callers may be able to write any address into "contact"`, matcher.Conditions{Event: "a::b", Host: "contact"}},
		{"no event of FreeSWITCH", `no event has the name "register_failure"`, matcher.Conditions{Event: "register_failure", Host: "network-ip"}},
		{"another field", `sofia::register_failure has no field "profile_name"; it has profile-name, `, matcher.Conditions{Event: "sofia::register_failure", Host: "network-ip", Where: map[string][]string{"profile_name": {"x"}}}},
		{"another user", `verto::login has no field "user"; it has `, matcher.Conditions{Event: "verto::login", Host: "verto_client_address", User: "user"}},
		{"nothing to be", "where: no text is listed that user-agent may be", matcher.Conditions{Event: "a::b", Host: "network-ip", Where: map[string][]string{"user-agent": {}}}},
	} {
		if _, err := matcher.CompileEvent("x", "", test.conditions, false); err == nil || !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
