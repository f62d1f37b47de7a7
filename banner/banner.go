package banner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"band/internal/pulse"
)

// All names the group of bans that cover every port. It always exists.
const All = "all"

// Ports are the destination ports that a group's bans cover. The zero value
// covers every packet.
type Ports struct {
	UDP, TCP []uint16
}

// A Group is a set of bans that cover the same ports. Its name becomes part of
// the names of chains and sets: up to 240 bytes (NFT_NAME_MAXLEN is 256), and
// only a letter followed by letters, digits, '-', '_' and '.' makes a saved
// ruleset that nft(8) can load again. The ports of a group named All are
// ignored.
type Group struct {
	Name  string
	Ports Ports
}

// An Element is one unit banned in one group. The same unit may be banned in
// several groups; each is independent of the others. The unit is a single
// address (/32 or /128) or a shorter prefix; it is masked, and an IPv4-mapped
// one is unmapped.
type Element struct {
	Group string
	Unit  netip.Prefix
}

// A Change bans an element until a time, or lifts its ban. The zero time, and
// any more than a hundred years away, is for ever; a time that has passed lifts.
// Where the time carries a monotonic reading, as that of [time.Now] does, the ban
// ends then, whatever the clock is set to meanwhile.
type Change struct {
	Element Element
	Until   time.Time
	Lift    bool
}

// An Observer is told what a banner meets. Its methods are called from the
// goroutine of Run, one at a time, and must not block.
type Observer interface {
	// Repaired says what others had changed and is right again.
	Repaired(what string)
	// Failing gets the error when the kernel begins to refuse, once, and nil
	// when it agrees again.
	Failing(err error)
	// Uncounted says, once, that the kernel does not count the packets of each
	// element, as Linux before 5.7: Packets tells 0.
	Uncounted()
}

// Config is what New needs. All of it may be zero.
type Config struct {
	Groups   []Group
	Allow    []netip.Prefix // never dropped, whatever is banned
	Log      *slog.Logger
	Now      func() time.Time // time.Now when nil
	Observer Observer
}

// A Banner holds the desired bans, and while Run runs makes the kernel agree
// with them. All methods are safe for concurrent use.
type Banner struct {
	log      *slog.Logger
	now      func() time.Time
	observer Observer
	ready    chan struct{}
	wake     chan struct{}

	mu      sync.Mutex
	desired desired
	groups  []Group
	allow   []netip.Prefix
	slots   map[slot]bool // those beside the slots that every group has
	settled bool
	look    scope         // how closely the kernel must be looked at
	told    uint64        // calls of Change, Settle, Configure and Sync
	applied uint64        // how many of them the kernel has
	moved   chan struct{} // closed when applied moves
}

// New returns a banner that bans nothing yet.
func New(c Config) *Banner {
	b := &Banner{
		log:      c.Log,
		now:      c.Now,
		observer: c.Observer,
		ready:    make(chan struct{}),
		wake:     make(chan struct{}, 1),
		desired:  desired{entries: map[Element]*entry{}},
		groups:   slices.Clone(c.Groups),
		allow:    slices.Clone(c.Allow),
		slots:    map[slot]bool{},
		moved:    make(chan struct{}),
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.now == nil {
		b.now = time.Now
	}
	if b.observer == nil {
		b.observer = nobody{}
	}
	return b
}

type nobody struct{}

func (nobody) Repaired(string) {}
func (nobody) Failing(error)   {}
func (nobody) Uncounted()      {}

// Change merges changes into the desired state, in their order. It never
// blocks on the kernel and never fails; Sync waits for the effect. A ban in a
// group that is not configured waits until Configure names the group.
func (b *Banner) Change(changes []Change) {
	now := b.now()
	b.tell(func() {
		for _, c := range changes {
			b.change(c, now)
		}
	})
}

func (b *Banner) change(c Change, now time.Time) {
	e := Element{c.Element.Group, canonical(c.Element.Unit)}
	if !e.Unit.IsValid() {
		b.log.Error("cannot ban what is no prefix", "group", e.Group)
		return
	}
	want := lease{on: !c.Lift, until: c.Until}
	if want.until.Sub(now) > forever {
		want.until = time.Time{}
	}
	if c.Lift || want.over(now) {
		want = lease{}
	}
	x := b.desired.entries[e]
	switch {
	case x == nil && !want.on && b.settled:
		return
	case x == nil:
		x = b.desired.entry(e)
		// Until Settle the kernel may have elements that nobody told.
		x.have.on = !want.on
	case x.want.equal(want):
		return
	}
	if s := slotOf(e); want.on && !b.slots[s] && !s.standard() {
		b.slots[s] = true
		b.look = max(b.look, structure)
	}
	b.desired.want(x, want)
}

// Configure replaces the groups and the allowlist. It never blocks on the
// kernel and never fails; Sync waits for the effect. The bans of a group that
// is gone leave the kernel, and come back if the group does.
func (b *Banner) Configure(groups []Group, allow []netip.Prefix) {
	b.tell(func() {
		b.groups, b.allow = slices.Clone(groups), slices.Clone(allow)
		b.reslot()
		b.look = everything
	})
}

// Settle ends the time in which the kernel only gains: from now on elements
// that nobody asked for are removed.
func (b *Banner) Settle() {
	b.tell(func() {
		b.settled = true
		b.reslot()
		b.look = everything
	})
}

// reslot finds the slots in use. Before Settle those in the kernel stay too.
func (b *Banner) reslot() {
	if b.settled {
		clear(b.slots)
	}
	for e := range b.desired.entries {
		if s := slotOf(e); !s.standard() {
			b.slots[s] = true
		}
	}
}

// tell makes a change for the next round and returns its number.
func (b *Banner) tell(change func()) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	b.told++
	select {
	case b.wake <- struct{}{}:
	default: // the next round sees this change with the one before
	}
	return b.told
}

// Ready is closed when the kernel first agrees with all that was told before Run.
func (b *Banner) Ready() <-chan struct{} { return b.ready }

// Sync waits until everything told before the call is in the kernel, and what
// others changed before it is repaired as far as it is found at once, or until
// ctx ends, whose error it returns. Without Run it waits for ctx.
func (b *Banner) Sync(ctx context.Context) error {
	told := b.tell(func() {})
	for {
		b.mu.Lock()
		done, moved := b.applied >= told, b.moved
		b.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for the kernel: %w", ctx.Err())
		}
	}
}

// confirm notes that the kernel has what had been told by then.
func (b *Banner) confirm(told uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.ready:
	default:
		close(b.ready)
	}
	b.applied = told
	close(b.moved)
	b.moved = make(chan struct{})
}

// Packets returns how many packets came from each element in the kernel since
// it was last banned or renewed. That counts what the allowlist or a port let
// pass as well. It lists all sets, 0.4 s for 100,000 elements, so it is for an
// operator's question.
func (b *Banner) Packets(ctx context.Context) (map[Element]uint64, error) {
	packets := map[Element]uint64{}
	err := listing(ctx, func(r *reader, have ruleset) error {
		for _, group := range b.groupNames() {
			for name := range have.sets {
				s, ok := slotNamed(group, name)
				if !ok {
					continue
				}
				err := r.elements(name, func(elements []keptElement) {
					for _, e := range elements {
						if element, ok := s.element(e.key); ok {
							packets[element] = e.packets
						}
					}
				})
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	return packets, err
}

// Drops returns how many packets each group has dropped since its rules were
// last made: a count begins again at zero when a group's ports change or when
// the table had been deleted.
func (b *Banner) Drops(ctx context.Context) (map[string]uint64, error) {
	drops := map[string]uint64{}
	err := listing(ctx, func(_ *reader, have ruleset) error {
		for _, group := range b.groupNames() {
			drops[group] = 0
			if c := have.chains[dropPrefix+group]; c != nil {
				for _, r := range c.rules {
					drops[group] += r.packets
				}
			}
		}
		return nil
	})
	return drops, err
}

// listing reads the table over a socket that ctx can interrupt.
func listing(ctx context.Context, read func(*reader, ruleset) error) error {
	r, err := newReader()
	if err != nil {
		return err
	}
	defer r.conn.Close()
	defer context.AfterFunc(ctx, func() { r.conn.Close() })()
	have, err := r.ruleset()
	if err == nil {
		err = read(r, have)
	}
	return cmp.Or(ctx.Err(), err)
}

func (b *Banner) groupNames() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := []string{All}
	for _, g := range b.groups {
		names = append(names, g.Name)
	}
	return names
}

// Remove deletes the table with all bans from the kernel. A table that is not
// there is no error.
func Remove() error {
	conn, err := nftables.New()
	if err == nil {
		conn.DelTable(table)
		err = conn.Flush()
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete table inet %s: %w", tableName, err)
	}
	return nil
}

const (
	// poll is how often the ruleset's generation is looked at: repairs are
	// promised within 2 s.
	poll = time.Second
	// The pauses between attempts while the kernel refuses.
	firstPause, longestPause = 100 * time.Millisecond, 2 * time.Second
)

// Run makes the kernel agree with the desired state and keeps it so until ctx
// ends, then returns nil. The table stays. Nothing that the kernel says ends
// Run: it tries again. Run must be called once; it opens its sockets in the
// network namespace of the calling goroutine's thread.
func (b *Banner) Run(ctx context.Context) error {
	k := keeper{Banner: b}
	defer k.forget()
	next := time.NewTimer(0)
	defer next.Stop()
	failures := 0
	pause := firstPause
	for ctx.Err() == nil {
		err := k.round()
		if err == nil {
			if failures > 1 {
				b.observer.Failing(nil)
			}
			failures, pause = 0, firstPause
			next.Reset(pulse.Next(poll))
			select {
			case <-ctx.Done():
			case <-b.wake:
			case <-next.C:
			}
			continue
		}
		k.forget()
		failures++
		switch failures {
		case 1:
			// Most often somebody else's change in the middle of ours: look
			// again at once.
			b.log.Debug("the kernel refused; looking again", "error", err)
			continue
		case 2:
			b.observer.Failing(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
	return nil
}

func (b *Banner) repaired(what ...string) {
	text := strings.Join(what, ", ")
	b.observer.Repaired(text)
}
