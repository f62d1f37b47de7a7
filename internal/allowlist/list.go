package allowlist

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"band/internal/doctor"
	"band/jails"
)

// Origin says who put an item on the list.
type Origin string

// The origins of items.
const (
	Configured Origin = "band.toml"
	Operator   Origin = "banctl"
	Gateway    Origin = "freeswitch"
)

// An Item is an entry of the list, and what is known of it.
type Item struct {
	Entry  jails.Entry
	Origin Origin
	Until  time.Time // when it leaves the list; zero: never
	Note   string    // for operators, such as the name of a gateway

	// What [List.Snapshot] tells, and [List.Set] ignores.
	Prefixes []netip.Prefix // what it stands for now, sorted; shared, not to be changed
	Err      string         // what is wrong with it since the last attempt, "" if nothing is
	Resolved time.Time      // when its name was resolved or its file read; zero: not yet, or a prefix
}

// Config is what a List needs.
type Config struct {
	Log   *slog.Logger
	Board *doctor.Board
	Now   func() time.Time // nil: [time.Now]

	// Lookup asks for the addresses of a name. It is called from several
	// goroutines and must return soon after its context ends. Its errors tell
	// the name. nil: what the system is configured to ask, see [DNS].
	Lookup func(ctx context.Context, name string) (Answer, error)

	// Known are the answers of an earlier run, see [List.Known]. They count
	// until there are new ones.
	Known map[string][]netip.Addr
}

// A List is the allowlist. Its methods are safe for concurrent use, and none
// but Run waits for a resolver or a disk.
type List struct {
	log    *slog.Logger
	board  *doctor.Board
	now    func() time.Time
	lookup func(context.Context, string) (Answer, error)

	changes  chan struct{}
	ready    chan struct{}
	nameWake chan struct{} // there may be names to ask for
	fileWake chan struct{} // there may be files to read

	mu       sync.Mutex
	items    []Item // as they were set, sorted
	names    map[string]*name
	files    map[string]*file
	known    map[string][]netip.Addr // of an earlier run, not used yet
	asking   int                     // look-ups that are under way
	slow     int                     // those of asking that were slow the last time
	running  bool
	isReady  bool
	snapshot []Item // nil: to be made anew
}

// New returns an empty List.
func New(c Config) *List {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Lookup == nil {
		c.Lookup = DNS{}.Lookup
	}
	known := make(map[string][]netip.Addr)
	maps.Copy(known, c.Known)
	return &List{
		log:      c.Log,
		board:    c.Board,
		now:      c.Now,
		lookup:   c.Lookup,
		known:    known,
		changes:  make(chan struct{}, 1),
		ready:    make(chan struct{}),
		nameWake: make(chan struct{}, 1),
		fileWake: make(chan struct{}, 1),
		names:    make(map[string]*name),
		files:    make(map[string]*file),
	}
}

// Set replaces all items. What is known of names and files that stay is kept.
// Where nothing changes, nobody is told.
func (l *List) Set(items []Item) {
	items = slices.Clone(items)
	for i, item := range items {
		items[i] = Item{Entry: item.Entry, Origin: item.Origin, Until: item.Until, Note: item.Note}
	}
	slices.SortFunc(items, compare)
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.EqualFunc(items, l.items, func(a, b Item) bool { return compare(a, b) == 0 }) {
		return
	}
	l.items = items
	l.reconcile()
	l.changed()
}

// Run resolves names, reads files and drops items whose time is over, until ctx
// ends. It is called once.
func (l *List) Run(ctx context.Context) {
	l.begin()
	var tasks sync.WaitGroup
	tasks.Go(func() { l.resolve(ctx) })
	tasks.Go(func() { l.read(ctx) })
	tasks.Wait()
}

// Ready is closed once Run has tried every name and file, with or without
// success. A resolver that hangs delays it by five seconds for every eight
// names, so wait for it with a timeout.
func (l *List) Ready() <-chan struct{} { return l.ready }

// Changes tells that the list has changed since the last time that was
// received. It is for one consumer.
func (l *List) Changes() <-chan struct{} { return l.changes }

// Snapshot returns the items as they are now: files, names and prefixes, each
// sorted.
func (l *List) Snapshot() []Item {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(l.now())
	if l.snapshot == nil {
		l.snapshot = make([]Item, len(l.items))
		for i, item := range l.items {
			l.snapshot[i] = l.describe(item)
		}
	}
	return slices.Clone(l.snapshot)
}

// Known returns the last good answer of every name that has one, those in files
// included: what the next run is to begin with.
func (l *List) Known() map[string][]netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := make(map[string][]netip.Addr)
	for _, n := range l.names {
		if len(n.current) > 0 {
			known[n.name] = slices.Clone(n.current)
		}
	}
	return known
}

// Prefixes returns what items stand for together, sorted, without what a wider
// prefix covers: no two of them overlap.
func Prefixes(items []Item) []netip.Prefix {
	var all []netip.Prefix
	for _, item := range items {
		all = append(all, item.Prefixes...)
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	disjoint := all[:0]
	for _, p := range all {
		// What covers a prefix sorts before it.
		if n := len(disjoint); n == 0 || !disjoint[n-1].Overlaps(p) {
			disjoint = append(disjoint, p)
		}
	}
	return disjoint
}

// compare tells apart and sorts items as they were set.
func compare(a, b Item) int {
	return cmp.Or(
		a.Entry.Prefix.Compare(b.Entry.Prefix),
		cmp.Compare(a.Entry.Name, b.Entry.Name), cmp.Compare(a.Entry.File, b.Entry.File),
		cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Note, b.Note), a.Until.Compare(b.Until))
}

// describe adds what is known of an item.
func (l *List) describe(item Item) Item {
	switch e := item.Entry; {
	case e.File != "":
		f := l.files[e.File]
		item.Prefixes, item.Err, item.Resolved = f.prefixes, f.err, f.loaded
		if len(f.names) == 0 {
			break
		}
		item.Prefixes = slices.Clone(f.prefixes)
		for _, name := range f.names {
			n, problem := l.name(name)
			item.Prefixes = append(item.Prefixes, n.prefixes...)
			if item.Err == "" {
				item.Err = problem
			}
		}
		slices.SortFunc(item.Prefixes, netip.Prefix.Compare)
		item.Prefixes = slices.Compact(item.Prefixes)
	case e.Name != "":
		n, problem := l.name(e.Name)
		item.Prefixes, item.Err, item.Resolved = n.prefixes, problem, n.resolved
	default:
		item.Prefixes = []netip.Prefix{e.Prefix}
	}
	return item
}

// name returns what is known of a name, and what is wrong with it.
func (l *List) name(s string) (*name, string) {
	if n := l.names[s]; n != nil {
		return n, n.err
	}
	return &name{}, fmt.Sprintf("%s is not resolved: there are more than %d names", s, maxNames)
}

// expire drops the items whose time is over.
func (l *List) expire(now time.Time) {
	over := func(item Item) bool { return !item.Until.IsZero() && !item.Until.After(now) }
	if !slices.ContainsFunc(l.items, over) {
		return
	}
	l.items = slices.DeleteFunc(l.items, func(item Item) bool {
		if !over(item) {
			return false
		}
		l.log.Info("allowlist entry expired", "entry", item.Entry.String(), "origin", string(item.Origin))
		return true
	})
	l.reconcile()
	l.changed()
}

// reconcile makes the names and files those of the items and of the files.
func (l *List) reconcile() {
	files := make(map[string]*file)
	var names []string
	for _, item := range l.items {
		switch e := item.Entry; {
		case e.Name != "":
			names = append(names, e.Name)
		case e.File != "" && files[e.File] == nil:
			if files[e.File] = l.files[e.File]; files[e.File] == nil {
				files[e.File] = &file{path: e.File}
			}
		}
	}
	l.files = files
	l.board.ClearAll(doctor.AllowFile, func(f doctor.Finding) bool { return files[f.Source] != nil })
	for _, path := range slices.Sorted(maps.Keys(files)) {
		names = append(names, files[path].names...)
	}
	l.want(names)
	poke(l.nameWake)
	poke(l.fileWake)
	l.announce()
}

// changed tells the consumer.
func (l *List) changed() {
	l.snapshot = nil
	poke(l.changes)
}

// begin says that Run has begun.
func (l *List) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = true
	l.announce()
}

// announce closes ready when it is time.
func (l *List) announce() {
	if l.isReady || !l.running {
		return
	}
	for _, f := range l.files {
		if !f.tried {
			return
		}
	}
	for _, n := range l.names {
		if !n.tried {
			return
		}
	}
	l.isReady = true
	close(l.ready)
}

// poke wakes whoever waits on c, now or the next time.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// join puts the first of problems into one sentence.
func join(problems []string, more int) string {
	text := strings.Join(problems, "; ")
	if more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}
