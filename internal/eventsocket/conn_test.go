package eventsocket_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"band/internal/eventsocket"
	"band/internal/eventsocket/eventsockettest"
	"band/matcher"
)

// says answers a command with a text, and all others as FreeSWITCH does.
func says(to, text string) func(string) (string, bool) {
	return func(command string) (string, bool) { return text, command == to }
}

func TestDial(t *testing.T) {
	t.Parallel()
	const auth = "auth ClueCon"
	for _, test := range []struct {
		name     string
		server   eventsockettest.Config
		err      error
		says     string
		commands []string
	}{
		{"OK: right", eventsockettest.Config{}, nil, "", []string{auth, subscribe}},
		{"OK: in chunks", eventsockettest.Config{Seed: 1}, nil, "", []string{auth, subscribe}},
		{"OK: other messages between", eventsockettest.Config{Answer: says(auth, "Content-Type: log/data\nContent-Length: 3\n\na\n\n"+accepted)}, nil, "", []string{auth, subscribe}},
		{"bad: a wrong password", eventsockettest.Config{Password: "other"}, eventsocket.ErrPassword, "", []string{auth}},
		{"bad: not admitted", eventsockettest.Config{Refuse: true}, eventsocket.ErrACL, "", nil},
		{"bad: the subscription is not taken", eventsockettest.Config{Answer: says(subscribe, "Content-Type: command/reply\nReply-Text: -ERR no keywords supplied\n\n")}, eventsocket.ErrProtocol, "subscription", []string{auth, subscribe}},
		{"bad: ended", eventsockettest.Config{Answer: says(auth, eventsockettest.Notice)}, eventsocket.ErrEnded, "", []string{auth}},
		{"bad: HTTP", eventsockettest.Config{Answer: says("", "HTTP/1.1 400 Bad Request\r\n\r\n")}, eventsocket.ErrProtocol, "no field", nil},
		{"bad: a reply of 2 GB", eventsockettest.Config{Answer: says(auth, "Content-Type: command/reply\nContent-Length: 2147483648\n\n")}, eventsocket.ErrProtocol, "over", []string{auth}},
		{"bad: an endless line", eventsockettest.Config{Answer: says("", strings.Repeat("x", 1<<20))}, eventsocket.ErrProtocol, "over", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := eventsockettest.Start(t, test.server)
			c, err := eventsocket.Dial(t.Context(), to(s))
			if !errors.Is(err, test.err) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want %v: %s", err, test.err, test.says)
			}
			if err == nil {
				_ = c.Close()
			}
			if diff := cmp.Diff(test.commands, s.Commands()); diff != "" {
				t.Errorf("what was sent: %s", diff)
			}
		})
	}
}

func TestDialNobody(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	_, err = eventsocket.Dial(t.Context(), eventsocket.Config{Address: address, Events: []string{"HEARTBEAT"}})
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), address) {
		t.Errorf("error %v", err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	broken := errors.New("no such file")
	for _, test := range []struct {
		name     string
		events   []string
		password string
		err      error
		says     string // the error
		commands []string
	}{
		{"OK: a name", []string{"HEARTBEAT"}, "x", nil, "", []string{"auth x", "event plain HEARTBEAT"}},
		{"OK: names before subclasses", []string{"a::b", "HEARTBEAT", "c::d", "SHUTDOWN"}, "x", nil, "", []string{"auth x", "event plain HEARTBEAT SHUTDOWN CUSTOM a::b c::d"}},
		{"OK: a password with spaces", []string{"HEARTBEAT"}, " a b\t%41\xff", nil, "", []string{"auth  a b\t%41\xff", "event plain HEARTBEAT"}},
		{"bad: no events", nil, "x", nil, "no events", nil},
		{"bad: an event without a name", []string{""}, "x", nil, `""`, nil},
		{"bad: a space", []string{"HEARTBEAT ALL"}, "x", nil, `"HEARTBEAT ALL"`, nil},
		{"bad: a newline", []string{"a::b\n\napi shutdown"}, "x", nil, `"a::b\n\napi shutdown"`, nil},
		{"bad: a byte that is no ASCII", []string{"a::\xff"}, "x", nil, "no event", nil},
		{"bad: a password with a newline", []string{"HEARTBEAT"}, "x\n\napi shutdown", nil, "password", nil},
		{"bad: a password with CR", []string{"HEARTBEAT"}, "x\r", nil, "password", nil},
		{"bad: a password with NUL", []string{"HEARTBEAT"}, "x\x00", nil, "password", nil},
		{"bad: no password", []string{"HEARTBEAT"}, "", broken, "password", nil},
	} {
		s := eventsockettest.Start(t, eventsockettest.Config{Password: test.password})
		config := to(s)
		config.Events = test.events
		config.Password = func() (string, error) { return test.password, test.err }
		c, err := eventsocket.Dial(t.Context(), config)
		if err == nil {
			_ = c.Close()
		}
		if (err == nil) != (test.says == "") || !errors.Is(err, test.err) && test.err != nil || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v", test.name, err)
		}
		if diff := cmp.Diff(test.commands, s.Commands()); diff != "" {
			t.Errorf("%s: what was sent: %s", test.name, diff)
		}
	}
}

// TestPasswordIsNotTold has a peer that sends everything back, wherever it can.
func TestPasswordIsNotTold(t *testing.T) {
	t.Parallel()
	const secret = "4711"
	for _, answer := range []string{
		secret, secret + "\n\n", secret + ": x\n\n", "Content-Type: " + secret + "\n", "Content-Length: " + secret + "\n\n",
		"Content-Length: -" + secret + "\n\n", "Content-Length: 1000000" + secret + "\n\n",
		"Content-Type: command/reply\nReply-Text: -ERR " + secret + "\n\n",
		"Content-Type: text/rude-rejection\nContent-Length: 4\n\n" + secret,
		"Content-Type: text/disconnect-notice\nContent-Length: 4\n\n" + secret,
		"Content-Type: text/event-plain\nContent-Length: 4\n\n" + secret,
	} {
		for _, command := range []string{"auth " + secret, subscribe} {
			synctest.Test(t, func(t *testing.T) {
				s := eventsockettest.New(t, eventsockettest.Config{Password: secret, Answer: says(command, answer)})
				config := to(s)
				config.Password = func() (string, error) { return secret, nil }
				_, err := eventsocket.Dial(t.Context(), config)
				if err == nil || strings.Contains(err.Error(), secret) {
					t.Errorf("%q to %q: error %v", answer, command, err)
				}
			})
		}
	}
}

func TestNext(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		s := eventsockettest.Start(t, eventsockettest.Config{Seed: seed})
		c := dial(t, s)
		want := 0
		var stream []byte
		for _, rec := range recordings {
			stream = append(stream, recording(t, rec.name)...)
			want += rec.events
		}
		stream = append(stream, eventsockettest.Event(at, "verto::login", "verto_client_address", "[2001:db8::1]:5060", "verto_login", "a\nb%0A\xff", "empty", "")...)
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Send(stream)
		}()
		var last matcher.Event
		for range want + 1 {
			e, err := c.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			last = e
		}
		<-done
		if last.Name() != "verto::login" || !last.Time.Equal(at) || get(last, "verto_client_address") != "[2001:db8::1]:5060" || get(last, "verto_login") != "a\nb\n\xff" || get(last, "empty") != "_undef_" {
			t.Errorf("%v %s", last.Time, last.Text)
		}
		if diff := cmp.Diff([]string{"auth ClueCon", subscribe}, s.Commands()); diff != "" {
			t.Errorf("what was sent: %s", diff)
		}
	}
}

// TestEnd has connections end in all ways in which a peer can end them.
func TestEnd(t *testing.T) {
	t.Parallel()
	event := string(eventsockettest.Event(at, "verto::login", "verto_login", strings.Repeat("x", 500)))
	for _, test := range []struct {
		name, stream string
		drop         bool
		err          error
	}{
		{"a notice", eventsockettest.Notice, false, eventsocket.ErrEnded},
		{"no notice", "", true, eventsocket.ErrEnded},
		{"in a head", "Content-Type", true, eventsocket.ErrEnded},
		{"in an event", event[:len(event)-10], true, eventsocket.ErrEnded},
		{"a rejection", "Content-Type: text/rude-rejection\n\n", false, eventsocket.ErrACL},
		{"a notice within an event", event[:len(event)/2] + eventsockettest.Notice, true, eventsocket.ErrEnded},
		{"garbage", "\x00\xff\n", false, eventsocket.ErrProtocol},
		{"2 GB", "Content-Length: 2147483648\n\n", false, eventsocket.ErrProtocol},
	} {
		s := eventsockettest.Start(t, eventsockettest.Config{})
		c := dial(t, s)
		s.Send([]byte(event + test.stream))
		if test.drop {
			s.Drop()
		}
		if e, err := c.Next(t.Context()); err != nil || e.Name() != "verto::login" {
			t.Errorf("%s: the event before is %q, %v", test.name, e.Text, err)
		}
		e, err := c.Next(t.Context())
		if !errors.Is(err, test.err) || e.Text != nil {
			t.Errorf("%s: %q, error %v, want %v", test.name, e.Text, err, test.err)
		}
		if _, again := c.Next(t.Context()); again != err {
			t.Errorf("%s: error %v, then %v", test.name, err, again)
		}
	}
}

// TestEndless is one of a peer that never ends a line: the connection does.
func TestEndless(t *testing.T) {
	t.Parallel()
	s := eventsockettest.Start(t, eventsockettest.Config{})
	c := dial(t, s)
	sent := make(chan error)
	go func() { sent <- s.Stream(&endless{"X-", 1 << 40}) }()
	if _, err := c.Next(t.Context()); !errors.Is(err, eventsocket.ErrProtocol) {
		t.Errorf("error %v", err)
	}
	if err := <-sent; err == nil {
		t.Error("all of it was taken")
	}
}

// TestSilence has FreeSWITCH say nothing for a week, which is as it should be,
// and then not answer any more.
func TestSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := eventsockettest.New(t, eventsockettest.Config{Seed: 3})
		c := dial(t, s)
		const week = 7 * 24 * time.Hour
		time.AfterFunc(week+time.Second, func() { s.Send(eventsockettest.Event(at, "verto::login")) })
		if e, err := c.Next(t.Context()); err != nil || e.Name() != "verto::login" {
			t.Fatalf("%q, error %v", e.Text, err)
		}
		commands := s.Commands()
		asked := slices.IndexFunc(commands[2:], func(s string) bool { return s != ask })
		if want := int(week / eventsocket.SilenceTimeout); len(commands) != 2+want || asked >= 0 {
			t.Errorf("%d commands, want %d; %q", len(commands), 2+want, commands[:4])
		}
		s.Silence(true)
		last := time.Now()
		_, err := c.Next(t.Context())
		if waited := time.Since(last); !errors.Is(err, eventsocket.ErrStalled) || waited != 2*eventsocket.SilenceTimeout {
			t.Errorf("error %v after %v", err, waited)
		}
		if n := len(s.Commands()); n != len(commands)+1 {
			t.Errorf("%d commands behind the first silence", n-len(commands))
		}
	})
}

// TestBusy has events come instead of the answer to what was asked: FreeSWITCH
// sends what it has queued first.
func TestBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := eventsockettest.New(t, eventsockettest.Config{})
		c := dial(t, s)
		s.Silence(true)
		for i := range 5 {
			time.AfterFunc(time.Duration(i)*20*time.Second+45*time.Second, func() { s.Send(eventsockettest.Event(at, "verto::login")) })
		}
		for range 5 {
			if _, err := c.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Next(t.Context()); !errors.Is(err, eventsocket.ErrStalled) {
			t.Errorf("error %v", err)
		}
		if diff := cmp.Diff([]string{"auth ClueCon", subscribe, ask}, s.Commands()); diff != "" {
			t.Errorf("what was sent: %s", diff)
		}
	})
}

// slow sends a byte a second.
type slow struct{ text io.Reader }

func (s slow) Read(p []byte) (int, error) {
	<-time.After(time.Second)
	return s.text.Read(p[:1])
}

func TestStall(t *testing.T) {
	t.Parallel()
	event := eventsockettest.Event(at, "verto::login")
	for _, test := range []struct {
		name   string
		answer func(string) (string, bool)
		stream io.Reader // nil: Dial fails
		after  time.Duration
	}{
		{"at the beginning", says("", ""), nil, eventsocket.ReplyTimeout},
		{"in the beginning", says("", "Content-Type"), nil, eventsocket.ReplyTimeout},
		{"at the password", says("auth ClueCon", ""), nil, eventsocket.ReplyTimeout},
		{"at the subscription", says(subscribe, "Content-Type: log/data\nContent-Length: 1000\n\n"), nil, eventsocket.ReplyTimeout},
		{"in an event", nil, bytes.NewReader(event[:len(event)-1]), eventsocket.MessageTimeout},
		{"in a head", nil, strings.NewReader("C"), eventsocket.MessageTimeout},
		{"by a byte a second", nil, slow{bytes.NewReader(event)}, eventsocket.MessageTimeout + time.Second},
		{"in a body", nil, strings.NewReader("Content-Length: 9\nContent-Type: text/event-plain\n\na: b\n\nc"), eventsocket.MessageTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := eventsockettest.New(t, eventsockettest.Config{Answer: test.answer})
				begin := time.Now()
				c, err := eventsocket.Dial(t.Context(), to(s))
				if test.stream != nil {
					if err != nil {
						t.Fatal(err)
					}
					sent := make(chan error)
					go func() { sent <- s.Stream(test.stream) }()
					_, err = c.Next(t.Context())
					defer func() { <-sent }()
				}
				if waited := time.Since(begin); !errors.Is(err, eventsocket.ErrStalled) || waited != test.after {
					t.Errorf("error %v after %v, want it after %v", err, waited, test.after)
				}
			})
		})
	}
}

// TestConnectTimeout has a network that does not answer.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		_, err := eventsocket.Dial(t.Context(), eventsocket.Config{
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
			Events: []string{"HEARTBEAT"},
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != eventsocket.ConnectTimeout {
			t.Errorf("error %v after %v", err, time.Since(begin))
		}
	})
}

func TestCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("stop")
		s := eventsockettest.New(t, eventsockettest.Config{})
		c := dial(t, s)
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(5*time.Second, func() { cancel(stop) })
		begin := time.Now()
		for range 2 {
			if _, err := c.Next(ctx); err != stop || time.Since(begin) != 5*time.Second {
				t.Errorf("Next: %v after %v", err, time.Since(begin))
			}
		}
		s.Silence(true)
		ctx, cancel = context.WithCancelCause(t.Context())
		time.AfterFunc(5*time.Second, func() { cancel(stop) })
		begin = time.Now()
		if _, err := eventsocket.Dial(ctx, to(s)); err != stop || time.Since(begin) != 5*time.Second {
			t.Errorf("Dial: %v after %v", err, time.Since(begin))
		}
	})
}

// TestDialContext: the context of Dial ends, the connection does not.
func TestDialContext(t *testing.T) {
	t.Parallel()
	s := eventsockettest.Start(t, eventsockettest.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	c, err := eventsocket.Dial(ctx, to(s))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	s.Send(eventsockettest.Event(at, "verto::login"))
	if _, err := c.Next(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	s := eventsockettest.Start(t, eventsockettest.Config{})
	c := dial(t, s) // which closes it once more
	next := make(chan error)
	go func() {
		_, err := c.Next(t.Context())
		next <- err
	}()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-next; !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
}
