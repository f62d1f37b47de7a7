package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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

// crowd makes a stand at which a peer has banned many hosts.
func (b *bench) crowd(ctx context.Context, p peer, n int) (*stand, []netip.Addr, error) {
	const once = 1
	s, err := b.stand(ctx, p, once)
	if err != nil {
		return nil, nil, err
	}
	hosts := hosts(n)
	b.say("%s gets %s bans", p.name(), digits(n))
	if err = appendTo(s.log(), failuresOf(hosts, once)); err == nil {
		_, err = s.watch.all(ctx, n, 10*time.Minute)
	}
	if err == nil {
		err = s.watch.listed()
	}
	if err != nil {
		return nil, nil, errors.Join(err, s.close())
	}
	return s, hosts, nil
}

// stopAndFlush leaves nothing of the daemon in the kernel, as a boot does.
func (s *stand) stopAndFlush(ctx context.Context) error {
	if err := s.daemon.stop(); err != nil {
		return err
	}
	if _, err := s.run(ctx, "nft", "flush", "ruleset"); err != nil {
		return err
	}
	_, err := s.watch.all(ctx, 0, patience)
	return err
}

func (b *bench) restarts(ctx context.Context, p peer, n int) (err error) {
	s, hosts, err := b.crowd(ctx, p, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	who := p.name()
	outside, err := b.outside(ctx, s.room, hosts[n/2])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, outside.close()) }()

	for range b.runsOf(p) {
		probe, err := outside.probe(ctx, s.room, hosts[n/2])
		if err != nil {
			return err
		}
		s.watch.forgetLeast()
		if err := s.daemon.stop(); err != nil {
			return errors.Join(err, probe.end())
		}
		next, err := start(ctx, s.room, p)
		if err != nil {
			return errors.Join(err, probe.end())
		}
		s.daemon = next
		_, err = s.watch.all(ctx, n, 10*time.Minute)
		if err := errors.Join(err, probe.end()); err != nil {
			return err
		}
		b.add("restore", unprotected, who, probe.passed().Seconds())
		b.add("restore", leastBans, who, float64(s.watch.forgetLeast()))

		if err := s.stopAndFlush(ctx); err != nil {
			return err
		}
		begin := time.Now()
		if next, err = launch(ctx, s.room, p); err != nil {
			return err
		}
		s.daemon = next
		last, err := s.watch.all(ctx, n, 10*time.Minute)
		if err != nil {
			return err
		}
		b.add("restore", untilEnforced, fmt.Sprintf("%s, %s bans", who, number(float64(n))), last.Sub(begin).Seconds())
		if n < b.bans {
			first := s.watch.first()
			each := last.Sub(first).Seconds() / float64(n-1)
			b.add("restore", untilEnforced, extrapolated, first.Sub(begin).Seconds()+each*float64(b.bans))
		}
		if err := s.daemon.await(ctx); err != nil {
			return err
		}
		if err := pause(ctx, b.quiet/2); err != nil {
			return err
		}
		now, most, err := s.daemon.memory()
		if err != nil {
			return err
		}
		b.add("restore", bansMemory, who, now)
		b.add("restore", startMemory, who, most)
	}
	return nil
}
