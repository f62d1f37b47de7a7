package freeswitch

import (
	"net/netip"
	"slices"
	"strings"
)

// EventSocket is how mod_event_socket listens, with its defaults where nothing
// is set (mod_event_socket.c: config).
type EventSocket struct {
	IP       string   // an address; "" where it is not known
	Port     int      // 0 where it is not known
	Password string   // a secret; "" where it is not known
	ACLs     []string // the access control lists of who may connect, and the addresses and prefixes; as they are set
	At       Place    // zero where no file sets anything
}

// StockPassword is the password that FreeSWITCH ships with.
const StockPassword = "ClueCon"

// Local reports whether only this machine may connect. Where the address is not known,
// it does.
func (s EventSocket) Local() bool {
	listen, err := netip.ParseAddr(s.IP)
	if s.IP == "" || s.IP == "localhost" || err == nil && listen.IsLoopback() {
		return true
	}
	// Who fails any of the lists is rejected (mod_event_socket.c: listener_run).
	return slices.ContainsFunc(s.ACLs, func(acl string) bool {
		prefix, err := netip.ParsePrefix(acl)
		addr, notAddr := netip.ParseAddr(acl)
		return acl == "loopback.auto" || err == nil && prefix.Addr().IsLoopback() || notAddr == nil && addr.IsLoopback()
	})
}

func (c *Config) takeEventSocket(n *node) {
	s := EventSocket{IP: "127.0.0.1", Port: 8021, Password: StockPassword}
	if n != nil {
		s.At = n.at
	}
	for _, param := range n.child("settings").all("param") {
		name, value := param.attr("name"), param.attr("value")
		switch {
		case value == "":
		case name == "listen-ip":
			s.IP = known(value)
		case name == "listen-port":
			setPort(&s.Port, value)
		case name == "password":
			s.Password = known(value)
		case strings.EqualFold(name, "apply-inbound-acl"):
			s.ACLs = append(s.ACLs, value)
		}
	}
	if len(s.ACLs) == 0 {
		s.ACLs = []string{"loopback.auto"}
	}
	c.EventSocket = s
}

// known returns value, or "" where it is not known.
func known(value string) string {
	if unknown(value) {
		return ""
	}
	return value
}
