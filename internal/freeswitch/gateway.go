package freeswitch

import (
	"slices"
	"strings"

	"band/jails"
)

// A Gateway is a peer that FreeSWITCH registers with or sends calls to: a trunk.
type Gateway struct {
	Name    string
	Profile string // that it belongs to
	// Hosts are where it is: addresses, and host names in lower case, each once.
	// The SRV records of a name may tell of others, which FreeSWITCH prefers
	// where no port is set (RFC 3263, section 4.2).
	Hosts []string
	At    Place
}

// parsed returns the domains of the directory whose gateways a profile with that
// <domains> takes over, and adds them to those that are taken.
func parsed(domains, directory *node, taken map[*node]bool) (all []*node) {
	for _, n := range domains.all("domain") {
		if !isTrue(n.attr("parse")) {
			continue
		}
		var named []*node
		if strings.EqualFold(n.attr("name"), "all") {
			named = directory.all("domain")
		} else if domain := directory.named("domain", n.attr("name")); domain != nil {
			named = []*node{domain}
		}
		for _, domain := range named {
			if !taken[domain] {
				taken[domain] = true
				all = append(all, domain)
			}
		}
	}
	return all
}

// takeDomain takes the gateways of the users of a domain (parse_domain_tag).
func (c *Config) takeDomain(r *reader, profile string, domain *node) {
	users := domain.all("user")
	for _, groups := range domain.all("groups") {
		for _, group := range groups.all("group") {
			for _, of := range group.all("users") {
				users = append(users, of.all("user")...)
			}
		}
	}
	for _, user := range users {
		c.takeGateways(r, profile, user.child("gateways"))
	}
}

// takeGateways takes gateways as parse_gateways does (mod_sofia, sofia.c).
func (c *Config) takeGateways(r *reader, profile string, gateways *node) {
	for _, n := range gateways.all("gateway") {
		if n.broken {
			continue
		}
		g := Gateway{Name: n.attr("name"), Profile: profile, At: n.at}
		if !unknown(g.Name) && (g.Name == "" || strings.ContainsFunc(g.Name, notWord)) {
			r.problem(n.at, "FreeSWITCH ignores the gateway %s for its name", shown(g.Name))
			continue
		}
		for _, s := range servers(n) {
			if host := host(s.Value); host == "" {
				r.problem(s.At, "the gateway %s is at %s, which is no address or host name", shown(g.Name), shown(s.Value))
			} else if !slices.Contains(g.Hosts, host) {
				g.Hosts = append(g.Hosts, host)
			}
		}
		c.Gateways = append(c.Gateways, g)
	}
}

// notWord reports whether FreeSWITCH takes no c in the name of a gateway.
func notWord(c rune) bool {
	return c != '_' && c != '.' && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
}

// servers returns the URIs of the hosts of a gateway, with FreeSWITCH's defaults.
func servers(gateway *node) []Setting {
	params := gateway.all("param")
	if n := gateway.child("params"); n != nil {
		params = n.all("param")
	}
	set := make(map[string]Setting)
	for _, n := range params {
		set[n.attr("name")] = Setting{n.attr("value"), n.at}
	}
	realm, proxy := set["realm"], set["proxy"]
	switch {
	case proxy.Value != "":
	case realm.Value != "":
		proxy = realm
	default:
		proxy = Setting{gateway.attr("name"), gateway.at}
	}
	all := []Setting{proxy}
	for _, s := range []Setting{set["register-proxy"], set["outbound-proxy"]} {
		if s.Value != "" {
			all = append(all, s)
		}
	}
	// Beside a proxy, the realm is no more than what the digest of a password is
	// made with, such as "asterisk". Where it can be a host, it may well be the
	// one that calls.
	if strings.ContainsAny(host(realm.Value), ".:") {
		all = append(all, realm)
	}
	return all
}

// host returns the host of a SIP URI, with or without its scheme, as an entry of
// an allowlist; "" where it has none.
func host(uri string) string {
	uri = strings.Trim(strings.TrimSpace(uri), "<>")
	for _, scheme := range []string{"sip:", "sips:"} {
		if len(uri) >= len(scheme) && strings.EqualFold(uri[:len(scheme)], scheme) {
			uri = uri[len(scheme):]
			break
		}
	}
	if end := strings.IndexAny(uri, ";?"); end >= 0 {
		uri = uri[:end]
	}
	uri = uri[strings.LastIndex(uri, "@")+1:]
	if address, bracketed := strings.CutPrefix(uri, "["); bracketed {
		uri, _, _ = strings.Cut(address, "]")
	} else if strings.Count(uri, ":") == 1 {
		uri, _, _ = strings.Cut(uri, ":")
	}
	entry, err := jails.ParseEntry(uri)
	if err != nil || entry.File != "" || entry.Name == "" && !entry.Prefix.IsSingleIP() {
		return ""
	}
	return entry.String()
}
