package allowlist_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// A server is a name server, reached over UDP and TCP.
type server struct {
	udp net.PacketConn
	tcp net.Listener

	mu     sync.Mutex
	handle handler
	asked  []dnsmessage.Question
}

// A handler returns what is sent in answer to a query that came over network:
// nothing, a message, or several.
type handler func(network string, query dnsmessage.Message) [][]byte

// serve runs a name server at addr to the end of the test.
func serve(t testing.TB, addr string, handle handler) *server {
	t.Helper()
	s := &server{handle: handle}
	var err error
	if s.udp, err = net.ListenPacket("udp", addr); err != nil {
		t.Fatal(err)
	}
	if s.tcp, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	tasks.Go(s.serveUDP)
	tasks.Go(func() {
		for {
			c, err := s.tcp.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() { s.serveTCP(c) })
		}
	})
	t.Cleanup(func() {
		s.udp.Close()
		s.tcp.Close()
		tasks.Wait()
	})
	return s
}

// dial connects to the server, whatever was asked for.
func (s *server) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	addr := s.udp.LocalAddr().String()
	if network == "tcp" {
		addr = s.tcp.Addr().String()
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// set changes what the server answers.
func (s *server) set(handle handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handle = handle
}

// questions returns how often a type was asked for.
func (s *server) questions(t dnsmessage.Type) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.asked {
		if q.Type == t {
			n++
		}
	}
	return n
}

func (s *server) answers(network string, query []byte) [][]byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	s.mu.Lock()
	s.asked = append(s.asked, m.Questions[0])
	handle := s.handle
	s.mu.Unlock()
	return handle(network, m)
}

func (s *server) serveUDP() {
	b := make([]byte, 1500)
	for {
		n, from, err := s.udp.ReadFrom(b)
		if err != nil {
			return
		}
		for _, m := range s.answers("udp", b[:n]) {
			_, _ = s.udp.WriteTo(m, from)
		}
	}
}

// serveTCP answers one query, in pieces, and waits until the client hangs up.
func (s *server) serveTCP(c net.Conn) {
	defer c.Close()
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		return
	}
	for _, m := range s.answers("tcp", b) {
		m = append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...)
		for piece := range slices.Chunk(m, 1+len(m)/3) {
			_, _ = c.Write(piece)
		}
	}
	_, _ = io.Copy(io.Discard, c)
}

// zoneFile is what a handler knows: on each line a name, the seconds that it is
// good for, and an address, "CNAME" with a name, or something else for a text.
type zoneFile string

// handle answers as a name server that looks up what a name stands for.
func (z zoneFile) handle(_ string, query dnsmessage.Message) [][]byte {
	return [][]byte{pack(z.reply(query))}
}

func (z zoneFile) reply(query dnsmessage.Message) dnsmessage.Message {
	q := query.Questions[0]
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: query.ID, Response: true, RecursionAvailable: true, RCode: dnsmessage.RCodeNameError},
		Questions: query.Questions,
		// What follows the answers never counts.
		Authorities: []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 3},
			Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 99}},
		}},
	}
	name := q.Name
	for line := range strings.Lines(string(z)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != name.String() {
			continue
		}
		m.RCode = dnsmessage.RCodeSuccess
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: number(f[1])}}
		addr, err := netip.ParseAddr(f[2])
		switch {
		case f[2] == "CNAME":
			name = dnsmessage.MustNewName(f[3])
			r.Body = &dnsmessage.CNAMEResource{CNAME: name}
		case err != nil:
			r.Body = &dnsmessage.TXTResource{TXT: f[2:]}
		case addr.Is4() && q.Type == dnsmessage.TypeA:
			r.Body = &dnsmessage.AResource{A: addr.As4()}
		case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
			r.Body = &dnsmessage.AAAAResource{AAAA: addr.As16()}
		default:
			continue
		}
		m.Answers = append(m.Answers, r)
	}
	return m
}

func number(s string) (n uint32) {
	for _, digit := range s {
		n = 10*n + uint32(digit-'0')
	}
	return n
}

func pack(m dnsmessage.Message) []byte {
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}
