package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	bannedPacket = "a banned packet above one dropped before any rule, ns"
	honestPacket = "an honest packet above one without a table of bans, ns"
	wholePacket  = "a packet, sending included, ns"
	ingressName  = "netdev ingress"
)

// A stateful firewall, as most hosts have one, beside all that is measured: it
// makes the kernel track connections.
const firewall = `table inet firewall {
	chain input {
		type filter hook input priority 0; policy accept;
		ct state established,related accept
	}
}
`

// A stream is packets from a host into a room.
type stream struct {
	who string
	fd  int
}

// perRound is how many packets of each stream are sent in a round.
const perRound = 1000

// packets measures what the kernel spends on a packet. The sender is kept on one
// processor, where veth also delivers (the packet goes into that processor's
// backlog, and is worked off when send(2) ends), so that the time of a send is that
// of the whole way. All streams are sent in turn, a little at a time; that of the
// least disturbed round counts.
func (b *bench) packets(ctx context.Context) (err error) {
	var s street
	defer func() { err = errors.Join(err, s.close()) }()
	hosts := hosts(b.bans)
	banned := hosts[len(hosts)/2]
	plain, err := b.room(ctx)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, plain.close)
	if err := plain.nft(ctx, firewall); err != nil {
		return err
	}
	if err := b.enter(ctx, &s, plain, banned, "no table"); err != nil {
		return err
	}
	for _, in := range []struct {
		who  string
		make func(context.Context, *street, []netip.Addr) (*room, error)
	}{{bandName, b.roomOfBand}, {fail2banName, b.roomOfFail2ban}, {ingressName, b.roomOfIngress}} {
		r, err := in.make(ctx, &s, hosts)
		if err == nil {
			err = b.enter(ctx, &s, r, banned, in.who)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", in.who, err)
		}
	}
	for range b.runs {
		cost, err := b.send(ctx, s.streams)
		if err != nil {
			return err
		}
		for _, s := range s.streams {
			b.add("packets", wholePacket, s.who, cost[s.who])
		}
		for _, who := range []string{bandName, fail2banName, ingressName} {
			b.add("packets", bannedPacket, who, cost["banned, "+who]-cost["floor"])
			b.add("packets", honestPacket, who, cost["honest, "+who]-cost["honest, no table"])
		}
	}
	for _, of := range []struct{ name, title, who string }{
		{"banned", "Banned packets, sending included", "banned, " + bandName},
		{"honest", "Honest packets, sending included", "honest, " + bandName},
	} {
		only := slices.DeleteFunc(slices.Clone(s.streams), func(s stream) bool { return s.who != of.who })
		if err := b.sampled(ctx, os.Getpid(), of.name, of.title, func() error {
			_, err := b.send(ctx, only)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// A street is rooms with streams into them.
type street struct {
	streams []stream
	closers []func() error
}

func (s *street) close() (err error) {
	for _, c := range slices.Backward(s.closers) {
		err = errors.Join(err, c())
	}
	return err
}

// enter opens the streams into a room: from an honest host, and from a banned one,
// or where none is banned to somebody else. Each must do as it should.
func (b *bench) enter(ctx context.Context, s *street, r *room, banned netip.Addr, who string) error {
	o, err := b.outside(ctx, r, banned)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, o.close)
	if who == ingressName {
		if err := r.nft(ctx, ingressChain); err != nil {
			return err
		}
	}
	conn, err := r.listen()
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.closers = append(s.closers, conn.Close)
	others := stream{who: "banned, " + who}
	from, to := banned, inner
	if who == "no table" {
		others.who, from, to = "floor", outer, nobody
	}
	honest := stream{who: "honest, " + who}
	for _, one := range []struct {
		stream
		from, to netip.Addr
		passes   bool
	}{{honest, outer, inner, true}, {others, from, to, false}} {
		if one.fd, err = o.socket(one.from, one.to); err != nil {
			return err
		}
		s.closers = append(s.closers, func() error { return unix.Close(one.fd) })
		s.streams = append(s.streams, one.stream)
		if passed, err := arrives(one.fd, conn); err != nil || passed != one.passes {
			return errors.Join(err, fmt.Errorf("%s: a packet arrives: %v", one.who, passed))
		}
	}
	return nil
}

// send sends the streams in turn and returns the ns that a packet of each took.
func (b *bench) send(ctx context.Context, streams []stream) (cost map[string]float64, err error) {
	end, err := oneProcessor()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	lost, err := backlogDrops()
	if err != nil {
		return nil, err
	}
	cost = make(map[string]float64)
	packet := make([]byte, 400) // about the size of a REGISTER
	for range b.rounds {
		for _, s := range streams {
			begin := time.Now()
			for range perRound {
				if _, err := unix.Write(s.fd, packet); err != nil {
					return nil, fmt.Errorf("send: %w", err)
				}
			}
			ns := float64(time.Since(begin).Nanoseconds()) / perRound
			if least, ok := cost[s.who]; !ok || ns < least {
				cost[s.who] = ns
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	lostThen, err := backlogDrops()
	if err == nil && lostThen != lost {
		err = errors.New("packets were lost before any rule saw them; give the machine some rest")
	}
	return cost, err
}

// oneProcessor keeps the calling goroutine on one processor until end is called.
func oneProcessor() (end func() error, err error) {
	runtime.LockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, fmt.Errorf("stay on one processor: %w", err)
	}
	for cpu := range len(all) * 64 {
		if all.IsSet(cpu) {
			one.Zero()
			one.Set(cpu) // the last one: the first has the most interrupts
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return nil, fmt.Errorf("stay on one processor: %w", err)
	}
	return func() error {
		defer runtime.UnlockOSThread()
		return unix.SchedSetaffinity(0, &all)
	}, nil
}

// backlogDrops is how many packets any processor's backlog had no room for.
func backlogDrops() (sum int, err error) {
	text, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		return 0, fmt.Errorf("read the drops: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		var processed, dropped int
		if _, err := fmt.Sscanf(line, "%x %x", &processed, &dropped); err != nil {
			return 0, fmt.Errorf("read the drops: %w", err)
		}
		sum += dropped
	}
	return sum, nil
}

// roomOfBand has the rules of a band that banned the hosts, and does not run.
func (b *bench) roomOfBand(ctx context.Context, s *street, hosts []netip.Addr) (*room, error) {
	p := band{b.bin}
	r, w, err := b.prepare(ctx, p, 1)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, r.close, w.close)
	if err := errors.Join(r.nft(ctx, firewall), appendTo(r.log(), failuresOf(hosts, 1))); err != nil {
		return nil, err
	}
	d, err := launch(ctx, r, p)
	if err != nil {
		return nil, err
	}
	_, err = w.all(ctx, len(hosts), patience)
	return r, errors.Join(err, d.stop())
}

// roomOfFail2ban has the rules that fail2ban made for one ban of each family. The
// other bans are added by nft alone: fail2ban would take a quarter of an hour.
func (b *bench) roomOfFail2ban(ctx context.Context, s *street, hosts []netip.Addr) (*room, error) {
	p := fail2ban{}
	r, w, err := b.prepare(ctx, p, 1)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, r.close, w.close)
	if err := errors.Join(r.nft(ctx, firewall), appendTo(r.log(), nil)); err != nil {
		return nil, err
	}
	d, err := start(ctx, r, p)
	if err != nil {
		return nil, err
	}
	err = appendTo(r.log(), failuresOf([]netip.Addr{hosts[0], hosts[len(hosts)-1]}, 1))
	if err == nil {
		_, err = w.all(ctx, 2, patience)
	}
	err = errors.Join(err, d.cmd.Process.Kill()) // else it would remove its rules
	<-d.ended
	if err != nil {
		return nil, err
	}
	sets := map[bool]string{false: "inet f2b-table addr-set-freeswitch", true: "inet f2b-table addr6-set-freeswitch"}
	if err := r.nft(ctx, elements(sets, hosts)); err != nil {
		return nil, err
	}
	_, err = w.all(ctx, len(hosts), patience)
	return r, err
}

// elements is a ruleset that adds hosts to sets, by whether they are IPv6.
func elements(sets map[bool]string, hosts []netip.Addr) string {
	all := make(map[string][]string)
	for _, host := range hosts {
		if set, ok := sets[host.Is6()]; ok {
			all[set] = append(all[set], host.String())
		}
	}
	var text strings.Builder
	for set, hosts := range all {
		for some := range slices.Chunk(hosts, 1000) {
			fmt.Fprintf(&text, "add element %s { %s }\n", set, strings.Join(some, ", "))
		}
	}
	return text.String()
}

// ingressChain is the earliest place at which nftables can drop.
const ingressChain = `add chain netdev ingress arriving { type filter hook ingress device cable priority 0; }
add rule netdev ingress arriving ip saddr @banned drop
`

// roomOfIngress has the hosts in a set; ingressChain needs the cable.
func (b *bench) roomOfIngress(ctx context.Context, s *street, hosts []netip.Addr) (*room, error) {
	r, err := b.room(ctx)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, r.close)
	return r, r.nft(ctx, firewall+"add table netdev ingress\nadd set netdev ingress banned { type ipv4_addr; }\n"+
		elements(map[bool]string{false: "netdev ingress banned"}, hosts))
}

// nft loads a ruleset in the room.
func (r *room) nft(ctx context.Context, ruleset string) error {
	path := r.path("ruleset")
	if err := os.WriteFile(path, []byte(ruleset), 0o644); err != nil {
		return fmt.Errorf("write the ruleset: %w", err)
	}
	_, err := r.run(ctx, "nft", "-f", path)
	return err
}
