package counter_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"band/matcher/counter"
)

var (
	start = time.Date(2026, 11, 21, 7, 51, 48, 0, time.UTC)
	five  = counter.Threshold{MaxRetry: 5, FindTime: 10 * time.Minute}
	file  = counter.Window{Kind: "failure", Via: "file"}
)

func key(unit string) counter.Key {
	return counter.Key{Jail: "freeswitch", Unit: netip.MustParsePrefix(unit)}
}

// in is a failure in a window.
func in(w counter.Window, at time.Time) counter.Failure[string] {
	return counter.Failure[string]{Window: w, Time: at}
}

func TestThreshold(t *testing.T) {
	k := key("198.51.100.70/32")
	at := func(seconds ...float64) (ts []time.Time) {
		for _, s := range seconds {
			ts = append(ts, start.Add(time.Duration(s*float64(time.Second))))
		}
		return ts
	}
	tests := []struct {
		name  string
		times []time.Time
		want  int // how many failures it takes; 0: never reached
		last  time.Time
	}{
		{"five at one instant", at(0, 0, 0, 0, 0), 5, start},
		{"five at both ends of the window", at(0, 0, 0, 0, 600), 5, start.Add(10 * time.Minute)},
		{"the fifth a microsecond late", at(0, 0, 0, 0, 600.000001), 0, time.Time{}},
		{"four", at(0, 1, 2, 3), 0, time.Time{}},
		{"one every 150 s and 1 ms", at(0, 150.001, 300.002, 450.003, 600.004, 750.005), 0, time.Time{}},
		{"slow ones, then five fast", at(0, 400, 800, 1200, 1600, 2000, 2001, 2002, 2003), 9, start.Add(2003 * time.Second)},
		{"in reverse", at(4, 3, 2, 1, 0), 5, start.Add(4 * time.Second)},
		{"a lagging source must not add up with a newer cluster", at(5000, 5001, 5002, 0, 1), 0, time.Time{}},
		{"a lagging cluster behind newer failures", at(5000, 5001, 5002, 5003, 0, 1, 2, 3, 4), 9, start.Add(4 * time.Second)},
		{"the clock stepped back a day", at(86400, 86401, 86402, 86403, 0, 1, 2, 3, 4), 9, start.Add(4 * time.Second)},
		{"the clock stepped forward a day", at(0, 1, 2, 3, 86400, 86401, 86402, 86403, 86404), 9, start.Add(86404 * time.Second)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := counter.New[string](10)
			got, last := 0, time.Time{}
			for i, at := range tt.times {
				if l, ok := c.Add(k, in(file, at), five); ok {
					got, last = i+1, l
					break
				}
			}
			if got != tt.want || !last.Equal(tt.last) {
				t.Errorf("reached at failure %d, last %v; want failure %d, last %v", got, last, tt.want, tt.last)
			}
		})
	}
}

// One attempt that shows up in two windows is one attempt.
func TestWindowsDoNotAddUp(t *testing.T) {
	c := counter.New[string](10)
	k := key("198.51.100.72/32")
	windows := []counter.Window{file, {Kind: "unknown-user", Via: "file"}, {Kind: "failure", Via: "journal"}}
	for i := range 5 {
		for j, w := range windows {
			_, reached := c.Add(k, in(w, start.Add(time.Duration(i)*time.Second)), five)
			if want := i == 4; reached != want {
				t.Fatalf("attempt %d, window %d: reached = %v, want %v", i+1, j, reached, want)
			}
		}
		if got := c.Count(k, time.Time{}); got != i+1 {
			t.Fatalf("after attempt %d Count = %d", i+1, got)
		}
	}
}

// Where failures must differ to add up, those that do not are one.
func TestDistinct(t *testing.T) {
	c := counter.New[string](10)
	k := key("198.51.100.66/32")
	try := func(second int, user string) bool {
		f := in(file, start.Add(time.Duration(second)*time.Second))
		f.Distinct = user
		_, reached := c.Add(k, f, five)
		return reached
	}
	for i := range 100 {
		if try(i, fmt.Sprint(1000+i%4)) {
			t.Fatalf("four users reached a threshold of five at try %d", i)
		}
	}
	if got := c.Count(k, time.Time{}); got != 4 {
		t.Errorf("Count = %d, want the 4 users", got)
	}
	if try(100+601, "1004") {
		t.Error("a fifth user reached it though the others were too long ago")
	}
	for i, user := range []string{"1000", "1001", "1002"} {
		if try(702+i, user) {
			t.Errorf("user %s reached the threshold", user)
		}
	}
	if !try(705, "1003") {
		t.Error("five users within the window did not reach it")
	}
}

func TestClearAndForget(t *testing.T) {
	c := counter.New[string](10)
	a, b := key("198.51.100.1/32"), key("198.51.100.2/32")
	for range 4 {
		c.Add(a, in(file, start), five)
		c.Add(b, in(file, start.Add(time.Hour)), five)
	}
	c.Forget(func(string) time.Time { return start.Add(time.Minute) })
	if c.Count(a, time.Time{}) != 0 || c.Count(b, time.Time{}) != 4 {
		t.Errorf("after Forget: %d and %d failures, want 0 and 4", c.Count(a, time.Time{}), c.Count(b, time.Time{}))
	}
	c.Clear(b)
	if c.Len() != 0 {
		t.Errorf("after Clear: %d units, want none", c.Len())
	}
	if _, reached := c.Add(b, in(file, start.Add(time.Hour)), five); reached {
		t.Error("the fifth failure after Clear reached the threshold")
	}
}

func TestEvidence(t *testing.T) {
	c := counter.New[string](10)
	k := key("198.51.100.70/32")
	for i := range 9 {
		c.Add(k, counter.Failure[string]{Window: file, Time: start.Add(time.Duration(i) * time.Hour), Evidence: fmt.Sprint(i)}, five)
	}
	var got []string
	for _, f := range c.Failures(k) {
		got = append(got, f.Evidence)
	}
	want := []string{"", "", "", "", "4", "5", "6", "7", "8"}
	if !slices.Equal(got, want) {
		t.Errorf("evidence kept: %q, want %q", got, want)
	}
}

// What a flood leaves of the evidence is that of the newest.
func TestEvidenceInFlood(t *testing.T) {
	c := counter.New[string](counter.DefaultCapacity)
	addr, n := netip.MustParseAddr("2001:db8::"), 0
	var keys []counter.Key
	for range 25_000 {
		addr, n = addr.Next(), n+1
		k := counter.Key{Jail: "freeswitch", Unit: netip.PrefixFrom(addr, 128)}
		keys = append(keys, k)
		c.Add(k, counter.Failure[string]{Window: file, Time: start, Evidence: fmt.Sprint(n)}, five)
	}
	for i, k := range keys {
		want := ""
		if i >= 15_000 {
			want = fmt.Sprint(i + 1)
		}
		if got := c.Failures(k); len(got) != 1 || got[0].Evidence != want {
			t.Fatalf("of unit %d is kept %v, want one failure with evidence %q", i+1, got, want)
		}
	}
}

// What comes and goes leaves the others alone.
func TestManyUnits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	c, want := counter.New[string](counter.DefaultCapacity), make(map[counter.Key]int)
	for range 100_000 {
		addr := netip.AddrFrom4([4]byte{198, 18, byte(random.IntN(8)), byte(random.IntN(256))})
		if random.IntN(2) == 0 {
			addr = netip.AddrFrom16(addr.As16()) // no other address, but another unit
		}
		k := counter.Key{Jail: []string{"freeswitch", "sshd"}[random.IntN(2)], Unit: netip.PrefixFrom(addr, addr.BitLen())}
		if random.IntN(3) == 0 {
			c.Clear(k)
			delete(want, k)
		} else {
			c.Add(k, in(file, start), five)
			want[k] = min(want[k]+1, 9)
		}
		if got := c.Count(k, time.Time{}); got != want[k] {
			t.Fatalf("%v has %d failures, want %d", k, got, want[k])
		}
	}
	got := make(map[counter.Key]int)
	for k := range c.Keys() {
		got[k] = c.Count(k, time.Time{})
	}
	if c.Len() != len(want) || !maps.Equal(got, want) {
		t.Errorf("%d units, %d of them listed, want %d", c.Len(), len(got), len(want))
	}
}

// A flood of sources that fail once must not push out one that keeps failing.
func TestFloodEvictsSinglesFirst(t *testing.T) {
	const capacity = 1000
	c := counter.New[string](capacity)
	attacker := key("198.51.100.70/32")
	reached := false
	addr := netip.MustParseAddr("198.18.0.0")
	for i := range 5 {
		_, reached = c.Add(attacker, in(file, start.Add(time.Duration(i)*time.Second)), five)
		if i == 0 {
			continue // with one failure it is as forgettable as the flood
		}
		for range 3 * capacity {
			addr = addr.Next()
			c.Add(counter.Key{Jail: "freeswitch", Unit: netip.PrefixFrom(addr, 32)}, in(file, start), five)
		}
	}
	if !reached {
		t.Error("the attacker was forgotten in the flood")
	}
	if c.Len() != capacity {
		t.Errorf("%d units tracked, want %d", c.Len(), capacity)
	}
	if want := uint64(4*3*capacity + 1 - capacity); c.Evicted() != want {
		t.Errorf("%d units evicted, want %d", c.Evicted(), want)
	}
}

// Units that failed twice, long ago, leave room for those that fail now.
func TestStaleUnitsBlindNobody(t *testing.T) {
	const capacity = 1000
	for _, ago := range []time.Duration{time.Hour, 0} { // long ago, and just now
		c := counter.New[string](capacity)
		addr := netip.MustParseAddr("198.18.0.0")
		for range capacity {
			addr = addr.Next()
			for range 2 {
				c.Add(counter.Key{Jail: "freeswitch", Unit: netip.PrefixFrom(addr, 32)}, in(file, start.Add(-ago)), five)
			}
		}
		reached := 0
		for i := range 5 {
			for _, unit := range []string{"198.51.100.70/32", "198.51.100.71/32"} {
				if _, ok := c.Add(key(unit), in(file, start.Add(time.Duration(i)*time.Second)), five); ok {
					reached++
				}
			}
		}
		if reached != 2 {
			t.Errorf("units of %v ago: %d of 2 attackers reached the threshold", ago, reached)
		}
	}
}

// oracle is the definition: MaxRetry failures that lie within FindTime.
func oracle(times []time.Time, th counter.Threshold) bool {
	sorted := slices.SortedFunc(slices.Values(times), time.Time.Compare)
	for i := th.MaxRetry - 1; i < len(sorted); i++ {
		if sorted[i].Sub(sorted[i-th.MaxRetry+1]) <= th.FindTime {
			return true
		}
	}
	return false
}

var thresholds = rapid.Custom(func(t *rapid.T) counter.Threshold {
	return counter.Threshold{
		MaxRetry: rapid.IntRange(1, 8).Draw(t, "maxretry"),
		FindTime: time.Duration(rapid.IntRange(1, 30).Draw(t, "findtime")) * time.Second,
	}
})

// A source in order of time is judged exactly, at every failure.
func TestInOrderIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		th := thresholds.Draw(t, "threshold")
		gaps := rapid.SliceOfN(rapid.IntRange(0, 20), 0, 60).Draw(t, "gaps")
		c := counter.New[string](10)
		k := key("2001:db8:bad::/64")
		at := start
		var times []time.Time
		for i, gap := range gaps {
			at = at.Add(time.Duration(gap) * time.Second)
			times = append(times, at)
			_, reached := c.Add(k, in(file, at), th)
			if want := oracle(times, th); reached != want {
				t.Fatalf("failure %d of %v: reached = %v, the oracle says %v", i+1, times, reached, want)
			}
			if reached { // as a ban does
				c.Clear(k)
				times = nil
			}
		}
	})
}

// Whatever the order of arrival, nobody innocent is banned; and nobody guilty
// escapes as long as fewer than MaxRetry others arrive among his failures.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		th := thresholds.Draw(t, "threshold")
		offsets := rapid.SliceOfN(rapid.IntRange(-200, 200), 0, 60).Draw(t, "offsets")
		c := counter.New[string](10)
		k := key("198.51.100.70/32")
		var times []time.Time
		for i, s := range offsets {
			at := start.Add(time.Duration(s) * time.Second)
			times = append(times, at)
			last, reached := c.Add(k, in(file, at), th)
			if reached && !oracle(times, th) {
				t.Fatalf("banned after %v, which never had %d within %v", offsets[:i+1], th.MaxRetry, th.FindTime)
			}
			if reached && !slices.ContainsFunc(times, last.Equal) {
				t.Fatalf("the last of the failures, %v, was never added", last)
			}
			recent := times[max(0, len(times)-(2*th.MaxRetry-1)):]
			if !reached && oracle(recent, th) {
				t.Fatalf("not banned after %v, though the newest arrivals reach %d within %v", offsets[:i+1], th.MaxRetry, th.FindTime)
			}
			if reached {
				c.Clear(k)
				times = nil
			}
		}
	})
}

// arrival is one failure of a lagging, interleaved mix of sources.
type arrival struct {
	key      counter.Key
	window   counter.Window
	time     time.Time
	distinct string
}

func arrivals(t *rapid.T) []arrival {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) arrival {
		return arrival{
			key:      key(rapid.SampledFrom([]string{"198.51.100.70/32", "198.51.100.71/32", "2001:db8:bad::/64", "203.0.113.52/32"}).Draw(t, "unit")),
			window:   rapid.SampledFrom([]counter.Window{file, {Kind: "unknown-user", Via: "file"}, {Kind: "failure", Via: "journal"}}).Draw(t, "window"),
			time:     start.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "time")) * time.Second),
			distinct: rapid.SampledFrom([]string{"", "", "1000", "1001", "1002"}).Draw(t, "distinct"),
		}
	}), 0, 80).Draw(t, "arrivals")
}

type ban struct {
	key  counter.Key
	last time.Time
}

// run adds arrivals and bans as the daemon does, from a counter of its own or
// from one that a crash left behind.
func run(c *counter.Counter[string], from []arrival, th counter.Threshold) (bans []ban) {
	for _, a := range from {
		if last, reached := c.Add(a.key, counter.Failure[string]{Window: a.window, Time: a.time, Distinct: a.distinct, Evidence: a.window.Via}, th); reached {
			bans = append(bans, ban{a.key, last})
			c.Clear(a.key)
		}
	}
	return bans
}

// restore rebuilds a counter from what another one lists, as a snapshot does.
func restore(old *counter.Counter[string], capacity int, th counter.Threshold) *counter.Counter[string] {
	c := counter.New[string](capacity)
	for k := range old.Keys() {
		for _, f := range old.Failures(k) {
			c.Add(k, f, th)
		}
	}
	return c
}

// What Kept told at one time makes a counter as that was, whatever happened since.
func TestKeptIsOfThen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		th, capacity := thresholds.Draw(t, "threshold"), rapid.IntRange(1, 5).Draw(t, "capacity")
		before, after := arrivals(t), arrivals(t)
		c := counter.New[string](capacity)
		run(c, before, th)
		then, kept := restore(c, capacity, th), c.Kept()
		run(c, after, th)
		got := counter.New[string](capacity)
		for k, f := range kept {
			got.Add(k, f, th)
		}
		if g, w := slices.Collect(got.Keys()), slices.Collect(then.Keys()); !slices.Equal(g, w) {
			t.Fatalf("units %v, want %v", g, w)
		}
		for k := range then.Keys() {
			if g, w := got.Failures(k), then.Failures(k); !slices.Equal(g, w) {
				t.Fatalf("failures of %v: %v, want %v", k, g, w)
			}
		}
	})
}

// Crashes at any instant, with the counter rebuilt from a snapshot each time
// and the records after the last durable one taken again, change nothing: not
// the bans, not what is counted, not who is evicted next.
func TestCrashesChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		th := thresholds.Draw(t, "threshold")
		capacity := rapid.IntRange(1, 5).Draw(t, "capacity")
		all := arrivals(t)

		want := counter.New[string](capacity)
		wantBans := run(want, all, th)

		durable, done := counter.New[string](capacity), 0
		var bans []ban
		for done < len(all) {
			live := restore(durable, capacity, th)
			read := rapid.IntRange(done, len(all)).Draw(t, "read until the crash")
			run(live, all[done:read], th) // decided, and lost with the crash
			durableTo := rapid.IntRange(done, read).Draw(t, "durable")
			if read == len(all) {
				durableTo = read
			}
			bans = append(bans, run(durable, all[done:durableTo], th)...)
			done = durableTo
		}
		got := restore(durable, capacity, th)
		if !slices.Equal(bans, wantBans) {
			t.Fatalf("bans %v, want %v", bans, wantBans)
		}
		if g, w := slices.Collect(got.Keys()), slices.Collect(want.Keys()); !slices.Equal(g, w) {
			t.Fatalf("units %v, want %v", g, w)
		}
		for k := range want.Keys() {
			byTime := func(a, b counter.Failure[string]) int {
				return a.Time.Compare(b.Time)
			}
			g, w := got.Failures(k), want.Failures(k)
			if !slices.Equal(g, w) {
				slices.SortFunc(g, byTime)
				slices.SortFunc(w, byTime)
				t.Fatalf("failures of %v: %v, want %v", k, g, w)
			}
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	for _, units := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprint(units, "_units"), func(b *testing.B) {
			c := counter.New[string](counter.DefaultCapacity)
			keys := make([]counter.Key, units)
			addr := netip.MustParseAddr("198.18.0.0")
			for i := range keys {
				addr = addr.Next()
				keys[i] = counter.Key{Jail: "freeswitch", Unit: netip.PrefixFrom(addr, 32)}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				k := keys[i%units]
				if _, reached := c.Add(k, in(file, start.Add(time.Duration(i)*time.Millisecond)), five); reached {
					c.Clear(k)
				}
			}
		})
	}
}

// What is forgiven does not add up with what is not, but all of it to the most.
func TestForgiven(t *testing.T) {
	for _, test := range []struct {
		name     string
		forgiven int // the second up to which they are
		most     int
		want     int // the failure that reaches the threshold, one each second; 0: none of twenty
	}{
		{"nothing", -1, 12, 5},
		{"the first", 0, 12, 6},
		{"the first four", 3, 12, 9},
		{"up to the most", 9, 12, 12},
		{"all", 100, 12, 12},
		{"all, and however many", 100, 0, 0},
	} {
		c := counter.New[string](10)
		k := key("198.51.100.1/32")
		th := counter.Threshold{MaxRetry: 5, FindTime: time.Minute, Forgiven: start.Add(time.Duration(test.forgiven) * time.Second), Most: test.most}
		got := 0
		for i := range 20 {
			if _, reached := c.Add(k, in(file, start.Add(time.Duration(i)*time.Second)), th); reached {
				got = i + 1
				break
			}
		}
		if got != test.want {
			t.Errorf("%s: reached at failure %d, want %d", test.name, got, test.want)
		}
		if want := max(0, got-1-test.forgiven); got > 0 && c.Count(k, th.Forgiven) != want {
			t.Errorf("%s: Count = %d, want %d", test.name, c.Count(k, th.Forgiven), want)
		}
	}
}
