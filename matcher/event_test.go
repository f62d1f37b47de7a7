package matcher_test

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"band/matcher"
)

func TestEvent(t *testing.T) {
	t.Parallel()
	e := matcher.Event{Text: []byte("Event-Subclass: sofia%3A%3Aregister_failure\nEvent-Name: CUSTOM\n" +
		"to-user: a%5D%20from%20ip%20192.0.2.61%0D%0A%20b+c\nnetwork-ip: 198.51.100.93\nempty: \nbare:\nno field\n" +
		"bad: 100%\nworse: %zz%41\nhalf: %4\nnetwork-ip: 192.0.2.61\nNETWORK-IP: 192.0.2.62\nvariable_x:y: z: 1\nnet\u212aork: no")}
	for field, want := range map[string]string{
		"Event-Name": "CUSTOM",
		"to-user":    "a] from ip 192.0.2.61\r\n b+c",
		"network-ip": "198.51.100.93", "Network-IP": "198.51.100.93", "NETWORK-ip": "198.51.100.93",
		"empty": "", "bare": "", "no field": "",
		"bad": "100%", "worse": "%zz%41", "half": "%4",
		"variable_x": "y: z: 1",
		"network":    "(none)", "network-ipx": "(none)", "etwork-ip": "(none)", "": "(none)",
	} {
		got, ok := e.Get(field)
		if !ok {
			got = "(none)"
		}
		if got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	for _, test := range []struct{ name, text, want string }{
		{"OK: a subclass", "Event-Subclass: verto%3A%3Alogin\nEvent-Name: CUSTOM", "verto::login"},
		{"OK: a name", "Event-Name: HEARTBEAT", "HEARTBEAT"},
		{"OK: a subclass that is none", "Event-Name: HEARTBEAT\nEvent-Subclass: verto%3A%3Alogin", "HEARTBEAT"},
		{"OK: CUSTOM without a subclass", "Event-Name: CUSTOM", "CUSTOM"},
		{"OK: the first counts", "Event-Name: CUSTOM\nEvent-Subclass: a%3A%3Ab\nEvent-Subclass: c%3A%3Ad\nEvent-Name: X", "a::b"},
		{"bad: nothing", "", ""},
	} {
		if got := (matcher.Event{Text: []byte(test.text)}).Name(); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// Whatever an event holds, the host is what the first field of that name says.
func FuzzEvent(f *testing.F) {
	f.Add("Event-Subclass: a%3A%3Ab\nEvent-Name: CUSTOM\nto-user: x%0Anetwork-ip: 192.0.2.1\nnetwork-ip: 198.51.100.7\nnetwork-ip: 192.0.2.2")
	f.Add("Event-Name: HEARTBEAT\nNETWORK-IP:198.51.100.7")
	f.Add("Event-Subclass: a%3A%3Ab\nEvent-Name: CUSTOM\nnetwork-ip: %3A%3Affff%3A198.51.100.7%")
	f.Add("\n:\n: \n%")
	p, err := matcher.CompileEvent("x", "", matcher.Conditions{Event: "a::b", Host: "network-ip", User: "to-user"}, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := matcher.NewEvent([]byte(text), false).Record()
		if strings.Contains(string(r.Text), "\n") || !r.Sealed || string(r.Message) != text {
			t.Errorf("the record of %q: %+v", text, r)
		}
		m, ok := p.Match(r.Message)
		if !ok {
			return
		}
		for line := range strings.SplitSeq(text, "\n") {
			name, value, _ := strings.Cut(line, ":")
			if strings.EqualFold(name, "network-ip") && len(name) == len("network-ip") {
				told, err := url.PathUnescape(strings.TrimPrefix(value, " "))
				if host, _ := netip.ParseAddr(told); err != nil || host.Unmap().WithZone("") != m.Host {
					t.Errorf("%q: host %v, the first field says %q", text, m.Host, value)
				}
				return
			}
		}
		t.Errorf("%q: host %v, and no field says so", text, m.Host)
	})
}
