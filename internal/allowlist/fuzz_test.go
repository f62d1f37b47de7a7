package allowlist_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"band/internal/allowlist"
	"band/jails"

	"golang.org/x/net/dns/dnsmessage"
)

// FuzzFile reads a file. Whatever it holds, what counts are entries, what is
// wrong is told with its line, and the entries read again are the same.
func FuzzFile(f *testing.F) {
	f.Add([]byte("# the office\n192.0.2.7\n\n  198.51.100.0/24\t# the branch\r\n2001:DB8::/32\nTrunk.Example.com.\n"))
	f.Add([]byte("0.0.0.0/0\n/etc/passwd\n192.0.2.1/24\n::ffff:192.0.2.8\n1.2.3\nfe80::1%eth0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const path = "/allow"
		prefixes, names, problems, more := allowlist.Parse(path, data)
		var again bytes.Buffer
		for _, p := range prefixes {
			if !p.IsValid() || p != p.Masked() || p.Bits() == 0 || p.Addr().Is4In6() && p.Bits() >= 96 {
				t.Errorf("a prefix is %v", p)
			}
			again.WriteString(p.String() + "\n")
		}
		for _, n := range names {
			if e, err := jails.ParseEntry(n); err != nil || e.Name != n {
				t.Errorf("a name is %q", n)
			}
			again.WriteString(n + "\n")
		}
		if !slices.IsSortedFunc(prefixes, netip.Prefix.Compare) || !slices.IsSorted(names) {
			t.Errorf("not sorted: %v, %v", prefixes, names)
		}
		lines := 1 + bytes.Count(data, []byte("\n"))
		if n := len(prefixes) + len(names) + len(problems) + more; n > lines || more > 0 && len(problems) != 3 {
			t.Errorf("%d things are told of %d lines, and %d more", n, lines, more)
		}
		for _, p := range problems {
			line, text, ok := strings.Cut(strings.TrimPrefix(p, path+":"), ": ")
			if n, err := strconv.Atoi(line); err != nil || n < 1 || n > lines || !ok || text == "" || len(p) > 2000 {
				t.Errorf("a problem is %q", p)
			}
		}
		prefixesAgain, namesAgain, problems, _ := allowlist.Parse(path, again.Bytes())
		if !slices.Equal(prefixesAgain, prefixes) || !slices.Equal(namesAgain, names) || len(problems) > 0 {
			t.Errorf("read again: %v, %v, %q", prefixesAgain, namesAgain, problems)
		}
	})
}

// FuzzLookup answers every question with a message of which only the number and,
// unless raw, the question are right. Whatever the rest is, the look-up ends, and
// an answer is good for as long as the message says.
func FuzzLookup(f *testing.F) {
	add := func(m dnsmessage.Message) {
		m.Questions, m.ID = nil, 0
		b := pack(m)
		b[5] = 1 // a question
		f.Add(false, b[2:])
	}
	question := dnsmessage.Message{Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName("trunk.example.com."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
	}}}
	reply := both.reply(question)
	add(reply)
	reply.Truncated = true
	add(reply)
	add(zoneFile("").reply(question))
	add(zoneFile("trunk.example.com. 300 CNAME one.example.net.\none.example.net. 10 192.0.2.7\ntrunk.example.com. 1 text\n").reply(question))
	f.Add(true, []byte("garbage"))
	f.Fuzz(func(t *testing.T, raw bool, tail []byte) {
		if len(tail) > 1000 {
			return // a datagram would not hold it
		}
		var mu sync.Mutex
		var told []byte // the last message; all are the same but for the question
		dial := func(_ context.Context, network, _ string) (net.Conn, error) {
			c := &conn{stream: network == "tcp", answer: func(query []byte) []byte {
				m := slices.Concat(query[:2], tail)
				if !raw {
					head := append(slices.Clone(tail), make([]byte, 10)...)[:10]
					end := bytes.IndexByte(query[12:], 0) + 12 + 1 + 4
					m = slices.Concat(query[:2], head, query[12:end], tail[min(10, len(tail)):])
				}
				mu.Lock()
				defer mu.Unlock()
				told = m
				return m
			}}
			if network == "udp" {
				return datagramConn{c}, nil
			}
			return c, nil
		}
		answer, err := allowlist.DNS{Dial: dial}.Lookup(t.Context(), "trunk.example.com")
		if err != nil {
			if len(answer.Addrs) > 0 {
				t.Errorf("%v with the error %v", answer, err)
			}
			return
		}
		if answer.TTL < 0 || answer.TTL > (1<<32-1)*time.Second {
			t.Errorf("good for %v", answer.TTL)
		}
		var m dnsmessage.Message
		if m.Unpack(told) != nil {
			return
		}
		ttl := time.Minute
		var all []netip.Addr
		for i, n := 0, 0; i < len(m.Answers); i++ {
			switch r := m.Answers[i].Body.(type) {
			case *dnsmessage.AResource:
				all = append(all, netip.AddrFrom4(r.A))
			case *dnsmessage.AAAAResource:
				all = append(all, netip.AddrFrom16(r.AAAA).Unmap())
			case *dnsmessage.CNAMEResource:
			default:
				continue
			}
			d := time.Duration(m.Answers[i].Header.TTL) * time.Second
			if n++; n == 1 || d < ttl {
				ttl = d
			}
		}
		if answer.TTL != ttl {
			t.Errorf("good for %v, not for %v", answer.TTL, ttl)
		}
		for _, a := range answer.Addrs {
			if !slices.Contains(all, a.Unmap()) {
				t.Errorf("%v was not told", a)
			}
		}
	})
}

// A conn answers what is written to it.
type conn struct {
	net.Conn
	stream bool
	answer func(query []byte) []byte
	buffer bytes.Buffer
}

func (c *conn) Write(b []byte) (int, error) {
	if !c.stream {
		c.buffer.Write(c.answer(b))
		return len(b), nil
	}
	m := c.answer(b[2:])
	c.buffer.Write([]byte{byte(len(m) >> 8), byte(len(m))})
	c.buffer.Write(m)
	return len(b), nil
}

func (c *conn) Read(b []byte) (int, error) {
	if c.buffer.Len() == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	defer func() {
		if !c.stream {
			c.buffer.Reset() // what does not fit is lost
		}
	}()
	return c.buffer.Read(b)
}

func (c *conn) Close() error                { return nil }
func (c *conn) SetDeadline(time.Time) error { return nil }

type datagramConn struct{ *conn }

func (datagramConn) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, errors.ErrUnsupported }
func (datagramConn) WriteTo([]byte, net.Addr) (int, error)  { return 0, errors.ErrUnsupported }
