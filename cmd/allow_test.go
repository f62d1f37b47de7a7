package cmd_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers every question for an IPv4 address with the one that it
// holds, good for a second; while it holds none it is silent.
type nameServer struct {
	addr atomic.Pointer[netip.Addr]
}

func (h *host) nameServer(at string) *nameServer {
	h.t.Helper()
	var conn net.PacketConn
	var err error
	h.inside(func() { conn, err = net.ListenPacket("udp", at) })
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	s := &nameServer{}
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := s.answer(buf[:n]); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	return s
}

func (s *nameServer) holds(addr string) {
	if addr == "" {
		s.addr.Store(nil)
		return
	}
	a := netip.MustParseAddr(addr)
	s.addr.Store(&a)
}

func (s *nameServer) answer(packet []byte) []byte {
	var m dnsmessage.Message
	addr := s.addr.Load()
	if addr == nil || m.Unpack(packet) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Header.Response, m.Additionals = true, nil
	if q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
			Body:   &dnsmessage.AResource{A: addr.As4()},
		}}
	}
	out, _ := m.Pack()
	return out
}

// A host name on the allowlist is followed when its address changes; and when
// nobody answers, nothing else waits, and what was known stays, over a restart
// too.
func TestAllowedName(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	dns := h.nameServer("127.0.0.53:53")
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver 127.0.0.53\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.files = map[string]string{"/etc/resolv.conf": resolv}
	h.band = `allow = ["trunk.example", "other.example"]` + "\n"
	dns.holds("203.0.113.5")
	daemon := h.start()

	allowed := func(addr string) {
		t.Helper()
		set := func() string { return string(h.run("nft", "list", "set", "inet", "band", "allow4")) }
		until(t, func() bool {
			out, err := h.command("nft", "list", "set", "inet", "band", "allow4").Output()
			return err == nil && strings.Contains(string(out), addr)
		}, func() string { return addr + " is not allowed:\n" + set() })
	}
	attack := func(addr string) {
		t.Helper()
		log, err := os.OpenFile(h.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		for range 5 {
			fmt.Fprint(log, failure(time.Now(), netip.MustParseAddr(addr)))
		}
	}
	allowed("203.0.113.5")
	dns.holds("203.0.113.6")
	allowed("203.0.113.6")

	dns.holds("") // from now on every look-up hangs
	attack("203.0.113.6")
	attack("198.51.100.70")
	h.bans(t, "198.51.100.70")
	until(t, func() bool {
		return strings.Contains(h.show("203.0.113.6"), "on the allowlist (trunk.example)") || strings.Contains(h.show("203.0.113.6"), "(other.example)")
	},
		func() string { return h.show("203.0.113.6") })

	daemon.Process.Kill()
	daemon.Wait()
	h.start()
	attack("203.0.113.6")
	attack("198.51.100.71")
	h.bans(t, "198.51.100.70 198.51.100.71")
}
