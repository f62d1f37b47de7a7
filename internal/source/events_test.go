package source_test

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"band/internal/doctor"
	"band/internal/eventsocket/eventsockettest"
	"band/internal/source"
)

// events starts to read an event socket, and returns the batches and who ends it.
func events(t *testing.T, socket *eventsockettest.Server, password func() (string, error)) (*source.Events, *doctor.Board, chan source.Batch) {
	t.Helper()
	board := doctor.NewBoard(slog.New(slog.DiscardHandler), time.Now)
	e := source.NewEvents(source.EventsConfig{
		Address: netip.MustParseAddrPort(socket.Address), Name: "socket", Events: []string{"verto::login"}, Password: password,
		Log: slog.New(slog.DiscardHandler), Board: board,
	})
	ctx, cancel := context.WithCancel(context.Background())
	batches, ended := make(chan source.Batch), make(chan error, 1)
	go func() { ended <- e.Run(ctx, batches) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return e, board, batches
}

func next(t *testing.T, batches chan source.Batch) source.Batch {
	t.Helper()
	select {
	case b := <-batches:
		return b
	case <-time.After(20 * time.Second):
		t.Fatal("no batch came")
		panic("not reached")
	}
}

// Each event is a record of the moment at which it came, and each change is told.
func TestEvents(t *testing.T) {
	t.Parallel()
	socket := eventsockettest.Start(t, eventsockettest.Config{})
	e, board, batches := events(t, socket, func() (string, error) { return "ClueCon", nil })
	if b := next(t, batches); !b.CaughtUp || e.State() != source.Open || e.Since().IsZero() {
		t.Fatalf("at the start: %+v, state %v, since %v", b, e.State(), e.Since())
	}
	<-e.Ready()
	began := time.Now()
	socket.Send(eventsockettest.Event(time.Unix(0, 0), "verto::login", "verto_login", "x"))
	b := next(t, batches)
	if len(b.Records) != 1 || b.Records[0].Time.Before(began) || !b.Records[0].Sealed || string(b.Records[0].Text) != "verto::login verto_login=x" {
		t.Errorf("an event: %+v", b)
	}
	socket.Drop()
	if b := next(t, batches); !b.CaughtUp || e.State() != source.Unreadable || !e.Since().IsZero() {
		t.Errorf("when it is lost: %+v, state %v, since %v", b, e.State(), e.Since())
	}
	if found := board.Findings(); len(found) != 1 || found[0].Kind != doctor.SourceUnreadable {
		t.Errorf("when it is lost: %v", found)
	}
	if b := next(t, batches); !b.CaughtUp || e.State() != source.Open || len(board.Findings()) != 0 {
		t.Errorf("when it is there again: %+v, state %v, findings %v", b, e.State(), board.Findings())
	}
}

// A password that cannot be read, since what it is in hangs, keeps nobody waiting.
func TestPasswordHangs(t *testing.T) {
	t.Parallel()
	hangs := make(chan struct{})
	socket := eventsockettest.Start(t, eventsockettest.Config{})
	e, board, batches := events(t, socket, func() (string, error) { <-hangs; return "ClueCon", nil })
	if b := next(t, batches); !b.CaughtUp || e.State() != source.Unreadable || len(board.Findings()) != 1 {
		t.Errorf("while it hangs: %+v, state %v, findings %v", b, e.State(), board.Findings())
	}
	<-e.Ready()
	close(hangs)
	if b := next(t, batches); !b.CaughtUp || e.State() != source.Open {
		t.Errorf("when it was read: %+v, state %v", b, e.State())
	}
}
