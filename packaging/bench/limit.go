package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
)

// bare is a table with one set for each family, as banned addresses need it.
type bare struct {
	*nftables.Conn
	four, six *nftables.Set
}

// netlinkBuffer holds a transaction with 100,000 elements.
const netlinkBuffer = 64 << 20

// bare makes the table in a room.
func (r *room) bare() (*bare, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(int(r.ns)), nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetReadBuffer(netlinkBuffer), c.SetWriteBuffer(netlinkBuffer))
	}))
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	table := conn.AddTable(&nftables.Table{Name: "bare", Family: nftables.TableFamilyINet})
	b := &bare{
		conn,
		&nftables.Set{Table: table, Name: "ip4", KeyType: nftables.TypeIPAddr, HasTimeout: true, Counter: true},
		&nftables.Set{Table: table, Name: "ip6", KeyType: nftables.TypeIP6Addr, HasTimeout: true, Counter: true},
	}
	err = errors.Join(conn.AddSet(b.four, nil), conn.AddSet(b.six, nil), conn.Flush())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a table: %w", err), conn.CloseLasting())
	}
	return b, nil
}

// ban adds hosts in one transaction and returns how long that took.
func (b *bare) ban(hosts []netip.Addr) (time.Duration, error) {
	const message = 1000 // elements of which one message has room
	six := slices.IndexFunc(hosts, netip.Addr.Is6)
	if six < 0 {
		six = len(hosts)
	}
	begin := time.Now()
	for set, hosts := range map[*nftables.Set][]netip.Addr{b.four: hosts[:six], b.six: hosts[six:]} {
		for some := range slices.Chunk(hosts, message) {
			elements := make([]nftables.SetElement, len(some))
			for i, host := range some {
				elements[i] = nftables.SetElement{Key: host.AsSlice(), Timeout: time.Hour}
			}
			if err := b.SetAddElements(set, elements); err != nil {
				return 0, fmt.Errorf("add elements: %w", err)
			}
		}
	}
	if err := b.Flush(); err != nil {
		return 0, fmt.Errorf("add elements: %w", err)
	}
	return time.Since(begin), nil
}

// flushes measures transactions of one element, in ms.
func (b *bench) flushes(ctx context.Context) (took []float64, err error) {
	r, err := b.room(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	table, err := r.bare()
	if err != nil {
		return nil, err
	}
	defer table.CloseLasting()
	all := hosts(10 * b.attempts)
	for i := range all {
		one, err := table.ban(all[i : i+1])
		if err != nil {
			return nil, err
		}
		took = append(took, one.Seconds()*1000)
	}
	return took, ctx.Err()
}

// flush measures one transaction of many elements, in s.
func (b *bench) flush(ctx context.Context, n int) (took float64, err error) {
	r, err := b.room(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	table, err := r.bare()
	if err != nil {
		return 0, err
	}
	defer table.CloseLasting()
	one, err := table.ban(hosts(n))
	return one.Seconds(), err
}
