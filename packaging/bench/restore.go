package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	untilEnforced = "from the start until all bans are enforced, s"
	unprotected   = "unprotected at a restart, s"
	leastBans     = "bans in the kernel at a restart, at least"
	bansMemory    = "memory with these bans, MiB"
	startMemory   = "memory at the start, at most, MiB"
	oneTable      = "one netlink transaction"
	extrapolated  = "fail2ban, extrapolated"
)

// restore starts a peer that has many bans: with what it left in the kernel, and
// with nothing there, as after a boot.
func (b *bench) restore(ctx context.Context) error {
	for _, p := range b.peers() {
		n := b.bans
		if p.name() == fail2banName {
			n = b.peerBans
		}
		if err := b.restarts(ctx, p, n); err != nil {
			return fmt.Errorf("%s: %w", p.name(), err)
		}
	}
	for range b.runs {
		took, err := b.flush(ctx, b.bans)
		if err != nil {
			return err
		}
		b.add("restore", untilEnforced, oneTable, took)
	}
	return nil
}

func (b *bench) restarts(ctx context.Context, p peer, n int) (err error) {
	const once = 1
	r, w, err := b.prepare(ctx, p, once)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close(), r.close()) }()
	if err := appendTo(r.log(), nil); err != nil {
		return err
	}
	d, err := start(ctx, r, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	hosts := hosts(n)
	b.say("%s gets %s bans", p.name(), digits(n))
	if err := appendTo(r.log(), failuresOf(hosts, once)); err != nil {
		return err
	}
	if _, err := w.all(ctx, n, 10*time.Minute); err != nil {
		return err
	}
	if err := w.listed(); err != nil {
		return err
	}
	who := p.name()
	outside, err := b.outside(ctx, r, hosts[n/2])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, outside.close()) }()

	for range b.runsOf(p) {
		probe, err := outside.probe(ctx, r, hosts[n/2])
		if err != nil {
			return err
		}
		w.forgetLeast()
		if err := d.stop(); err != nil {
			return errors.Join(err, probe.end())
		}
		next, err := start(ctx, r, p)
		if err != nil {
			return errors.Join(err, probe.end())
		}
		d = next
		_, err = w.all(ctx, n, 10*time.Minute)
		if err := errors.Join(err, probe.end()); err != nil {
			return err
		}
		b.add("restore", unprotected, who, probe.passed().Seconds())
		b.add("restore", leastBans, who, float64(w.forgetLeast()))

		if err := d.stop(); err != nil {
			return err
		}
		if _, err := r.run(ctx, "nft", "flush", "ruleset"); err != nil {
			return err
		}
		if _, err := w.all(ctx, 0, patience); err != nil {
			return err
		}
		begin := time.Now()
		if next, err = launch(ctx, r, p); err != nil {
			return err
		}
		d = next
		last, err := w.all(ctx, n, 10*time.Minute)
		if err != nil {
			return err
		}
		b.add("restore", untilEnforced, fmt.Sprintf("%s, %s bans", who, number(float64(n))), last.Sub(begin).Seconds())
		if n < b.bans {
			first := w.first()
			each := last.Sub(first).Seconds() / float64(n-1)
			b.add("restore", untilEnforced, extrapolated, first.Sub(begin).Seconds()+each*float64(b.bans))
		}
		if err := d.await(ctx); err != nil {
			return err
		}
		if err := pause(ctx, b.quiet/2); err != nil {
			return err
		}
		now, most, err := d.memory()
		if err != nil {
			return err
		}
		b.add("restore", bansMemory, who, now)
		b.add("restore", startMemory, who, most)
	}
	return nil
}
