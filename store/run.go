package store

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	lazySync   = time.Second // how long batches without Ban, Lift or Allow may wait for fsync
	slowAfter  = time.Second // what a write or fsync must not take
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
	minOutgrow = 4 << 20 // a smaller log asks for no snapshot
)

// writer is what Run knows beyond the Store.
type writer struct {
	*Store
	lines   *encoder
	written uint64 // batches in the log, as Store.appended counts
	dirty   bool   // some of them not synced
	lazy    <-chan time.Time
	health  Health // as last reported
	pause   time.Duration
	retry   <-chan time.Time
	asked   bool // for a snapshot, since the log outgrew
	flying  *snapshot
	landed  chan landing
}

// landing is the outcome of writing a snapshot.
type landing struct {
	size int64
	err  error
}

// Run writes what is appended until ctx ends; then it writes and syncs what is
// left and returns. The error says that the files lack something by then. It
// is called once.
func (s *Store) Run(ctx context.Context) error {
	w := &writer{Store: s, lines: newEncoder(), landed: make(chan landing, 1)}
	for {
		w.drain()
		select {
		case <-s.wake:
		case <-w.lazy:
			w.flush(true)
		case l := <-w.landed:
			w.land(l)
		case <-w.retry:
			s.signal(s.wants)
		case <-ctx.Done():
			return w.stop()
		}
	}
}

func (w *writer) stop() error {
	w.drain()
	for w.flying != nil {
		w.land(<-w.landed)
		w.drain()
	}
	if w.dirty {
		w.flush(true)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	lost := w.lost
	w.drop(errClosed)
	if lost != nil {
		return fmt.Errorf("the state on the disk is not complete: %w", lost)
	}
	return nil
}

// drain does all that is queued, with one fsync for what came while the last
// one ran.
func (w *writer) drain() {
	for {
		w.mu.Lock()
		items, waiting, lost := w.queue, len(w.waiters) > 0, w.lost
		w.queue, w.weight = nil, 0
		w.mu.Unlock()
		switch {
		case lost != nil && w.health.Err == nil: // since Append or Open saw it
			w.fail(lost)
		case len(items) > 0:
			w.do(items, waiting)
		case waiting && w.dirty:
			w.flush(true)
		default:
			return
		}
	}
}

func (w *writer) do(items []item, waiting bool) {
	urgent := waiting
	for _, i := range items {
		if i.snapshot != nil {
			if !w.flush(urgent) || !w.launch(i.snapshot) {
				return
			}
			continue
		}
		w.disk.encode(w.lines, i.batch)
		w.written++
		urgent = urgent || i.batch.urgent()
		if w.lines.buf.Len() >= chunk {
			if !w.flush(urgent) {
				return
			}
			urgent = waiting
		}
	}
	w.flush(urgent)
}

// flush writes the encoded lines, and if they are urgent syncs the log. It
// says whether the log is good.
func (w *writer) flush(urgent bool) bool {
	if w.lines.buf.Len() == 0 && !(urgent && w.dirty) {
		return true
	}
	n, begin := w.lines.buf.Len(), time.Now()
	err := w.watched(func() error {
		if n > 0 {
			w.dirty = true
			if err := w.disk.append(w.lines.buf.Bytes()); err != nil {
				return err
			}
			w.lines.buf.Reset()
		}
		if !urgent {
			return nil
		}
		return w.disk.log.Sync()
	})
	if err != nil {
		w.fail(fmt.Errorf("write state: %w", err))
		return false
	}
	w.measure(func(s *Stats) {
		s.Written += uint64(n)
		if urgent {
			s.Syncs.add(time.Since(begin))
		}
	})
	if urgent {
		w.settle(w.written)
	} else if w.lazy == nil {
		w.lazy = time.After(lazySync)
	}
	if !w.asked && w.disk.size > max(minOutgrow, 2*w.disk.snapSize) {
		w.asked = true
		w.signal(w.wants)
	}
	return true
}

// settle takes note that the first n batches are on stable storage, and with
// them all that the log holds.
func (w *writer) settle(n uint64) {
	w.dirty, w.lazy = false, nil
	w.mu.Lock()
	defer w.mu.Unlock()
	w.durable = n
	w.waiters = slices.DeleteFunc(w.waiters, func(s waiter) bool {
		if s.appended <= n {
			s.done <- nil
		}
		return s.appended <= n
	})
}

// launch begins to write a snapshot. While that goes on the log goes on too,
// unless it is broken: then what follows waits.
func (w *writer) launch(s *snapshot) bool {
	if w.flying != nil {
		w.land(<-w.landed)
	}
	d := &w.disk
	if s.gap {
		d.broken = true
	}
	if d.broken {
		w.written = s.appended
	} else {
		s.covers = d.size
	}
	w.flying = s
	m := mark{Band: "state", Version: version, Generation: d.generation + 1, Covers: s.covers, Written: stamp(d.now())}
	go func() {
		size, err := d.writeSnapshot(s.state, m)
		w.landed <- landing{size, err}
	}()
	if d.broken {
		w.land(<-w.landed)
	}
	return !d.broken
}

// land puts the written snapshot in force.
func (w *writer) land(l landing) {
	s, d := w.flying, &w.disk
	w.flying = nil
	if l.err == nil && d.broken && s.covers > 0 {
		return // the log failed meanwhile; a newer snapshot is being asked for
	}
	if l.err == nil {
		l.err = w.watched(func() error { return d.adopt(l.size, s.covers) })
	}
	switch {
	case l.err == nil:
		w.measure(func(s *Stats) { s.Snapshots++ })
		w.settle(w.written)
		w.asked, w.pause, w.retry = false, 0, nil
		if w.health.Err != nil {
			w.report(Health{})
		}
	case d.broken:
		w.fail(fmt.Errorf("write snapshot: %w", l.err))
	default: // the log still holds everything
		w.sick(fmt.Errorf("write snapshot: %w", l.err))
	}
}

// fail goes on without the disk.
func (w *writer) fail(err error) {
	w.disk.broken = true
	w.dirty, w.lazy = false, nil
	w.lines.buf.Reset()
	w.mu.Lock()
	w.drop(err)
	w.mu.Unlock()
	w.sick(err)
}

// sick reports an error once and has a snapshot asked for after a while.
func (w *writer) sick(err error) {
	if w.health.Err == nil {
		w.report(Health{Err: err})
	}
	w.pause = min(max(2*w.pause, firstRetry), lastRetry)
	w.retry = time.After(w.pause)
}

func (w *writer) report(h Health) {
	w.health = h
	w.onHealth(h)
}

// watched runs what may wait for the disk. It tells of slowness while it lasts
// too, since a hanging disk may never answer.
func (w *writer) watched(op func() error) error {
	told := make(chan struct{})
	timer := time.AfterFunc(slowAfter, func() {
		defer close(told)
		w.slow(slowAfter)
	})
	begin := time.Now()
	err := op()
	took := time.Since(begin)
	if !timer.Stop() {
		<-told
	}
	switch {
	case err != nil:
	case took >= slowAfter:
		w.slow(took)
	case w.health.Slow > 0:
		w.report(Health{})
	}
	return err
}

// slow reports slowness, unless there is worse to know.
func (w *writer) slow(d time.Duration) {
	if w.health.Err == nil {
		w.report(Health{Slow: d})
	}
}
