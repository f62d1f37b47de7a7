package allowlist_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"band/internal/allowlist"
	"band/internal/doctor"
	"band/jails"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// Tests that ask a server mostly wait, so more of them run at once than there are
// processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// bubble runs f where time is the test's own, on one processor: on more, the race
// detector may end the process (golang/go, issue 78156).
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, f)
}

// A rig is a list that runs, with a resolver of the test's own.
type rig struct {
	*allowlist.List
	t     testing.TB
	zone  *zone
	board *doctor.Board
	log   *journal
	stop  context.CancelFunc
}

// newRig makes a list that asks a zone.
func newRig(t testing.TB, known map[string][]netip.Addr, entries ...string) *rig {
	t.Helper()
	z := &zone{records: map[string]record{}, asked: map[string][]time.Time{}}
	r := newRigWith(t, z.lookup, known, entries...)
	r.zone = z
	return r
}

// newRigWith makes a list that asks lookup.
func newRigWith(t testing.TB, lookup func(context.Context, string) (allowlist.Answer, error), known map[string][]netip.Addr, entries ...string) *rig {
	t.Helper()
	r := &rig{t: t, log: new(journal)}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	r.board = doctor.NewBoard(log, time.Now)
	r.List = allowlist.New(allowlist.Config{Log: log, Board: r.board, Lookup: lookup, Known: known})
	r.set(entries...)
	return r
}

// start lets it run, until stop is called or to the end of the test.
func (r *rig) start() *rig {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	r.stop = func() { cancel(); <-done }
	r.t.Cleanup(r.stop)
	return r
}

// set sets items of band.toml.
func (r *rig) set(entries ...string) {
	r.t.Helper()
	items := make([]allowlist.Item, len(entries))
	for i, e := range entries {
		items[i] = allowlist.Item{Entry: entry(r.t, e), Origin: allowlist.Configured}
	}
	r.Set(items)
}

// holds waits until nothing happens any more, and compares what all items stand for.
func (r *rig) holds(want ...string) {
	r.t.Helper()
	synctest.Wait()
	got := []string{}
	for _, p := range allowlist.Prefixes(r.Snapshot()) {
		got = append(got, jails.Entry{Prefix: p}.String())
	}
	if d := cmp.Diff(append([]string{}, want...), got); d != "" {
		r.t.Errorf("the list holds (-want +got):\n%s", d)
	}
}

// findings compares the findings, each as its kind, its source and its text.
func (r *rig) findings(want ...string) {
	r.t.Helper()
	synctest.Wait()
	got := []string{}
	for _, f := range r.board.Findings() {
		got = append(got, fmt.Sprintf("%s %s: %s", f.Kind, f.Source, f.Text))
		if f.Severity != doctor.Warning || f.Remedy == "" {
			r.t.Errorf("a finding of severity %q with the remedy %q", f.Severity, f.Remedy)
		}
	}
	if d := cmp.Diff(append([]string{}, want...), got); d != "" {
		r.t.Errorf("findings (-want +got):\n%s", d)
	}
}

// told reports whether the consumer was told of a change since the last call.
func (r *rig) told() bool {
	synctest.Wait()
	select {
	case <-r.Changes():
		return true
	default:
		return false
	}
}

// item returns the item of an entry.
func (r *rig) item(s string) allowlist.Item {
	r.t.Helper()
	items := r.Snapshot()
	i := slices.IndexFunc(items, func(item allowlist.Item) bool { return item.Entry.String() == s })
	if i < 0 {
		r.t.Fatalf("%s is not on the list", s)
	}
	return items[i]
}

func entry(t testing.TB, s string) jails.Entry {
	t.Helper()
	e, err := jails.ParseEntry(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func addrs(all ...string) []netip.Addr {
	as := make([]netip.Addr, len(all))
	for i, s := range all {
		as[i] = netip.MustParseAddr(s)
	}
	return as
}

// A journal is a log.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// count returns the number of lines that hold all of what.
func (j *journal) count(what ...string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for line := range strings.Lines(j.text.String()) {
		if !slices.ContainsFunc(what, func(s string) bool { return !strings.Contains(line, s) }) {
			n++
		}
	}
	return n
}

// A zone answers look-ups.
type zone struct {
	mu      sync.Mutex
	records map[string]record
	asked   map[string][]time.Time
	now     int // look-ups under way
	most    int // look-ups at a time, at most
}

type record struct {
	allowlist.Answer
	err   error
	takes time.Duration // < 0: until the context ends
}

func (z *zone) lookup(ctx context.Context, name string) (allowlist.Answer, error) {
	z.mu.Lock()
	z.asked[name] = append(z.asked[name], time.Now())
	z.now++
	z.most = max(z.most, z.now)
	r, ok := z.records[name]
	z.mu.Unlock()
	defer func() {
		z.mu.Lock()
		defer z.mu.Unlock()
		z.now--
	}()
	if r.takes < 0 {
		<-ctx.Done()
		return allowlist.Answer{}, ctx.Err()
	}
	select {
	case <-time.After(r.takes):
	case <-ctx.Done():
		return allowlist.Answer{}, ctx.Err()
	}
	if !ok {
		r.err = errors.New("no such host")
	}
	if r.err != nil {
		r.err = fmt.Errorf("lookup %s: %w", name, r.err)
	}
	return r.Answer, r.err
}

func (z *zone) put(name string, ttl time.Duration, as ...string) {
	z.set(name, record{Answer: allowlist.Answer{Addrs: addrs(as...), TTL: ttl}})
}

func (z *zone) fail(name, text string) { z.set(name, record{err: errors.New(text)}) }

func (z *zone) set(name string, r record) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[name] = r
}

// atOnce returns how many look-ups there were at a time, at most.
func (z *zone) atOnce() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.most
}

// times returns when name was asked for, and forgets it.
func (z *zone) times(name string) []time.Time {
	z.mu.Lock()
	defer z.mu.Unlock()
	defer delete(z.asked, name)
	return z.asked[name]
}

func TestItems(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		if r.told() {
			t.Error("an empty list tells of a change")
		}
		r.zone.put("trunk.example.com", time.Minute, "192.0.2.7", "2001:db8::7")
		items := []allowlist.Item{
			{Entry: entry(t, "trunk.example.com"), Origin: allowlist.Gateway, Note: "carrier"},
			{Entry: entry(t, "198.51.100.0/24"), Origin: allowlist.Configured},
			{Entry: entry(t, "2001:db8::/32"), Origin: allowlist.Configured, Prefixes: []netip.Prefix{netip.MustParsePrefix("::/0")}, Err: "x"},
			{Entry: entry(t, "192.0.2.7"), Origin: allowlist.Operator, Until: time.Now().Add(time.Hour)},
		}
		before := slices.Clone(items)
		r.Set(items)
		if !r.told() {
			t.Error("the consumer is not told of items")
		}
		r.start()
		r.holds("192.0.2.7", "198.51.100.0/24", "2001:db8::/32")
		if d := cmp.Diff(before, items, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
			t.Errorf("Set changed its argument:\n%s", d)
		}
		if !r.told() {
			t.Error("the consumer is not told of an answer")
		}
		want := []string{
			"trunk.example.com freeswitch carrier [192.0.2.7/32 2001:db8::7/128] ",
			"192.0.2.7 banctl  [192.0.2.7/32] ",
			"198.51.100.0/24 band.toml  [198.51.100.0/24] ",
			"2001:db8::/32 band.toml  [2001:db8::/32] ",
		}
		var got []string
		for _, item := range r.Snapshot() {
			got = append(got, fmt.Sprintf("%s %s %s %v %s", item.Entry, item.Origin, item.Note, item.Prefixes, item.Err))
			if item.Resolved.IsZero() != (item.Entry.Name == "") {
				t.Errorf("%s was resolved at %v", item.Entry, item.Resolved)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("items (-want +got):\n%s", d)
		}

		slices.Reverse(r.Snapshot())
		if item := r.Snapshot()[0]; item.Entry.Name == "" {
			t.Errorf("the snapshot was changed from outside: it begins with %v", item)
		}
		slices.Reverse(items)
		r.Set(items)
		if r.told() {
			t.Error("the consumer is told of what does not change")
		}
		r.Set(nil)
		if r.holds(); !r.told() {
			t.Error("the consumer is not told of the end of items")
		}
	})
}

func TestItemsExpire(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil).start()
		r.zone.put("trunk.example.com", time.Hour, "192.0.2.7")
		r.Set([]allowlist.Item{
			{Entry: entry(t, "trunk.example.com"), Origin: allowlist.Operator, Until: time.Now().Add(10 * time.Minute)},
			{Entry: entry(t, "198.51.100.1"), Origin: allowlist.Operator, Until: time.Now().Add(5 * time.Second)},
			{Entry: entry(t, "198.51.100.1"), Origin: allowlist.Operator, Until: time.Now().Add(7 * time.Second)},
			{Entry: entry(t, "198.51.100.2"), Origin: allowlist.Operator, Until: time.Now()},
			{Entry: entry(t, "198.51.100.3"), Origin: allowlist.Configured},
		})
		r.holds("192.0.2.7", "198.51.100.1", "198.51.100.3")
		r.told()
		for _, step := range []struct {
			sleep time.Duration
			told  bool
			want  []string
		}{
			{5*time.Second - 1, false, []string{"192.0.2.7", "198.51.100.1", "198.51.100.3"}},
			{1, true, []string{"192.0.2.7", "198.51.100.1", "198.51.100.3"}}, // once more until 7 s
			{2*time.Second - 1, false, []string{"192.0.2.7", "198.51.100.1", "198.51.100.3"}},
			{1, true, []string{"192.0.2.7", "198.51.100.3"}},
			{10*time.Minute - 7*time.Second, true, []string{"198.51.100.3"}},
		} {
			time.Sleep(step.sleep)
			if told := r.told(); told != step.told {
				t.Errorf("after %v more, told %v", step.sleep, told)
			}
			r.holds(step.want...)
		}
		if n := r.log.count("allowlist entry expired", "entry=198.51.100.1"); n != 2 {
			t.Errorf("%d log lines tell of two items that expired", n)
		}
		r.zone.times("trunk.example.com")
		time.Sleep(3 * time.Hour)
		if asked := r.zone.times("trunk.example.com"); len(asked) > 0 {
			t.Errorf("a name that expired is asked for at %v", asked)
		}
	})
}

// An item that expires is not in a snapshot either where Run does not run.
func TestSnapshotWithoutRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.Set([]allowlist.Item{{Entry: entry(t, "192.0.2.7"), Until: time.Now().Add(time.Second)}})
		r.holds("192.0.2.7")
		time.Sleep(time.Second)
		r.holds()
	})
}

func TestReady(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ready := func(r *rig) bool {
			synctest.Wait()
			select {
			case <-r.Ready():
				return true
			default:
				return false
			}
		}
		file := write(t, t.TempDir(), "in-file.example.com\n")
		r := newRig(t, nil, "slow.example.com", "missing.example.com", file, "/nowhere")
		r.zone.set("slow.example.com", record{takes: 2 * time.Second, err: errors.New("no such host")})
		r.zone.set("in-file.example.com", record{takes: 3 * time.Second, err: errors.New("no such host")})
		if ready(r) {
			t.Error("ready before it runs")
		}
		r.start()
		time.Sleep(3*time.Second - 1)
		if ready(r) {
			t.Error("ready before every name was tried")
		}
		time.Sleep(time.Nanosecond)
		if !ready(r) {
			t.Error("not ready when every name was tried")
		}
		r = newRig(t, nil, "192.0.2.1")
		if ready(r) {
			t.Error("a list without names is ready before it runs")
		}
		if !ready(r.start()) {
			t.Error("a list without names is not ready")
		}

		r = newRig(t, nil, file)
		r.zone.set("in-file.example.com", record{takes: -1})
		if ready(r.start()) {
			t.Error("ready while the name in a file is asked for")
		}

		r = newRig(t, nil, "slow.example.com")
		r.zone.set("slow.example.com", record{takes: -1})
		r.start()
		if ready(r) {
			t.Error("ready while the only look-up hangs")
		}
		if r.set("192.0.2.7"); !ready(r) {
			t.Error("not ready when nobody wants to know the name any more")
		}
	})
}

// Prefixes covers what the items cover and nothing else, and nothing twice.
func TestPrefixes(t *testing.T) {
	prefix := rapid.Custom(func(r *rapid.T) netip.Prefix {
		b := rapid.SliceOfN(rapid.ByteRange(0, 3), 4, 4).Draw(r, "address")
		a := netip.AddrFrom4([4]byte(b))
		if rapid.Bool().Draw(r, "v6") {
			a = netip.AddrFrom16([16]byte{0x20, 0x01, 12: b[0], b[1], b[2], b[3]})
		}
		return netip.PrefixFrom(a, a.BitLen()-rapid.IntRange(0, 31).Draw(r, "bits")).Masked()
	})
	rapid.Check(t, func(r *rapid.T) {
		items := make([]allowlist.Item, rapid.IntRange(0, 4).Draw(r, "items"))
		var all []netip.Prefix
		for i := range items {
			items[i].Prefixes = rapid.SliceOfN(prefix, 0, 6).Draw(r, "prefixes")
			all = append(all, items[i].Prefixes...)
		}
		kept := slices.Clone(all)
		got := allowlist.Prefixes(items)
		if !slices.IsSortedFunc(got, netip.Prefix.Compare) {
			r.Fatalf("not sorted: %v", got)
		}
		for i, p := range got {
			if !slices.Contains(all, p) {
				r.Fatalf("%v is on no item", p)
			}
			if slices.ContainsFunc(got[i+1:], p.Overlaps) {
				r.Fatalf("overlapping: %v", got)
			}
		}
		for _, p := range all {
			if !slices.ContainsFunc(got, func(g netip.Prefix) bool { return g.Overlaps(p) && g.Bits() <= p.Bits() }) {
				r.Fatalf("%v is not covered by %v", p, got)
			}
		}
		var after []netip.Prefix
		for _, item := range items {
			after = append(after, item.Prefixes...)
		}
		if !slices.Equal(kept, after) {
			r.Fatal("the items were changed")
		}
	})
}
