package banner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A reader lists the table over a netlink socket of its own. The kernel walks
// a hash set from its start again for every datagram of a listing, so it is
// the size of the receive buffer that makes a listing cheap: 32 KiB is the
// most that netlink fills (netlink_recvmsg in af_netlink.c).
type reader struct {
	conn *netlink.Conn
}

// patience bounds every exchange with the kernel, which answers in
// milliseconds unless it is out of order.
const patience = 30 * time.Second

func newReader() (*reader, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{MessageBufferSize: 64 << 10})
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return &reader{conn}, nil
}

// ask sends one request and yields the payload of each answer to each. After
// an error answers may be left in the socket: it must be closed.
func (r *reader) ask(message uint16, flags netlink.HeaderFlags, attrs []netlink.Attribute, each func([]byte)) error {
	data, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return err
	}
	if err := r.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = r.conn.Send(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message),
			Flags: netlink.Request | flags,
		},
		Data: append([]byte{byte(family), unix.NFNETLINK_V0, 0, 0}, data...),
	})
	if err != nil {
		return err
	}
	for m, err := range r.conn.ReceiveIter() {
		if err != nil {
			return err
		}
		if len(m.Data) > 4 {
			each(m.Data[4:])
		}
	}
	return nil
}

// generation returns the number of the ruleset's last commit by anybody in
// this network namespace.
func (r *reader) currentGeneration() (uint32, error) {
	var generation uint32
	err := r.ask(unix.NFT_MSG_GETGEN, 0, nil, func(b []byte) {
		generation = number32(attribute(b, unix.NFTA_GEN_ID))
	})
	if err != nil {
		return 0, fmt.Errorf("read ruleset generation: %w", err)
	}
	return generation, nil
}

// A ruleset is what the kernel has of the table, without the elements.
type ruleset struct {
	present bool
	flags   uint32
	chains  map[string]*keptChain
	sets    map[string]setShape
}

type keptChain struct {
	kind  chainKind
	rules []keptRule
}

type keptRule struct {
	handle  uint64
	comment string
	packets uint64
}

// ruleset lists the table's structure.
func (r *reader) ruleset() (ruleset, error) {
	have := ruleset{chains: map[string]*keptChain{}, sets: map[string]setShape{}}
	name := []byte(tableName + "\x00")

	err := r.ask(unix.NFT_MSG_GETTABLE, 0, []netlink.Attribute{{Type: unix.NFTA_TABLE_NAME, Data: name}}, func(b []byte) {
		have.present = true
		have.flags = number32(attribute(b, unix.NFTA_TABLE_FLAGS))
	})
	// Linux before 4.16 loads the module of the family when a table is made.
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return have, nil
	}
	if err == nil {
		err = r.ask(unix.NFT_MSG_GETCHAIN, netlink.Dump, nil, func(b []byte) {
			if text(attribute(b, unix.NFTA_CHAIN_TABLE)) == tableName {
				have.chains[text(attribute(b, unix.NFTA_CHAIN_NAME))] = &keptChain{kind: parseKind(b)}
			}
		})
	}
	if err == nil {
		err = r.ask(unix.NFT_MSG_GETRULE, netlink.Dump, []netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: name}}, func(b []byte) {
			if c := have.chains[text(attribute(b, unix.NFTA_RULE_CHAIN))]; c != nil {
				c.rules = append(c.rules, parseRule(b))
			}
		})
	}
	if err == nil {
		err = r.ask(unix.NFT_MSG_GETSET, netlink.Dump, []netlink.Attribute{{Type: unix.NFTA_SET_TABLE, Data: name}}, func(b []byte) {
			shape := parseShape(b)
			if shape.flags&unix.NFT_SET_ANONYMOUS == 0 {
				have.sets[text(attribute(b, unix.NFTA_SET_NAME))] = shape
			}
		})
	}
	if err != nil {
		return ruleset{}, fmt.Errorf("list table inet %s: %w", tableName, err)
	}
	return have, nil
}

func parseKind(b []byte) chainKind {
	hook := attribute(b, unix.NFTA_CHAIN_HOOK)
	if hook == nil {
		return chainKind{}
	}
	return chainKind{
		typ:      text(attribute(b, unix.NFTA_CHAIN_TYPE)),
		hook:     number32(attribute(hook, unix.NFTA_HOOK_HOOKNUM)),
		priority: int32(number32(attribute(hook, unix.NFTA_HOOK_PRIORITY))),
		policy:   number32(attribute(b, unix.NFTA_CHAIN_POLICY)),
	}
}

func parseRule(b []byte) keptRule {
	rule := keptRule{handle: number64(attribute(b, unix.NFTA_RULE_HANDLE))}
	rule.comment, _ = userdata.GetString(attribute(b, unix.NFTA_RULE_USERDATA), userdata.TypeComment)
	for _, e := range attributes(attribute(b, unix.NFTA_RULE_EXPRESSIONS)) {
		rule.packets += parseCounter(e)
	}
	return rule
}

// parseCounter returns the packets of a counter expression, 0 of any other.
func parseCounter(b []byte) uint64 {
	if text(attribute(b, unix.NFTA_EXPR_NAME)) != "counter" {
		return 0
	}
	return number64(attribute(attribute(b, unix.NFTA_EXPR_DATA), unix.NFTA_COUNTER_PACKETS))
}

func parseShape(b []byte) setShape {
	return setShape{
		keyType: number32(attribute(b, unix.NFTA_SET_KEY_TYPE)),
		// nft(8) and the kernel add NFT_SET_EXPR (0x100) to sets with a counter
		// in some versions; the counter itself says as much.
		flags:   number32(attribute(b, unix.NFTA_SET_FLAGS)) &^ nftSetExpr,
		counter: text(attribute(attribute(b, nftaSetExpr), unix.NFTA_EXPR_NAME)) == "counter",
		timeout: number64(attribute(b, unix.NFTA_SET_TIMEOUT)),
		size:    number32(attribute(attribute(b, unix.NFTA_SET_DESC), unix.NFTA_SET_DESC_SIZE)),
	}
}

// From linux/netfilter/nf_tables.h (5.7), absent in x/sys/unix.
const (
	nftaSetExpr = 17
	nftSetExpr  = 0x100
)

// A keptElement is one element of a set as listed. Its key is only valid
// during the call that delivers it.
type keptElement struct {
	key       []byte
	expiring  bool
	remaining time.Duration // when expiring
	packets   uint64
	end       bool // the first address after an interval
}

// lease is how long the element stays, seen from now.
func (e keptElement) lease(now time.Time) lease {
	l := lease{on: true}
	if e.expiring {
		l.until = now.Add(e.remaining)
	}
	return l
}

// elements lists one set, a slice for each datagram.
func (r *reader) elements(set string, each func([]keptElement)) error {
	request := []netlink.Attribute{
		{Type: unix.NFTA_SET_ELEM_LIST_TABLE, Data: []byte(tableName + "\x00")},
		{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: []byte(set + "\x00")},
	}
	var list []keptElement
	err := r.ask(unix.NFT_MSG_GETSETELEM, netlink.Dump, request, func(b []byte) {
		list = list[:0]
		for _, e := range attributes(attribute(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			list = append(list, parseElement(e))
		}
		each(list)
	})
	if err != nil {
		return fmt.Errorf("list set %s: %w", set, err)
	}
	return nil
}

func parseElement(b []byte) keptElement {
	var e keptElement
	for kind, value := range attributes(b) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			e.key = attribute(value, unix.NFTA_DATA_VALUE)
		case unix.NFTA_SET_ELEM_FLAGS:
			e.end = number32(value)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_EXPIRATION:
			e.expiring = true
			e.remaining = time.Duration(number64(value)) * time.Millisecond
		case unix.NFTA_SET_ELEM_EXPR:
			e.packets = parseCounter(value)
		}
	}
	return e
}

// attributes yields the netlink attributes in b: type without its flag bits,
// and value. It allocates nothing, which is why a listing is cheap.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			length := int(binary.NativeEndian.Uint16(b))
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if length < unix.SizeofNlAttr || length > len(b) || !yield(kind, b[unix.SizeofNlAttr:length]) {
				return
			}
			b = b[min((length+3)&^3, len(b)):]
		}
	}
}

// attribute returns the value of the first attribute of a type in b, nil when
// there is none.
func attribute(b []byte, want uint16) []byte {
	for kind, value := range attributes(b) {
		if kind == want {
			return value
		}
	}
	return nil
}

func text(b []byte) string { return strings.TrimSuffix(string(b), "\x00") }

func number32(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func number64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
