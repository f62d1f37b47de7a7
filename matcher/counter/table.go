package counter

import "hash/maphash"

// table finds units by their id. A flood replaces one by another all the time, on
// which a map grows to five times this size (Go 1.26).
type table struct {
	slots []*unit // a power of two; each unit is at or behind the slot of its hash, with no gap between
	len   int
	seed  maphash.Seed
}

func newTable() table { return table{slots: make([]*unit, 8), seed: maphash.MakeSeed()} }

// slot returns where the unit of an id is, or would be: that slot is nil.
func (t *table) slot(i id) int {
	at := t.wrap(int(maphash.Comparable(t.seed, i)))
	for t.slots[at] != nil && t.slots[at].id != i {
		at = t.wrap(at + 1)
	}
	return at
}

func (t *table) wrap(at int) int { return at & (len(t.slots) - 1) }

// get returns nil where there is none.
func (t *table) get(i id) *unit { return t.slots[t.slot(i)] }

func (t *table) put(u *unit) { t.slots[t.slot(u.id)] = u }

// add adds a unit that is not there.
func (t *table) add(u *unit) {
	if t.len++; t.len > len(t.slots)/4*3 {
		before := t.slots
		t.slots = make([]*unit, 2*len(before))
		for _, u := range before {
			if u != nil {
				t.put(u)
			}
		}
	}
	t.put(u)
}

// remove removes a unit that is there, and puts each behind it where it belongs now.
func (t *table) remove(u *unit) {
	at := t.slot(u.id)
	t.slots[at] = nil
	t.len--
	for at = t.wrap(at + 1); t.slots[at] != nil; at = t.wrap(at + 1) {
		u := t.slots[at]
		t.slots[at] = nil
		t.put(u)
	}
}
