package banner_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"band/banner"
	"band/internal/nettest"
)

// A neighbour is a second namespace, joined to ours by a pair of devices. We
// are 10.9.0.1 and fd09::1, it has all the addresses it was given.
type neighbour struct {
	sent int // marked packets
	t    testing.TB
	ns   netns.NsHandle
}

func newNeighbour(t testing.TB, addresses ...string) *neighbour {
	t.Helper()
	n := &neighbour{t: t}
	n.visit(func() (err error) {
		n.ns, err = netns.New()
		return err
	})
	t.Cleanup(func() { n.ns.Close() })
	shell(t, "ip link del veth-band 2>/dev/null || true; ip link set lo up")
	shell(t, fmt.Sprintf("ip link add veth-band type veth peer name veth0 netns %s", n.path()))
	shell(t, "ip addr add 10.9.0.1/16 dev veth-band; ip addr add fd09::1/64 dev veth-band nodad; ip link set veth-band up")
	n.shell("ip link set lo up; ip link set veth0 up")
	for _, a := range addresses {
		if strings.Contains(a, ":") {
			n.shell("ip addr add " + a + "/64 dev veth0 nodad")
		} else {
			n.shell("ip addr add " + a + "/16 dev veth0")
		}
	}
	t.Cleanup(func() { shell(t, "ip link del veth-band") })
	return n
}

func (n *neighbour) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.ns) }

func (n *neighbour) shell(line string) string {
	n.t.Helper()
	return shell(n.t, fmt.Sprintf("nsenter --net=%s sh -ec '%s'", n.path(), line))
}

// visit runs f on a thread that may change its namespace, and ends with it.
func (n *neighbour) visit(f func() error) {
	n.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	if err := <-done; err != nil {
		n.t.Fatal(err)
	}
}

// inside runs f in the neighbour's namespace.
func (n *neighbour) inside(f func() error) {
	n.t.Helper()
	n.visit(func() error {
		if err := netns.Set(n.ns); err != nil {
			return err
		}
		return f()
	})
}

// socket opens a UDP socket at one of the neighbour's addresses.
func (n *neighbour) socket(address string) *net.UDPConn {
	n.t.Helper()
	var c *net.UDPConn
	n.inside(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 0)))
		return err
	})
	n.t.Cleanup(func() { c.Close() })
	return c
}

// An inbox is a UDP port of ours that counts what arrives, by source, and knows
// the texts that did.
type inbox struct {
	mu    sync.Mutex
	count map[netip.Addr]int
	texts map[string]bool
}

func newInbox(t testing.TB, port int) *inbox {
	t.Helper()
	in := &inbox{count: map[netip.Addr]int{}, texts: map[string]bool{}}
	c, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			in.mu.Lock()
			in.count[from.Addr().Unmap()]++
			in.texts[string(buf[:n])] = true
			in.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return in
}

func (in *inbox) from(address string) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.count[netip.MustParseAddr(address)]
}

func (in *inbox) got(text string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.texts[text]
}

// probe sends one packet from an address that is banned or not and then one
// from an honest one; when the honest one is there, the other has had its
// chance. It reports whether the first arrived.
func (n *neighbour) probe(in *inbox, from, honest string, port uint16) bool {
	n.t.Helper()
	to := func(address string) net.Addr {
		ours := netip.MustParseAddr("10.9.0.1")
		if strings.Contains(address, ":") {
			ours = netip.MustParseAddr("fd09::1")
		}
		return net.UDPAddrFromAddrPort(netip.AddrPortFrom(ours, port))
	}
	before := in.from(from)
	suspect, witness := n.socket(from), n.socket(honest)
	defer suspect.Close()
	defer witness.Close()
	defer nettest.InOrder(n.t)()
	arrives := func() {
		n.t.Helper()
		n.sent++
		mark := fmt.Sprint("packet ", n.sent) // those sent before may still be on their way
		eventually(n.t, 5*time.Second, "the honest packet", func() bool {
			if _, err := witness.WriteTo([]byte(mark), to(honest)); err != nil {
				n.t.Fatal(err)
			}
			return in.got(mark)
		})
	}
	arrives() // the address of the link is known from here on
	for range 3 {
		if _, err := suspect.WriteTo([]byte("x"), to(from)); err != nil {
			n.t.Fatal(err)
		}
	}
	arrives()
	return in.from(from) > before
}

func TestPorts(t *testing.T) {
	privileged(t)
	const bad, honest, bad6 = "10.9.0.66", "10.9.0.2", "fd09:0:0:66::1"
	n := newNeighbour(t, honest, bad, "fd09::2", bad6)
	shell(t, "ip route add fd09:0:0:66::/64 dev veth-band")
	covered, other := newInbox(t, 5060), newInbox(t, 9999)
	for _, a := range []string{bad, bad6} {
		if !n.probe(covered, a, honest, 5060) || !n.probe(other, a, honest, 9999) {
			t.Fatalf("nothing arrives from %s before the ban", a)
		}
	}

	web := banner.Group{Name: "web", Ports: banner.Ports{UDP: []uint16{9999}}}
	b, _ := start(t, banner.Config{Groups: []banner.Group{sip, web}},
		ban(sip.Name, bad, within(time.Hour)), ban(sip.Name, "fd09:0:0:66::/64", within(time.Hour)))
	for _, a := range []string{bad, bad6} {
		if n.probe(covered, a, honest, 5060) {
			t.Errorf("%s: a covered port is open", a)
		}
		if !n.probe(other, a, honest, 9999) {
			t.Errorf("%s: another port is closed", a)
		}
	}
	drops, err := b.Drops(t.Context())
	if err != nil || drops[sip.Name] != 6 || drops[banner.All] != 0 {
		t.Errorf("drops %v, %v", drops, err)
	}
	if got := packets(t, b)[element(sip.Name, bad)]; got < 3 {
		t.Errorf("%d packets counted for the element", got)
	}

	// Two groups with the same unit: each covers its own ports, and lifting
	// one leaves the other.
	tell(t, b, ban(web.Name, bad, within(time.Hour)))
	if n.probe(covered, bad, honest, 5060) || n.probe(other, bad, honest, 9999) {
		t.Error("banned by two groups: a port is open")
	}
	tell(t, b, lift(sip.Name, bad))
	if !n.probe(covered, bad, honest, 5060) || n.probe(other, bad, honest, 9999) {
		t.Error("lifted in one group: wrong ports")
	}
	tell(t, b, lift(web.Name, bad), ban(banner.All, "10.9.0.64/29", within(time.Hour)))
	if n.probe(covered, bad, honest, 5060) || n.probe(other, bad, honest, 9999) {
		t.Error("banned for all ports in a prefix: a port is open")
	}
	tell(t, b, lift(banner.All, "10.9.0.64/29"))
	if !n.probe(covered, bad, honest, 5060) {
		t.Error("closed after the last ban was lifted")
	}
}

func TestAllowlistPassesInsideABannedPrefix(t *testing.T) {
	privileged(t)
	const bad, honest = "10.9.0.66", "10.9.0.2"
	n := newNeighbour(t, honest, bad)
	in := newInbox(t, 5060)
	b, _ := start(t, banner.Config{Groups: []banner.Group{sip}, Allow: []netip.Prefix{prefix(honest)}},
		ban(sip.Name, "10.9.0.0/24", within(time.Hour)), ban(banner.All, "0.0.0.0/0", within(time.Hour)), ban(banner.All, honest, within(time.Hour)))
	if n.probe(in, bad, honest, 5060) {
		t.Error("the rest of the prefix is open")
	}
	b.Configure([]banner.Group{sip}, []netip.Prefix{prefix(honest), prefix(bad)})
	await(t, b)
	if !n.probe(in, bad, honest, 5060) {
		t.Error("closed although allowlisted")
	}
}

// Banning the /64 of our own link must not cut its neighbours off.
func TestNeighbourDiscoveryInABannedPrefix(t *testing.T) {
	privileged(t)
	n := newNeighbour(t, "fd09::2", "fd09::3")
	in := newInbox(t, 5060)
	start(t, banner.Config{Allow: []netip.Prefix{prefix("fd09::2")}}, ban(banner.All, "fd09::/64", within(time.Hour)), ban(banner.All, "fe80::/64", within(time.Hour)))
	shell(t, "ip -6 neigh flush dev veth-band")
	n.shell("ip -6 neigh flush dev veth0")
	if n.probe(in, "fd09::3", "fd09::2", 5060) {
		t.Error("the banned neighbour is not banned")
	}

	// Ours to ask for theirs: the advertisement comes from a banned address.
	c, err := net.Dial("udp", "[fd09::3]:9")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	eventually(t, 5*time.Second, "the banned neighbour's link address", func() bool {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Log(err) // the port is closed
		}
		return strings.Contains(shell(t, "ip -6 neigh show fd09::3"), "lladdr")
	})
}

func TestLoopbackIsNeverDropped(t *testing.T) {
	privileged(t)
	shell(t, "ip link set lo up")
	in := newInbox(t, 5060)
	start(t, banner.Config{}, ban(banner.All, "127.0.0.0/8", within(time.Hour)), ban(banner.All, "127.0.0.1", within(time.Hour)))
	c, err := net.Dial("udp", "127.0.0.1:5060")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "a packet over loopback", func() bool { return in.from("127.0.0.1") == 1 })
}

func TestEstablishedFlowIsDropped(t *testing.T) {
	privileged(t)
	const bad = "10.9.0.66"
	n := newNeighbour(t, bad)
	shell(t, "nft 'add table inet other; add chain inet other c { type filter hook input priority 0; }; add rule inet other c ct state established accept'")
	l, err := net.Listen("tcp", "10.9.0.1:5060")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var theirs net.Conn
	n.inside(func() (err error) {
		theirs, err = net.Dial("tcp", l.Addr().String())
		return err
	})
	defer theirs.Close()
	ours, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	arrives := func(wait time.Duration) bool {
		if _, err := theirs.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := ours.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		_, err := ours.Read(make([]byte, 1))
		return err == nil
	}
	if !arrives(5 * time.Second) {
		t.Fatal("nothing arrives before the ban")
	}
	b, _ := start(t, banner.Config{Groups: []banner.Group{sip}}, ban(sip.Name, bad, within(time.Hour)))
	if arrives(500 * time.Millisecond) {
		t.Error("the flow goes on")
	}
	tell(t, b, lift(sip.Name, bad))
	if !arrives(10 * time.Second) {
		t.Error("the flow does not come back")
	}
}

// TestNoGap sends from banned addresses without a pause while the banner
// starts anew with the same layout, with others, and over a table that it
// cannot keep. Not one packet may arrive.
func TestNoGap(t *testing.T) {
	privileged(t)
	const bad, honest, inPrefix = "10.9.0.66", "10.9.0.2", "10.9.1.66"
	n := newNeighbour(t, honest, bad, inPrefix)
	in := newInbox(t, 5060)
	// The witness counts behind our chain, before any socket can overflow.
	shell(t, "nft 'add table inet witness; add counter inet witness passed; add chain inet witness c { type filter hook prerouting priority raw; };"+
		" add rule inet witness c ip saddr { "+bad+", "+inPrefix+" } counter name passed'")
	bans := []banner.Change{ban(sip.Name, bad, within(time.Hour)), ban(sip.Name, "10.9.1.0/24", within(time.Hour))}
	for i := range 3000 {
		bans = append(bans, ban(sip.Name, netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}).String(), within(time.Hour)))
	}
	config := banner.Config{Groups: []banner.Group{sip}}
	b, stop := start(t, config, bans...)
	b.Settle()
	await(t, b)

	var ended atomic.Bool
	var sent atomic.Int64
	var senders sync.WaitGroup
	for _, from := range []string{bad, inPrefix, honest} {
		c := n.socket(from)
		senders.Go(func() {
			to := &net.UDPAddr{IP: net.IPv4(10, 9, 0, 1), Port: 5060}
			for !ended.Load() {
				if _, err := c.WriteTo([]byte("x"), to); err != nil && !strings.Contains(err.Error(), "buffer") {
					t.Error(err)
					return
				}
				sent.Add(1)
			}
		})
	}
	arriving := func() {
		seen := in.from(honest)
		eventually(t, 10*time.Second, "honest packets", func() bool { return in.from(honest) > seen+10 })
	}

	other := sip
	other.Ports.UDP = []uint16{5060}
	for range 5 {
		for _, groups := range [][]banner.Group{{sip}, {other}, {sip, {Name: "web"}}, {{Name: sip.Name}}} {
			arriving()
			stop()
			b, stop = start(t, banner.Config{Groups: groups}, bans...)
			b.Settle()
			tell(t, b, ban(sip.Name, bad, within(2*time.Hour)))
			tell(t, b, ban(sip.Name, "10.9.2.0/25", within(2*time.Hour)))
			b.Configure([]banner.Group{other}, []netip.Prefix{prefix("10.9.0.77")})
			await(t, b)
		}
	}
	// The policy of the chain cannot be kept: the table is made anew.
	for range 5 {
		stop()
		shell(t, "nft add chain inet band other '{ type filter hook prerouting priority 5; }'; nft chain inet band prerouting '{ policy drop; }'")
		seen := in.from(honest)
		_, stop = start(t, config, bans...)
		eventually(t, 10*time.Second, "honest packets", func() bool { return in.from(honest) > seen+10 })
	}
	ended.Store(true)
	senders.Wait()
	if got := shell(t, "nft list counter inet witness passed"); !strings.Contains(got, "packets 0 ") {
		t.Errorf("of %d packets some of banned sources passed: %s", sent.Load(), got)
	}
	t.Logf("%d sent, %d honest arrived", sent.Load(), in.from(honest))
}

// BenchmarkPacket is what the kernel spends on a packet over veth, sending
// included: from an honest source and from a banned one, with no table and
// with 100,000 bans.
func BenchmarkPacket(b *testing.B) {
	privileged(b)
	const bad, honest = "10.9.0.66", "10.9.0.2"
	n := newNeighbour(b, honest, bad)
	run := func(name, from string) {
		c := n.socket(from)
		b.Run(name, func(b *testing.B) {
			to := &net.UDPAddr{IP: net.IPv4(10, 9, 0, 1), Port: 5060}
			for b.Loop() {
				if _, err := c.WriteTo([]byte("x"), to); err != nil && !strings.Contains(err.Error(), "refused") {
					b.Fatal(err)
				}
			}
		})
	}
	newInbox(b, 5060)
	run("without a table", honest)
	start(b, banner.Config{Groups: []banner.Group{sip}}, append(many(100_000, within(time.Hour)), ban(sip.Name, bad, within(time.Hour)))...)
	run("honest", honest)
	run("banned", bad)
}
