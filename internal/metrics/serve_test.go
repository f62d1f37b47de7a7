package metrics_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"band/internal/metrics"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// counting counts the connections that are open at once.
type counting struct {
	net.Listener
	open, most atomic.Int32
}

func (l *counting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.most.Store(max(l.most.Load(), l.open.Add(1))) // one goroutine accepts
	return &counted{Conn: conn, l: l}, nil
}

type counted struct {
	net.Conn
	l    *counting
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.l.open.Add(-1) })
	return c.Conn.Close()
}

// served is metrics that are served.
type served struct {
	addr   string
	l      *counting
	cancel func()
	ended  chan error
}

// serve serves a snapshot until the test ends.
func serve(t *testing.T) served {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &counting{Listener: tcp}
	ctx, cancel := context.WithCancel(t.Context())
	s := served{l.Addr().String(), l, cancel, make(chan error, 1)}
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.ended <- metrics.Serve(ctx, l, of(snapshot()), quiet)
	}()
	t.Cleanup(func() { cancel(); <-over })
	return s
}

// ask sends text and returns the status of the answer.
func ask(t *testing.T, addr, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	go io.WriteString(conn, text) // it may be refused in the middle
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	if _, err := io.ReadAll(answer.Body); err != nil {
		return err.Error()
	}
	if answer.StatusCode == http.StatusOK && !answer.Close {
		t.Error("the connection is kept")
	}
	return answer.Status
}

const get = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"

// There are metrics and nothing else.
func TestServe(t *testing.T) {
	t.Parallel()
	addr := serve(t).addr
	for request, want := range map[string]string{
		get:                             "200 OK",
		"GET /metrics HTTP/1.0\r\n\r\n": "200 OK",
		"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n":                 "405 Method Not Allowed",
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n":                                              "404 Not Found",
		"GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n":                                     "404 Not Found",
		"POST /v1/unban HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n{\"all\":true}": "404 Not Found",
		"GET /debug/pprof/ HTTP/1.1\r\nHost: a\r\n\r\n":                                  "404 Not Found",
		"\x16\x03\x01 not HTTP at all\r\n\r\n":                                           "400 Bad Request",
	} {
		if got := ask(t, addr, request); got != want {
			t.Errorf("%.80q: %s, want %s", request, got, want)
		}
	}
	// Whether the answer to one who still sends arrives is a matter of luck.
	if got := ask(t, addr, "GET /metrics HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 20<<10)+"\r\n\r\n"); got == "200 OK" {
		t.Error("a header of any length is read")
	}
	ask(t, addr, "GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"+strings.Repeat("x", 100_000))
	if got := ask(t, addr, get); got != "200 OK" {
		t.Errorf("after all of them: %s", got)
	}
}

// Those who say nothing, or half of what they should, or never read, are sent away
// after a while, and then others have their turn.
func TestRudeClients(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for i := range 40 {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprint(conn, []string{"", "GET /metr", "GET /metrics HTTP/1.1\r\nHost: a\r\n", strings.Repeat(get, 1000)}[i%4]); err != nil {
			t.Logf("%d: %v", i, err)
		}
	}
	if got := ask(t, s.addr, get); got != "200 OK" {
		t.Errorf("behind them all: %s", got)
	}
	if most := s.l.most.Load(); most > 20 {
		t.Errorf("%d connections were open at once", most)
	}
}

// It ends when it is told to, and says so when its listener fails; no client holds
// it up, or is left alone.
func TestServeEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(cancel func(), l net.Listener){
		"told":               func(cancel func(), _ net.Listener) { cancel() },
		"told by both":       func(cancel func(), l net.Listener) { cancel(); l.Close() },
		"the listener fails": func(_ func(), l net.Listener) { l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			conn, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := fmt.Fprint(conn, "GET /metr"); err != nil {
				t.Fatal(err)
			}
			if got := ask(t, s.addr, get); got != "200 OK" { // the other was accepted before
				t.Errorf("beside a slow one: %s", got)
			}
			end(s.cancel, s.l)
			select {
			case err := <-s.ended:
				if failed := name == "the listener fails"; failed != (err != nil) {
					t.Errorf("it ended with %v", err)
				}
			case <-time.After(patience):
				t.Fatal("it never ends")
			}
			if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Errorf("%d bytes for one who was in the middle of his request: %v", n, err)
			}
		})
	}
}
