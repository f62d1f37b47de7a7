package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

const (
	medianLatency = "from write(2) to the element, p50, ms"
	worseLatency  = "from write(2) to the element, p90, ms"
	worstLatency  = "from write(2) to the element, p99, ms"
	oneFlush      = "one netlink flush"
)

// latency writes one host's failures at a time, by one write(2) that bans it, and
// waits for the element. The pauses between are random, lest they beat with a
// daemon's own rhythm.
func (b *bench) latency(ctx context.Context) error {
	for _, p := range b.peers() {
		for range b.runsOf(p) {
			if err := b.attempt(ctx, p); err != nil {
				return fmt.Errorf("%s: %w", p.name(), err)
			}
		}
	}
	for range b.runs {
		took, err := b.flushes(ctx)
		if err != nil {
			return err
		}
		b.addLatencies(oneFlush, took)
	}
	return nil
}

func (b *bench) attempt(ctx context.Context, p peer) (err error) {
	s, err := b.stand(ctx, p, retries)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	random := rand.New(rand.NewPCG(1, 2))
	var took []float64
	for i, host := range hosts(2 * (b.attempts + 1))[:b.attempts+1] { // IPv4: of IPv6 the /64 is banned
		if err := pause(ctx, 100*time.Millisecond+time.Duration(random.Int64N(int64(time.Second)))); err != nil {
			return err
		}
		text := failuresOf([]netip.Addr{host}, retries)
		begin := time.Now()
		if err := appendTo(s.log(), text); err != nil {
			return err
		}
		at, err := s.watch.came(ctx, host)
		if err != nil {
			return err
		}
		if i > 0 { // the first ban makes what the others use
			took = append(took, at.Sub(begin).Seconds()*1000)
		}
	}
	b.addLatencies(p.name(), took)
	return nil
}

func (b *bench) addLatencies(who string, took []float64) {
	b.add("latency", medianLatency, who, quantile(took, 0.5))
	b.add("latency", worseLatency, who, quantile(took, 0.9))
	b.add("latency", worstLatency, who, quantile(took, 0.99))
}
