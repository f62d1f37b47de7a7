package cmd_test

import (
	"bufio"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Bans that overlap are independent: the packets of a host are dropped as long as
// one of them holds, whichever came first and whichever ends first.
func TestOverlappingBans(t *testing.T) {
	t.Parallel()
	server, outside := newHost(t), newHost(t)
	cable(server, outside)
	outside.run("ip", "address", "add", "198.51.100.71/24", "dev", "eth0")
	server.append(func(*bufio.Writer) {})
	server.start()
	server.follows()
	const host, neighbour, network = "198.51.100.70", "198.51.100.71", "198.51.100.64/26"
	sip := server.listen(5060)
	open := func(source string) flow { return outside.flow(source, "203.0.113.10:5060", sip) }
	a, b, witness := open(host), open(neighbour), open("203.0.113.52")
	for _, f := range []flow{a, b, witness} {
		f.reaches(t)
	}
	dropped := func(when string, host, neighbour bool) {
		t.Helper()
		if got := !a.arrives(t, witness); got != host {
			t.Errorf("%s: packets of the host are dropped: %v", when, got)
		}
		if got := !b.arrives(t, witness); got != neighbour {
			t.Errorf("%s: packets of its neighbour are dropped: %v", when, got)
		}
	}
	gone := func(what string) {
		t.Helper()
		until(t, func() bool {
			return !strings.Contains(string(server.run("nft", "list", "table", "inet", "band")), what+" counter")
		},
			func() string { return what + " never ends" })
	}

	server.banctl("ban", host, "--for", "1h")
	server.banctl("ban", network, "--for", "6s")
	dropped("a network over a host", true, true)
	gone("198.51.100.64")
	dropped("the network is over", true, false)
	server.banctl("unban", "--all")
	dropped("nobody is banned", false, false)

	server.banctl("ban", network, "--for", "1h")
	server.banctl("ban", host, "--for", "6s")
	dropped("a host in a network", true, true)
	gone(host)
	dropped("the host's ban is over", true, true)
	server.banctl("unban", "--all")
	dropped("nobody is banned again", false, false)

	// Two jails ban the host for the same ports.
	server.append(func(w *bufio.Writer) {
		for range 5 {
			now := time.Now()
			w.WriteString(failure(now, netip.MustParseAddr(host)))
			w.WriteString(now.UTC().Format("2006-01-02 15:04:05.000000") + ` 81.60% [WARNING] sofia_reg.c:2406 IP ` + host + ` Rejected by register acl "domains"` + "\n")
		}
	})
	until(t, func() bool { bans, _ := server.list(); return len(bans) == 2 }, func() string { return string(server.banctl("status")) })
	dropped("two jails ban it", true, false)
	server.banctl("unban", host, "--jail", "freeswitch")
	dropped("one was lifted", true, false)
	server.banctl("unban", host, "--jail", "freeswitch-acl")
	dropped("both were lifted", false, false)
}
