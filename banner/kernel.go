package banner

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A kernel is one connection to the table: commands gather until commit sends
// them as one transaction. After any error it must be closed and its work
// taken for unknown: an ENOBUFS, for one, may follow a change that was applied.
type kernel struct {
	reader
	nft        *nftables.Conn
	socket     *netlink.Conn // nft's
	generation uint32        // as last read, and one more for each commit since
	room       int           // element writes that one transaction carries
	sets       uint32        // identifiers given to sets so far
	err        error         // the first that a command met
}

const (
	// messageElements keeps a message of elements below the 65,535 bytes that
	// one attribute holds: an IPv6 element takes 40.
	messageElements = 1000
	// writeBytes bounds what one element write takes: it may be added, deleted
	// and added again.
	writeBytes = 128
	// structureBytes is set aside for the rest of the transaction.
	structureBytes = 128 << 10
	// bufferBytes is asked for both buffers of the writing socket, so that a
	// table with all its elements goes in one transaction. Netlink refuses a
	// transaction larger than the send buffer (EMSGSIZE), and loses
	// acknowledgements that the receive buffer cannot hold (ENOBUFS). The
	// kernel gives less to a process without CAP_NET_ADMIN.
	bufferBytes = 64 << 20
	// pushElements bounds a transaction of element writes alone, so that what
	// was told meanwhile is not kept waiting.
	pushElements = 5000
)

func openKernel() (*kernel, error) {
	read, err := newReader()
	if err != nil {
		return nil, err
	}
	k := &kernel{reader: *read}
	size := 0
	k.nft, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		k.socket = c
		err := errors.Join(c.SetReadBuffer(bufferBytes), c.SetWriteBuffer(bufferBytes), c.SetOption(netlink.CapAcknowledge, true))
		if err == nil {
			size, err = c.WriteBuffer()
		}
		return err
	}))
	if err == nil {
		k.generation, err = k.currentGeneration()
	}
	if err != nil {
		k.close()
		return nil, fmt.Errorf("open nftables socket: %w", err)
	}
	k.room = max((size-structureBytes)/writeBytes, messageElements)
	return k, nil
}

func (k *kernel) close() {
	k.conn.Close()
	if k.socket != nil {
		k.socket.Close()
	}
}

// commit sends the gathered commands. When it returns nil all of them are in
// force, from one moment to the next.
func (k *kernel) commit() error {
	err := k.err
	if err == nil {
		err = k.socket.SetDeadline(time.Now().Add(patience))
	}
	if err == nil {
		err = k.nft.Flush()
	}
	if err != nil {
		return cause(err)
	}
	// The kernel counts commits and skips zero (nf_tables_commit). Anybody
	// else's commit shows as a greater number at the next look.
	if k.generation++; k.generation == 0 {
		k.generation++
	}
	return nil
}

// cause returns the first of joined errors: the kernel says for each message
// that it fails, and it is the first that made the others fail.
func cause(err error) error {
	var joined interface{ Unwrap() []error }
	for errors.As(err, &joined) {
		err = joined.Unwrap()[0]
	}
	return err
}

func (k *kernel) note(err error) {
	if k.err == nil {
		k.err = err
	}
}

func setFor(name string, shape setShape) *nftables.Set {
	return &nftables.Set{
		Table:        table,
		Name:         name,
		KeyType:      addressType(shape.six()),
		KeyByteOrder: binaryutil.BigEndian,
		HasTimeout:   shape.flags&unix.NFT_SET_TIMEOUT != 0,
		Interval:     shape.flags&unix.NFT_SET_INTERVAL != 0,
		Counter:      shape.counter,
	}
}

// newSet gives the set an identifier of its own: the library would take it
// from a counter that all connections share without a lock.
func (k *kernel) newSet(s *nftables.Set, elements []nftables.SetElement) {
	k.sets++
	s.ID = k.sets
	k.note(k.nft.AddSet(s, elements))
}

// put gathers writes to one slot. An element that may be there is added first,
// because deleting an absent one would abort the whole transaction, and
// deleted and added again, because kernels before 6.12 keep the timeout of an
// element that is added twice. The table changes at the commit, so there is no
// moment without the element.
func (k *kernel) put(s slot, writes []write, now time.Time) {
	set := setFor(s.name(), banShape(s.six))
	for part := range slices.Chunk(writes, messageElements) {
		var touch, add []nftables.SetElement
		for _, w := range part {
			key := w.entry.element.Unit.Addr().AsSlice()
			if w.touch || !w.lease.on {
				touch = append(touch, nftables.SetElement{Key: key})
			}
			if w.lease.on {
				add = append(add, nftables.SetElement{Key: key, Timeout: w.lease.timeout(now)})
			}
		}
		if len(touch) > 0 {
			k.note(k.nft.SetAddElements(set, touch))
			k.note(k.nft.SetDeleteElements(set, touch))
		}
		if len(add) > 0 {
			k.note(k.nft.SetAddElements(set, add))
		}
	}
}

// timeout is what the kernel is told: 0 for ever, else at least a second,
// since it takes less than a millisecond for 0.
func (l lease) timeout(now time.Time) time.Duration {
	if l.until.IsZero() {
		return 0
	}
	return max(l.until.Sub(now), time.Second)
}

// allow gathers the contents of an allowlist set that is empty or, when told,
// emptied first.
func (k *kernel) allow(six bool, ranges []addressRange, empty bool) {
	set := setFor(allowName(six), allowShape(six))
	if empty {
		k.nft.FlushSet(set)
	}
	for part := range slices.Chunk(ranges, messageElements/2) {
		var elements []nftables.SetElement
		for _, r := range part {
			elements = append(elements, nftables.SetElement{Key: r.from.AsSlice()})
			if after := r.to.Next(); after.IsValid() {
				elements = append(elements, nftables.SetElement{Key: after.AsSlice(), IntervalEnd: true})
			}
		}
		k.note(k.nft.SetAddElements(set, elements))
	}
}

// apply gathers a difference.
func (k *kernel) apply(d difference) {
	if d.deleteTable {
		k.nft.DelTable(table)
	}
	if d.addTable {
		k.nft.AddTable(table)
	}
	// What refers goes before what it refers to, and comes after it.
	for _, r := range d.deleteRules {
		k.note(k.nft.DelRule(&nftables.Rule{Table: table, Chain: &nftables.Chain{Name: r.chain}, Handle: r.handle}))
	}
	for _, name := range d.deleteSets {
		k.nft.DelSet(&nftables.Set{Table: table, Name: name})
	}
	for _, name := range d.deleteChains {
		k.nft.DelChain(&nftables.Chain{Table: table, Name: name})
	}
	for _, s := range d.addSets {
		k.newSet(setFor(s.name, s.shape), nil)
	}
	for _, c := range d.addChains {
		k.nft.AddChain(chainFor(c))
	}
	for _, r := range d.addRules {
		k.newRule(r)
	}
}

func chainFor(c chain) *nftables.Chain {
	command := &nftables.Chain{Table: table, Name: c.name}
	if c.kind != (chainKind{}) {
		policy := nftables.ChainPolicy(c.kind.policy)
		command.Type = nftables.ChainType(c.kind.typ)
		command.Hooknum = nftables.ChainHookRef(nftables.ChainHook(c.kind.hook))
		command.Priority = nftables.ChainPriorityRef(nftables.ChainPriority(c.kind.priority))
		command.Policy = &policy
	}
	return command
}

func (k *kernel) newRule(r placedRule) {
	command := &nftables.Rule{
		Table:    table,
		Chain:    &nftables.Chain{Name: r.chain},
		Exprs:    r.exprs,
		UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment),
	}
	if r.keys != nil {
		anonymous := &nftables.Set{Table: table, Name: "__set%d", Anonymous: true, Constant: true, KeyType: r.keyType}
		var elements []nftables.SetElement
		for _, key := range r.keys {
			elements = append(elements, nftables.SetElement{Key: key})
		}
		k.newSet(anonymous, elements)
		command.Exprs = r.lookingIn(anonymous)
	}
	if r.before == 0 {
		k.nft.AddRule(command)
		return
	}
	command.Position = r.before
	k.nft.InsertRule(command)
}

// lookingIn returns the rule's expressions with the lookup that has no set
// name looking in s.
func (r rule) lookingIn(s *nftables.Set) []expr.Any {
	exprs := slices.Clone(r.exprs)
	for i, e := range exprs {
		if l, ok := e.(*expr.Lookup); ok && l.SetName == "" {
			exprs[i] = &expr.Lookup{SourceRegister: l.SourceRegister, SetName: s.Name, SetID: s.ID}
		}
	}
	return exprs
}
