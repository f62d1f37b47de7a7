package cmd_test

import (
	"net"
	"testing"
	"time"
)

// arrives sends packets until one arrives, or for a while none does.
func arrives(t *testing.T, conn net.Conn, from string, count func(string) int) bool {
	t.Helper()
	before := count(from)
	for range 20 {
		if _, err := conn.Write([]byte("REGISTER")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // for the packet to pass, or not
		if count(from) > before {
			return true
		}
	}
	return false
}

// A ban stops packets, of an established flow too, and its end lets them pass.
func TestPackets(t *testing.T) {
	server, outside := newHost(t), newHost(t)
	cable(server, outside)
	server.start()
	until(t, func() bool { _, ok := server.list(); return ok }, func() string { return "the daemon does not answer" })

	// The connection is established, and known to conntrack, before the ban.
	server.run("nft", "add table inet firewall; add chain inet firewall input { type filter hook input priority 0; }; add rule inet firewall input ct state established accept")
	const attacker, phone = "198.51.100.70", "203.0.113.52"
	sip, other := server.listen(5060), server.listen(9999)
	flow, honest := outside.dial(attacker, "203.0.113.10:5060"), outside.dial(phone, "203.0.113.10:5060")
	elsewhere := outside.dial(attacker, "203.0.113.10:9999")
	if !arrives(t, flow, attacker, sip) || !arrives(t, honest, phone, sip) || !arrives(t, elsewhere, attacker, other) {
		t.Fatal("packets do not arrive without a ban")
	}

	server.banctl("ban", "198.51.100.0/26", "--for", "10m", "--force")
	if !arrives(t, flow, attacker, sip) {
		t.Error("198.51.100.70 is not in 198.51.100.0/26, and its packets were dropped")
	}
	server.banctl("ban", attacker, "--for", "10m")
	if arrives(t, flow, attacker, sip) {
		t.Error("packets of a banned source arrive on an established flow")
	}
	if arrives(t, elsewhere, attacker, other) {
		t.Error("a ban by hand does not cover every port")
	}
	if !arrives(t, honest, phone, sip) {
		t.Error("packets of another source were dropped")
	}
	server.banctl("unban", attacker)
	if !arrives(t, flow, attacker, sip) {
		t.Error("packets do not arrive after the ban was lifted")
	}
}

// Banning the on-link network leaves neighbour discovery working, and so those
// that the allowlist lets pass.
func TestNeighbours(t *testing.T) {
	server, outside := newHost(t), newHost(t)
	server.band = "allow = [\"2001:db8:113::52\"]\n"
	cable(server, outside)
	server.start()
	until(t, func() bool { _, ok := server.list(); return ok }, func() string { return "the daemon does not answer" })
	outside.run("ip", "address", "add", "2001:db8:113::53/64", "dev", "eth0", "nodad")
	server.banctl("ban", "2001:db8:113::/64", "--for", "10m", "--force")
	for _, host := range []*host{server, outside} {
		host.run("ip", "neighbour", "flush", "dev", "eth0")
	}
	sip := server.listen(5060)
	allowed, banned := outside.dial("2001:db8:113::52", "[2001:db8:113::10]:5060"), outside.dial("2001:db8:113::53", "[2001:db8:113::10]:5060")
	if !arrives(t, allowed, "2001:db8:113::52", sip) {
		t.Error("an allowed neighbour is not reached any more")
	}
	if arrives(t, banned, "2001:db8:113::53", sip) {
		t.Error("packets of a banned neighbour arrive")
	}
	// The other way: the server asks for a neighbour that is banned.
	server.run("ip", "neighbour", "flush", "dev", "eth0")
	probe := server.dial("2001:db8:113::10", "[2001:db8:113::53]:9999")
	until(t, func() bool {
		probe.Write([]byte("x"))
		return string(server.run("ip", "-6", "neighbour", "show", "2001:db8:113::53", "nud", "reachable")) != ""
	}, func() string {
		return "a neighbour in the banned network is not found: " + string(server.run("ip", "-6", "neighbour"))
	})
}
