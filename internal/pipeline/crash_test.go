package pipeline_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"band/internal/pipeline"
	"band/store"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A step is one thing that happens to a pipeline.
type step struct {
	now     time.Time
	vanilla bool   // which source
	text    string // what it holds; "" where the step is another one
	ban     string
	lasting time.Duration
	unban   string
	forget  bool
}

var crashing = overlays{
	"freeswitch":      "findtime = \"2m\"\nmaxretry = 3\nbantime = \"3m\"",
	"freeswitch-acl":  "findtime = \"2m\"\nmaxretry = 2\nbantime = \"1m\"",
	"freeswitch-scan": "findtime = \"2m\"\nmaxretry = 7" + challenges, // more than keep their evidence
}

// TestCrash: what happens to a pipeline that crashes at any time and begins
// again from the disk, from the log as well as from a snapshot, is what happens
// to one that does not: the same decisions, and in the end the same state.
func TestCrash(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	c := load(t, crashing)
	var bans, doubtful, crashes, lost int // what was met, over all runs
	rapid.Check(t, func(rt *rapid.T) {
		location := rapid.SampledFrom([]*time.Location{time.UTC, berlin}).Draw(rt, "location")
		script := draw(rt, location)

		through := &rig{t: t, location: location}
		through.begin(c)
		want := make([]string, len(script))
		for i, s := range script {
			want[i] = do(through, s)
			bans += strings.Count(want[i], `"origin":"jail"`)
		}
		doubtful += strings.Count(fmt.Sprint(want), "doubtful 1")

		r := &rig{t: t, location: location}
		r.begin(c)
		past := 0 // batches of the snapshot: they cannot be lost
		for i := 0; i < len(script); i++ {
			how := rapid.SampledFrom([]string{"", "", "", "snapshot", "log", "log", "lost"}).Draw(rt, "crash")
			if how == "lost" {
				// The newest batches did not reach the disk. What was done by hand
				// did, before it was answered, and so did all before.
				for rapid.Bool().Draw(rt, "one more") && len(r.disk) > past && script[i-1].text != "" {
					i--
					r.disk = r.disk[:len(r.disk)-1]
					lost++
				}
			}
			if how != "" {
				r.restart(c, how == "snapshot")
				crashes++
			}
			if how == "snapshot" {
				past = len(r.disk)
			}
			if got := do(r, script[i]); got != want[i] {
				rt.Fatalf("step %d, after %q (-uninterrupted +crashed):\n%s", i, how, cmp.Diff(want[i], got))
			}
			if script[i].forget {
				past = len(r.disk)
			}
		}
		last := script[len(script)-1].now
		if diff := cmp.Diff(known(t, through, last), known(t, r, last)); diff != "" {
			rt.Fatalf("the state (-uninterrupted +crashed):\n%s", diff)
		}
		r.restart(c, true)
		if diff := cmp.Diff(known(t, through, last), known(t, r, last)); diff != "" {
			rt.Fatalf("the state, from a snapshot of it (-uninterrupted +restarted):\n%s", diff)
		}
	})
	t.Logf("%d bans, %d steps with doubtful failures, %d crashes, %d batches lost", bans, doubtful, crashes, lost)
	if bans == 0 || doubtful == 0 || crashes == 0 || lost == 0 {
		t.Error("that is too little to show anything")
	}
}

// draw makes a script: records of a few hosts in both logs, late and out of
// order, bans and unbans by hand, and days in which nothing happens.
func draw(t *rapid.T, location *time.Location) []step {
	hosts := []string{attacker, "198.51.100.8", "2001:db8:9::7", "2001:db8:9::8", "127.0.0.1"}
	units := []string{unit, "198.51.100.8/32", "2001:db8:9::/64"}
	users := []string{"alice", "bob", "b\xffb", "b\xfeb", "carol", "dave", "erin", "frank", strings.Repeat("é", 40) + "1", strings.Repeat("é", 40) + "2"}
	pick := func(of []string, what string) string { return rapid.SampledFrom(of).Draw(t, what) }
	seconds := func(from, to int, what string) time.Duration {
		return time.Duration(rapid.IntRange(from*1e6, to*1e6).Draw(t, what)) * time.Microsecond
	}
	// Ten minutes before the clock of Berlin goes back from three to two.
	clock := time.Date(2026, 10, 25, 0, 50, 0, 0, time.UTC)
	script := []step{{now: clock, vanilla: true, text: line(clock.In(location), steady, chatter)}}
	for range rapid.IntRange(1, 25).Draw(t, "steps") {
		ahead := time.Duration(rapid.IntRange(-10, 5e9).Draw(t, "ahead"))
		now := clock.Add(ahead)
		switch rapid.IntRange(0, 11).Draw(t, "step") {
		case 0:
			script = append(script, step{now: now, ban: pick(units, "unit"), lasting: seconds(0, 200, "lasting")})
		case 1:
			script = append(script, step{now: now, unban: pick(units, "unit")})
		case 2:
			clock = clock.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 2, 26, 24 * 31}).Draw(t, "hours")) * time.Hour)
			script = append(script, step{now: clock, forget: true})
		default:
			vanilla := rapid.IntRange(0, 3).Draw(t, "source") > 0
			var text strings.Builder
			for range rapid.IntRange(1, 8).Draw(t, "records") {
				clock = clock.Add(seconds(0, 8, "pause"))
				at := clock
				if rapid.IntRange(0, 4).Draw(t, "late") == 0 {
					at = at.Add(-seconds(-30, 200, "lag")).Truncate(time.Microsecond)
				}
				host, user := pick(hosts, "host"), pick(users, "user")
				messages := []string{wrong(user, host), wrong(user, host), unknown(user, host), rejected(host), challenge(user, host)}
				if vanilla {
					messages = append(messages, chatter, chatter)
				}
				text.WriteString(line(at.In(location), pick([]string{steady, steady, steady, "50.00"}, "idle"), pick(messages, "message")))
			}
			script = append(script, step{now: clock.Add(ahead), vanilla: vanilla, text: text.String()})
		}
	}
	return script
}

// do does a step and writes what was decided.
func do(r *rig, s step) string {
	var d pipeline.Decision
	var lifted []pipeline.Ban
	switch {
	case s.text != "":
		from := r.preferred
		if s.vanilla {
			from = r.vanilla
		}
		d = r.take(from, s.now, s.text)
	case s.ban != "":
		d = r.keep(r.Ban([]netip.Prefix{prefix(s.ban)}, s.lasting, "by hand", s.now))
	case s.unban != "":
		lifted = r.unban(s.unban, s.now)
	case s.forget:
		// The daemon forgets what the next start would forget again; a snapshot
		// makes sure that it is the same here.
		r.Forget(s.now)
		r.disk = slices.Collect(r.Dump())
	}
	decided, err := json.Marshal([]any{d.Bans, lifted})
	if err != nil {
		r.t.Fatal(err)
	}
	return fmt.Sprintf("%s keys %v doubtful %d read %d %d in force: %s", decided, d.Keys, d.Doubtful,
		read(r.t, r.preferred), read(r.t, r.vanilla), r.inForce(s.now))
}

// merged returns batches as one.
func merged(batches []store.Batch) store.Batch {
	all := store.Batch{Cursors: make(map[string]json.RawMessage)}
	for _, b := range batches {
		maps.Copy(all.Cursors, b.Cursors)
		all.Events = append(all.Events, b.Events...)
	}
	return all
}

// known writes all that a pipeline knows: the positions with their canaries,
// the bans of each key in their order, and the failures in the order in which
// they would be evicted.
func known(t testing.TB, r *rig, now time.Time) (lines []string) {
	t.Helper()
	bans := make(map[string][]string)
	all := merged(slices.Collect(r.Dump()))
	for _, name := range slices.Sorted(maps.Keys(all.Cursors)) {
		lines = append(lines, name+" "+string(all.Cursors[name]))
	}
	var failures []string
	for _, e := range all.Events {
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case e.Failure != nil:
			failures = append(failures, string(text))
		case e.Ban != nil:
			key := e.Ban.Jail + e.Ban.Unit.String()
			bans[key] = append(bans[key], string(text))
		case e.Lift != nil:
			key := e.Lift.Jail + e.Lift.Unit.String()
			bans[key] = append(bans[key], string(text))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(bans)) {
		lines = append(lines, bans[key]...)
	}
	return append(append(lines, failures...), r.counts(), r.inForce(now))
}
