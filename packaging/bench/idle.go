package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	idleCPU      = "CPU, %"
	idleWakeups  = "wake-ups per s"
	idleSwitches = "voluntary context switches per s"
	memoryNow    = "memory, MiB"
)

// idle watches daemons for whose log nobody writes.
func (b *bench) idle(ctx context.Context) error {
	for _, p := range b.peers() {
		for range b.runsOf(p) {
			if err := b.rest(ctx, p); err != nil {
				return fmt.Errorf("%s: %w", p.name(), err)
			}
		}
	}
	return nil
}

func (b *bench) rest(ctx context.Context, p peer) (err error) {
	s, err := b.stand(ctx, p, retries)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := pause(ctx, settling); err != nil {
		return err
	}
	used, err := s.daemon.cpu()
	if err != nil {
		return err
	}
	begin := time.Now()
	moments, switches, err := s.daemon.wakeups(ctx, b.quiet)
	if err != nil {
		return err
	}
	usedThen, err := s.daemon.cpu()
	if err != nil {
		return err
	}
	now, _, err := s.daemon.memory()
	if err != nil {
		return err
	}
	took := time.Since(begin).Seconds()
	b.add("idle", idleCPU, p.name(), 100*(usedThen-used).Seconds()/took)
	b.add("idle", idleWakeups, p.name(), float64(moments)/took)
	b.add("idle", idleSwitches, p.name(), float64(switches)/took)
	b.add("idle", memoryNow, p.name(), now)
	return nil
}

// wakeups counts for a while the moments at which any thread of the daemon ran, and
// how often all its threads went to sleep: one wake-up of a program of Go, say, is
// several switches, those of its scheduler too.
func (d *daemon) wakeups(ctx context.Context, lasting time.Duration) (moments, switches int, err error) {
	const look = 20 * time.Millisecond
	before, err := d.switches()
	ran := false
	for end := time.Now().Add(lasting); err == nil && time.Now().Before(end); {
		if err = pause(ctx, look); err != nil {
			break
		}
		var now int
		now, err = d.switches()
		if now != before && !ran {
			moments++
		}
		ran = now != before
		switches += now - before
		before = now
	}
	return moments, switches, err
}
