package allowlist

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// lookupTime bounds a look-up, and questionTime one question to one name
	// server: short enough that each of the three that resolv.conf(5) may name
	// gets its turn.
	lookupTime   = 5 * time.Second
	questionTime = 1500 * time.Millisecond

	// untold is the time to live of what has none, such as from /etc/hosts.
	untold = time.Minute
)

// DNS looks names up as [net.Resolver] does, from /etc/hosts and by the name
// servers and search domains of /etc/resolv.conf, and listens in for what that
// keeps to itself: how long an answer is good for.
type DNS struct {
	// Dial connects to a name server. nil: [net.Dialer.DialContext].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Lookup returns the addresses of a name within five seconds. Name servers that
// answer for one family alone do for that.
func (d DNS) Lookup(ctx context.Context, name string) (Answer, error) {
	if d.Dial == nil {
		d.Dial = new(net.Dialer).DialContext
	}
	h := &hearing{dial: d.Dial, end: time.Now().Add(lookupTime), answered: make(map[dnsmessage.Type]bool)}
	// Ending the context would discard what was answered, so the connections
	// end: then the resolver makes do with what it has.
	resolver := net.Resolver{PreferGo: true, Dial: h.connect}
	addrs, err := resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return Answer{}, err
	}
	return h.answer(addrs), nil
}

// hearing is what was heard of the name servers in one look-up.
type hearing struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	end  time.Time // of the look-up

	// The questions for both families are asked at the same time.
	mu       sync.Mutex
	answered map[dnsmessage.Type]bool // by what was asked, whether the last question was answered
	ttl      time.Duration            // the smallest that was heard
	heard    bool                     // any was
}

func (h *hearing) answer(addrs []netip.Addr) Answer {
	h.mu.Lock()
	defer h.mu.Unlock()
	missing := func(t dnsmessage.Type) bool {
		answered, asked := h.answered[t]
		return asked && !answered
	}
	a := Answer{
		Addrs: addrs, TTL: untold,
		MissingIPv4: missing(dnsmessage.TypeA), MissingIPv6: missing(dnsmessage.TypeAAAA),
	}
	if h.heard {
		a.TTL = h.ttl
	}
	return a
}

// connect connects to a name server for one question.
func (h *hearing) connect(ctx context.Context, network, address string) (net.Conn, error) {
	end := time.Now().Add(questionTime)
	if h.end.Before(end) {
		end = h.end
	}
	dialing, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	c, err := h.dial(dialing, network, address)
	if err != nil {
		return nil, err
	}
	q := &question{Conn: c, hearing: h, end: end}
	q.forget = context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	// The resolver tells datagrams from a stream by this interface.
	if p, ok := c.(net.PacketConn); ok {
		return datagrams{q, p}, nil
	}
	q.stream = true
	return q, nil
}

// question is a connection for one question, and hears its answer: whatever the
// resolver read last. It reads on as long as it does not believe what it read,
// and no further.
type question struct {
	net.Conn
	hearing *hearing
	end     time.Time
	stream  bool // messages have their length before them (RFC 1035, section 4.2.2)
	forget  func() bool
	asked   dnsmessage.Type
	last    []byte
}

// SetDeadline sets the deadline, or an earlier one.
func (q *question) SetDeadline(t time.Time) error {
	if q.end.Before(t) {
		t = q.end
	}
	return q.Conn.SetDeadline(t)
}

// Write asks the question.
func (q *question) Write(b []byte) (int, error) {
	var p dnsmessage.Parser
	if _, err := p.Start(q.message(b)); err == nil {
		if question, err := p.Question(); err == nil {
			q.asked = question.Type
		}
	}
	return q.Conn.Write(b)
}

// Read reads the answer, or a part of it.
func (q *question) Read(b []byte) (int, error) {
	n, err := q.Conn.Read(b)
	switch {
	case err != nil:
		q.last = nil
	case q.stream:
		q.last = append(q.last, b[:n]...)
	default:
		q.last = append(q.last[:0], b[:n]...)
	}
	return n, err
}

// Close ends the question.
func (q *question) Close() error {
	q.forget()
	q.hearing.note(q.asked, q.message(q.last))
	return q.Conn.Close()
}

func (q *question) message(b []byte) []byte {
	if q.stream {
		return b[min(2, len(b)):]
	}
	return b
}

// note takes the answer to a question of that type; what is no answer leaves the
// question open.
func (h *hearing) note(asked dnsmessage.Type, answer []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answered[asked] = false
	var p dnsmessage.Parser
	head, err := p.Start(answer)
	if err != nil || head.RCode != dnsmessage.RCodeSuccess && head.RCode != dnsmessage.RCodeNameError || p.SkipAllQuestions() != nil {
		return
	}
	records, err := p.AllAnswers()
	if err != nil {
		return
	}
	h.answered[asked] = true
	for _, r := range records {
		switch r.Header.Type {
		case dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeCNAME:
			if ttl := time.Duration(r.Header.TTL) * time.Second; !h.heard || ttl < h.ttl {
				h.ttl, h.heard = ttl, true
			}
		}
	}
}

// datagrams is a question whose connection keeps messages apart.
type datagrams struct {
	*question
	packets
}

// packets is what a [net.PacketConn] has and a [net.Conn] has not.
type packets interface {
	ReadFrom(b []byte) (int, net.Addr, error)
	WriteTo(b []byte, to net.Addr) (int, error)
}
