package banner

import (
	"container/heap"
	"time"
)

// tolerance is how far the kernel's expiry may be from the wanted one: longer
// than any write takes, shorter than anybody notices.
const tolerance = 2 * time.Second

// forever is the ban length from which on the kernel is given none at all: its
// timeouts end at 584 years, time.Duration at 292.
const forever = 100 * 365 * 24 * time.Hour

// A lease says whether an element is in a set, and until when. The zero time
// is for ever.
type lease struct {
	on    bool
	until time.Time
}

// agrees reports whether two leases are the same as far as anybody can see.
func (l lease) agrees(other lease) bool {
	if !l.on || !other.on || l.until.IsZero() || other.until.IsZero() {
		return l.equal(other)
	}
	return l.until.Sub(other.until).Abs() <= tolerance
}

// equal reports whether two leases are the same. A time that was told twice as
// what is left until then differs by the moments between the readings of clocks.
func (l lease) equal(other lease) bool {
	return l.on == other.on && l.until.IsZero() == other.until.IsZero() && l.until.Sub(other.until).Abs() < time.Millisecond
}

// over reports whether the lease has run out.
func (l lease) over(now time.Time) bool {
	return l.on && !l.until.IsZero() && !l.until.After(now)
}

// An entry is one element: how it should be and how the kernel has it, as far
// as is known.
type entry struct {
	element Element
	want    lease
	have    lease
	queued  bool   // in desired.queue
	seen    uint64 // the last comparison that found it in the kernel
	index   int    // in desired.expiry, -1 when not there
}

// desired holds the entries. An entry leaves when it is neither wanted nor in
// the kernel any more.
type desired struct {
	entries map[Element]*entry
	queue   []*entry // to be written
	expiry  expiryHeap
}

func (d *desired) entry(e Element) *entry {
	x := d.entries[e]
	if x == nil {
		x = &entry{element: e, index: -1}
		d.entries[e] = x
	}
	return x
}

// want changes how an entry should be and queues it for writing.
func (d *desired) want(x *entry, l lease) {
	x.want = l
	switch expires := l.on && !l.until.IsZero(); {
	case expires && x.index < 0:
		heap.Push(&d.expiry, x)
	case expires:
		heap.Fix(&d.expiry, x.index)
	case x.index >= 0:
		heap.Remove(&d.expiry, x.index)
	}
	d.enqueue(x)
}

func (d *desired) enqueue(x *entry) {
	if !x.queued {
		x.queued = true
		d.queue = append(d.queue, x)
	}
}

func (d *desired) drop(x *entry) {
	if x.index >= 0 {
		heap.Remove(&d.expiry, x.index)
	}
	delete(d.entries, x.element)
}

// dropIdle drops an entry that is neither wanted nor in the kernel.
func (d *desired) dropIdle(x *entry, now time.Time) {
	if !x.queued && !x.have.on && (!x.want.on || x.want.over(now)) {
		d.drop(x)
	}
}

// expire drops the entries that the kernel has let go by itself. They stay a
// little longer than their ban, so that a ban renewed at the moment of its
// expiry is written as a renewal, which is right whether the old element is
// still there or not.
func (d *desired) expire(now time.Time) {
	for len(d.expiry) > 0 && d.expiry[0].want.over(now.Add(-tolerance)) {
		if x := d.expiry[0]; x.queued {
			heap.Remove(&d.expiry, x.index) // what writes it drops it
		} else {
			d.drop(x)
		}
	}
}

// expiryHeap is a heap.Interface of entries by the end of their want.
type expiryHeap []*entry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].want.until.Before(h[j].want.until) }

func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *expiryHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	e.index = -1
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}

// A write brings one element to the kernel, or takes it away.
type write struct {
	entry *entry
	lease lease
	touch bool // it may be there already
}

// plan returns what must be written for an entry, false for nothing.
func (x *entry) plan(now time.Time) (write, bool) {
	w := write{x, x.want, x.have.on}
	if w.lease.over(now) {
		w.lease = lease{}
	}
	return w, !w.lease.equal(x.have)
}
