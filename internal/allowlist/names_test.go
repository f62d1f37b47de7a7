package allowlist_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"band/internal/allowlist"

	"github.com/google/go-cmp/cmp"
)

const trunk = "trunk.example.com"

// A name is asked for again within the time that its answer is good for, not
// much earlier, and never all the time nor almost never.
func TestRefresh(t *testing.T) {
	for _, test := range []struct{ ttl, want time.Duration }{
		{0, time.Second},
		{time.Second, time.Second},
		{30 * time.Second, 30 * time.Second},
		{time.Hour, time.Hour},
		{1 << 32 * time.Second, time.Hour},
		{-time.Hour, time.Second},
	} {
		t.Run(test.ttl.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, nil, trunk)
				r.zone.put(trunk, test.ttl, "192.0.2.7")
				r.start()
				time.Sleep(20 * test.want)
				asked := r.zone.times(trunk)
				if len(asked) < 20 {
					t.Fatalf("asked %d times", len(asked))
				}
				gaps := map[time.Duration]bool{}
				for i := range asked[1:] {
					gap := asked[i+1].Sub(asked[i])
					gaps[gap] = true
					if gap < test.want-test.want/10 || gap > test.want {
						t.Errorf("asked again after %v", gap)
					}
				}
				if len(gaps) < 10 {
					t.Errorf("the times between questions are hardly random: %v", gaps)
				}
			})
		})
	}
}

// The time that a look-up takes is a part of what its answer is good for.
func TestRefreshAfterSlowAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, trunk)
		r.zone.set(trunk, record{takes: 4 * time.Second, Answer: allowlist.Answer{Addrs: addrs("192.0.2.7"), TTL: 10 * time.Second}})
		r.start()
		time.Sleep(15 * time.Second)
		if asked := r.zone.times(trunk); len(asked) != 2 || asked[1].Sub(asked[0]) > 10*time.Second {
			t.Errorf("asked at %v", asked)
		}
	})
}

// The new address is on the list within the time to live; the old one stays for
// ten minutes, or for as long as an answer is good for.
func TestFollow(t *testing.T) {
	for _, test := range []struct{ ttl, stays time.Duration }{
		{time.Minute, 10 * time.Minute},
		{40 * time.Minute, 40 * time.Minute},
	} {
		t.Run(test.ttl.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, nil, trunk)
				r.zone.put(trunk, test.ttl, "192.0.2.7", "192.0.2.8")
				r.start()
				r.holds("192.0.2.7", "192.0.2.8")
				r.told()

				r.zone.put(trunk, test.ttl, "192.0.2.9", "192.0.2.8")
				time.Sleep(test.ttl)
				if r.holds("192.0.2.7", "192.0.2.8", "192.0.2.9"); !r.told() {
					t.Error("the consumer is not told of a new address")
				}
				asked := r.zone.times(trunk)
				changed := asked[len(asked)-1]
				time.Sleep(time.Until(changed.Add(test.stays - 1)))
				if r.holds("192.0.2.7", "192.0.2.8", "192.0.2.9"); r.told() {
					t.Error("the consumer is told of no change")
				}
				time.Sleep(time.Nanosecond)
				if r.holds("192.0.2.8", "192.0.2.9"); !r.told() {
					t.Error("the consumer is not told that an address left")
				}
				// What comes and what leaves is logged; that nothing changed is not.
				if n := r.log.count("level=INFO", "allowlist entry resolved", "name="+trunk, "192.0.2.8"); n != 2 {
					t.Errorf("%d log lines tell of two changes", n)
				}
			})
		})
	}
}

// A name that tells other addresses each time stands for all of them, quietly.
func TestRotation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, trunk)
		r.zone.put(trunk, time.Second, "192.0.2.0")
		r.start()
		synctest.Wait()
		for i := range 100 {
			r.zone.put(trunk, time.Second, fmt.Sprintf("192.0.2.%d", i%3))
			time.Sleep(time.Second)
		}
		r.holds("192.0.2.0", "192.0.2.1", "192.0.2.2")
		if n := r.log.count("allowlist entry resolved"); n != 3 {
			t.Errorf("%d log lines tell of three addresses", n)
		}
	})
}

// What is wrong with the resolver never takes an address off the list, and is
// asked for less and less often.
func TestFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, trunk)
		r.zone.put(trunk, time.Second, "192.0.2.7")
		r.start()
		r.holds("192.0.2.7")
		resolved := r.item(trunk).Resolved
		r.zone.fail(trunk, "server misbehaving")
		r.zone.times(trunk)
		time.Sleep(2 * time.Second)
		r.findings() // so soon, that is nobody's concern
		if item := r.item(trunk); item.Err != "lookup "+trunk+": server misbehaving" || !item.Resolved.Equal(resolved) || len(item.Prefixes) != 1 {
			t.Errorf("the item is %+v", item)
		}
		time.Sleep(3 * time.Hour)
		r.holds("192.0.2.7")
		r.findings("allow-unresolved " + trunk + ": a host name of the allowlist cannot be resolved: lookup " + trunk + ": server misbehaving; the addresses that are known stay")

		asked := r.zone.times(trunk)
		want := time.Second
		for i := range asked[1:] {
			if gap := asked[i+1].Sub(asked[i]); gap < want-want/10 || gap > want {
				t.Fatalf("after %d failures asked again after %v", i+1, gap)
			}
			want = min(2*want, 5*time.Minute)
		}
		if len(asked) < 40 {
			t.Errorf("asked %d times in three hours", len(asked))
		}

		r.told()
		r.zone.put(trunk, time.Second, "192.0.2.7")
		time.Sleep(5 * time.Minute)
		r.findings()
		if item := r.item(trunk); item.Err != "" || !item.Resolved.After(resolved) {
			t.Errorf("the item is %+v", item)
		}
		if r.told() {
			t.Error("the consumer is told, and nothing changed")
		}

		// The next failures begin anew.
		r.zone.fail(trunk, "server misbehaving")
		r.zone.times(trunk)
		time.Sleep(9 * time.Minute)
		r.findings()
		if asked := r.zone.times(trunk); len(asked) < 8 {
			t.Errorf("asked %d times", len(asked))
		}
		time.Sleep(7 * time.Minute)
		if n := len(r.board.Findings()); n != 1 {
			t.Errorf("%d findings", n)
		}
	})
}

// A name that never had an answer is a finding at once.
func TestNeverResolved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, "missing.example.com", "sinkhole.example.com")
		r.zone.put("sinkhole.example.com", time.Hour, "0.0.0.0", "127.0.0.1", "::", "::1", "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1", "255.255.255.255")
		r.start()
		r.holds()
		r.findings(
			"allow-unresolved missing.example.com: a host name of the allowlist cannot be resolved: lookup missing.example.com: no such host",
			"allow-unresolved sinkhole.example.com: a host name of the allowlist cannot be resolved: lookup sinkhole.example.com: the answer holds no address that a packet of another host can come from")
		r.zone.put("missing.example.com", time.Minute, "192.0.2.7", "::ffff:192.0.2.7", "::ffff:192.0.2.8")
		r.zone.put("sinkhole.example.com", time.Minute, "127.0.0.1", "192.0.2.9")
		time.Sleep(time.Second)
		r.holds("192.0.2.7", "192.0.2.8", "192.0.2.9")
		r.findings()

		r.zone.fail("missing.example.com", "no such host")
		r.set("sinkhole.example.com", "other.example.com")
		r.findings("allow-unresolved other.example.com: a host name of the allowlist cannot be resolved: lookup other.example.com: no such host")
		r.set("sinkhole.example.com")
		r.findings() // nobody wants to know
	})
}

// Where only one family was answered for, nothing is known of the other, and
// what was known of it stays.
func TestMissingFamily(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, trunk)
		answer := allowlist.Answer{Addrs: addrs("192.0.2.7", "2001:db8::7"), TTL: time.Minute}
		r.zone.set(trunk, record{Answer: answer})
		r.start()
		r.holds("192.0.2.7", "2001:db8::7")

		answer.Addrs, answer.MissingIPv6 = addrs("192.0.2.8"), true
		r.zone.set(trunk, record{Answer: answer})
		time.Sleep(time.Hour)
		r.holds("192.0.2.8", "2001:db8::7")

		answer.Addrs, answer.MissingIPv4, answer.MissingIPv6 = addrs("2001:db8::8"), true, false
		r.zone.set(trunk, record{Answer: answer})
		time.Sleep(time.Hour)
		r.holds("192.0.2.8", "2001:db8::8")

		r.zone.put(trunk, time.Minute, "192.0.2.8")
		time.Sleep(time.Hour)
		r.holds("192.0.2.8")
	})
}

// A resolver that hangs holds up neither the list nor its consumer, nor names
// that are answered.
func TestHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hangs := make([]string, 40)
		entries := []string{"192.0.2.1"}
		for i := range hangs {
			hangs[i] = fmt.Sprintf("hangs%02d.example.com", i)
			entries = append(entries, hangs[i])
		}
		r := newRig(t, nil, entries...)
		for _, name := range hangs {
			r.zone.set(name, record{takes: 5 * time.Second, err: errors.New("no such host")})
		}
		r.start()
		r.holds("192.0.2.1")
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := r.zone.atOnce(); n != 8 {
			t.Errorf("%d look-ups at a time", n)
		}

		// Now that it is known who is slow, others do not wait at all.
		began := time.Now()
		r.zone.put(trunk, time.Second, "192.0.2.7")
		r.set(append(entries, trunk)...)
		r.holds("192.0.2.1", "192.0.2.7")
		r.zone.put(trunk, time.Second, "192.0.2.8")
		time.Sleep(time.Second)
		r.holds("192.0.2.1", "192.0.2.7", "192.0.2.8")
		for _, name := range hangs {
			r.zone.times(name)
		}
		time.Sleep(10 * time.Minute)
		if asked := len(r.zone.times(trunk)); asked < 600 {
			t.Errorf("asked %d times in %v", asked, time.Since(began))
		}
		for _, name := range hangs {
			if len(r.zone.times(name)) == 0 {
				t.Errorf("%s is not asked for", name)
			}
		}

		// It stops at once, whatever is under way.
		for _, name := range hangs {
			r.zone.set(name, record{takes: -1})
		}
		time.Sleep(10 * time.Minute)
		began = time.Now()
		r.stop()
		if took := time.Since(began); took != 0 {
			t.Errorf("it stopped after %v", took)
		}
	})
}

func TestBounds(t *testing.T) {
	t.Run("addresses", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			r := newRig(t, nil, trunk)
			r.zone.put(trunk, time.Minute, "192.0.2.7", "192.0.2.8")
			r.start()
			r.holds("192.0.2.7", "192.0.2.8")
			many := make([]string, 70)
			for i := range many {
				many[len(many)-1-i] = fmt.Sprintf("198.51.100.%d", 100+i)
			}
			r.zone.put(trunk, time.Minute, many...)
			time.Sleep(time.Minute)
			slices.Sort(many)
			r.holds(many[:64]...) // what leaves makes room
			if item := r.item(trunk); item.Err != trunk+" has more than 64 addresses: 6 are ignored" {
				t.Errorf("the item says %q", item.Err)
			}
			r.findings("allow-unresolved " + trunk + ": " + trunk + " has more than 64 addresses: 6 are ignored")
			r.zone.put(trunk, time.Minute, "192.0.2.7")
			time.Sleep(time.Minute)
			r.findings()
			r.holds(append([]string{"192.0.2.7"}, many[1:64]...)...)
		})
	})
	t.Run("names", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			entries := make([]string, 1003)
			for i := range entries {
				entries[i] = fmt.Sprintf("n%04d.example.com", i)
			}
			r := newRig(t, nil)
			for i, name := range entries {
				r.zone.put(name, time.Hour, fmt.Sprintf("10.1.%d.%d", i/256, i%256))
			}
			r.start()
			r.set(append(entries, entries...)...)
			synctest.Wait()
			if n := len(allowlist.Prefixes(r.Snapshot())); n != 1000 {
				t.Errorf("the list holds %d addresses", n)
			}
			if item := r.item(entries[1002]); item.Err != "n1002.example.com is not resolved: there are more than 1000 names" {
				t.Errorf("the item says %q", item.Err)
			}
			r.findings("allow-unresolved : 3 host names of the allowlist are not resolved, since there are more than 1000")
			r.set(entries[3:]...)
			synctest.Wait()
			if n := len(allowlist.Prefixes(r.Snapshot())); n != 1000 {
				t.Errorf("the list holds %d addresses", n)
			}
			r.findings()
			if n := len(r.zone.times(entries[500])); n != 1 {
				t.Errorf("a name that stays was asked for %d times", n)
			}
		})
	})
}

// What an earlier run knew counts until there is an answer, whatever fails.
func TestKnown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		file := write(t, t.TempDir(), "in-file.example.com\n")
		r := newRig(t, nil, trunk, "other.example.com", file)
		r.zone.put(trunk, time.Minute, "192.0.2.7", "192.0.2.8")
		r.zone.put("in-file.example.com", time.Minute, "192.0.2.9")
		r.start()
		r.holds("192.0.2.7", "192.0.2.8", "192.0.2.9")
		known := r.Known()
		want := map[string][]netip.Addr{trunk: addrs("192.0.2.7", "192.0.2.8"), "in-file.example.com": addrs("192.0.2.9")}
		if d := cmp.Diff(want, known, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("known (-want +got):\n%s", d)
		}
		r.stop()

		slices.Reverse(known[trunk])
		known[trunk] = append(known[trunk], addrs("127.0.0.1")...)
		if d := cmp.Diff(addrs("192.0.2.7", "192.0.2.8"), r.Known()[trunk], cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("what was known was changed from outside:\n%s", d)
		}
		r = newRig(t, known, trunk, file)
		r.holds("192.0.2.7", "192.0.2.8") // before anything was asked or read
		r.zone.fail(trunk, "server misbehaving")
		r.zone.fail("in-file.example.com", "server misbehaving")
		r.start()
		r.holds("192.0.2.7", "192.0.2.8", "192.0.2.9")
		r.findings()
		if item := r.item(trunk); !item.Resolved.IsZero() || item.Err == "" {
			t.Errorf("the item is %+v", item)
		}
		r.zone.put(trunk, time.Hour, "192.0.2.10")
		time.Sleep(2 * time.Second)
		r.holds("192.0.2.7", "192.0.2.8", "192.0.2.9", "192.0.2.10")
		time.Sleep(time.Hour)
		r.holds("192.0.2.9", "192.0.2.10")

		r.set()
		r.zone.fail(trunk, "server misbehaving")
		r.set(trunk)
		r.holds() // it was forgotten
		if len(r.Known()) != 0 {
			t.Errorf("known are %v", r.Known())
		}
		if len(known) != 2 {
			t.Errorf("what it was given was changed: %v", known)
		}
	})
}

// A look-up of a name that was taken off the list meanwhile changes nothing.
func TestSetDuringLookup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, trunk)
		r.zone.set(trunk, record{takes: 2 * time.Second, Answer: allowlist.Answer{Addrs: addrs("192.0.2.7"), TTL: time.Hour}})
		r.start()
		synctest.Wait()
		r.set("192.0.2.1")
		synctest.Wait()
		r.zone.put(trunk, time.Hour, "192.0.2.8")
		r.set("192.0.2.1", trunk)
		r.holds("192.0.2.1", "192.0.2.8")
		r.told()
		time.Sleep(3 * time.Second)
		if r.holds("192.0.2.1", "192.0.2.8"); r.told() {
			t.Error("the consumer is told of an answer that nobody waits for")
		}
		if n := len(r.zone.times(trunk)); n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
}
