package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	cpuSeconds = "CPU-s"
	idleMemory = "memory idle, MiB"
	peakMemory = "memory at most, MiB"
	writerName = "the writer alone"
	catchingUp = "band, the log there before the start"
)

// follow writes a burst into a log that is followed.
func (b *bench) follow(ctx context.Context) error {
	s := generate(b.lines, b.attackers)
	path := filepath.Join(b.dir, "unread.log")
	for range b.runs {
		begin := time.Now()
		if err := s.write(path); err != nil {
			return err
		}
		b.add("follow", perSecond, writerName, float64(b.lines)/time.Since(begin).Seconds())
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove the log: %w", err)
		}
	}
	for _, p := range b.peers() {
		for range b.runsOf(p) {
			if err := b.burst(ctx, p, s); err != nil {
				return err
			}
		}
	}
	for range b.runs {
		if err := b.catchUp(ctx, band{b.bin}, s); err != nil {
			return err
		}
	}
	return nil
}

// burst starts a peer that waits for the log, and then writes all of it at once.
func (b *bench) burst(ctx context.Context, p peer, s *script) (err error) {
	at, err := b.stand(ctx, p, retries)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	if err := pause(ctx, settling); err != nil {
		return err
	}
	now, _, err := at.daemon.memory()
	if err != nil {
		return err
	}
	b.add("follow", idleMemory, p.name(), now)
	if err := at.daemon.forgetMost(); err != nil {
		return err
	}
	used, err := at.daemon.cpu()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := s.write(at.log()); err != nil {
		return err
	}
	return b.swallowed(ctx, at.daemon, at.watch, s, p.name(), begin, used)
}

// catchUp writes the log before a peer starts, which so need not follow it.
func (b *bench) catchUp(ctx context.Context, p peer, s *script) (err error) {
	r, w, err := b.prepare(ctx, p, retries)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close(), r.close()) }()
	if err := s.write(r.log()); err != nil {
		return err
	}
	begin := time.Now()
	d, err := launch(ctx, r, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	return b.swallowed(ctx, d, w, s, catchingUp, begin, 0)
}

// swallowed waits until all attackers are banned, and notes what that took.
func (b *bench) swallowed(ctx context.Context, d *daemon, w *watch, s *script, who string, begin time.Time, used time.Duration) error {
	last, err := w.all(ctx, len(s.attempts), 10*time.Minute)
	if err != nil {
		return fmt.Errorf("%s: %w", who, err)
	}
	b.add("follow", perSecond, who, float64(b.lines)/last.Sub(begin).Seconds())
	if err := pause(ctx, settling); err != nil { // the disk may lag
		return err
	}
	all, err := d.cpu()
	if err != nil {
		return err
	}
	_, most, err := d.memory()
	if err != nil {
		return err
	}
	b.add("follow", cpuSeconds, who, (all - used).Seconds())
	b.add("follow", peakMemory, who, most)
	return w.listed()
}

// settling is how long a daemon is left alone before it is taken for idle.
const settling = 3 * time.Second
