package counter

import (
	"math"
	"net/netip"
	"slices"
	"time"
	"unique"
)

// unit is what is kept of a key. A flood makes as many as there may be: it holds
// nothing that only few of them need.
type unit struct {
	id
	often      bool // which queue it is in
	prev, next *unit
	failures   []failure // in order of arrival
}

type failure struct {
	time     int64 // Unix microseconds
	window   unique.Handle[Window]
	distinct unique.Handle[string] // the zero Handle where that is empty
	evidence uint64                // its number; 0 where it was dropped
}

// id is a key in few bytes, and without pointers.
type id struct {
	addr   [16]byte
	bits   int16
	family int8   // 4 or 6; 0 where the unit is none
	jail   uint16 // index in Counter.jails
}

func (c *Counter[E]) id(key Key) id {
	jail := slices.Index(c.jails, key.Jail)
	if jail < 0 {
		jail = len(c.jails)
		c.jails = append(c.jails, key.Jail)
	}
	i := id{jail: uint16(jail)}
	if key.Unit.IsValid() {
		i.addr, i.bits, i.family = key.Unit.Addr().As16(), int16(key.Unit.Bits()), 6
		if key.Unit.Addr().Is4() {
			i.family = 4
		}
	}
	return i
}

func (c *Counter[E]) key(i id) Key {
	key := Key{Jail: c.jails[i.jail]}
	switch addr := netip.AddrFrom16(i.addr); i.family {
	case 4:
		key.Unit = netip.PrefixFrom(addr.Unmap(), int(i.bits))
	case 6:
		key.Unit = netip.PrefixFrom(addr, int(i.bits))
	}
	return key
}

// newest returns the time of the unit's newest failure.
func (u *unit) newest() time.Time {
	newest := int64(math.MinInt64)
	for _, f := range u.failures {
		newest = max(newest, f.time)
	}
	return time.UnixMicro(newest)
}

// queue lists units, the least recently seen first.
type queue struct {
	first, last *unit
	len         int
}

func (q *queue) push(u *unit) {
	u.prev, u.next = q.last, nil
	if q.last == nil {
		q.first = u
	} else {
		q.last.next = u
	}
	q.last = u
	q.len++
}

func (q *queue) remove(u *unit) {
	if u.prev == nil {
		q.first = u.next
	} else {
		u.prev.next = u.next
	}
	if u.next == nil {
		q.last = u.prev
	} else {
		u.next.prev = u.prev
	}
	q.len--
}
