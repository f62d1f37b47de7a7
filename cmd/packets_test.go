package cmd_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"band/internal/nettest"
)

// flow is a socket of a source to a port whose arrivals are counted.
type flow struct {
	net.Conn
	source  string
	arrived func(source string) int
}

func (h *host) flow(source, to string, arrived func(string) int) flow {
	h.t.Helper()
	return flow{h.dial(source, to), source, arrived}
}

// reaches waits until a packet of the flow arrives.
func (f flow) reaches(t *testing.T) {
	t.Helper()
	mark := fmt.Sprint(time.Now().UnixNano()) // those sent before may still be on their way
	until(t, func() bool {
		if _, err := f.Write([]byte(mark)); err != nil {
			t.Fatal(err)
		}
		return f.arrived(f.source+" "+mark) > 0
	}, func() string { return "no packet of " + f.source + " arrives" })
}

// arrives reports whether packets of the flow arrive: those of a witness, a flow
// to the same port, that were sent behind them do so later.
func (f flow) arrives(t *testing.T, witness flow) bool {
	t.Helper()
	defer nettest.InOrder(t)()
	before := f.arrived(f.source)
	for range 20 {
		if _, err := f.Write([]byte("REGISTER")); err != nil {
			t.Fatal(err)
		}
	}
	witness.reaches(t)
	return f.arrived(f.source) > before
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
	established, honest := outside.flow(attacker, "203.0.113.10:5060", sip), outside.flow(phone, "203.0.113.10:5060", sip)
	elsewhere, honestElsewhere := outside.flow(attacker, "203.0.113.10:9999", other), outside.flow(phone, "203.0.113.10:9999", other)
	for _, f := range []flow{established, honest, elsewhere, honestElsewhere} {
		f.reaches(t)
	}

	server.banctl("ban", "198.51.100.0/26", "--for", "10m", "--force")
	if !established.arrives(t, honest) {
		t.Error("198.51.100.70 is not in 198.51.100.0/26, and its packets were dropped")
	}
	server.banctl("ban", attacker, "--for", "10m")
	if established.arrives(t, honest) {
		t.Error("packets of a banned source arrive on an established flow")
	}
	if elsewhere.arrives(t, honestElsewhere) {
		t.Error("a ban by hand does not cover every port")
	}
	honest.reaches(t)
	server.banctl("unban", attacker)
	if !established.arrives(t, honest) {
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
	allowed, banned := outside.flow("2001:db8:113::52", "[2001:db8:113::10]:5060", sip), outside.flow("2001:db8:113::53", "[2001:db8:113::10]:5060", sip)
	allowed.reaches(t)
	if banned.arrives(t, allowed) {
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
