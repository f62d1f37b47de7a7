package eventsocket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"band/matcher"
)

// How long a Conn waits.
const (
	// ConnectTimeout is for a connection to be made.
	ConnectTimeout = 10 * time.Second
	// ReplyTimeout is for each message that Dial waits for: the request for the
	// password, and the replies to that and to the subscription.
	ReplyTimeout = 10 * time.Second
	// SilenceTimeout is how long nothing may come. Then the Conn asks for a sign
	// of life, and waits as long again.
	SilenceTimeout = 30 * time.Second
	// MessageTimeout is for a message to be complete, once it has begun.
	MessageTimeout = 30 * time.Second
)

// The errors of a connection, of Dial and of Next, that are not those of making
// one. There is nothing in their texts that the peer sent.
var (
	// ErrPassword is the error of a password that was not accepted.
	ErrPassword = errors.New("the event socket does not accept the password")
	// ErrACL is the error of a refusal by address: apply-inbound-acl of
	// mod_event_socket does not have ours.
	ErrACL = errors.New("the event socket does not admit this address")
	// ErrProtocol is the error of a peer that does not speak the protocol, goes
	// beyond a limit, or does not take a subscription. Its text tells which it is.
	ErrProtocol = errors.New("this is no event socket of FreeSWITCH, or it is out of step")
	// ErrStalled is the error of a peer from which nothing comes, or a message that
	// does not end.
	ErrStalled = errors.New("the event socket stalls")
	// ErrEnded is the error of a connection that FreeSWITCH ended, with a notice or
	// without. It ends those that it cannot write to without a warning.
	ErrEnded = errors.New("the event socket ended the connection")
)

// Config says what to connect to, and what to subscribe to.
type Config struct {
	Address string // host:port, of mod_event_socket 127.0.0.1:8021 by default
	// Password returns the password. It is called when it is asked for, and its
	// error is that of Dial.
	Password func() (string, error)
	// Events are the events to subscribe to, by the names that matcher.Event.Name returns.
	// One that holds "::" is a subclass of CUSTOM, any other a name. FreeSWITCH
	// takes names that it does not know, and sends nothing for them.
	Events []string
	// Dial makes the connection. nil: by TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// commands returns the command that subscribes, and the one that asks for a sign
// of life: the subscription without subclasses. To repeat those would not be
// harmless. FreeSWITCH removes each one from a table and adds it again, while the
// thread that delivers events looks into that table without a lock in common
// (mod_event_socket.c: parse_command and event_handler, switch_hashtable.c:
// switch_hashtable_insert_destructor): it may miss an event, or read what was
// freed. Names are only bytes that are set to 1 again.
func (c Config) commands() (subscribe, ask string, err error) {
	ask = "event plain"
	var subclasses string
	for _, name := range c.Events {
		switch {
		case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }):
			return "", "", fmt.Errorf("no event can have the name %q", name)
		case strings.Contains(name, "::"):
			subclasses += " " + name
		default:
			ask += " " + name
		}
	}
	switch {
	case len(c.Events) == 0:
		return "", "", errors.New("no events to subscribe to")
	case subclasses != "":
		ask += " CUSTOM" // takes what follows for subclasses
	}
	return ask + subclasses, ask, nil
}

// A Conn is a connection that is subscribed. It sends nothing but its password
// and subscriptions.
type Conn struct {
	conn   net.Conn
	reader *reader
	ask    string
	asked  bool  // and there was no reply yet
	err    error // how it ended
}

// Dial connects, and subscribes. It returns when ctx ends, at the latest, which
// does not end the connection later. An error is that of the network, of ctx or
// of Password, or one of this package's, wrapped.
func Dial(ctx context.Context, config Config) (*Conn, error) {
	subscribe, ask, err := config.commands()
	if err != nil {
		return nil, err
	}
	dial := config.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	connecting, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	conn, err := dial(connecting, "tcp", config.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to the event socket: %w", err)
	}
	c := &Conn{conn: stream{conn}, reader: newReader(stream{conn}), ask: ask}
	if err := c.until(ctx, func() error { return c.login(config.Password, subscribe) }); err != nil {
		return nil, err
	}
	return c, nil
}

// until calls do, which is cut short when ctx ends. An error ends the connection.
func (c *Conn) until(ctx context.Context, do func() error) error {
	if c.err != nil {
		return c.err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.Close() })
	if c.err = do(); !stop() {
		c.err = context.Cause(ctx)
	}
	if c.err != nil {
		_ = c.conn.Close()
	}
	return c.err
}

func (c *Conn) login(password func() (string, error), subscribe string) error {
	if _, err := c.await(authRequest); err != nil {
		return err
	}
	secret, err := password()
	switch {
	case err != nil:
		return fmt.Errorf("the password of the event socket: %w", err)
	// FreeSWITCH takes it up to the end of the line; what is behind would be
	// another command.
	case strings.ContainsAny(secret, "\r\n\x00"):
		return errors.New("the password of the event socket cannot have more than one line")
	}
	switch ok, err := c.command("auth " + secret); {
	case err != nil:
		return err
	case !ok:
		return ErrPassword
	}
	switch ok, err := c.command(subscribe); {
	case err != nil:
		return err
	case !ok:
		return broken("the subscription is not taken")
	}
	return nil
}

// command sends a command and waits for its reply.
func (c *Conn) command(line string) (ok bool, err error) {
	if err := c.send(line); err != nil {
		return false, err
	}
	m, err := c.await(reply)
	return m.ok, err
}

// send sends a command at once: FreeSWITCH sends no events while it has a part
// of one (mod_event_socket.c: read_packet).
func (c *Conn) send(line string) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(ReplyTimeout))
	_, err := c.conn.Write([]byte(line + "\n\n"))
	return err
}

// await reads up to a message of that kind.
func (c *Conn) await(kind string) (message, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(ReplyTimeout))
	for {
		if m, err := c.reader.next(); err != nil || m.kind == kind {
			return m, err
		}
	}
}

// Next returns the next event. When ctx ends it returns the cause of that, and
// the connection has ended too, as with any error; Next returns the same one
// from then on. One goroutine at a time may call it.
//
// It is to be called again soon. FreeSWITCH keeps 100,000 events for a client
// that does not read, and loses what comes after without telling the client. When
// it has lost over 500 in a row it ends the connection, and while it tries to say
// so all its clients wait (mod_event_socket.c: event_handler, kill_listener). Of
// a message that it cannot send for ten minutes it leaves out the rest, and goes
// on with the next one (switch_apr.c: switch_socket_send).
func (c *Conn) Next(ctx context.Context) (matcher.Event, error) {
	var e matcher.Event
	if err := c.until(ctx, func() (err error) { e, err = c.next(); return err }); err != nil {
		return matcher.Event{}, err
	}
	return e, nil
}

func (c *Conn) next() (matcher.Event, error) {
	for {
		_ = c.conn.SetReadDeadline(time.Now().Add(SilenceTimeout))
		switch _, err := c.reader.in.Peek(1); {
		case errors.Is(err, ErrStalled) && !c.asked:
			if err := c.send(c.ask); err != nil {
				return matcher.Event{}, err
			}
			c.asked = true
			continue
		case err != nil:
			return matcher.Event{}, err
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(MessageTimeout))
		m, err := c.reader.next()
		switch {
		case err != nil || m.kind == plainEvent:
			return m.event, err
		case m.kind == reply && !m.ok:
			return matcher.Event{}, broken("the subscription is not taken any more")
		case m.kind == reply:
			c.asked = false
		}
	}
}

// Close ends the connection. A Next that waits returns an error that wraps
// net.ErrClosed. It may be called from any goroutine, and more than once.
func (c *Conn) Close() error {
	if err := c.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// A stream tells errors of the network as those of this package.
type stream struct{ net.Conn }

func (s stream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	return n, explain(err)
}

func (s stream) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	return n, explain(err)
}

func explain(err error) error {
	switch {
	case err == nil, errors.Is(err, net.ErrClosed):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrStalled, err)
	}
	return fmt.Errorf("%w: %w", ErrEnded, err)
}
