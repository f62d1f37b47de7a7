package pipeline_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"band/internal/local"
	"band/store"
)

// attack lets a host fail five times and returns the ban.
func (r *rig) attack(host string, at time.Time) store.Ban {
	r.t.Helper()
	d := r.take(r.preferred, at.Add(5*time.Second), repeat(5, at, wrong("1000", host)))
	if len(d.Bans) == 0 {
		r.t.Fatalf("%s was not banned at %v", host, at)
	}
	return d.Bans[0]
}

func TestEscalate(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		files := overlays{"freeswitch": "[escalate]\nfactor = 2\nmax = \"6h\"\nforget = \"2d\""}
		r := newRig(t, files)
		at := after(0)
		for i, want := range []time.Duration{time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 6 * time.Hour} {
			b := r.attack(attacker, at)
			equal(t, fmt.Sprintf("length of ban %d", i+1), b.Until.Sub(b.Since), want)
			equal(t, "repeat", b.Repeat, i)
			at = b.Until.Add(time.Hour)
			r.restart(load(t, files), snapshot)
		}
		if b := r.attack("198.51.100.8", at); b.Until.Sub(b.Since) != time.Hour {
			t.Error("another unit got a longer ban")
		}
		// It is forgotten after two days, and after a ban that was lifted.
		at = at.Add(49 * time.Hour)
		b := r.attack(attacker, at)
		equal(t, "length after two days", b.Until.Sub(b.Since), time.Hour)
		r.unban(unit, at.Add(time.Minute))
		b = r.attack(attacker, at.Add(2*time.Minute))
		equal(t, "length after one that was lifted", b.Until.Sub(b.Since), time.Hour)
	}
}

// What a unit did to one jail counts in another, where that asks for it.
func TestEscalateOverAllJails(t *testing.T) {
	r := newRig(t, overlays{"freeswitch-acl": "[escalate]\nfactor = 3\nall_jails = true"})
	r.attack(attacker, after(0))
	d := r.take(r.preferred, after(70), repeat(5, after(60), rejected(attacker)))
	if len(d.Bans) != 1 || d.Bans[0].Until.Sub(d.Bans[0].Since) != 3*time.Hour {
		t.Errorf("bans %v, want one of three hours", d.Bans)
	}
}

// A factor that overflows is for ever, not for a moment.
func TestEscalateWithoutLimit(t *testing.T) {
	r := newRig(t, overlays{"freeswitch": "bantime = \"365d\"\n[escalate]\nfactor = 1000\nmax = \"forever\"\nforget = \"365d\""})
	at := after(0)
	for range 3 {
		b := r.attack(attacker, at)
		if b.Until.IsZero() {
			return
		}
		at = b.Until.Add(time.Minute)
		if at.Year() > 2100 {
			t.Fatalf("a ban until %v", b.Until)
		}
	}
	t.Error("the third ban has an end")
}

func TestAggregate(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		files := overlays{"freeswitch": "aggregate = 3"}
		r := newRig(t, files)
		r.attack("198.51.100.1", after(0))
		r.attack("198.51.100.2", after(10))
		r.attack("203.0.113.3", after(20))
		r.restart(load(t, files), snapshot)
		d := r.take(r.preferred, after(40), repeat(5, after(30), wrong("1000", "198.51.100.3")))
		if len(d.Bans) != 2 || d.Bans[1].Unit != prefix("198.51.100.0/24") || d.Bans[1].Origin != "network" || d.Bans[1].Failures != 3 {
			t.Fatalf("bans %v, want that of the unit and that of its network", d.Bans)
		}
		equal(t, "keys", len(d.Keys), 2)
		// Who is in the network is banned, and not counted.
		d = r.take(r.preferred, after(60), repeat(9, after(50), wrong("1000", "198.51.100.99")))
		equal(t, "bans in the network", len(d.Bans), 0)
		equal(t, "counts", r.counts(), "")
		equal(t, "in force", r.inForce(after(70)),
			"freeswitch 198.51.100.0/24, freeswitch 198.51.100.1/32, freeswitch 198.51.100.2/32, freeswitch 198.51.100.3/32, freeswitch 203.0.113.3/32")
	}
}

// Bans that are over do not add up, nor those of two networks.
func TestAggregateOnlyInForce(t *testing.T) {
	r := newRig(t, overlays{"freeswitch": "aggregate = 2\nbantime = \"1m\""})
	r.attack("198.51.100.1", after(0))
	r.attack("198.51.100.2", after(100))
	r.attack("198.51.101.3", after(110))
	equal(t, "in force", r.inForce(after(120)), "freeswitch 198.51.100.2/32, freeswitch 198.51.101.3/32")
	r.attack("2001:db8:1:1::1", after(200))
	r.attack("2001:db8:1:2::1", after(210))
	equal(t, "in force", r.inForce(after(220)), "freeswitch 2001:db8:1::/48, freeswitch 2001:db8:1:1::/64, freeswitch 2001:db8:1:2::/64")
}

// The network of our own is never banned as a whole.
func TestAggregateAroundUs(t *testing.T) {
	r := newRig(t, overlays{"freeswitch": "aggregate = 2"})
	r.Local = local.Addresses{Own: []netip.Addr{netip.MustParseAddr("198.51.100.200")}}
	for i := range 5 {
		r.attack(fmt.Sprintf("198.51.100.%d", i+1), after(float64(10*i)))
	}
	for _, b := range r.InForce(after(60)) {
		if !b.Unit.IsSingleIP() {
			t.Errorf("banned %v", b.Unit)
		}
	}
}

// A dry run decides; when it is over the unit can be banned, and a ban of before
// still covers what happens during one.
func TestDryRun(t *testing.T) {
	dry, wet := overlays{"freeswitch": "dry_run = true"}, overlays{}
	r := newRig(t, dry)
	if b := r.attack(attacker, after(0)); !b.DryRun {
		t.Error("the ban does not tell that it is not enforced")
	}
	d := r.take(r.preferred, after(20), repeat(5, after(10), wrong("1000", attacker)))
	equal(t, "bans while it lasts", len(d.Bans), 0)

	r.restart(load(t, wet), false)
	if b := r.attack(attacker, after(30)); b.DryRun || b.Repeat != 0 {
		t.Errorf("after the dry run: %+v", b)
	}
	r.restart(load(t, dry), true)
	d = r.take(r.preferred, after(60), repeat(5, after(50), wrong("1000", attacker)))
	equal(t, "bans beside one that is meant", len(d.Bans), 0)
}

func TestConfigure(t *testing.T) {
	r := newRig(t, nil)
	r.take(r.preferred, after(10), repeat(4, after(0), wrong("1000", attacker)))
	r.attack("198.51.100.8", after(20))
	if err := r.Configure(load(t, overlays{"freeswitch": "maxretry = 6"})); err != nil {
		t.Fatal(err)
	}
	r.preferred.Unwatch()
	r.preferred.Watch(r.Jails["freeswitch"], true)
	equal(t, "records", r.Jails["freeswitch"].Stats.Banned, uint64(1))
	equal(t, "in force", r.inForce(after(30)), "freeswitch 198.51.100.8/32")
	d := r.take(r.preferred, after(30), repeat(1, after(30), wrong("1000", attacker)))
	equal(t, "bans at the fifth failure of six", len(d.Bans), 0)
	d = r.take(r.preferred, after(31), repeat(1, after(31), wrong("1000", attacker)))
	equal(t, "bans at the sixth", len(d.Bans), 1)
}

func TestAllow(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		r := newRig(t, nil)
		r.keep(r.Allow(store.Allow{Entry: "trunk.example", Since: after(0), Until: after(100), Reason: "new"}))
		r.keep(r.Allow(store.Allow{Entry: "198.51.100.0/24", Since: after(0)}))
		r.keep(r.Allow(store.Allow{Entry: "203.0.113.9", Since: after(0)}))
		r.keep(r.Allow(store.Allow{Entry: "203.0.113.9", Since: after(1), Gone: true}))
		addr := netip.MustParseAddr("192.0.2.8")
		r.keep(r.Resolve("trunk.example", []netip.Addr{addr}))
		r.restart(load(t, nil), snapshot)
		equal(t, "entries", len(r.Allowed()), 2)
		equal(t, "reason", r.Allowed()[1].Reason, "new")
		equal(t, "resolved", len(r.Resolved()["trunk.example"]) == 1 && r.Resolved()["trunk.example"][0] == addr, true)

		r.SetAllow(map[netip.Prefix]string{prefix("198.51.100.0/24"): "198.51.100.0/24"})
		d := r.take(r.preferred, after(10), repeat(9, after(0), wrong("1000", attacker)))
		equal(t, "bans", len(d.Bans), 0)
		equal(t, "exempt", len(d.Exempt) == 1 && d.Exempt[0].String() == attacker, true)
		equal(t, "why", r.Exempt(netip.MustParseAddr(attacker)), "on the allowlist (198.51.100.0/24)")
		r.Forget(after(100))
		equal(t, "entries at the end of one", len(r.Allowed()), 1)
	}
}
