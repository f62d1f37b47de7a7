package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"band/internal/doctor"
	"band/internal/eventsocket"
	"band/matcher"
)

// EventsConfig says which event socket of FreeSWITCH to read.
type EventsConfig struct {
	Address netip.AddrPort
	Name    string   // of the source, in batches and findings
	Events  []string // their names
	// Password returns the password. It may take a while, and is asked for anew with
	// each connection.
	Password func() (string, error)
	// Optional says that there need not be an event socket: that there is none is
	// only worth a finding once there was one.
	Optional bool

	Log   *slog.Logger
	Board *doctor.Board
}

// Events reads the events of FreeSWITCH's event socket. What happens while it is not
// connected it never sees.
type Events struct {
	config EventsConfig
	state  atomic.Int32              // a State
	since  atomic.Pointer[time.Time] // when it was connected; nil: it is not
	seen   bool                      // it was connected once
	asked  chan answer               // for the password, which did not come yet
	ready  chan struct{}
	found  func() // closes ready, once
}

// NewEvents returns Events that are not connected.
func NewEvents(c EventsConfig) *Events {
	ready := make(chan struct{})
	return &Events{config: c, ready: ready, found: sync.OnceFunc(func() { close(ready) })}
}

// State tells whether the event socket is connected. It is safe for concurrent use.
func (e *Events) State() State { return State(e.state.Load()) }

// Since returns since when it is connected, and the zero Time while it is not. It is
// safe for concurrent use.
func (e *Events) Since() time.Time {
	if since := e.since.Load(); since != nil {
		now := time.Now()
		return now.Add(-now.Sub(*since)).Round(0) // by the clock as it is set now
	}
	return time.Time{}
}

// Backlog returns none: FreeSWITCH does not tell how many events wait.
func (e *Events) Backlog() Backlog { return Backlog{} }

// Ready is closed when it is known whether there is an event socket.
func (e *Events) Ready() <-chan struct{} { return e.ready }

// dialTimeout is how long FreeSWITCH has to let us in: the logs wait for it.
const dialTimeout = 5 * time.Second

// How long it waits before it tries again: twice as long each time.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// Run reads until ctx ends, and connects again as often as it must. A Batch that is
// caught up tells each change of State.
func (e *Events) Run(ctx context.Context, out chan<- Batch) error {
	pause := firstRetry
	for ctx.Err() == nil {
		began, before := time.Now(), e.State()
		err := e.connect(ctx, out)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > lastRetry {
			pause = firstRetry
		}
		was := e.State()
		if e.lost(err, pause); e.State() != before || was != before {
			e.send(ctx, out, Batch{CaughtUp: true})
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, lastRetry)
	}
	e.since.Store(nil)
	return nil
}

// connect reads one connection to its end, and returns why it ended.
func (e *Events) connect(ctx context.Context, out chan<- Batch) error {
	dialing, cancel := context.WithTimeoutCause(ctx, dialTimeout, eventsocket.ErrStalled)
	conn, err := eventsocket.Dial(dialing, eventsocket.Config{
		Address: e.config.Address.String(), Events: e.config.Events,
		Password: func() (string, error) { return e.password(dialing) },
	})
	cancel()
	if err != nil {
		return err
	}
	defer conn.Close()
	e.opened()
	if !e.send(ctx, out, Batch{CaughtUp: true}) {
		return nil
	}
	for {
		event, err := conn.Next(ctx)
		if err != nil {
			return err
		}
		record := event.Record()
		// FreeSWITCH keeps a clock of its own, and events come as they happen.
		record.Time = time.Now()
		if !e.send(ctx, out, Batch{Records: []matcher.Record{record}}) {
			return nil
		}
	}
}

var errNoPassword = errors.New("it cannot be read")

// An answer is what Password returned.
type answer struct {
	password string
	err      error
}

// password asks for the password, but not for longer than ctx. What it is read from
// may hang, as a network file system does, and cannot be interrupted: then the next
// connection waits for the same answer, and nobody else does.
func (e *Events) password(ctx context.Context) (string, error) {
	if e.asked == nil {
		e.asked = make(chan answer, 1)
		go func(asked chan<- answer) {
			password, err := e.config.Password()
			asked <- answer{password, err}
		}(e.asked)
	}
	select {
	case a := <-e.asked:
		e.asked = nil
		if a.err != nil {
			return "", fmt.Errorf("%w: %w", errNoPassword, a.err)
		}
		return a.password, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%w: what it is read from hangs", errNoPassword)
	}
}

// send sends a batch, and reports whether it could before ctx ended.
func (e *Events) send(ctx context.Context, out chan<- Batch, b Batch) bool {
	b.Source = e.config.Name
	select {
	case out <- b:
		return true
	case <-ctx.Done():
		return false
	}
}

func (e *Events) opened() {
	now := time.Now()
	e.since.Store(&now)
	e.state.Store(int32(Open))
	e.seen = true
	e.found()
	c := &e.config
	c.Log.Info("source opened", "source", c.Name, "events", c.Events)
	c.Board.Clear(doctor.SourceMissing, "", c.Name)
	c.Board.Clear(doctor.SourceUnreadable, "", c.Name)
}

// lost tells that there is no connection, and why.
func (e *Events) lost(err error, pause time.Duration) {
	e.since.Store(nil)
	c := &e.config
	var dial *net.OpError
	absent := errors.As(err, &dial) && dial.Op == "dial"
	if absent {
		e.state.Store(int32(Missing))
	} else {
		e.state.Store(int32(Unreadable))
	}
	e.found()
	if absent && c.Optional && !e.seen {
		return
	}
	f := doctor.Finding{
		Kind: doctor.SourceUnreadable, Severity: doctor.Error, Source: c.Name,
		Text:   fmt.Sprintf("%v; until it is read, only logs tell of failures", err),
		Remedy: "look at FreeSWITCH's log; it is tried again until it works",
	}
	switch {
	case absent:
		f.Kind, f.Severity = doctor.SourceMissing, doctor.Warning
		f.Text = fmt.Sprintf("nobody can be reached there (%v); until then only logs tell of failures", dial.Err)
		f.Remedy = "nothing to do if FreeSWITCH was not started yet; otherwise load mod_event_socket, and look at listen-ip and listen-port in its event_socket.conf.xml"
	case errors.Is(err, errNoPassword):
		f.Remedy = "write it into the password_file that the jail names; or name none, and let band read FreeSWITCH's configuration (freeswitch in band.toml tells where)"
	case errors.Is(err, eventsocket.ErrPassword):
		f.Remedy = "where the jail names a password_file, write FreeSWITCH's password into it; where it does not, FreeSWITCH runs with another one than its event_socket.conf.xml says: fs_cli -x \"reload mod_event_socket\""
	case errors.Is(err, eventsocket.ErrACL):
		f.Remedy = "let apply-inbound-acl in event_socket.conf.xml admit this machine, as loopback.auto does; then reload mod_event_socket"
	case errors.Is(err, eventsocket.ErrProtocol):
		f.Remedy = "look who listens there; correct the address in the jail if it is not FreeSWITCH"
	case errors.Is(err, eventsocket.ErrEnded):
		f.Severity, f.Remedy = doctor.Warning, "nothing to do if FreeSWITCH was stopped; otherwise look at its log"
	}
	for _, kind := range []doctor.Kind{doctor.SourceMissing, doctor.SourceUnreadable} {
		if kind != f.Kind {
			c.Board.Clear(kind, "", c.Name)
		}
	}
	c.Board.Raise(f)
	c.Log.Debug("event socket not connected", "source", c.Name, "error", err, "again_in", pause)
}
