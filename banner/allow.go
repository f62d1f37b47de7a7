package banner

import (
	"net/netip"
	"slices"
)

// An addressRange is all addresses from one to another, both included.
type addressRange struct {
	from, to netip.Addr
}

// merged returns the addresses of one family that the prefixes cover, as
// ranges in order that neither overlap nor touch: the kernel refuses a whole
// transaction for one interval that overlaps another.
func merged(prefixes []netip.Prefix, six bool) []addressRange {
	var ranges []addressRange
	for _, p := range prefixes {
		if p = canonical(p); p.IsValid() && p.Addr().Is6() == six {
			ranges = append(ranges, addressRange{p.Addr(), last(p)})
		}
	}
	slices.SortFunc(ranges, func(a, b addressRange) int { return a.from.Compare(b.from) })
	var out []addressRange
	for _, r := range ranges {
		if len(out) > 0 {
			if open := &out[len(out)-1]; !open.to.Next().IsValid() || r.from.Compare(open.to.Next()) <= 0 {
				if open.to.Less(r.to) {
					open.to = r.to
				}
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// last returns the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// canonical masks a prefix and takes IPv4 out of IPv6, the only form in which
// packets carry it. What is no prefix stays invalid.
func canonical(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// ranges lists an allowlist set.
func (r *reader) ranges(six bool) ([]addressRange, error) {
	var starts, ends []netip.Addr
	err := r.elements(allowName(six), func(elements []keptElement) {
		for _, e := range elements {
			addr, ok := netip.AddrFromSlice(e.key)
			switch {
			case !ok:
			case !e.end:
				starts = append(starts, addr)
			case !addr.IsUnspecified(): // nft(8) closes what is before the first interval
				ends = append(ends, addr)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(starts, netip.Addr.Compare)
	slices.SortFunc(ends, netip.Addr.Compare)
	var ranges []addressRange
	for i, from := range starts {
		// An interval without an end goes up to the last address.
		to := last(netip.PrefixFrom(from, 0))
		if i < len(ends) {
			to = ends[i].Prev()
		}
		ranges = append(ranges, addressRange{from, to})
	}
	return ranges, nil
}
