package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"band/internal/control"
	"band/internal/doctor"
)

// maxWatchers is how many may watch at once: each event is written to all of them.
const maxWatchers = 16

// waitingEvents is how many events wait for one who watches and reads slowly.
const waitingEvents = 1000

// watchers tell those who watch what happens. Nobody waits for them: to one who
// reads too slowly it is told how much he missed. They are safe for concurrent
// use.
type watchers struct {
	mu  sync.Mutex
	all map[*watcher]struct{}
}

type watcher struct {
	events chan control.Event
	missed int // of the owner of watchers.mu
}

func (w *watchers) tell(e control.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.all {
		if one.missed > 0 {
			missed := control.Event{Time: e.Time, Event: control.EventMissed, Text: fmt.Sprintf("%d events", one.missed)}
			select {
			case one.events <- missed:
				one.missed = 0
			default:
			}
		}
		select {
		case one.events <- e:
		default:
			one.missed++
		}
	}
}

// any reports whether somebody watches.
func (w *watchers) any() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all) > 0
}

// add reports whether there was room.
func (w *watchers) add(one *watcher) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.all) == maxWatchers {
		return false
	}
	if w.all == nil {
		w.all = make(map[*watcher]struct{})
	}
	w.all[one] = struct{}{}
	return true
}

func (w *watchers) remove(one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, one)
}

// Watch implements [control.Backend].
func (d *Daemon) Watch(ctx context.Context, begun func() error, see func(control.Event) error) error {
	one := &watcher{events: make(chan control.Event, waitingEvents)}
	if !d.watchers.add(one) {
		return fmt.Errorf("%w: %d watch already", control.ErrRefused, maxWatchers)
	}
	defer d.watchers.remove(one)
	if err := begun(); err != nil {
		return err
	}
	for {
		select {
		case e := <-one.events:
			if err := see(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// finding tells of a finding that begins or ends.
func (d *Daemon) finding(f doctor.Finding, over bool) {
	e := control.Event{Time: d.Now(), Event: control.EventFinding, Jail: f.Jail, Source: f.Source, Text: f.Text}
	if over {
		e.Event = control.EventFindingOver
	}
	d.watchers.tell(e)
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
