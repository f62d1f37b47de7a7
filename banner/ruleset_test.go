package banner_test

import (
	"context"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"band/banner"
)

// everyKind has one ban of each kind of set, for ever, so that nothing in the
// listing moves.
func everyKind() (banner.Config, []banner.Change) {
	return banner.Config{
			Groups: []banner.Group{{Name: "web", Ports: banner.Ports{TCP: []uint16{443}}}, sip},
			Allow:  []netip.Prefix{prefix("10.0.0.0/8"), prefix("10.1.0.0/16"), prefix("11.0.0.0/8"), prefix("192.0.2.1"), prefix("fe80::/10")},
		}, []banner.Change{
			ban(banner.All, "198.51.100.7", time.Time{}),
			ban(sip.Name, "198.51.100.7", time.Time{}),
			ban(sip.Name, "203.0.113.9/24", time.Time{}),
			ban(sip.Name, "2001:db8:bad::1", time.Time{}),
			ban(sip.Name, "2001:db8:bad:1::/64", time.Time{}),
			ban(sip.Name, "2001:db8:bad::/48", time.Time{}),
			ban("web", "::ffff:198.51.100.8/128", time.Time{}),
			ban("web", "0.0.0.0/0", time.Time{}),
			ban("web", "::/0", time.Time{}),
			ban("unknown", "198.51.100.9", time.Time{}),
		}
}

func TestRulesetIsReadable(t *testing.T) {
	privileged(t)
	config, changes := everyKind()
	start(t, config, changes...)
	const golden = "testdata/ruleset.nft"
	// nft 1.0.6 writes "saddr & mask == @set", later ones leave the == out.
	got := strings.ReplaceAll(shell(t, "nft list ruleset"), " == @", " @")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Error(d)
	}
}

func TestApplyingAgainChangesNothing(t *testing.T) {
	privileged(t)
	config, changes := everyKind()
	changes = append(changes, ban(sip.Name, "198.51.100.20", within(time.Hour)))
	b, stop := start(t, config, changes...)
	b.Settle()
	await(t, b)
	before, listing := generation(t), shell(t, "nft -a list ruleset")

	tell(t, b, changes...)
	tell(t, b, lift(banner.All, "198.51.100.99"))
	b.Configure([]banner.Group{sip, config.Groups[0]}, config.Allow)
	await(t, b)
	stop()
	b, _ = start(t, config, changes...)
	b.Settle()
	await(t, b)

	if after := generation(t); after != before {
		t.Errorf("%d commits", after-before)
	}
	expires := regexp.MustCompile(`expires \S+`)
	if d := cmp.Diff(expires.ReplaceAllString(listing, ""), expires.ReplaceAllString(shell(t, "nft -a list ruleset"), "")); d != "" {
		t.Error(d)
	}
}

func TestSavedRulesetLoadsAgain(t *testing.T) {
	privileged(t)
	config, changes := everyKind()
	watcher := &watcher{}
	config.Observer = watcher
	until := within(time.Hour)
	b, _ := start(t, config, append(changes, ban(banner.All, "198.51.100.20", until))...)
	b.Settle()
	await(t, b)

	dir := t.TempDir()
	shell(t, "(echo flush ruleset; nft list ruleset) > "+dir+"/saved; nft -f "+dir+"/saved")
	loaded := generation(t)
	await(t, b)
	if got := generation(t); got != loaded {
		t.Errorf("the loaded ruleset was not taken as it is: %s", watcher.repairs())
	}
	if left := expiries(t, "all-ip4")["198.51.100.20"]; !near(left, until) {
		t.Errorf("%v left, want %v", left, time.Until(until))
	}
}

func TestTakeover(t *testing.T) {
	for name, damage := range map[string]string{
		"nothing":            "true",
		"other ports":        "nft replace rule inet band drop-freeswitch handle $(nft -a list chain inet band drop-freeswitch | sed -n 's/.*udp.*handle //p') udp dport 1 drop",
		"rule without name":  "nft insert rule inet band prerouting accept",
		"set not ours":       "nft add set inet band other '{ type ipv4_addr; }'",
		"map not ours":       "nft add map inet band other '{ type ipv4_addr : verdict; elements = { 1.2.3.4 : jump drop-all } ; }'; nft add chain inet band x; nft add rule inet band x ip saddr vmap @other; nft add rule inet band prerouting jump x",
		"object not ours":    "nft add counter inet band other",
		"chain not ours":     "nft add chain inet band other; nft add rule inet band other accept; nft insert rule inet band prerouting jump other",
		"anonymous chain":    "nft add rule inet band prerouting jump '{ accept; }'", // refuses to go by parts
		"dormant":            "nft add table inet band '{ flags dormant; }'",
		"policy drop":        "nft chain inet band prerouting '{ policy drop; }'",
		"other hook":         "nft flush chain inet band prerouting; nft delete chain inet band prerouting; nft add chain inet band prerouting '{ type filter hook input priority 0; }'",
		"group's chain base": "nft flush ruleset; nft add table inet band; nft add chain inet band drop-all '{ type filter hook input priority 0; }'",
		"set of a kind":      "nft flush chain inet band prerouting; nft delete set inet band all-ip4; nft add set inet band all-ip4 '{ type ipv6_addr; }'",
		"set with a size":    "nft flush chain inet band prerouting; nft delete set inet band all-ip4; nft add set inet band all-ip4 '{ type ipv4_addr; flags timeout; counter; size 2; }'",
		"empty table":        "nft delete table inet band; nft add table inet band",
		"rules flushed":      "nft flush table inet band",
	} {
		t.Run(name, func(t *testing.T) {
			privileged(t)
			config, changes := everyKind()
			_, stop := start(t, config, changes...)
			want := shell(t, "nft list ruleset")
			stop()
			shell(t, damage)
			if name == "anonymous chain" {
				config.Log = quiet
			}
			b, _ := start(t, config, changes...)
			b.Settle()
			await(t, b)
			got := shell(t, "nft list ruleset")
			if name == "object not ours" { // left alone: it does nothing by itself
				got = regexp.MustCompile(`(?s)\tcounter other.*?\t\}\n\n`).ReplaceAllString(got, "")
			}
			if d := cmp.Diff(sorted(want), sorted(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

// sorted puts the blocks of a listing in order: sets and chains are listed in
// the order of their creation. Lines within a block keep theirs.
func sorted(listing string) []string {
	blocks := strings.Split(strings.TrimSuffix(strings.TrimSpace(listing), "}"), "\n\n")
	for i := range blocks {
		blocks[i] = strings.TrimSpace(strings.TrimPrefix(blocks[i], "table inet band {"))
	}
	slices.Sort(blocks)
	return blocks
}

func TestBeforeSettleTheKernelOnlyGains(t *testing.T) {
	privileged(t)
	config := banner.Config{Groups: []banner.Group{sip}}
	_, stop := start(t, config,
		ban(sip.Name, "198.51.100.1", time.Time{}), ban(sip.Name, "198.51.100.0/25", time.Time{}), ban(sip.Name, "198.51.100.2", time.Time{}))
	stop()

	b, _ := start(t, config, ban(sip.Name, "198.51.100.3", time.Time{}))
	if got := packets(t, b); len(got) != 4 {
		t.Errorf("before Settle: %v", got)
	}
	tell(t, b, lift(sip.Name, "198.51.100.2"), lift(sip.Name, "198.51.100.77"), lift(sip.Name, "198.51.0.0/16"))
	if got := packets(t, b); len(got) != 3 {
		t.Errorf("an element that only the kernel knew was not lifted: %v", got)
	}
	b.Settle()
	await(t, b)
	if d := cmp.Diff(map[banner.Element]uint64{element(sip.Name, "198.51.100.3"): 0}, packets(t, b), comparers); d != "" {
		t.Error(d)
	}
	if listing := shell(t, "nft list ruleset"); strings.Contains(listing, "ip4-25") {
		t.Error("a set that nobody needs stayed:\n" + listing)
	}
}

func TestConfigure(t *testing.T) {
	privileged(t)
	b, _ := start(t, banner.Config{Groups: []banner.Group{sip}},
		ban(sip.Name, "198.51.100.1", time.Time{}), ban("web", "198.51.100.0/24", time.Time{}), ban("web", "198.51.100.2", time.Time{}))
	b.Settle()
	b.Configure([]banner.Group{sip, {Name: "web"}}, []netip.Prefix{prefix("0.0.0.0/0"), prefix("::/0")})
	await(t, b)
	if got := packets(t, b); len(got) != 3 {
		t.Errorf("a new group's bans did not come: %v", got)
	}
	if got := shell(t, "nft list set inet band allow6"); !strings.Contains(got, "::/0") {
		t.Error(got)
	}

	b.Configure([]banner.Group{{Name: "web", Ports: banner.Ports{UDP: []uint16{1}}}}, []netip.Prefix{prefix("255.255.255.255"), prefix("0.0.0.0")})
	await(t, b)
	if listing := shell(t, "nft list ruleset"); strings.Contains(listing, sip.Name) || !strings.Contains(listing, "udp dport") {
		t.Error(listing)
	}
	if got := shell(t, "nft list set inet band allow4"); !strings.Contains(got, "0.0.0.0, 255.255.255.255") {
		t.Error(got)
	}

	b.Configure([]banner.Group{sip, {Name: "web"}}, nil)
	await(t, b)
	if got := packets(t, b); len(got) != 3 {
		t.Errorf("a returning group's bans did not come back: %v", got)
	}
}

// A new prefix length adds a set and a rule, and nothing else is written.
func TestNewPrefixLengthKeepsTheRest(t *testing.T) {
	privileged(t)
	b, _ := start(t, banner.Config{Groups: []banner.Group{sip}}, ban(sip.Name, "198.51.100.1", within(time.Hour)))
	number := regexp.MustCompile(`\S+ comment .*# handle \d+`)
	before := number.FindAllString(shell(t, "nft -a list table inet band"), -1)
	tell(t, b, ban(sip.Name, "203.0.113.0/24", within(time.Hour)), ban(banner.All, "2001:db8::/33", within(time.Hour)))
	after := number.FindAllString(shell(t, "nft -a list table inet band"), -1)
	if len(after) != len(before)+2 {
		t.Errorf("%d rules became %d", len(before), len(after))
	}
	known := map[string]bool{}
	for _, r := range after {
		known[r] = true
	}
	for _, r := range before {
		if !known[r] {
			t.Errorf("rewritten: %s", r)
		}
	}
	if len(packets(t, b)) != 3 {
		t.Error("the elements are not all there")
	}
}

func TestManyGroups(t *testing.T) {
	privileged(t)
	var groups []banner.Group
	var changes []banner.Change
	for i := range 150 {
		g := sip
		g.Name = strings.Repeat("g", i+1)
		groups = append(groups, g)
		changes = append(changes, ban(g.Name, "198.51.100.1", time.Time{}), ban(g.Name, "2001:db8::/64", time.Time{}))
	}
	watcher := &watcher{}
	config := banner.Config{Groups: groups, Observer: watcher}
	b, stop := start(t, config, changes...)
	if got := packets(t, b); len(got) != len(changes) {
		t.Errorf("%d elements, want %d", len(got), len(changes))
	}
	stop()
	before := generation(t)
	start(t, config, changes...)
	if after := generation(t); after != before {
		t.Errorf("taken over with %d commits", after-before)
	}
	if len(watcher.failures()) > 0 {
		t.Error(watcher.failures())
	}
}

func TestRemove(t *testing.T) {
	privileged(t)
	_, stop := start(t, banner.Config{})
	stop()
	if got := shell(t, "nft list tables"); got != "table inet band\n" {
		t.Errorf("after Run: %q", got)
	}
	for range 2 {
		if err := banner.Remove(); err != nil {
			t.Error(err)
		}
	}
	if got := shell(t, "nft list tables"); got != "" {
		t.Errorf("after Remove: %q", got)
	}
}

func TestQuestionsEndWithTheirContext(t *testing.T) {
	privileged(t)
	b, _ := start(t, banner.Config{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.Packets(ctx); err != context.Canceled {
		t.Errorf("Packets: %v", err)
	}
	if _, err := b.Drops(ctx); err != context.Canceled {
		t.Errorf("Drops: %v", err)
	}
}
