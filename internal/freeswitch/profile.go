package freeswitch

import "strings"

// A Profile is a SIP profile of mod_sofia. A port is 0 where the profile does
// not listen so, or where it is not known or FreeSWITCH's to choose.
type Profile struct {
	Name            string
	LogAuthFailures Setting
	SIPPort         int // UDP and TCP
	TLSPort         int // as if TLS were on, where that is not known
	WSPort, WSSPort int // WebSocket
	At              Place
}

// A Setting is a parameter as it is set, the last time that it is. The zero
// Setting is one that is not set.
type Setting struct {
	Value string // with the variables that are known
	At    Place
}

// Unknown reports whether the value holds a variable that is not known.
func (s Setting) Unknown() bool { return unknown(s.Value) }

// On reports whether FreeSWITCH takes the value for true.
func (s Setting) On() bool { return isTrue(s.Value) }

// takeProfiles takes the profiles and their gateways, as config_sofia does
// (mod_sofia, sofia.c).
func (c *Config) takeProfiles(r *reader, sofia, directory *node) {
	taken := make(map[*node]bool) // domains
	for _, n := range sofia.child("profiles").all("profile") {
		settings := n.child("settings")
		switch {
		case n.broken:
			continue // its settings may stand in what was not read
		case settings == nil:
			r.problem(n.at, "FreeSWITCH does not start the profile %s, since it has no <settings>", shown(n.attr("name")))
			continue
		}
		p := profile(settings)
		p.Name, p.At = n.attr("name"), n.at
		c.Profiles = append(c.Profiles, p)
		c.takeGateways(r, p.Name, n.child("gateways"))
		for _, domain := range parsed(n.child("domains"), directory, taken) {
			c.takeDomain(r, p.Name, domain)
		}
	}
}

// profile reads the settings of a profile.
func profile(settings *node) Profile {
	p := Profile{SIPPort: 5060}
	tlsPort := 5061
	var tls, tlsOnly Setting
	for _, n := range settings.all("param") {
		s := Setting{n.attr("value"), n.at}
		switch strings.ToLower(n.attr("name")) {
		case "log-auth-failures":
			p.LogAuthFailures = s
		case "sip-port":
			setPort(&p.SIPPort, s.Value)
		case "tls":
			tls = s
		case "tls-only":
			tlsOnly = s
		case "tls-sip-port":
			setPort(&tlsPort, s.Value)
		case "ws-binding":
			setPort(&p.WSPort, s.Value[strings.LastIndex(s.Value, ":")+1:])
		case "wss-binding":
			setPort(&p.WSSPort, s.Value[strings.LastIndex(s.Value, ":")+1:])
		}
	}
	if tls.On() || tls.Unknown() {
		p.TLSPort = tlsPort
	}
	if tls.On() && tlsOnly.On() {
		p.SIPPort = 0
	}
	return p
}

// setPort sets a port to what value says; "" says nothing, and what is no port
// makes it unknown.
func setPort(port *int, value string) {
	if value == "" {
		return
	}
	if *port = atoi(value); *port > 65535 {
		*port = 0
	}
}
