package banner_test

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"band/banner"
)

// many returns bans of different units, a third of them /64.
func many(n int, until time.Time) []banner.Change {
	var changes []banner.Change
	for i := range n {
		c := banner.Change{Element: banner.Element{Group: banner.All}, Until: until}
		switch i % 3 {
		case 0:
			c.Element.Unit = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		case 1:
			c.Element.Unit = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0, byte(i >> 16), byte(i >> 8), byte(i), 0, 1}), 64)
		case 2:
			c.Element.Unit = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 2, 0, byte(i >> 16), byte(i >> 8), byte(i), 15: 1}), 128)
		}
		changes = append(changes, c)
	}
	return changes
}

// sameElements compares the kernel with the wanted bans, exactly.
func sameElements(t testing.TB, b *banner.Banner, want []banner.Change) {
	t.Helper()
	got := packets(t, b)
	missing := 0
	for _, c := range want {
		if _, ok := got[c.Element]; !ok {
			missing++
		}
	}
	if missing > 0 || len(got) != len(want) {
		t.Errorf("%d elements in the kernel, want %d; %d missing", len(got), len(want), missing)
	}
}

func TestHundredThousandElements(t *testing.T) {
	privileged(t)
	const n = 100_000
	bans := many(n, within(time.Hour))
	watcher := &watcher{}
	config := banner.Config{Observer: watcher}
	b, stop := start(t, config, bans...)
	sameElements(t, b, bans)
	// nft(8) counts them too, since what lists them here is our own.
	count := 0
	for _, set := range []string{"all-ip4", "all-ip6", "all-ip6-64"} {
		count += strings.Count(shell(t, "nft list set inet band "+set), "expires")
	}
	if count != n {
		t.Errorf("nft lists %d elements", count)
	}

	// Where writing them took longer than the tolerance, the first to take over
	// corrects what the times were then; the next has nothing to do.
	var before, after uint32
	for range 3 {
		stop()
		before = generation(t)
		b, stop = start(t, config, bans...)
		b.Settle()
		await(t, b)
		if after = generation(t); after == before {
			break
		}
	}
	if after != before {
		t.Errorf("taking over wrote %d times", after-before)
	}

	// A set that is emptied just after all was compared need not wait until comparing
	// again has become cheap by the time that went by.
	began := time.Now()
	sameElements(t, b, bans)
	listing := time.Since(began)
	for i, set := range []string{"all-ip4", "all-ip6-64", "all-ip4"} {
		before := strings.Count(watcher.repairs(), "elements missing")
		shell(t, "nft flush set inet band "+set)
		eventually(t, 3*time.Second+8*listing, fmt.Sprintf("repair %d", i), func() bool {
			return strings.Count(watcher.repairs(), "elements missing") > before
		})
		await(t, b)
		sameElements(t, b, bans)
	}

	// All at once away and back, in one transaction.
	shell(t, "nft delete table inet band")
	eventually(t, 10*time.Second, "the repair", func() bool { return strings.Contains(watcher.repairs(), "table missing") })
	await(t, b)
	sameElements(t, b, bans)

	for i := range bans {
		bans[i].Lift = true
	}
	tell(t, b, bans...)
	sameElements(t, b, nil)
	// Where writing them took longer than the tolerance, they were written again.
	told := regexp.MustCompile(`([,;] )?\d+ elements? with another expiry`).ReplaceAllString(watcher.repairs(), "")
	if !regexp.MustCompile(`^(; )?(\d+ elements missing; ){3}table missing$`).MatchString(told) {
		t.Errorf("repaired %q", watcher.repairs())
	}
	if len(watcher.failures()) > 0 {
		t.Error(watcher.failures())
	}
}

func TestBurst(t *testing.T) {
	privileged(t)
	b, _ := start(t, banner.Config{})
	bans := many(1000, within(time.Hour))
	for _, c := range bans {
		b.Change([]banner.Change{c})
	}
	await(t, b)
	sameElements(t, b, bans)
}

func TestRenewals(t *testing.T) {
	privileged(t)
	b, _ := start(t, banner.Config{})
	until := within(time.Hour)
	for i := range 10_000 {
		until = until.Add(time.Second)
		b.Change([]banner.Change{ban(banner.All, "198.51.100.1", until)})
		if i%10 == 0 {
			await(t, b)
		}
	}
	await(t, b)
	bans := many(5000, within(time.Hour))
	tell(t, b, bans...)
	for i := range bans {
		bans[i].Until = until
	}
	tell(t, b, append(bans, ban(banner.All, "2001:db8::1", until))...)
	for _, set := range []string{"all-ip4", "all-ip6", "all-ip6-64"} {
		elements := expiries(t, set)
		if len(elements) < 1666 {
			t.Errorf("%s: %d elements", set, len(elements))
		}
		for key, left := range elements {
			if !near(left, until) {
				t.Fatalf("%s: %v left, want %v", key, left, time.Until(until))
			}
		}
	}
}

func TestTimes(t *testing.T) {
	privileged(t)
	b, _ := start(t, banner.Config{},
		ban(banner.All, "198.51.100.1", time.Time{}),
		ban(banner.All, "198.51.100.2", time.Now().AddDate(8000, 0, 0)),
		ban(banner.All, "198.51.100.3", within(90*24*time.Hour)),
		ban(banner.All, "198.51.100.4", within(-time.Second)),
		ban(banner.All, "198.51.100.5", within(time.Hour)),
		ban(banner.All, "198.51.100.6", within(200*time.Millisecond)))
	got := expiries(t, "all-ip4")
	if len(got) != 5 || got["198.51.100.1"] != 0 || got["198.51.100.2"] != 0 {
		t.Error(got)
	}
	if !near(got["198.51.100.3"], within(90*24*time.Hour)) {
		t.Error(got["198.51.100.3"])
	}
	// Less than a millisecond would be for ever.
	if left, ok := got["198.51.100.6"]; !ok || left < 500*time.Millisecond || left > time.Second {
		t.Errorf("clamped to %v", left)
	}

	// From for ever to a time, from a time to for ever, and to the past.
	tell(t, b, ban(banner.All, "198.51.100.1", within(time.Minute)), ban(banner.All, "198.51.100.3", time.Time{}), ban(banner.All, "198.51.100.5", within(-time.Second)))
	got = expiries(t, "all-ip4")
	if !near(got["198.51.100.1"], within(time.Minute)) {
		t.Error(got)
	}
	if left, ok := got["198.51.100.3"]; !ok || left != 0 {
		t.Error(got)
	}
	if _, ok := got["198.51.100.5"]; ok {
		t.Error("a ban that was moved to the past goes on")
	}
}

// A ban renewed around the moment of its expiry must hold. Kernels before 6.12
// ignore the new time when an element is only added again.
func TestRenewalAtTheExpiry(t *testing.T) {
	privileged(t)
	b, _ := start(t, banner.Config{})
	for i := range 40 {
		unit := fmt.Sprintf("198.51.100.%d", i)
		tell(t, b, ban(banner.All, unit, within(10*time.Millisecond))) // a second in the kernel
	}
	for deadline := time.Now().Add(1500 * time.Millisecond); time.Now().Before(deadline); {
		for i := range 40 {
			b.Change([]banner.Change{ban(banner.All, fmt.Sprintf("198.51.100.%d", i), within(time.Duration(i+1)*25*time.Millisecond))})
		}
		await(t, b)
	}
	until := within(time.Hour)
	for i := range 40 {
		b.Change([]banner.Change{ban(banner.All, fmt.Sprintf("198.51.100.%d", i), until)})
	}
	await(t, b)
	got := expiries(t, "all-ip4")
	if len(got) != 40 {
		t.Errorf("%d elements", len(got))
	}
	for key, left := range got {
		if !near(left, until) {
			t.Errorf("%s: %v left", key, left)
		}
	}
}

// A clock that is stepped moves the wanted time left; the next look corrects
// the kernel.
func TestClockStep(t *testing.T) {
	privileged(t)
	var step atomic.Int64
	watcher := &watcher{}
	b, _ := start(t, banner.Config{Observer: watcher, Now: func() time.Time { return time.Now().Add(time.Duration(step.Load())) }},
		ban(banner.All, "198.51.100.1", within(2*time.Hour)), ban(banner.All, "198.51.100.2", within(30*time.Minute)))
	b.Settle()
	await(t, b)
	step.Store(int64(time.Hour))
	shell(t, "nft add table inet other")
	eventually(t, 5*time.Second, "an hour less", func() bool {
		left := expiries(t, "all-ip4")
		_, over := left["198.51.100.2"]
		return near(left["198.51.100.1"], within(time.Hour)) && !over
	})
}

func TestSyncEndsWithItsContext(t *testing.T) {
	b := banner.New(banner.Config{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Sync(ctx); err == nil {
		t.Error("Sync without Run returned before its context")
	}
	select {
	case <-b.Ready():
		t.Error("ready without Run")
	default:
	}
}

// TestModel tells a banner anything and compares the kernel with what was told.
func TestModel(t *testing.T) {
	privileged(t)
	groups := []banner.Group{sip, {Name: "web"}}
	units := rapid.SampledFrom([]string{
		"198.51.100.1", "198.51.100.2", "198.51.100.0/24", "198.51.0.0/16", "0.0.0.0/0",
		"2001:db8::1", "2001:db8::/64", "2001:db8:1::/64", "2001:db8::/48", "::/0",
	})
	changes := rapid.Custom(func(r *rapid.T) banner.Change {
		return banner.Change{
			Element: element(rapid.SampledFrom([]string{banner.All, "freeswitch", "web"}).Draw(r, "group"), units.Draw(r, "unit")),
			Until:   rapid.SampledFrom([]time.Time{{}, within(time.Hour), within(2 * time.Hour), within(-time.Hour)}).Draw(r, "until"),
			Lift:    rapid.Bool().Draw(r, "lift"),
		}
	})
	b, _ := start(t, banner.Config{Groups: groups, Log: quiet})
	b.Settle()
	told, damaged := map[banner.Element]bool{}, false
	configured := map[string]bool{"all": true, "freeswitch": true, "web": true}
	rapid.Check(t, func(r *rapid.T) {
		for e := range told {
			b.Change([]banner.Change{{Element: e, Lift: true}})
		}
		clear(told)
		b.Configure(groups, nil)
		configured = map[string]bool{"all": true, "freeswitch": true, "web": true}
		r.Repeat(map[string]func(*rapid.T){
			"change": func(r *rapid.T) {
				batch := rapid.SliceOfN(changes, 1, 8).Draw(r, "changes")
				b.Change(batch)
				for _, c := range batch {
					delete(told, c.Element)
					if !c.Lift && (c.Until.IsZero() || c.Until.After(time.Now())) {
						told[c.Element] = true
					}
				}
			},
			"configure": func(r *rapid.T) {
				some := rapid.SliceOfDistinct(rapid.SampledFrom(groups), func(g banner.Group) string { return g.Name }).Draw(r, "groups")
				b.Configure(some, nil)
				configured = map[string]bool{"all": true}
				for _, g := range some {
					configured[g.Name] = true
				}
			},
			"damage": func(r *rapid.T) {
				if rapid.IntRange(0, 3).Draw(r, "spare") > 0 {
					return // each look after it takes a while
				}
				shell(t, rapid.SampledFrom([]string{
					"nft delete table inet band", "nft flush set inet band all-ip4 || true", "nft flush table inet band || true", "nft flush ruleset",
				}).Draw(r, "command")+" || true")
				damaged = true
			},
			"": func(r *rapid.T) {
				defer func() { damaged = false }()
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				want := map[banner.Element]uint64{}
				for e := range told {
					if configured[e.Group] {
						want[e] = 0
					}
				}
				// What was told is there at once; what was damaged, soon.
				for {
					if err := b.Sync(ctx); err != nil {
						r.Fatal(err)
					}
					got, err := b.Packets(ctx)
					if err != nil {
						r.Fatal(err)
					}
					d := cmp.Diff(want, got, comparers)
					if d == "" {
						return
					}
					if !damaged {
						r.Fatal(d)
					}
				}
			},
		})
	})
}

// Allowlists come out of the kernel covering exactly what went in.
func TestAllowlistModel(t *testing.T) {
	privileged(t)
	b, _ := start(t, banner.Config{Log: quiet})
	prefixes := rapid.Custom(func(r *rapid.T) netip.Prefix {
		// Few bits, so that prefixes touch and overlap.
		x := rapid.Uint8().Draw(r, "bits")
		if rapid.Bool().Draw(r, "six") {
			return netip.PrefixFrom(netip.AddrFrom16([16]byte{x & 0xf0, 15: x << 4}), rapid.SampledFrom([]int{0, 1, 2, 3, 4, 64, 124, 125, 126, 127, 128}).Draw(r, "length"))
		}
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{x & 0xf0, 0, 0, x << 4}), rapid.SampledFrom([]int{0, 1, 2, 3, 4, 16, 28, 29, 30, 31, 32}).Draw(r, "length"))
	})
	rapid.Check(t, func(r *rapid.T) {
		allow := rapid.SliceOfN(prefixes, 0, 12).Draw(r, "allow")
		b.Configure(nil, allow)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := b.Sync(ctx); err != nil {
			r.Fatal(err)
		}
		before := generation(t)
		b.Configure(nil, allow)
		if err := b.Sync(ctx); err != nil {
			r.Fatal(err)
		}
		if generation(t) != before {
			r.Fatal("the same allowlist was written twice")
		}
		for _, p := range append(allow, netip.MustParsePrefix("7.7.7.7/32"), netip.MustParsePrefix("77::7/128")) {
			for _, addr := range []netip.Addr{p.Masked().Addr(), p.Masked().Addr().Prev(), p.Addr().Next()} {
				if !addr.IsValid() {
					continue
				}
				want := false
				for _, a := range allow {
					want = want || a.Contains(addr)
				}
				if got := inKernel(addr); got != want {
					r.Fatalf("%v allowed: %v, want %v", addr, got, want)
				}
			}
		}
	})
}

// BenchmarkBan is one ban from the call until the kernel has it.
func BenchmarkBan(b *testing.B) {
	privileged(b)
	counts := []int{0, 1000, 10_000, 100_000, 1_000_000}
	if testing.Short() {
		counts = counts[:4]
	}
	for _, n := range counts {
		b.Run(fmt.Sprintf("elements=%d", n), func(b *testing.B) {
			privileged(b)
			running, _ := start(b, banner.Config{}, many(n, within(time.Hour))...)
			i := 0
			for b.Loop() {
				i++
				unit := netip.AddrFrom4([4]byte{9, byte(i >> 16), byte(i >> 8), byte(i)})
				running.Change([]banner.Change{ban(banner.All, unit.String(), within(time.Hour))})
				if err := running.Sync(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBatch is a thousand bans at once, and their lifting.
func BenchmarkBatch(b *testing.B) {
	privileged(b)
	running, _ := start(b, banner.Config{})
	running.Settle()
	bans := many(1000, within(time.Hour))
	lifts := slices.Clone(bans)
	for i := range lifts {
		lifts[i].Lift = true
	}
	for b.Loop() {
		for _, changes := range [][]banner.Change{bans, lifts} {
			running.Change(changes)
			if err := running.Sync(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*2*len(bans)), "ns/element")
}
