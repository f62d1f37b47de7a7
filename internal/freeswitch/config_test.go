package freeswitch_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"band/internal/freeswitch"
)

// param is a parameter.
func param(name, value string) string {
	return fmt.Sprintf("<param name=%q value=%q/>\n", name, value)
}

func TestLogAuthFailures(t *testing.T) {
	tests := []struct {
		settings string
		logs     string // "on", "off" or "unknown"
	}{
		{"", "off"},
		{param("log-auth-failures", "true"), "on"},
		{param("log-auth-failures", "TRUE"), "on"},
		{param("Log-Auth-Failures", "yes"), "on"},
		{param("log-auth-failures", "on"), "on"},
		{param("log-auth-failures", "t"), "on"},
		{param("log-auth-failures", "enabled"), "on"},
		{param("log-auth-failures", "active"), "on"},
		{param("log-auth-failures", "Allow"), "on"},
		{param("log-auth-failures", "1"), "on"},
		{param("log-auth-failures", "-1"), "on"},
		{param("log-auth-failures", "+07"), "on"},
		{param("log-auth-failures", "2.5"), "on"},
		{param("log-auth-failures", "$${yes}"), "on"},
		{param("log-auth-failures", "false"), "off"},
		{param("log-auth-failures", "0"), "off"},
		{param("log-auth-failures", "0.5"), "off"},
		{param("log-auth-failures", "-"), "off"},
		{param("log-auth-failures", ""), "off"},
		{param("log-auth-failures", "y"), "off"},
		{param("log-auth-failures", "1x"), "off"},
		{param("log-auth-failures", " true"), "off"},
		{param("log-auth-failures", "true "), "off"},
		{"<param name=\"log-auth-failures\"/>", "off"},
		{"<param name=\"log-auth-failures\">true</param>", "off"},
		{"<!--" + param("log-auth-failures", "true") + "-->", "off"},
		{"<params>" + param("log-auth-failures", "true") + "</params>", "off"},
		{param("log-auth-failures", "true") + param("log-auth-failures", "false"), "off"},
		{param("log-auth-failures", "false") + param("log-auth-failures", "true"), "on"},
		{"</settings><settings>" + param("log-auth-failures", "true"), "off"},
		{param("log-auth-failures", "$${unknown}"), "unknown"},
		{param("log-auth-failures", "true") + param("log-auth-failures", "$${unknown}"), "unknown"},
	}
	for _, tt := range tests {
		t.Run(tt.settings, func(t *testing.T) {
			got := read(t, write(t, map[string]string{
				"vars.xml":           `<X-PRE-PROCESS cmd="set" data="yes=true"/>`,
				"sip_profiles/p.xml": "<profile name=\"p\"><settings>\n" + tt.settings + "</settings></profile>",
			}))
			if len(got.Profiles) != 1 || len(got.Problems) > 0 {
				t.Fatalf("profiles %+v, problems %q", got.Profiles, got.Problems)
			}
			logs := "off"
			switch s := got.Profiles[0].LogAuthFailures; {
			case s.Unknown():
				logs = "unknown"
			case s.On():
				logs = "on"
			}
			if logs != tt.logs {
				t.Errorf("it is %s, want %s: %+v", logs, tt.logs, got.Profiles[0].LogAuthFailures)
			}
			if silent := len(got.Silent()) == 1; silent != (tt.logs == "off") {
				t.Errorf("it is silent: %v", silent)
			}
		})
	}
}

func TestPorts(t *testing.T) {
	type ports struct{ sip, tls, ws, wss int }
	tests := []struct {
		settings string
		want     ports
	}{
		{"", ports{sip: 5060}},
		{param("sip-port", "5070") + param("sip-port", ""), ports{sip: 5070}},
		{param("sip-port", "auto"), ports{}},
		{param("sip-port", "$${unknown}"), ports{}},
		{param("sip-port", "70000"), ports{}},
		{param("sip-port", "99999999999999999999"), ports{}},
		{param("tls-sip-port", "5071"), ports{sip: 5060}},
		{param("tls", "true"), ports{sip: 5060, tls: 5061}},
		{param("tls", "true") + param("tls-sip-port", "5071"), ports{sip: 5060, tls: 5071}},
		{param("tls", "true") + param("tls-only", "true"), ports{tls: 5061}},
		{param("tls", "$${unknown}") + param("tls-only", "true"), ports{sip: 5060, tls: 5061}},
		{param("tls-only", "true"), ports{sip: 5060}},
		{param("ws-binding", ":5066") + param("wss-binding", "192.0.2.1:7443"), ports{sip: 5060, ws: 5066, wss: 7443}},
		{param("wss-binding", "[2001:db8::1]:7443") + param("ws-binding", "$${unknown}"), ports{sip: 5060, wss: 7443}},
	}
	for _, tt := range tests {
		t.Run(tt.settings, func(t *testing.T) {
			got := read(t, write(t, map[string]string{
				"sip_profiles/p.xml": "<profile name=\"p\"><settings>\n" + tt.settings + "</settings></profile>",
			}))
			if p := got.Profiles[0]; (ports{p.SIPPort, p.TLSPort, p.WSPort, p.WSSPort}) != tt.want {
				t.Errorf("%+v, want %+v", p, tt.want)
			}
		})
	}
}

func TestGatewayHosts(t *testing.T) {
	hosts := func(all ...string) []string { return all }
	tests := []struct {
		gateway string // its name is gw.example
		hosts   []string
		problem string // behind the file
	}{
		{"", hosts("gw.example"), ""},
		{param("realm", ""), hosts("gw.example"), ""},
		{param("realm", "Realm.Example."), hosts("realm.example"), ""},
		{param("realm", "realm"), hosts("realm"), ""},
		{param("proxy", "203.0.113.5"), hosts("203.0.113.5"), ""},
		{param("proxy", "203.0.113.5") + param("realm", "asterisk"), hosts("203.0.113.5"), ""},
		{param("proxy", "203.0.113.5") + param("realm", "My PBX v1.0"), hosts("203.0.113.5"), ""},
		{param("proxy", "203.0.113.5") + param("realm", "sip.example"), hosts("203.0.113.5", "sip.example"), ""},
		{param("proxy", "203.0.113.5") + param("realm", "203.0.113.6"), hosts("203.0.113.5", "203.0.113.6"), ""},
		{param("proxy", "203.0.113.5") + param("realm", "$${unknown}"), hosts("203.0.113.5"), ""},
		{param("proxy", "a.example") + param("register-proxy", "b.example") + param("outbound-proxy", "c.example"),
			hosts("a.example", "b.example", "c.example"), ""},
		{param("proxy", "a.example") + param("register-proxy", "sip:A.example:5060") + param("outbound-proxy", ""), hosts("a.example"), ""},
		{param("proxy", "a.example") + param("proxy", "b.example"), hosts("b.example"), ""},
		{param("Proxy", "a.example"), hosts("gw.example"), ""},
		{param("from-domain", "a.example") + param("contact-host", "b.example"), hosts("gw.example"), ""},
		{"<params>" + param("proxy", "a.example") + "</params>" + param("proxy", "b.example"), hosts("a.example"), ""},

		{param("proxy", "a.example:5070"), hosts("a.example"), ""},
		{param("proxy", "a.example:$${unknown}"), hosts("a.example"), ""},
		{param("proxy", "sip:a.example:5070;transport=tcp"), hosts("a.example"), ""},
		{param("proxy", "SIPS:a.example;lr?x=y"), hosts("a.example"), ""},
		{param("proxy", "<sip:user@a.example;lr>"), hosts("a.example"), ""},
		{param("proxy", " a.example "), hosts("a.example"), ""},
		{param("proxy", "a.example;fs_path=sip:b.example@c"), hosts("a.example"), ""},
		{param("proxy", "[2001:DB8::1]:5060"), hosts("2001:db8::1"), ""},
		{param("proxy", "sip:[2001:db8::1];transport=tls"), hosts("2001:db8::1"), ""},
		{param("proxy", "2001:db8::1"), hosts("2001:db8::1"), ""},
		{param("proxy", "::ffff:203.0.113.5"), hosts("203.0.113.5"), ""},
		{param("proxy", "trunk_1.example"), hosts("trunk_1.example"), ""},

		{param("proxy", "$${unknown}"), nil, `:2: the gateway "gw.example" is at "$${unknown}", which is no address or host name`},
		{param("realm", "$${unknown}:5060"), nil, `:2: the gateway "gw.example" is at "$${unknown}:5060", which is no address or host name`},
		{param("proxy", "sip:"), nil, `:2: the gateway "gw.example" is at "sip:", which is no address or host name`},
		{param("proxy", "203.0.113.0/24"), nil, `:2: the gateway "gw.example" is at "203.0.113.0/24", which is no address or host name`},
		{param("proxy", "0.0.0.0/0"), nil, `:2: the gateway "gw.example" is at "0.0.0.0/0", which is no address or host name`},
		{param("proxy", "/etc/passwd"), nil, `:2: the gateway "gw.example" is at "/etc/passwd", which is no address or host name`},
		{param("proxy", "1.2.3"), nil, `:2: the gateway "gw.example" is at "1.2.3", which is no address or host name`},
		{param("proxy", "[2001:db8::1"), hosts("2001:db8::1"), ""},
		{param("proxy", "fe80::1%eth0"), nil, `:2: the gateway "gw.example" is at "fe80::1%eth0", which is no address or host name`},
		{param("proxy", "a b"), nil, `:2: the gateway "gw.example" is at "a b", which is no address or host name`},
		{param("proxy", strings.Repeat("a", 300)), nil,
			`:2: the gateway "gw.example" is at "` + strings.Repeat("a", 100) + `...", which is no address or host name`},
		{param("proxy", "a.example") + "\n" + param("outbound-proxy", "%"), hosts("a.example"),
			`:4: the gateway "gw.example" is at "%", which is no address or host name`},
	}
	for _, tt := range tests {
		t.Run(tt.gateway, func(t *testing.T) {
			got := read(t, write(t, map[string]string{
				"sip_profiles/p.xml": "<profile name=\"p\"><gateways><gateway name=\"gw.example\">\n" + tt.gateway + "</gateway></gateways><settings/></profile>",
			}))
			want := []freeswitch.Gateway{{
				Name: "gw.example", Profile: "p", Hosts: tt.hosts,
				At: freeswitch.Place{File: "sip_profiles/p.xml", Line: 1},
			}}
			if d := diff(want, got.Gateways); d != "" {
				t.Error(d)
			}
			var problems []string
			if tt.problem != "" {
				problems = []string{"sip_profiles/p.xml" + tt.problem}
			}
			if d := diff(problems, got.Problems); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestGatewayNames(t *testing.T) {
	got := read(t, write(t, map[string]string{
		"sip_profiles/p.xml": `<profile name="p"><gateways>
<gateway name="a_b-c.9"/>
<gateway name=""/>
<gateway name="a b"/>
<gateway/>
<gateway name="$${unknown}"><param name="proxy" value="a.example"/></gateway>
</gateways><gateways><gateway name="second"/></gateways><settings/></profile>`,
	}))
	var gateways []string
	for _, g := range got.Gateways {
		gateways = append(gateways, fmt.Sprint(g.Name, g.Hosts))
	}
	if d := cmp.Diff([]string{"a_b-c.9[]", "$${unknown}[a.example]"}, gateways); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{
		`sip_profiles/p.xml:2: the gateway "a_b-c.9" is at "a_b-c.9", which is no address or host name`,
		`sip_profiles/p.xml:3: FreeSWITCH ignores the gateway "" for its name`,
		`sip_profiles/p.xml:4: FreeSWITCH ignores the gateway "a b" for its name`,
		`sip_profiles/p.xml:5: FreeSWITCH ignores the gateway "" for its name`,
	}, got.Problems); d != "" {
		t.Error(d)
	}
}

// TestDirectory proves whose gateways of which users a profile takes over.
func TestDirectory(t *testing.T) {
	user := func(name string) string {
		return `<user id="x"/><user id="` + name + `"><params><param name="password" value="x"/></params>` +
			`<gateways><gateway name="` + name + `"/></gateways></user>`
	}
	directory := `<domain name="one.example">` + user("old.one") +
		`<groups><group><users>` + user("new.one") + `</users><users>` + user("other.one") + `</users></group></groups>` +
		`<users>` + user("wrong.one") + `</users></domain>` +
		`<domain name="two.example"><groups/><groups><group/><group><users>` + user("new.two") + `</users></group></groups></domain>` +
		`<domain name="$${unknown}">` + user("new.three") + `</domain>` +
		`<domain name="one.example">` + user("hidden.one") + `</domain>`
	all := []string{"p old.one", "p new.one", "p other.one", "p new.two", "p new.three", "p hidden.one"}
	tests := []struct {
		domains []string // of the profiles p and q
		want    []string
	}{
		{[]string{"", ""}, nil},
		{[]string{`<domain name="all" parse="false"/>`, `<domain name="all"/>`}, nil},
		{[]string{`<domain name="ALL" parse="true"/>`, ""}, all},
		{[]string{`<domain name="all" alias="true" parse="true"/>`, `<domain name="all" parse="true"/>`}, all},
		{[]string{"", `<domain name="Two.example" parse="yes"/>`}, []string{"q new.two"}},
		{[]string{`<domain name="one.example" parse="1"/>`, ""}, all[:3]},
		{[]string{`<domain name="$${unknown}" parse="true"/>`, ""}, all[4:5]},
		{[]string{`<domain name="two.example" parse="true"/><domain name="elsewhere.example" parse="true"/>`, `<domain name="one.example" parse="true"/>`},
			[]string{"p new.two", "q old.one", "q new.one", "q other.one"}},
		{[]string{`<domain name="all"/></domains><domains><domain name="all" parse="true"/>`, ""}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.domains[0]+tt.domains[1], func(t *testing.T) {
			got := read(t, write(t, map[string]string{
				"sip_profiles/p.xml": `<profile name="p"><domains>` + tt.domains[0] + `</domains><settings/></profile>`,
				"sip_profiles/q.xml": `<profile name="q"><settings/><domains>` + tt.domains[1] + `</domains></profile>`,
				"directory/a.xml":    directory,
			}))
			var gateways []string
			for _, g := range got.Gateways {
				gateways = append(gateways, g.Profile+" "+g.Name)
			}
			if d := cmp.Diff(tt.want, gateways); d != "" || len(got.Problems) > 0 {
				t.Error(d, got.Problems)
			}
		})
	}
}

func TestLogFiles(t *testing.T) {
	maps := func(pairs ...string) string {
		text := "<mappings>"
		for i := 0; i < len(pairs); i += 2 {
			text += fmt.Sprintf("<map name=%q value=%q/>", pairs[i], pairs[i+1])
		}
		return text + "</mappings>"
	}
	settings := func(params ...string) string { return "<settings>" + strings.Join(params, "") + "</settings>" }
	const path = "/var/log/freeswitch/band.log"
	tests := []struct {
		name, profile string
		path          string
		uuid          bool
		dedicated     bool
	}{
		{"nothing", "", "/log/freeswitch.log", true, false},
		{"the stock one", settings(param("rollover", "1")) + maps("all", "debug,info,notice,warning,err,crit,alert"), "/log/freeswitch.log", true, false},
		{"ours", settings(param("logfile", path), param("uuid", "false")) +
			maps("sofia_reg.c", "warning,err", "sofia_handle_sip_i_invite", "warning", "mod_event_socket.c", "warning"), path, false, true},
		{"less of ours", settings(param("logfile", path), param("uuid", "0")) + maps("sofia_reg.c", "WARNING"), path, false, true},
		{"with spaces", settings(param("logfile", path), param("uuid", "no")) + maps("sofia_reg.c", "err, warning"), path, false, true},
		{"with ids", settings(param("logfile", path)) + maps("sofia_reg.c", "warning"), path, true, false},
		{"with ids, perhaps", settings(param("logfile", path), param("uuid", "$${unknown}")) + maps("sofia_reg.c", "warning"), path, true, false},
		{"with more levels", settings(param("uuid", "false")) + maps("sofia_reg.c", "warning,notice"), "/log/freeswitch.log", false, false},
		{"with all levels", settings(param("uuid", "false")) + maps("sofia_reg.c", "all"), "/log/freeswitch.log", false, false},
		{"with a level's number", settings(param("uuid", "false")) + maps("sofia_reg.c", "warning,7"), "/log/freeswitch.log", false, false},
		{"with more calls", settings(param("uuid", "false")) + maps("sofia_reg.c", "warning", "sofia_handle_sip_i_invite", "info"), "/log/freeswitch.log", false, false},
		{"with everything", settings(param("uuid", "false")) + maps("sofia_reg.c", "warning", "all", "err"), "/log/freeswitch.log", false, false},
		{"with other files", settings(param("uuid", "false")) + maps("sofia_reg.c", "warning", "sofia.c", "warning"), "/log/freeswitch.log", false, false},
		{"without wrong passwords", settings(param("uuid", "false")) + maps("mod_event_socket.c", "warning"), "/log/freeswitch.log", false, false},
		{"with the directory", settings(param("logfile", "$${log_dir}/x/../y.log")), "/log/y.log", true, false},
		{"an unknown path", settings(param("logfile", "$${unknown}/y.log")), "", true, false},
		{"a relative path", settings(param("logfile", "y.log")), "", true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			prefix := t.TempDir()
			dir := filepath.Join(prefix, "conf")
			add(t, dir, "freeswitch.xml", root)
			add(t, dir, "autoload_configs/logfile.conf.xml",
				`<configuration name="logfile.conf"><profiles><profile name="x">`+tt.profile+`</profile></profiles></configuration>`)
			got := read(t, dir)
			if len(got.LogFiles) != 1 || len(got.Problems) > 0 {
				t.Fatalf("%+v %q", got.LogFiles, got.Problems)
			}
			l := got.LogFiles[0]
			if l.Name != "x" || strings.TrimPrefix(l.Path, prefix) != tt.path || l.UUID != tt.uuid || l.Dedicated() != tt.dedicated {
				t.Errorf("%+v, dedicated %v", l, l.Dedicated())
			}
		})
	}
}

func TestEventSocket(t *testing.T) {
	defaults := freeswitch.EventSocket{IP: "127.0.0.1", Port: 8021, Password: "ClueCon", ACLs: []string{"loopback.auto"}}
	if d := cmp.Diff(defaults, read(t, write(t, nil)).EventSocket); d != "" {
		t.Error(d)
	}
	defaults.At = freeswitch.Place{File: "autoload_configs/e.xml", Line: 2}
	tests := []struct {
		settings string
		want     freeswitch.EventSocket
	}{
		{"", defaults},
		{param("listen-ip", "") + param("password", "") + param("listen-port", "") + param("apply-inbound-acl", ""), defaults},
		{param("listen-ip", "::") + param("password", "s3cret&amp;") + param("listen-port", "8022") + param("apply-inbound-acl", "lan") + param("Apply-Inbound-ACL", "192.0.2.0/24"),
			freeswitch.EventSocket{IP: "::", Port: 8022, Password: "s3cret&", ACLs: []string{"lan", "192.0.2.0/24"}, At: defaults.At}},
		{param("listen-ip", "$${unknown}") + param("password", "x$${unknown}") + param("listen-port", "$${unknown}"),
			freeswitch.EventSocket{ACLs: defaults.ACLs, At: defaults.At}},
	}
	for _, tt := range tests {
		got := read(t, write(t, map[string]string{
			"autoload_configs/e.xml": "\n<configuration name=\"event_socket.conf\"><settings>" + tt.settings + "</settings></configuration>",
		}))
		if d := cmp.Diff(tt.want, got.EventSocket); d != "" {
			t.Errorf("%s: %s", tt.settings, d)
		}
	}
}

func TestBindings(t *testing.T) {
	lua := func(params ...string) string {
		return `<configuration name="lua.conf"><settings>` + strings.Join(params, "") + `</settings></configuration>`
	}
	curl := func(url, sections string) string {
		return `<configuration name="xml_curl.conf"><bindings><binding name="x"><param name="Gateway-URL" value="` + url + `" bindings="` + sections + `"/></binding></bindings></configuration>`
	}
	script := param("xml-handler-script", "app.lua")
	tests := []struct {
		configuration string
		want          string
	}{
		{lua(), "[]"},
		{lua(script), "[]"},
		{lua(param("xml-handler-bindings", "configuration")), "[]"},
		{lua(param("xml-handler-bindings", "configuration"), script), "[]"},
		{lua(script, param("xml-handler-bindings", "configuration,dialplan,directory")), "[{mod_lua true true autoload_configs/a.xml:2}]"},
		{lua(script, param("xml-handler-bindings", "dialplan")), "[{mod_lua false false autoload_configs/a.xml:2}]"},
		{lua(script, param("xml-handler-bindings", "")), "[{mod_lua true true autoload_configs/a.xml:2}]"},
		{curl("http://192.0.2.1/", "dialplan"), "[{mod_xml_curl false false autoload_configs/a.xml:1}]"},
		{curl("http://192.0.2.1/", "Directory"), "[{mod_xml_curl false true autoload_configs/a.xml:1}]"},
		{curl("http://192.0.2.1/", ""), "[{mod_xml_curl true true autoload_configs/a.xml:1}]"},
		{curl("", "directory"), "[]"},
	}
	for _, tt := range tests {
		got := read(t, write(t, map[string]string{"autoload_configs/a.xml": tt.configuration}))
		if s := fmt.Sprint(got.Bindings); s != tt.want || len(got.Problems) > 0 {
			t.Errorf("%s: %s %q", tt.configuration, s, got.Problems)
		}
	}
}
