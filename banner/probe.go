package banner

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// probes is how many elements of each set are looked up.
const probes = 8

// robbed looks up a few elements of each set, which takes no time, and reports
// whether one is not as it was left. So a set that others emptied is found at once,
// though comparing all of it may have to wait.
func (k *keeper) robbed() (bool, error) {
	for s, sample := range k.sample() {
		for _, x := range sample {
			have, err := k.element(s, x.key)
			if errors.Is(err, unix.EOPNOTSUPP) {
				return false, nil // Linux before 4.15
			}
			if err != nil || !have.agrees(x.want) {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// A probe is an element that the kernel should have.
type probe struct {
	key  []byte
	want lease
}

// sample picks elements of each set; a map yields them in no order.
func (k *keeper) sample() map[slot][]probe {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	of := map[slot][]probe{}
	for e, x := range k.desired.entries {
		s := slotOf(e)
		soon := x.want.over(now.Add(tolerance))
		if x.have.on && x.want.on && !x.queued && !soon && k.present[s] && len(of[s]) < probes {
			of[s] = append(of[s], probe{e.Unit.Addr().AsSlice(), x.want})
		}
	}
	return of
}

// element looks up one element of a set, which need not be there.
func (k *keeper) element(s slot, key []byte) (have lease, err error) {
	nested := func(kind uint16, b []byte) ([]byte, error) {
		return netlink.MarshalAttributes([]netlink.Attribute{{Type: kind | unix.NLA_F_NESTED, Data: b}})
	}
	b, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_DATA_VALUE, Data: key}})
	for _, kind := range []uint16{unix.NFTA_SET_ELEM_KEY, unix.NFTA_LIST_ELEM} {
		if err == nil {
			b, err = nested(kind, b)
		}
	}
	if err != nil {
		return lease{}, err
	}
	now := k.now()
	err = k.kernel.ask(unix.NFT_MSG_GETSETELEM, 0, []netlink.Attribute{
		{Type: unix.NFTA_SET_ELEM_LIST_TABLE, Data: []byte(tableName + "\x00")},
		{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: []byte(s.name() + "\x00")},
		{Type: unix.NFTA_SET_ELEM_LIST_ELEMENTS | unix.NLA_F_NESTED, Data: b},
	}, func(b []byte) {
		for _, e := range attributes(attribute(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			have = parseElement(e).lease(now)
		}
	})
	if errors.Is(err, unix.ENOENT) {
		return lease{}, nil
	}
	if err != nil {
		return lease{}, fmt.Errorf("look up an element of set %s: %w", s.name(), err)
	}
	return have, nil
}
