package banner

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The table is described here as data; kernel.go makes the kernel equal to it.
//
//	table inet band
//	  chain prerouting      hook prerouting, before conntrack
//	    loopback                      accept
//	    neighbour discovery           accept
//	    saddr in a set of a group     jump drop-<group>
//	  chain drop-<group>
//	    saddr in the allowlist        accept
//	    a port of the group           counter drop
const (
	tableName  = "band"
	baseChain  = "prerouting"
	dropPrefix = "drop-"
	family     = nftables.TableFamilyINet
)

// priority is ten before NF_IP_PRI_RAW (linux/netfilter_ipv4.h): after the
// defragmentation at -400, before conntrack at -200, so that a dropped packet
// leaves no conntrack entry and established flows are seen as well.
const priority = -310

var table = &nftables.Table{Name: tableName, Family: family}

// A layout is the wanted structure: everything of the table but the elements.
type layout struct {
	chains []chain
	sets   []set
}

type chain struct {
	name  string
	kind  chainKind
	rules []rule
}

// A chainKind is what makes a base chain; it is zero for a chain that is only
// jumped to. Comparable with what a listing says.
type chainKind struct {
	typ      string
	hook     uint32
	priority int32
	policy   uint32
}

var baseKind = chainKind{string(nftables.ChainTypeFilter), unix.NF_INET_PRE_ROUTING, priority, uint32(nftables.ChainPolicyAccept)}

// A rule is known by its comment, which holds a hash of its definition: a rule
// in the kernel with that comment needs no rewriting.
type rule struct {
	comment string
	exprs   []expr.Any
	// keys is the anonymous set of the one lookup in exprs without a set name.
	keys    [][]byte
	keyType nftables.SetDatatype
}

type set struct {
	name  string
	shape setShape
	slot  slot // zero for the allowlist
}

// ban reports whether the set holds bans.
func (s set) ban() bool { return s.slot.group != "" }

// A setShape is what must agree for a set in the kernel to be of use.
// Comparable with what a listing says.
type setShape struct {
	keyType uint32
	flags   uint32
	counter bool
	timeout uint64 // the set's default, milliseconds
	size    uint32
}

func addressType(six bool) nftables.SetDatatype {
	if six {
		return nftables.TypeIP6Addr
	}
	return nftables.TypeIPAddr
}

func (s setShape) six() bool { return s.keyType == nftables.TypeIP6Addr.GetNFTMagic() }

func banShape(six bool) setShape {
	t := addressType(six)
	return setShape{keyType: t.GetNFTMagic(), flags: unix.NFT_SET_TIMEOUT, counter: true}
}

func allowShape(six bool) setShape {
	t := addressType(six)
	return setShape{keyType: t.GetNFTMagic(), flags: unix.NFT_SET_INTERVAL}
}

func allowName(six bool) string {
	if six {
		return "allow6"
	}
	return "allow4"
}

// A slot is one set of bans: those of a group that share the address family
// and the prefix length.
type slot struct {
	group string
	six   bool
	bits  int
}

func slotOf(e Element) slot {
	return slot{e.Group, e.Unit.Addr().Is6(), e.Unit.Bits()}
}

func (s slot) width() int {
	if s.six {
		return 128
	}
	return 32
}

// standard reports whether every group has the slot.
func (s slot) standard() bool {
	return s.bits == s.width() || s.six && s.bits == 64
}

func (s slot) name() string {
	name := s.group + "-ip4"
	if s.six {
		name = s.group + "-ip6"
	}
	if s.bits < s.width() {
		name += "-" + strconv.Itoa(s.bits)
	}
	return name
}

// slotNamed is the inverse of slot.name for the sets of one group.
func slotNamed(group, name string) (slot, bool) {
	for _, s := range []slot{{group, false, 32}, {group, true, 128}} {
		if name == s.name() {
			return s, true
		}
		if length, ok := strings.CutPrefix(name, s.name()+"-"); ok {
			bits, err := strconv.Atoi(length)
			part := slot{group, s.six, bits}
			return part, err == nil && bits >= 0 && part.name() == name
		}
	}
	return slot{}, false
}

// element is the inverse of slotOf for a key of the slot's set.
func (s slot) element(key []byte) (Element, bool) {
	addr, ok := netip.AddrFromSlice(key)
	if !ok || addr.Is6() != s.six {
		return Element{}, false
	}
	return Element{s.group, netip.PrefixFrom(addr, s.bits)}, true
}

// layoutOf returns the structure for the groups, with the slots that every
// group has and those of extra. Groups and slots come out in one order however
// they were given, so that a shuffled configuration is no change.
func layoutOf(groups []Group, extra map[slot]bool) layout {
	ports := map[string]Ports{}
	for _, g := range groups {
		ports[g.Name] = g.Ports
	}
	ports[All] = Ports{}

	l := layout{sets: []set{
		{name: allowName(false), shape: allowShape(false)},
		{name: allowName(true), shape: allowShape(true)},
	}}
	base := chain{name: baseChain, kind: baseKind, rules: []rule{loopback(), neighbours()}}
	for _, group := range slices.Sorted(maps.Keys(ports)) {
		slots := map[slot]bool{{group, false, 32}: true, {group, true, 128}: true, {group, true, 64}: true}
		for s := range extra {
			if s.group == group {
				slots[s] = true
			}
		}
		for _, s := range slices.SortedFunc(maps.Keys(slots), compareSlots) {
			l.sets = append(l.sets, set{s.name(), banShape(s.six), s})
			base.rules = append(base.rules, banned(s))
		}
		l.chains = append(l.chains, chain{name: dropPrefix + group, rules: dropping(ports[group])})
	}
	l.chains = append(l.chains, base)
	return l
}

// compareSlots puts IPv4 first and longer prefixes before shorter ones.
func compareSlots(a, b slot) int {
	return cmp.Or(cmp.Compare(a.width(), b.width()), cmp.Compare(b.bits, a.bits))
}

// loopback accepts by device type: it needs neither the name nor the index of
// an interface, and so loads from a saved ruleset in any namespace.
func loopback() rule {
	return newRule(
		&expr.Meta{Key: expr.MetaKeyIIFTYPE, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint16(unix.ARPHRD_LOOPBACK)},
		verdict(expr.VerdictAccept, ""),
	)
}

// neighbours accepts router and neighbour solicitation and advertisement
// (RFC 4861, types 133 to 136). A hop limit of 255 shows that no router
// forwarded the packet, so an attacker beyond the link cannot use it.
func neighbours() rule {
	return newRuleIn(nftables.TypeICMP6Type, [][]byte{{133}, {134}, {135}, {136}}, slices.Concat(
		ofFamily(true),
		load(expr.PayloadBaseNetworkHeader, 7, 1),
		equal(255),
		ofProtocol(unix.IPPROTO_ICMPV6),
		load(expr.PayloadBaseTransportHeader, 0, 1),
		[]expr.Any{&expr.Lookup{SourceRegister: 1}, verdict(expr.VerdictAccept, "")},
	)...)
}

// banned jumps when the source address, masked to the slot's length, is in the
// slot's set.
func banned(s slot) rule {
	exprs := source(s.six)
	if s.bits < s.width() {
		mask := make([]byte, s.width()/8)
		for i := range s.bits {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		exprs = append(exprs, &expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask)),
		})
	}
	return newRule(append(exprs,
		&expr.Lookup{SourceRegister: 1, SetName: s.name()},
		verdict(expr.VerdictJump, dropPrefix+s.group),
	)...)
}

// dropping is what a group does with a packet from a banned source. Packets to
// other ports return to the base chain, where the next groups are looked up.
func dropping(p Ports) []rule {
	var rules []rule
	for _, six := range []bool{false, true} {
		rules = append(rules, newRule(append(source(six),
			&expr.Lookup{SourceRegister: 1, SetName: allowName(six)},
			verdict(expr.VerdictAccept, ""),
		)...))
	}
	drop := []expr.Any{&expr.Counter{}, verdict(expr.VerdictDrop, "")}
	if len(p.UDP) == 0 && len(p.TCP) == 0 {
		return append(rules, newRule(drop...))
	}
	for _, to := range []struct {
		protocol byte
		ports    []uint16
	}{{unix.IPPROTO_UDP, p.UDP}, {unix.IPPROTO_TCP, p.TCP}} {
		if len(to.ports) == 0 {
			continue
		}
		var keys [][]byte
		for _, port := range slices.Compact(slices.Sorted(slices.Values(to.ports))) {
			keys = append(keys, binary.BigEndian.AppendUint16(nil, port))
		}
		rules = append(rules, newRuleIn(nftables.TypeInetService, keys, slices.Concat(
			ofProtocol(to.protocol),
			load(expr.PayloadBaseTransportHeader, 2, 2),
			[]expr.Any{&expr.Lookup{SourceRegister: 1}},
			drop,
		)...))
	}
	return rules
}

func ofFamily(six bool) []expr.Any {
	number := byte(unix.NFPROTO_IPV4)
	if six {
		number = unix.NFPROTO_IPV6
	}
	return append([]expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}}, equal(number)...)
}

func ofProtocol(number byte) []expr.Any {
	return append([]expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}}, equal(number)...)
}

// source loads the source address of a packet of one family.
func source(six bool) []expr.Any {
	if six {
		return append(ofFamily(six), load(expr.PayloadBaseNetworkHeader, 8, 16)...)
	}
	return append(ofFamily(six), load(expr.PayloadBaseNetworkHeader, 12, 4)...)
}

func load(base expr.PayloadBase, offset, length uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: length}}
}

func equal(value byte) []expr.Any {
	return []expr.Any{&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{value}}}
}

func verdict(kind expr.VerdictKind, chain string) expr.Any {
	return &expr.Verdict{Kind: kind, Chain: chain}
}

func newRule(exprs ...expr.Any) rule {
	return newRuleIn(nftables.SetDatatype{}, nil, exprs...)
}

func newRuleIn(keyType nftables.SetDatatype, keys [][]byte, exprs ...expr.Any) rule {
	hash := sha256.New()
	for _, e := range exprs {
		b, err := expr.Marshal(byte(family), e)
		if err != nil {
			panic("banner: a constant expression does not encode: " + err.Error())
		}
		hash.Write(b)
	}
	for _, key := range keys {
		hash.Write(key)
	}
	return rule{
		comment: "band " + hex.EncodeToString(hash.Sum(nil)[:4]),
		exprs:   exprs,
		keys:    keys,
		keyType: keyType,
	}
}
