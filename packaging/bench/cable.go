package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The addresses at the ends of a cable, and one on it that nobody has: what is
// sent there the kernel drops as not meant for it, before any rule.
var (
	inner  = netip.MustParseAddr("10.9.0.1")
	outer  = netip.MustParseAddr("10.9.0.2")
	nobody = netip.MustParseAddr("10.9.0.3")
)

// sipPort is a port that bans cover.
const sipPort = 5060

// outside makes a second room, joined to r by a cable; its host also has the
// address host. What it sends needs no ARP.
func (b *bench) outside(ctx context.Context, r *room, host netip.Addr) (*room, error) {
	o, err := b.room(ctx)
	if err != nil {
		return nil, err
	}
	script := `set -e
		inside() { ip netns exec %[1]s "$@"; }
		outside() { ip netns exec %[2]s "$@"; }
		inside ip link add cable address 02:00:00:00:00:01 type veth peer name cable address 02:00:00:00:00:02 netns %[2]s
		inside ip address add %[3]s/24 dev cable
		inside ip link set cable up
		inside sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.cable.rp_filter=0
		inside ip route add 198.18.0.0/15 dev cable
		outside ip address add %[4]s/24 dev cable
		outside ip address add %[6]s/32 dev cable
		outside ip link set cable up
		outside ip neighbour replace %[3]s lladdr 02:00:00:00:00:01 dev cable
		outside ip neighbour replace %[5]s lladdr 02:00:00:00:00:03 dev cable
	`
	if _, err := command(ctx, "sh", "-c", fmt.Sprintf(script, r.name, o.name, inner, outer, nobody, host)); err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

// socket opens a UDP socket in the room that sends from one address to another.
func (r *room) socket(from, to netip.Addr) (fd int, err error) {
	err = r.visit(func() error {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open a socket: %w", err)
		}
		err := errors.Join(
			unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}),
			unix.Connect(fd, &unix.SockaddrInet4{Addr: to.As4(), Port: sipPort}))
		if err != nil {
			return errors.Join(fmt.Errorf("connect %s with %s: %w", from, to, err), unix.Close(fd))
		}
		return nil
	})
	return fd, err
}

// listen opens the port that is sent to.
func (r *room) listen() (conn *net.UDPConn, err error) {
	err = r.visit(func() error {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: sipPort})
		return err
	})
	return conn, err
}

// arrives sends one packet and reports whether it came to a port where nothing else
// does.
func arrives(fd int, conn *net.UDPConn) (bool, error) {
	const soon = 300 * time.Millisecond
	if _, err := unix.Write(fd, []byte("x")); err != nil {
		return false, fmt.Errorf("send: %w", err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(soon)); err != nil {
		return false, fmt.Errorf("receive: %w", err)
	}
	_, err := conn.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("receive: %w", err)
	}
	return true, nil
}

// probeEvery is the time between two packets of a probe.
const probeEvery = time.Millisecond

// A probe sends packets of a banned host and counts those that arrive.
type probe struct {
	fd      int
	conn    *net.UDPConn
	stop    chan struct{}
	tasks   sync.WaitGroup
	arrived atomic.Int64
	err     error // of the sender
}

// probe begins to send from a host of this room into another.
func (r *room) probe(ctx context.Context, into *room, host netip.Addr) (*probe, error) {
	conn, err := into.listen()
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	fd, err := r.socket(host, inner)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	p := &probe{fd: fd, conn: conn, stop: make(chan struct{})}
	p.tasks.Go(func() {
		ticker := time.NewTicker(probeEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-p.stop:
				return
			case <-ctx.Done():
				return
			}
			if _, err := unix.Write(p.fd, []byte("x")); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
				p.err = fmt.Errorf("send: %w", err)
				return
			}
		}
	})
	p.tasks.Go(func() {
		for {
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				return // closed
			}
			p.arrived.Add(1)
		}
	})
	return p, nil
}

func (p *probe) end() error {
	close(p.stop)
	err := p.conn.Close()
	p.tasks.Wait()
	return errors.Join(err, p.err, unix.Close(p.fd))
}

// passed is how long packets passed, all in all.
func (p *probe) passed() time.Duration { return time.Duration(p.arrived.Load()) * probeEvery }
