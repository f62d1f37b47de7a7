package banner_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"band/banner"
)

func TestRepair(t *testing.T) {
	const ruleHandle = "handle $(nft -a list chain inet band %s | sed -n 's/.*%s.*handle //p' | head -1)"
	for name, c := range map[string]struct{ damage, found string }{
		"flush ruleset":    {"nft flush ruleset", "table missing"},
		"delete table":     {"nft delete table inet band", "table missing"},
		"empty table":      {"nft delete table inet band; nft add table inet band", "set allow4 missing"},
		"flush set":        {"nft flush set inet band all-ip4", "2 elements missing"},
		"delete element":   {"nft delete element inet band all-ip4 '{ 198.51.100.1 }'", "1 element missing"},
		"another expiry":   {"nft 'delete element inet band all-ip4 { 198.51.100.1 }; add element inet band all-ip4 { 198.51.100.1 timeout 1m }'", "1 element with another expiry"},
		"made permanent":   {"nft 'delete element inet band all-ip4 { 198.51.100.1 }; add element inet band all-ip4 { 198.51.100.1 }'", "1 element with another expiry"},
		"element not ours": {"nft add element inet band all-ip4 '{ 198.51.100.77 }'", "1 element not ours"},
		"flush allowlist":  {"nft flush set inet band allow4", "set allow4 changed"},
		"wider allowlist":  {"nft add element inet band allow4 '{ 198.51.100.0/24 }'", "set allow4 changed"},
		"delete rule":      {"nft delete rule inet band prerouting " + fmt.Sprintf(ruleHandle, "prerouting", "all-ip4 "), "1 rule missing in chain prerouting"},
		"replace rule":     {"nft replace rule inet band drop-all " + fmt.Sprintf(ruleHandle, "drop-all", "counter") + " accept", "1 rule not ours in chain drop-all"},
		"insert rule":      {"nft insert rule inet band prerouting accept", "1 rule not ours in chain prerouting"},
		"flush chain":      {"nft flush chain inet band drop-all", "3 rules missing in chain drop-all"},
		"delete chain":     {"nft flush chain inet band prerouting; nft delete chain inet band prerouting", "chain prerouting missing"},
		"recreate set":     {"nft flush chain inet band prerouting; nft delete set inet band all-ip4; nft add set inet band all-ip4 '{ type ipv4_addr; flags timeout; counter; }'", "elements missing"},
		"delete set":       {"nft flush chain inet band prerouting; nft delete set inet band all-ip4", "set all-ip4 missing"},
		"set of a kind":    {"nft flush chain inet band prerouting; nft delete set inet band all-ip4; nft add set inet band all-ip4 '{ type ipv4_addr; }'", "set all-ip4 of another kind"},
		"dormant table":    {"nft add table inet band '{ flags dormant; }'", "table flags changed"},
		"policy":           {"nft chain inet band prerouting '{ policy drop; }'", "chain prerouting of another kind"},
	} {
		t.Run(name, func(t *testing.T) {
			privileged(t)
			watcher := &watcher{}
			until := within(time.Hour)
			b, _ := start(t, banner.Config{Groups: []banner.Group{sip}, Allow: []netip.Prefix{prefix("10.0.0.0/8")}, Observer: watcher, Log: quiet},
				ban(banner.All, "198.51.100.1", until), ban(banner.All, "198.51.100.2", time.Time{}), ban(sip.Name, "2001:db8::/64", until))
			b.Settle()
			await(t, b)
			want := sorted(withoutTimes(shell(t, "nft list table inet band")))
			shell(t, c.damage)

			// 2 s are promised; a busy machine gets three times as many.
			eventually(t, 6*time.Second, "the repair", func() bool {
				out, err := exec.Command("nft", "list", "table", "inet", "band").Output()
				if err != nil {
					return false
				}
				if fmt.Sprint(sorted(withoutTimes(string(out)))) != fmt.Sprint(want) {
					return false
				}
				left := expiries(t, "all-ip4")
				return near(left["198.51.100.1"], until) && left["198.51.100.2"] == 0
			})
			eventually(t, time.Second, c.found+" reported", func() bool { return strings.Contains(watcher.repairs(), c.found) })
			if len(watcher.failures()) > 0 {
				t.Error(watcher.failures())
			}

			// And it is quiet again.
			await(t, b)
			before := generation(t)
			await(t, b)
			await(t, b)
			if generation(t) != before {
				t.Error("it goes on repairing")
			}
		})
	}
}

var moving = regexp.MustCompile(`(timeout|expires|packets|bytes) \S+`)

// withoutTimes takes what moves out of a listing.
func withoutTimes(listing string) string {
	return moving.ReplaceAllString(listing, "$1 X")
}

// Others delete everything, again and again, in the middle of our writes.
func TestForeignChangesInTheMiddleOfOurs(t *testing.T) {
	for name, damage := range map[string]string{
		"delete elements": "nft flush set inet band all-ip4 || true",
		"delete table":    "nft delete table inet band || true",
		"other tables":    "nft add table inet other; nft delete table inet other",
	} {
		t.Run(name, func(t *testing.T) {
			privileged(t)
			watcher := &watcher{}
			b, _ := start(t, banner.Config{Observer: watcher, Log: quiet})
			b.Settle()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan int)
			go func() {
				n := 0
				for ; ctx.Err() == nil; n++ {
					exec.Command("sh", "-c", damage).Run()
				}
				done <- n
			}()
			var bans []banner.Change
			for round := range 30 {
				bans = many(300, within(time.Hour+time.Duration(round)*time.Minute))
				tell(t, b, bans...)
			}
			cancel()
			t.Logf("%d times in between", <-done)
			eventually(t, 6*time.Second, "all elements", func() bool { return len(packets(t, b)) == len(bans) })
			sameElements(t, b, bans)
			for key, left := range expiries(t, "all-ip4") {
				if !near(left, bans[0].Until) {
					t.Fatalf("%s: %v left", key, left)
				}
			}
			if failures := watcher.failures(); len(failures) > 0 && failures[len(failures)-1] != nil {
				t.Errorf("still failing: %v", failures)
			}
		})
	}
}

// A set that does not count, as a kernel before 5.7 makes it, is told of once, and
// bans as any other.
func TestUncounted(t *testing.T) {
	privileged(t)
	watcher := &watcher{}
	b, _ := start(t, banner.Config{Observer: watcher, Log: quiet}, ban(banner.All, "198.51.100.1", within(time.Hour)))
	b.Settle()
	await(t, b)
	shell(t, "nft flush chain inet band prerouting; nft delete set inet band all-ip4; nft add set inet band all-ip4 '{ type ipv4_addr; flags timeout; }'")
	eventually(t, 6*time.Second, "the repair", func() bool {
		return watcher.told() == 1 && strings.Contains(shell(t, "nft list set inet band all-ip4"), "198.51.100.1 timeout")
	})
	shell(t, "nft add table inet other")
	await(t, b)
	b.Change([]banner.Change{ban(banner.All, "198.51.100.2", within(time.Hour))})
	await(t, b)
	if set := shell(t, "nft list set inet band all-ip4"); !strings.Contains(set, "198.51.100.1 timeout") || !strings.Contains(set, "198.51.100.2 timeout") {
		t.Errorf("the set holds:\n%s", set)
	}
	if n := watcher.told(); n != 1 || strings.Contains(watcher.repairs(), "kind") {
		t.Errorf("it was told %d times, and repaired: %s", n, watcher.repairs())
	}
}

// An owner of the table other than us makes the kernel refuse us with EPERM.
func TestRefusalEndsNothing(t *testing.T) {
	privileged(t)
	owner := exec.Command("nft", "-i")
	in, err := owner.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	defer owner.Wait()
	defer in.Close()
	if _, err := in.Write([]byte("add table inet band { flags owner; }\n")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the owned table", func() bool {
		return exec.Command("nft", "list", "table", "inet", "band").Run() == nil
	})

	watcher := &watcher{}
	b := banner.New(banner.Config{Observer: watcher, Log: quiet})
	b.Change([]banner.Change{ban(banner.All, "198.51.100.1", within(time.Hour))})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	eventually(t, 5*time.Second, "the refusal", func() bool { return len(watcher.failures()) > 0 })
	b.Change([]banner.Change{ban(banner.All, "198.51.100.2", within(time.Hour))})
	select {
	case err := <-ended:
		t.Fatalf("Run ended: %v", err)
	case <-b.Ready():
		t.Fatal("ready while the kernel refuses")
	default:
	}

	in.Close() // the table dies with its owner
	await(t, b)
	if got := packets(t, b); len(got) != 2 {
		t.Errorf("%d elements after the refusal", len(got))
	}
	eventually(t, time.Second, "the healing", func() bool {
		f := watcher.failures()
		return len(f) == 2 && f[0] != nil && f[1] == nil
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
