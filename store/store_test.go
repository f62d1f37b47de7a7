package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"band/store"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("BAND_TEST_STORE_CHILD"); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// owner is a state of the simplest kind: the numbers that were appended.
type owner struct {
	*store.Store
	report  store.Report
	numbers []int
	cancel  context.CancelFunc
	done    chan error
}

// open opens and runs a store; the owner must be stopped.
func open(dir string, opt store.Options) (*owner, error) {
	o, err := load(dir, opt)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	o.cancel, o.done = cancel, make(chan error, 1)
	go func() { o.done <- o.Run(ctx) }()
	return o, nil
}

// load opens a store without running it.
func load(dir string, opt store.Options) (*owner, error) {
	o := &owner{}
	var err error
	o.Store, o.report, err = store.Open(dir, opt, func(b store.Batch) {
		o.numbers = append(o.numbers, number(b))
	})
	return o, err
}

func mustOpen(t testing.TB, dir string, opt store.Options) *owner {
	t.Helper()
	o, err := open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// stop ends Run and closes; the errors are those of Run.
func (o *owner) stop() error {
	o.cancel()
	err := <-o.done
	return errors.Join(err, o.Close())
}

func (o *owner) add(n int) {
	for range n {
		next := 1
		if len(o.numbers) > 0 {
			next = o.numbers[len(o.numbers)-1] + 1
		}
		o.numbers = append(o.numbers, next)
		o.Append(batch(next))
	}
}

func (o *owner) snapshot() error { return o.Snapshot(o.state()) }

func (o *owner) state() iter.Seq[store.Batch] {
	numbers := slices.Clone(o.numbers)
	return func(yield func(store.Batch) bool) {
		for _, n := range numbers {
			if !yield(batch(n)) {
				return
			}
		}
	}
}

// batch is one that carries a number, of any kind.
func batch(n int) store.Batch {
	at := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second)
	unit := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}), 32)
	b := store.Batch{Cursors: map[string]json.RawMessage{"n": json.RawMessage(strconv.Itoa(n))}}
	switch n % 4 {
	case 1:
		b.Events = []store.Event{{Failure: &store.Failure{Jail: "freeswitch", Unit: unit, Host: unit.Addr(), Time: at, Record: `SIP auth failure deadbeef {"events":[` + "\n"}}}
	case 2:
		b.Events = []store.Event{{Ban: &store.Ban{Jail: "freeswitch", Unit: unit, Since: at, Until: at.Add(time.Hour), Failures: 5, Origin: "jail"}}}
	case 3:
		b.Events = []store.Event{{Lift: &store.Lift{Jail: "freeswitch", Unit: unit, At: at}}}
	}
	return b
}

func number(b store.Batch) int {
	n, err := strconv.Atoi(string(b.Cursors["n"]))
	if err != nil {
		return -1
	}
	return n
}

// upTo is 1..n.
func upTo(n int) []int {
	var all []int
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

// sync is Sync with an end.
func (o *owner) sync() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return o.Sync(ctx)
}

func mustSync(t testing.TB, o *owner) {
	t.Helper()
	if err := o.sync(); err != nil {
		t.Fatal(err)
	}
}

func mustStop(t testing.TB, o *owner) {
	t.Helper()
	if err := o.stop(); err != nil {
		t.Fatal(err)
	}
}

// expect opens the directory without writing to it and compares.
func expect(t testing.TB, dir string, opt store.Options, want []int) store.Report {
	t.Helper()
	o, err := load(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, o.numbers, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("state after reopening (-want +got):\n%s\ndamage: %v", diff, o.report.Damage)
	}
	return o.report
}

func line(body string) string {
	return fmt.Sprintf("%08x %s\n", crc32.Checksum([]byte(body), crc32.MakeTable(crc32.Castagnoli)), body)
}

func read(t testing.TB, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFormat pins what an operator and a later band read.
func TestFormat(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "band")
	now := func() time.Time { return time.Date(2026, 11, 21, 10, 0, 0, 123456789, time.FixedZone("", 3600)) }
	o := mustOpen(t, dir, store.Options{Now: now})
	unit, host := netip.MustParsePrefix("2001:db8:bad::/64"), netip.MustParseAddr("2001:db8:bad::7")
	at := now()
	o.Append(store.Batch{
		Cursors: map[string]json.RawMessage{"file:/var/log/fs.log": json.RawMessage(`{"offset": 17}`)},
		Events: []store.Event{
			{Failure: &store.Failure{Jail: "freeswitch", Unit: unit, Host: host, Kind: "F", Via: "file", Time: at, Pattern: "auth-failure", User: "1001", Record: "for <sip:a&b>\x1b[m\xff"}},
			{Ban: &store.Ban{Jail: "freeswitch", Unit: unit, Since: at, Failures: 5, Origin: "manual", Reason: "why not", Evidence: []store.Failure{{Jail: "freeswitch", Unit: unit, Time: at}}}},
			{Lift: &store.Lift{Jail: "freeswitch", Unit: unit, At: at.Add(time.Hour)}},
			{Allow: &store.Allow{Entry: "trunk.example.com", Since: at, Until: at.Add(time.Hour), Reason: "new"}},
			{Resolved: &store.Resolved{Name: "trunk.example.com", Addrs: []netip.Addr{host}}},
		},
	})
	mustSync(t, o)
	mustStop(t, o)
	want := line(`{"band":"state","version":1,"generation":1,"written":"2026-11-21T09:00:00.123456Z"}`) +
		line(`{"cursors":{"file:/var/log/fs.log":{"offset":17}},"events":[`+
			`{"failure":{"jail":"freeswitch","unit":"2001:db8:bad::/64","host":"2001:db8:bad::7","kind":"F","via":"file","time":"2026-11-21T09:00:00.123456Z","pattern":"auth-failure","user":"1001","record":"for <sip:a&b>\u001b[m\ufffd"}},`+
			`{"ban":{"jail":"freeswitch","unit":"2001:db8:bad::/64","since":"2026-11-21T09:00:00.123456Z","failures":5,"origin":"manual","reason":"why not","evidence":[{"jail":"freeswitch","unit":"2001:db8:bad::/64","time":"2026-11-21T09:00:00.123456Z"}]}},`+
			`{"lift":{"jail":"freeswitch","unit":"2001:db8:bad::/64","at":"2026-11-21T10:00:00.123456Z"}},`+
			`{"allow":{"entry":"trunk.example.com","since":"2026-11-21T09:00:00.123456Z","until":"2026-11-21T10:00:00.123456Z","reason":"new"}},`+
			`{"resolved":{"name":"trunk.example.com","addrs":["2001:db8:bad::7"]}}]}`)
	if diff := cmp.Diff(want, string(read(t, dir, "state.log"))); diff != "" {
		t.Errorf("state.log (-want +got):\n%s", diff)
	}
	for name, mode := range map[string]os.FileMode{"": 0o700, "state.log": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("mode of %q: %v, want %v", name, info.Mode().Perm(), mode)
		}
	}
}

// TestRoundTrip reads back what was written, through log and snapshot.
func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 11, 21, 9, 0, 0, 123456000, time.UTC)
	unit := netip.MustParsePrefix("198.51.100.7/32")
	failure := store.Failure{Jail: "j", Unit: unit, Host: unit.Addr(), Kind: "U", Via: "journal", Time: at, Pattern: "p", User: "u", Record: "r"}
	want := []store.Batch{
		{Cursors: map[string]json.RawMessage{"a": json.RawMessage(`{"x":[1,null,"\u2028"]}`), "b": json.RawMessage(`null`)}},
		{Events: []store.Event{{Failure: &failure}, {Ban: &store.Ban{Jail: "j", Unit: unit, Since: at, Until: at.Add(time.Hour), Failures: 5, Origin: "jail", Reason: "x", Evidence: []store.Failure{failure}}}}},
		{Events: []store.Event{{Lift: &store.Lift{Jail: "j", Unit: unit, At: at}}}},
		{Events: []store.Event{
			{Ban: &store.Ban{Jail: "j", Unit: unit, Since: at, Origin: "network", Repeat: 3, DryRun: true}},
			{Allow: &store.Allow{Entry: "198.51.100.0/24", Since: at, Gone: true}},
			{Resolved: &store.Resolved{Name: "a.example", Addrs: []netip.Addr{unit.Addr()}}},
		}},
	}
	for _, how := range []string{"log", "snapshot"} {
		o := mustOpen(t, dir, store.Options{})
		if how == "log" {
			for _, b := range want {
				o.Append(b)
			}
		} else if err := o.Snapshot(func(yield func(store.Batch) bool) {
			for _, b := range want {
				if !yield(b) {
					return
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		mustStop(t, o)
		var got []store.Batch
		s, report, err := store.Open(dir, store.Options{}, func(b store.Batch) { got = append(got, b) })
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", how, diff)
		}
		counts := store.Report{Generation: report.Generation, Batches: 4, Failures: 1, Bans: 2, Lifts: 1}
		if diff := cmp.Diff(counts, report); diff != "" {
			t.Errorf("%s: report (-want +got):\n%s", how, diff)
		}
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	dir := t.TempDir()
	o := mustOpen(t, dir, store.Options{})
	_, err := load(dir, store.Options{})
	if err == nil || !strings.Contains(err.Error(), "another band is using "+dir) {
		t.Errorf("second open: %v", err)
	}
	mustStop(t, o)
	mustStop(t, mustOpen(t, dir, store.Options{}))
}

func TestNewerVersionIsRefusedUntouched(t *testing.T) {
	newer := []byte(line(`{"band":"state","version":2,"generation":1,"shape":"other"}`) + "all different from here\n")
	older := []byte(line(`{"band":"state","version":1,"generation":1}`) + "half a line")
	end := []byte("lost first line\n" + line(`{"band":"state","version":2,"generation":1,"end":true}`))
	for _, files := range []map[string][]byte{
		{"state.log": newer},
		{"state.snap": newer, "state.log": older},
		{"state.snap": end, "state.log": older},
		{"state.snap": older, "state.log": newer},
	} {
		dir := t.TempDir()
		for name, data := range files {
			write(t, dir, name, data)
		}
		_, err := load(dir, store.Options{})
		if err == nil || !strings.Contains(err.Error(), "version 2") {
			t.Errorf("open: %v", err)
		}
		for name, data := range files {
			if !bytes.Equal(read(t, dir, name), data) {
				t.Errorf("%s was changed", name)
			}
		}
	}
}

func TestUnknownKeysAreIgnored(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "state.log", []byte(line(`{"band":"state","version":1,"generation":1,"colour":"red"}`)+
		line(`{"cursors":{"n":1},"events":[{"ban":{"jail":"j","unit":"198.51.100.7/32","mood":7}},{"sneeze":{}}],"more":[]}`)))
	var got []store.Batch
	s, report, err := store.Open(dir, store.Options{}, func(b store.Batch) { got = append(got, b) })
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if len(report.Damage) > 0 || len(got) != 1 || len(got[0].Events) != 1 || got[0].Events[0].Ban.Jail != "j" {
		t.Errorf("got %+v, %+v", got, report)
	}
}

// TestBadBatch: what cannot be encoded must not take the rest with it.
func TestBadBatch(t *testing.T) {
	dir := t.TempDir()
	o := mustOpen(t, dir, store.Options{})
	bad := batch(2) // with a ban
	bad.Cursors["half"] = json.RawMessage(`{"offset":`)
	bad.Cursors["none"] = json.RawMessage{}
	o.add(1)
	o.Append(bad)
	o.Append(store.Batch{Events: []store.Event{{Lift: &store.Lift{At: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)}}}})
	o.Append(batch(3))
	mustSync(t, o)
	mustStop(t, o)
	if report := expect(t, dir, store.Options{}, upTo(3)); report.Bans != 1 || len(report.Damage) > 0 {
		t.Errorf("report %+v", report)
	}
}

func TestSnapshotReplacesLog(t *testing.T) {
	dir := t.TempDir()
	o := mustOpen(t, dir, store.Options{})
	for i := range 5 {
		o.add(10)
		if err := o.snapshot(); err != nil {
			t.Fatal(err)
		}
		o.add(3)
		mustSync(t, o)
		poll(t, func() bool {
			return bytes.Contains(read(t, dir, "state.log"), fmt.Appendf(nil, `"generation":%d`, i+2))
		})
	}
	mustStop(t, o)
	if n := bytes.Count(read(t, dir, "state.log"), []byte("\n")); n != 1+3 {
		t.Errorf("the log has %d lines, want a mark and 3 batches", n)
	}
	if n := bytes.Count(read(t, dir, "state.snap"), []byte("\n")); n != 62+2 {
		t.Errorf("the snapshot has %d lines, want two marks and 62 batches", n)
	}
	if info, err := os.Stat(filepath.Join(dir, "state.snap")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("snapshot: %v %v", info, err)
	}
	if report := expect(t, dir, store.Options{}, upTo(65)); report.Generation != 6 {
		t.Errorf("generation %d, want 6", report.Generation)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

// TestSnapshotThenStop: Run finishes what it was given before ctx ended.
func TestSnapshotThenStop(t *testing.T) {
	dir := t.TempDir()
	o := mustOpen(t, dir, store.Options{})
	o.add(1000)
	if err := o.snapshot(); err != nil {
		t.Fatal(err)
	}
	o.add(1000)
	if err := o.snapshot(); err != nil { // the first may still be in the works
		t.Fatal(err)
	}
	o.add(10)
	mustStop(t, o)
	expect(t, dir, store.Options{}, upTo(2010))
	if err := o.snapshot(); err == nil {
		t.Error("a closed store takes a snapshot")
	}
	if err := o.sync(); err == nil {
		t.Error("a closed store syncs")
	}
}

func TestSyncEndsWithItsContext(t *testing.T) {
	o, err := load(t.TempDir(), store.Options{}) // nobody writes
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	mustSync(t, o) // nothing to do
	o.add(1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := o.Sync(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Sync: %v", err)
	}
}

func TestUnreadableStateIsAnError(t *testing.T) {
	dir := t.TempDir()
	f := &faultFS{}
	mustStop(t, mustOpen(t, dir, store.Options{}))
	f.set(func(op, name string) error {
		if op == "read" {
			return syscall.EIO
		}
		return nil
	})
	if _, err := load(dir, store.Options{FS: f}); !errors.Is(err, syscall.EIO) {
		t.Errorf("open: %v", err)
	}
	mustStop(t, mustOpen(t, dir, store.Options{})) // and the lock is free
}

func poll(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("did not happen within a minute")
		}
	}
}
