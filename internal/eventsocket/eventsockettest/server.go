// Package eventsockettest gives a test an event socket of its own.
package eventsockettest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a Server waits for a client.
const patience = 20 * time.Second

// Config says what a Server is like.
type Config struct {
	Password string // "": ClueCon
	Refuse   bool   // every address
	// Seed, where it is not 0, makes it send in chunks of a few bytes, of random
	// sizes that the seed decides.
	Seed uint64
	// Answer, where it is set, is asked first what to answer to a command, "" being
	// the beginning of a connection. Where it returns false the Server answers as
	// FreeSWITCH does. It is called from several goroutines.
	Answer func(command string) (answer string, ok bool)
}

// A Server stands in for mod_event_socket. It sends no events of its own. Its
// methods may be called from any goroutine; where one of them fails, so does the
// test.
type Server struct {
	Address string // of the listener, host:port; "" where it has none

	t        testing.TB
	config   Config
	tasks    sync.WaitGroup
	listener net.Listener // nil where it has none

	mu       sync.Mutex
	changed  sync.Cond
	clients  map[*client]bool // those that are connected
	last     *client          // the one that subscribed last, while it is connected
	commands []string
	silent   bool
	closed   bool
}

type client struct {
	net.Conn
	mu     sync.Mutex // a message is not cut by another
	random *rand.Rand
}

// Start starts a Server that listens on the loopback, until the test ends.
func Start(t testing.TB, config Config) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(t, config)
	s.Address, s.listener = listener.Addr().String(), listener
	t.Cleanup(func() { _ = listener.Close() }) // comes before that of New
	s.tasks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.tasks.Go(func() { s.serve(conn) })
		}
	})
	return s
}

// New starts a Server that can be reached by Dial alone, until the test ends. It
// may live in a bubble of testing/synctest.
func New(t testing.TB, config Config) *Server {
	if config.Password == "" {
		config.Password = "ClueCon"
	}
	s := &Server{t: t, config: config, clients: make(map[*client]bool)}
	s.changed.L = &s.mu
	t.Cleanup(func() {
		s.change(func() { s.closed = true })
		s.Drop()
		s.tasks.Wait()
	})
	return s
}

// Dial connects without a network, whatever the address. It is for Config.Dial
// of package eventsocket.
func (s *Server) Dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	s.tasks.Go(func() { s.serve(ours) })
	return theirs, nil
}

// change changes what the mutex protects.
func (s *Server) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	s.changed.Broadcast()
}

func (s *Server) serve(conn net.Conn) {
	c := &client{Conn: conn, random: rand.New(rand.NewPCG(s.config.Seed, 0))}
	defer s.change(func() { s.forget(c) })
	s.change(func() {
		s.clients[c] = true
		if s.closed {
			_ = c.Close()
		}
	})
	in := bufio.NewReader(conn)
	for command, authed := "", false; ; {
		answer, on := s.answer(command, &authed)
		if s.send(c, strings.NewReader(answer)) != nil || !on {
			return
		}
		if authed && strings.HasPrefix(command, "event ") {
			s.change(func() { s.last = c })
		}
		lines, err := readCommand(in)
		if err != nil {
			return
		}
		command = lines
		s.change(func() { s.commands = append(s.commands, command) })
	}
}

// forget is called with the mutex held.
func (s *Server) forget(c *client) {
	_ = c.Close()
	delete(s.clients, c)
	if s.last == c {
		s.last = nil
	}
}

func readCommand(in *bufio.Reader) (string, error) {
	var all strings.Builder
	for {
		line, err := in.ReadString('\n')
		all.WriteString(line)
		if err != nil || line == "\n" {
			return strings.TrimRight(all.String(), "\n"), err
		}
	}
}

// Notice is what FreeSWITCH says before it ends a connection.
const Notice = "Content-Type: text/disconnect-notice\nContent-Length: 67\n\n" +
	"Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"

// answer returns what the Server says, and whether it stays.
func (s *Server) answer(command string, authed *bool) (answer string, on bool) {
	const reply = "Content-Type: command/reply\nReply-Text: %s\n\n"
	s.mu.Lock()
	silent := s.silent
	s.mu.Unlock()
	if silent {
		return "", true
	}
	if s.config.Answer != nil {
		if answer, ok := s.config.Answer(command); ok {
			*authed = *authed || strings.HasPrefix(command, "auth ")
			return answer, true
		}
	}
	password, auth := strings.CutPrefix(command, "auth ")
	switch {
	case s.config.Refuse:
		return "Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n" + Notice, false
	case command == "":
		return "Content-Type: auth/request\n\n", true
	case auth && !*authed && password != s.config.Password:
		return fmt.Sprintf(reply, "-ERR invalid") + Notice, false
	case auth && !*authed:
		*authed = true
		return fmt.Sprintf(reply, "+OK accepted"), true
	case *authed && strings.TrimSpace(command) == "event plain":
		return fmt.Sprintf(reply, "-ERR no keywords supplied"), true
	case *authed && strings.HasPrefix(command, "event plain "):
		return fmt.Sprintf(reply, "+OK event listener enabled plain"), true
	}
	return fmt.Sprintf(reply, "-ERR command not found"), true
}

// send sends in chunks.
func (s *Server) send(c *client, r io.Reader) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.config.Seed == 0 {
		_, err := io.Copy(struct{ io.Writer }{c}, r)
		return err
	}
	for {
		n, err := io.CopyN(c, r, 1+c.random.Int64N(40))
		if errors.Is(err, io.EOF) && n >= 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Send sends bytes as Stream does. That it cannot is an error of the test.
func (s *Server) Send(p []byte) {
	s.t.Helper()
	if err := s.Stream(bytes.NewReader(p)); err != nil {
		s.t.Errorf("send to the client: %v", err)
	}
}

// Stream sends what it reads to the client that subscribed last, and waits until
// there is one. The error is that of the client, or of the reader.
func (s *Server) Stream(r io.Reader) error {
	late := false
	defer time.AfterFunc(patience, func() { s.change(func() { late = true }) }).Stop()
	s.mu.Lock()
	for s.last == nil && !late && !s.closed {
		s.changed.Wait()
	}
	to := s.last
	s.mu.Unlock()
	if to == nil {
		return errors.New("no client has subscribed")
	}
	return s.send(to, r)
}

// Silence makes the Server answer nothing, or answer again.
func (s *Server) Silence(on bool) { s.change(func() { s.silent = on }) }

// Stop ends a Server that listens, as when FreeSWITCH is stopped.
func (s *Server) Stop() {
	_ = s.listener.Close()
	s.Drop()
}

// Drop closes all connections without a notice.
func (s *Server) Drop() {
	s.change(func() {
		for c := range s.clients {
			s.forget(c)
		}
	})
}

// Commands returns what the clients have sent, in the order in which it came.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}
