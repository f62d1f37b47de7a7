package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A watch knows the bans of a peer that the kernel holds. The kernel tells it of
// each change, so that nothing has to be listed while time is measured.
type watch struct {
	conn  *netlink.Conn
	ns    int
	holds func(table, set string) bool
	ended chan struct{}

	mu    sync.Mutex
	since map[element]time.Time // those that are there
	least int                   // that were there after any transaction
	moved chan struct{}         // closed after each
	err   error
}

type element struct{ table, set, key string }

// watchBuffer holds what the kernel tells of a transaction with 100,000 elements.
const watchBuffer = 256 << 20

// watch begins to watch a room in which p has no bans yet.
func (r *room) watch(p peer) (*watch, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: int(r.ns)})
	if err != nil {
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	if err := errors.Join(conn.SetReadBuffer(watchBuffer), conn.JoinGroup(unix.NFNLGRP_NFTABLES)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	w := &watch{
		conn: conn, ns: int(r.ns), holds: p.holds, ended: make(chan struct{}),
		since: make(map[element]time.Time), moved: make(chan struct{}),
	}
	go w.receive()
	return w, nil
}

func (w *watch) close() error {
	err := w.conn.Close()
	<-w.ended
	return err
}

func (w *watch) receive() {
	defer close(w.ended)
	for {
		messages, err := w.conn.Receive()
		now := time.Now()
		w.mu.Lock()
		if err == nil {
			err = w.take(messages, now)
		}
		if err != nil {
			w.err = fmt.Errorf("watch nftables: %w", err)
			w.move()
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
	}
}

func (w *watch) move() {
	close(w.moved)
	w.moved = make(chan struct{})
}

// Messages of nftables have the subsystem in the upper byte of their type, and
// their attributes behind a struct nfgenmsg (linux/netfilter/nfnetlink.h).
const nfgenmsg = 4

func (w *watch) take(messages []netlink.Message, now time.Time) error {
	for _, m := range messages {
		if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || len(m.Data) < nfgenmsg {
			continue
		}
		var err error
		switch what := m.Header.Type & 0xff; what {
		case unix.NFT_MSG_NEWGEN: // the end of a transaction
			w.least = min(w.least, len(w.since))
			w.move()
		case unix.NFT_MSG_NEWSETELEM, unix.NFT_MSG_DELSETELEM:
			err = w.elements(m.Data[nfgenmsg:], what == unix.NFT_MSG_NEWSETELEM, now)
		case unix.NFT_MSG_DELSET:
			err = w.gone(m.Data[nfgenmsg:], unix.NFTA_SET_TABLE, unix.NFTA_SET_NAME)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *watch) elements(data []byte, added bool, now time.Time) error {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return err
	}
	var e element
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_SET_ELEM_LIST_TABLE:
			e.table = ad.String()
		case unix.NFTA_SET_ELEM_LIST_SET:
			e.set = ad.String()
		case unix.NFTA_SET_ELEM_LIST_ELEMENTS:
			if !w.holds(e.table, e.set) {
				return nil
			}
			ad.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() {
					list.Nested(func(ad *netlink.AttributeDecoder) error {
						key, ok := keyOf(ad)
						if !ok {
							return nil
						}
						e.key = key
						if _, there := w.since[e]; added && !there {
							w.since[e] = now
						} else if !added {
							delete(w.since, e)
						}
						return nil
					})
				}
				return nil
			})
		}
	}
	return ad.Err()
}

// keyOf returns the address of an element, and false for the end of an interval.
func keyOf(ad *netlink.AttributeDecoder) (key string, ok bool) {
	const end = 1 // NFT_SET_ELEM_INTERVAL_END, big-endian
	ok = true
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_SET_ELEM_KEY:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					key = string(ad.Bytes())
				}
				return nil
			})
		case unix.NFTA_SET_ELEM_FLAGS:
			flags := ad.Bytes()
			ok = len(flags) == 4 && flags[3]&end == 0
		}
	}
	return key, ok
}

// gone takes note of a set that was deleted with its elements.
func (w *watch) gone(data []byte, tableAttribute, nameAttribute uint16) error {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return err
	}
	var table, set string
	for ad.Next() {
		switch ad.Type() {
		case tableAttribute:
			table = ad.String()
		case nameAttribute:
			set = ad.String()
		}
	}
	for e := range w.since {
		if e.table == table && e.set == set {
			delete(w.since, e)
		}
	}
	return ad.Err()
}

// until waits until something holds after a transaction; what says how to wait for
// it in vain.
func (w *watch) until(ctx context.Context, limit time.Duration, what string, holds func() bool) error {
	deadline := time.After(limit)
	for {
		w.mu.Lock()
		done, there, moved, err := holds(), len(w.since), w.moved, w.err
		w.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-moved:
		case <-deadline:
			return fmt.Errorf("%s: not within %v; there are %d bans", what, limit, there)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// all waits until so many bans are there and returns when the last of them came.
func (w *watch) all(ctx context.Context, n int, limit time.Duration) (last time.Time, err error) {
	err = w.until(ctx, limit, fmt.Sprint(n, " bans"), func() bool { return len(w.since) == n })
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.since {
		if at.After(last) {
			last = at
		}
	}
	return last, err
}

// came waits for the ban of a host and returns when it came.
func (w *watch) came(ctx context.Context, host netip.Addr) (at time.Time, err error) {
	key := string(host.AsSlice())
	err = w.until(ctx, 30*time.Second, host.String(), func() bool {
		for e, since := range w.since {
			if e.key == key {
				at = since
				return true
			}
		}
		return false
	})
	return at, err
}

// listed counts the bans as the kernel lists them, which what it told must agree
// with.
func (w *watch) listed() error {
	conn, err := nftables.New(nftables.WithNetNSFd(w.ns))
	if err != nil {
		return fmt.Errorf("list the bans: %w", err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		return fmt.Errorf("list the bans: %w", err)
	}
	n := 0
	for _, table := range tables {
		sets, err := conn.GetSets(table)
		if err != nil {
			return fmt.Errorf("list the bans: %w", err)
		}
		for _, set := range sets {
			if !w.holds(table.Name, set.Name) {
				continue
			}
			elements, err := conn.GetSetElements(set)
			if err != nil {
				return fmt.Errorf("list the bans: %w", err)
			}
			for _, e := range elements {
				if !e.IntervalEnd {
					n++
				}
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n != len(w.since) {
		return fmt.Errorf("the kernel lists %d bans and told of %d", n, len(w.since))
	}
	return nil
}

// first returns when the first ban that is there came.
func (w *watch) first() (first time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.since {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// forgetLeast returns how few bans were there after any transaction since it was
// called before.
func (w *watch) forgetLeast() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	least := min(w.least, len(w.since))
	w.least = len(w.since)
	return least
}
