package banner

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A keeper is the part of Run that owns the kernel.
type keeper struct {
	*Banner
	kernel   *kernel       // nil: what the kernel has is unknown
	present  map[slot]bool // the slots that the table has
	askew    bool          // others may have changed the structure
	stale    bool          // others may have changed elements
	compared time.Time     // when the elements were last compared
	cost     time.Duration // of that
	touched  bool          // others committed since the last probe
	probed   time.Time     // when that was
	pass     uint64        // number of that
	rebuild  bool          // keeping parts of the table has failed
	agreed   bool          // the kernel has agreed: differences are others' work
	cleaned  bool          // elements that nobody asked for are gone

	uncounted bool // it was told that sets count no packets
}

// A scope is how closely to look at the kernel.
type scope int

const (
	nothing scope = iota
	structure
	everything
)

const (
	// share bounds what comparing elements may cost while others commit all
	// the time: one part in so many.
	share = 20
	// anyway is how often elements are compared though nobody committed: a
	// step of the clock or a suspend moves the kernel's expiry against ours.
	anyway = 10 * time.Minute
)

// orders is what a round acts upon.
type orders struct {
	look    scope
	told    uint64
	settled bool
}

func (k *keeper) forget() {
	if k.kernel != nil {
		k.kernel.close()
		k.kernel = nil
	}
}

// round makes the kernel agree with all told before it.
func (k *keeper) round() error {
	known := k.kernel != nil
	if err := k.listen(); err != nil {
		return err
	}
	o := k.orders()
	anew := false
	if k.askew || o.look >= structure {
		var err error
		if anew, err = k.align(o); err != nil {
			return err
		}
		k.askew = false
	}
	idle := time.Since(k.compared)
	due := !known || o.look == everything || k.stale && idle >= share*k.cost || idle >= anyway
	if anew { // all that the table holds is known
		k.compared, k.cost, k.cleaned = time.Now(), 0, k.cleaned || o.settled
		k.stale, due = false, false
	}
	if !due && k.touched && time.Since(k.probed) >= poll/2 {
		var err error
		if due, err = k.robbed(); err != nil {
			return err
		}
		k.touched, k.probed = false, time.Now()
	}
	if due {
		if err := k.compare(o); err != nil {
			return err
		}
		k.stale = false
	}
	if err := k.push(); err != nil {
		return err
	}
	k.agreed = true
	k.confirm(o.told)
	return nil
}

// listen finds out whether others committed since our last commit.
func (k *keeper) listen() error {
	if k.kernel == nil {
		kernel, err := openKernel()
		if err != nil {
			return err
		}
		k.kernel, k.askew, k.stale = kernel, true, true
		return nil
	}
	generation, err := k.kernel.currentGeneration()
	if err != nil {
		return err
	}
	if generation != k.kernel.generation {
		k.kernel.generation = generation
		k.askew, k.stale, k.touched = true, true, true
	}
	return nil
}

func (k *keeper) orders() orders {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.desired.expire(now)
	o := orders{k.look, k.told, k.settled}
	k.look = nothing
	return o
}

// align makes the structure equal to the layout, in one transaction that also
// fills the sets that it creates. It reports whether it made the table from nothing.
func (k *keeper) align(o orders) (anew bool, err error) {
	have, err := k.kernel.ruleset()
	if err != nil {
		return false, err
	}
	want, allow := k.wanted(have, o)
	d := differ(have, want, k.rebuild)
	if d.uncounted && !k.uncounted {
		k.uncounted = true
		k.observer.Uncounted()
	}
	k.present = map[slot]bool{}
	for _, s := range want.sets {
		if s.ban() {
			k.present[s.slot] = true
		}
	}
	if len(d.found) == 0 {
		k.rebuild = false
		return false, nil
	}

	k.kernel.apply(d)
	fresh := map[slot]bool{}
	for _, s := range d.addSets {
		if s.ban() {
			fresh[s.slot] = true
		} else {
			k.kernel.allow(s.shape.six(), merged(allow, s.shape.six()), false)
		}
	}
	writes := k.refill(fresh, k.kernel.room)
	if err := k.commit(writes); err != nil {
		k.rebuild = true
		return false, fmt.Errorf("write table inet %s: %w", tableName, err)
	}
	k.rebuild = false
	if k.agreed && o.look == nothing {
		k.repaired(d.found...)
	} else {
		k.log.Info("wrote the kernel table", "found", strings.Join(d.found, ", "))
	}
	return d.anew, nil
}

// wanted returns the layout and the allowlist. Until the cleaning the slots
// that the kernel has are wanted too, for the elements that they may hold.
func (k *keeper) wanted(have ruleset, o orders) (layout, []netip.Prefix) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !o.settled {
		for _, g := range append([]Group{{Name: All}}, k.groups...) {
			for name, shape := range have.sets {
				if s, ok := slotNamed(g.Name, name); ok && !s.standard() && shape == banShape(s.six) {
					k.slots[s] = true
				}
			}
		}
	}
	return layoutOf(k.groups, k.slots), k.allow
}

// refill plans what new sets need: as much as one transaction takes, while the
// rest waits its turn.
func (k *keeper) refill(fresh map[slot]bool, room int) []write {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	var writes []write
	for e, x := range k.desired.entries {
		if !fresh[slotOf(e)] {
			continue
		}
		x.have = lease{}
		if w, ok := x.plan(now); !ok {
			continue
		} else if len(writes) < room {
			writes = append(writes, w)
		} else {
			k.desired.enqueue(x)
		}
	}
	return writes
}

// push writes what is queued.
func (k *keeper) push() error {
	k.mu.Lock()
	left := len(k.desired.queue)
	k.mu.Unlock()
	for ; left > 0; left -= pushElements {
		writes := k.dequeue(min(pushElements, k.kernel.room))
		if len(writes) == 0 {
			continue
		}
		if err := k.commit(writes); err != nil {
			return fmt.Errorf("write %d elements: %w", len(writes), err)
		}
	}
	return nil
}

// dequeue plans the next entries of the queue.
func (k *keeper) dequeue(most int) []write {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	d := &k.desired
	most = min(most, len(d.queue))
	var writes []write
	for _, x := range d.queue[:most] {
		x.queued = false
		if !k.present[slotOf(x.element)] {
			x.have = lease{} // its group is not configured
		} else if w, ok := x.plan(now); ok {
			writes = append(writes, w)
			continue
		}
		d.dropIdle(x, now)
	}
	if d.queue = d.queue[most:]; len(d.queue) == 0 {
		d.queue = nil
	}
	return writes
}

// commit sends what is gathered, with these writes, and takes note of them.
func (k *keeper) commit(writes []write) error {
	now := k.now()
	slots := map[slot][]write{}
	for _, w := range writes {
		s := slotOf(w.entry.element)
		slots[s] = append(slots[s], w)
	}
	for s, part := range slots {
		k.kernel.put(s, part, now)
	}
	err := k.kernel.commit()

	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range writes {
		if err != nil {
			k.desired.enqueue(w.entry)
			continue
		}
		w.entry.have = w.lease
		k.desired.dropIdle(w.entry, now)
	}
	return err
}

// compare makes the elements and the allowlist equal to the desired ones:
// the allowlist at once, elements through the queue.
func (k *keeper) compare(o orders) error {
	start := time.Now()
	if err := k.compareAllow(o); err != nil {
		return err
	}
	k.pass++
	tally := tally{}
	for s := range k.present {
		if err := k.mark(s, o, &tally); err != nil {
			return err
		}
	}
	// A listing counts its place in a hash set, so that it passes by some
	// elements when others expire meanwhile: what is missing is looked for twice.
	for s := range k.missing(nil) {
		if err := k.mark(s, o, &tally); err != nil {
			return err
		}
	}
	k.missing(&tally)
	if found := tally.found(k.cleaned); k.agreed && len(found) > 0 {
		k.repaired(found...)
	}
	k.cleaned = k.cleaned || o.settled
	k.compared, k.cost = time.Now(), time.Since(start)
	return nil
}

func (k *keeper) compareAllow(o orders) error {
	k.mu.Lock()
	allow := k.allow
	k.mu.Unlock()
	for _, six := range []bool{false, true} {
		have, err := k.kernel.ranges(six)
		if err != nil {
			return err
		}
		want := merged(allow, six)
		if slices.Equal(have, want) {
			continue
		}
		k.kernel.allow(six, want, true)
		if err := k.commit(nil); err != nil {
			return fmt.Errorf("write set %s: %w", allowName(six), err)
		}
		if k.agreed && o.look == nothing {
			k.repaired("set " + allowName(six) + " changed")
		}
	}
	return nil
}

// A tally counts what others did to the elements.
type tally struct {
	missing, altered, foreign int
}

func (t tally) found(cleaned bool) []string {
	var found []string
	if t.missing > 0 {
		found = append(found, count(t.missing, "element")+" missing")
	}
	if t.altered > 0 {
		found = append(found, count(t.altered, "element")+" with another expiry")
	}
	if t.foreign > 0 && cleaned {
		found = append(found, count(t.foreign, "element")+" not ours")
	}
	return found
}

// mark lists one slot, takes note of what the kernel has and queues what must
// be changed.
func (k *keeper) mark(s slot, o orders, t *tally) error {
	return k.kernel.elements(s.name(), func(elements []keptElement) {
		now := k.now()
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, kept := range elements {
			e, ok := s.element(kept.key)
			if !ok {
				continue
			}
			have := kept.lease(now)
			x := k.desired.entries[e]
			switch {
			case x != nil && x.seen == k.pass:
			case x != nil:
				k.meet(x, have, now, t)
			case o.settled:
				x = k.desired.entry(e)
				x.have, x.seen = have, k.pass
				k.desired.enqueue(x)
				t.foreign++
			}
		}
	})
}

// meet compares an entry with what the kernel has.
func (k *keeper) meet(x *entry, have lease, now time.Time, t *tally) {
	x.seen = k.pass
	if x.want.agrees(have) {
		x.have = x.want
		return
	}
	if believed := x.have.on; !x.queued && !x.want.over(now) {
		k.desired.enqueue(x)
		if believed {
			t.altered++
		}
	}
	x.have = have
}

// missing returns the slots of which this pass has not seen all. With a tally
// it is the end of the pass: what is not seen is not there, and queued.
func (k *keeper) missing(t *tally) map[slot]bool {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	slots := map[slot]bool{}
	for e, x := range k.desired.entries {
		s := slotOf(e)
		// The kernel may be first by a moment to let an element go.
		soon := x.want.over(now.Add(tolerance))
		if x.seen == k.pass || soon || !k.present[s] {
			continue
		}
		slots[s] = true
		if t == nil {
			continue
		}
		if x.have.on && !x.queued {
			t.missing++
		}
		x.have = lease{}
		if x.want.on {
			k.desired.enqueue(x)
		}
	}
	return slots
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
