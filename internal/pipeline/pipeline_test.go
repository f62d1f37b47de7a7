package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"band/internal/config"
	"band/internal/local"
	"band/internal/pipeline"
	"band/internal/source"
	"band/jails"
	"band/matcher"
	"band/matcher/counter"
	"band/store"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is when the logs of these tests begin.
var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// after returns the moment that many seconds after the start.
func after(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second))).Truncate(time.Microsecond)
}

const steady = "81.60" // the idle value where it plays no part

// line is a record of FreeSWITCH.
func line(at time.Time, idle, message string) string {
	return at.Format("2006-01-02 15:04:05.000000 ") + idle + "% " + message + "\n"
}

// The messages of a wrong password, an unknown user, a challenge, an address
// that an access control list turned away, and one that is no failure, which
// no dedicated log holds.
func wrong(user, host string) string {
	return "[WARNING] sofia_reg.c:1787 SIP auth failure (REGISTER) on sofia profile 'internal' for [" + user + "@pbx] from ip " + host
}

func unknown(user, host string) string {
	return "[WARNING] sofia_reg.c:3210 Can't find user [" + user + "@pbx] from " + host +
		"\nYou must define a domain called 'pbx' in your directory and add a user with the id=\"" + user + "\" attribute" +
		"\nand you must configure your device to use the proper domain in its authentication credentials."
}

func challenge(user, host string) string {
	return "[WARNING] sofia_reg.c:1842 SIP auth challenge (REGISTER) on sofia profile 'internal' for [" + user + "@pbx] from ip " + host
}

func rejected(host string) string {
	return "[WARNING] sofia_reg.c:2406 IP " + host + ` Rejected by register acl "domains"`
}

// challenges lets the jail freeswitch-scan see those of a log.
const challenges = "\n[[pattern]]\nname = 'challenge'\nenabled = true"

const chatter = "[NOTICE] switch_channel.c:1142 New Channel sofia/internal/1000@pbx"

// overlays are jail files, by the name of their jail.
type overlays map[string]string

func load(t testing.TB, files overlays) *jails.Config {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		if name != "band" {
			name = "jails.d/" + name
		}
		fsys[name+".toml"] = &fstest.MapFile{Data: []byte(text)}
	}
	c := config.LoadFS(fsys, "")
	if len(c.Problems) > 0 {
		t.Fatal(c.Problems)
	}
	return c
}

// A rig is a pipeline with the two sources of the shipped jails, and the disk.
type rig struct {
	*pipeline.Pipeline
	t                  testing.TB
	location           *time.Location
	preferred, vanilla *pipeline.Source

	counted []*store.Failure // those that were told to Matched, in order
	disk    []store.Batch
}

func newRig(t testing.TB, files overlays) *rig {
	t.Helper()
	r := &rig{t: t, location: time.UTC}
	r.begin(load(t, files))
	return r
}

// begin makes a pipeline that knows what is on the disk.
func (r *rig) begin(c *jails.Config) {
	r.t.Helper()
	p, err := pipeline.New(c)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, b := range r.disk {
		p.Apply(b)
	}
	p.Matched = func(f *store.Failure) { r.counted = append(r.counted, f) }
	r.Pipeline = p
	r.preferred = r.source("/var/log/freeswitch/band.log", source.ViaPreferred)
	r.vanilla = r.source("/var/log/freeswitch/freeswitch.log", source.ViaFile)
	for _, name := range p.Names() {
		r.preferred.Watch(p.Jails[name], true)
		r.vanilla.Watch(p.Jails[name], false)
	}
}

func (r *rig) source(name, via string) *pipeline.Source {
	r.t.Helper()
	s, err := r.NewSource(name, via, format(r.t), r.location)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// restart goes through the disk: from a snapshot, or from the log of all
// batches.
func (r *rig) restart(c *jails.Config, snapshot bool) {
	r.t.Helper()
	if snapshot {
		r.disk = slices.Collect(r.Dump())
	}
	r.disk = stored(r.t, r.disk)
	r.begin(c)
}

// take gives the records of text to the pipeline, and keeps what it decided.
func (r *rig) take(s *pipeline.Source, now time.Time, text ...string) pipeline.Decision {
	r.t.Helper()
	records := frame(r.t, strings.Join(text, ""))
	cursor, err := json.Marshal(read(r.t, s) + len(records))
	if err != nil {
		r.t.Fatal(err)
	}
	return r.keep(r.Take(s, records, cursor, now))
}

// read returns how many records of a source were taken, as its cursor tells.
func read(t testing.TB, s *pipeline.Source) (n int) {
	t.Helper()
	if s.Cursor() != nil {
		if err := json.Unmarshal(s.Cursor(), &n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (r *rig) keep(d pipeline.Decision) pipeline.Decision {
	r.disk = append(r.disk, d.Batch)
	return d
}

func (r *rig) unban(unit string, now time.Time) []pipeline.Ban {
	d, lifted := r.Unban(func(k counter.Key) bool { return k.Unit == prefix(unit) }, now)
	r.keep(d)
	return lifted
}

// hosts returns the hosts of the failures counted since the last call.
func (r *rig) hosts() string {
	var out []string
	for _, f := range r.counted {
		out = append(out, f.Host.String())
	}
	r.counted = nil
	return strings.Join(out, " ")
}

// inForce writes the bans in force as "jail unit".
func (r *rig) inForce(t time.Time) string {
	var out []string
	for _, b := range r.InForce(t) {
		out = append(out, b.Jail+" "+b.Unit.String())
	}
	return strings.Join(out, ", ")
}

// counts writes what is counted as "jail unit attempts".
func (r *rig) counts() string {
	var out []string
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		for _, c := range r.Counts(prefix(all), after(0)) {
			out = append(out, fmt.Sprintf("%s %s %d", c.Jail, c.Unit, c.Attempts))
		}
	}
	return strings.Join(out, ", ")
}

func format(t testing.TB) matcher.Format {
	t.Helper()
	f, err := matcher.FormatNamed("freeswitch", "")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func frame(t testing.TB, text string) []matcher.Record {
	t.Helper()
	framer := matcher.NewFramer(format(t))
	framer.Push([]byte(text))
	return framer.Finish(nil)
}

// stored returns what a real disk makes of batches.
func stored(t testing.TB, batches []store.Batch) (read []store.Batch) {
	t.Helper()
	dir, err := os.MkdirTemp("", "band-pipeline-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, write := range [][]store.Batch{batches, nil} {
		s, report, err := store.Open(dir, store.Options{}, func(b store.Batch) { read = append(read, b) })
		if err != nil || len(report.Damage) > 0 {
			t.Fatal(err, report.Damage)
		}
		for _, b := range write {
			s.Append(b)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // Run writes what there is
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(read) != len(batches) {
		t.Fatalf("of %d batches the disk has %d", len(batches), len(read))
	}
	return read
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// repeat returns n records of a message, a second apart, the first at the time
// given.
func repeat(n int, at time.Time, message string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(line(at.Add(time.Duration(i)*time.Second), steady, message))
	}
	return b.String()
}

const (
	attacker = "198.51.100.7"
	unit     = attacker + "/32"
)

func TestBan(t *testing.T) {
	r := newRig(t, nil)
	d := r.take(r.preferred, after(10), repeat(4, after(0), wrong("1000", attacker)))
	if len(d.Bans) > 0 || r.counts() != "freeswitch "+unit+" 4" {
		t.Fatalf("after four failures: %v, %s", d.Bans, r.counts())
	}
	d = r.take(r.preferred, after(10), repeat(1, after(5), wrong("1001", attacker)))
	if len(d.Bans) != 1 {
		t.Fatal("after the fifth: no ban")
	}
	b := d.Bans[0]
	equal(t, "since", b.Since, after(5))
	equal(t, "until", b.Until, after(5).Add(time.Hour))
	equal(t, "failures", b.Failures, 5)
	equal(t, "keys", len(d.Keys) == 1 && d.Keys[0] == counter.Key{Jail: "freeswitch", Unit: prefix(unit)}, true)
	var evidence []string
	for _, f := range b.Evidence {
		evidence = append(evidence, f.Time.Format("05 ")+f.User)
	}
	equal(t, "evidence", evidence, []string{"02 1000@pbx", "03 1000@pbx", "05 1001@pbx"})
	equal(t, "in force before the end", r.inForce(b.Until.Add(-time.Microsecond)), "freeswitch "+unit)
	equal(t, "in force at the end", r.inForce(b.Until), "")
	equal(t, "counts", r.counts(), "")
}

// An attempt for an unknown user writes two records, and counts once.
func TestTwoRecordsOfOneAttempt(t *testing.T) {
	r := newRig(t, nil)
	for i := range 4 {
		at := after(float64(i))
		r.take(r.preferred, at, line(at, steady, unknown("x", attacker)), line(at, steady, wrong("x", attacker)))
	}
	equal(t, "counts", r.counts(), "freeswitch "+unit+" 4")
	equal(t, "bans", r.inForce(after(9)), "")
	r.take(r.preferred, after(5), line(after(5), steady, unknown("x", attacker)))
	equal(t, "bans", r.inForce(after(9)), "freeswitch "+unit)
}

// Of the bans of a unit by hand only the newest is in force, now and ever.
func TestSuperseded(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		c := load(t, nil)
		r := newRig(t, nil)
		units := []netip.Prefix{prefix(unit)}
		r.keep(r.Ban(units, 0, "for ever", after(0)))
		r.keep(r.Ban(units, time.Hour, "an hour", after(10)))
		equal(t, "in force", r.inForce(after(20)), "manual "+unit)
		equal(t, "in force after an hour", r.inForce(after(3700)), "")
		r.restart(c, snapshot)
		equal(t, "after a restart, in force after an hour", r.inForce(after(3700)), "")

		if lifted := r.unban(unit, after(30)); len(lifted) != 1 || lifted[0].Reason != "an hour" {
			t.Errorf("lifted: %v", lifted)
		}
		if again := r.unban(unit, after(31)); len(again) > 0 {
			t.Errorf("lifted twice: %v", again)
		}
		month := after(0).AddDate(0, 0, 31)
		for range 2 {
			for _, at := range []time.Time{after(30), after(3700), month} {
				equal(t, "in force after unban", r.inForce(at), "")
			}
			var history []string
			for _, b := range r.Bans(prefix(unit)) {
				history = append(history, b.Reason)
			}
			equal(t, "history", history, []string{"for ever", "an hour"})
			r.restart(c, snapshot)
		}
		r.Forget(month)
		equal(t, "in force when forgotten", r.inForce(month), "")
		equal(t, "history when forgotten", len(r.Bans(prefix(unit))), 0)
		r.restart(c, true)
		equal(t, "in force after forgetting and a restart", r.inForce(after(30)), "")
	}
}

// A ban for ever is never forgotten; what was before it is.
func TestForgetKeepsBans(t *testing.T) {
	r := newRig(t, nil)
	units := []netip.Prefix{prefix(unit)}
	r.Ban(units, 0, "for ever", after(0))
	r.unban(unit, after(1))
	r.Ban(units, 0, "again", after(2))
	year := after(0).AddDate(1, 0, 0)
	r.Forget(year)
	equal(t, "in force after a year", r.inForce(year), "manual "+unit)
	equal(t, "history after a year", len(r.Bans(prefix(unit))), 1)
}

// A ban stays remembered for a month and its records for a day, and only the
// newest ten of a unit.
func TestHistory(t *testing.T) {
	r := newRig(t, nil)
	r.take(r.preferred, after(10), repeat(5, after(0), wrong("x", attacker)))
	end := after(4).Add(time.Hour)
	evidence := func(at time.Time) (bans, records int) {
		r.Forget(at)
		for _, b := range r.Bans(prefix(unit)) {
			bans, records = bans+1, records+len(b.Evidence)
		}
		return bans, records
	}
	for _, tt := range []struct {
		later         time.Duration
		bans, records int
	}{{24 * time.Hour, 1, 3}, {25 * time.Hour, 1, 0}, {30 * 24 * time.Hour, 1, 0}, {31 * 24 * time.Hour, 0, 0}} {
		bans, records := evidence(end.Add(tt.later))
		if bans != tt.bans || records != tt.records {
			t.Errorf("%v after the end: %d bans, %d records; want %d, %d", tt.later, bans, records, tt.bans, tt.records)
		}
	}
	for i := range 15 {
		r.Ban([]netip.Prefix{prefix(unit)}, time.Minute, fmt.Sprint(i), after(float64(i)))
	}
	all := r.Bans(prefix(unit))
	if len(all) != 10 || all[0].Reason != "5" || all[9].Reason != "14" {
		t.Errorf("history: %v", all)
	}
}

// However many are banned, the bans that are over, and the records of all, stay
// within bounds; the newest are kept, and those in force.
func TestHistoryIsBounded(t *testing.T) {
	r := newRig(t, nil)
	r.Ban([]netip.Prefix{prefix("203.0.113.0/24")}, 0, "", after(0))
	host := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	for i := range 120_000 {
		r.Ban([]netip.Prefix{netip.PrefixFrom(host(i), 32)}, time.Second, "", after(float64(i)))
	}
	all := r.Bans(prefix("0.0.0.0/0"))
	if len(all) < 100_000 || len(all) > 110_000 {
		t.Errorf("%d bans are kept of 120,001", len(all))
	}
	if all[0].Unit != prefix("203.0.113.0/24") || all[len(all)-1].Unit.Addr() != host(119_999) {
		t.Errorf("kept from %v to %v", all[0], all[len(all)-1])
	}

	r = newRig(t, overlays{"freeswitch": "maxretry = 1"})
	var log strings.Builder
	for i := range 21_000 {
		log.WriteString(line(after(float64(i)), steady, wrong("x", host(i).String())))
	}
	r.Take(r.preferred, frame(t, log.String()), nil, after(21_000))
	evidenced := 0
	for _, b := range r.Bans(prefix("0.0.0.0/0")) {
		if len(b.Evidence) > 0 {
			evidenced++
		}
	}
	if evidenced < 10_000 || evidenced >= 20_000 {
		t.Errorf("%d bans of 21,000 have their records", evidenced)
	}
}

func TestOverAtDecision(t *testing.T) {
	r := newRig(t, nil)
	now := after(0).Add(2 * time.Hour)
	d := r.take(r.preferred, now, repeat(5, after(0), wrong("x", attacker)))
	if len(d.Bans) != 1 || !d.Bans[0].Until.Before(now) {
		t.Fatalf("decided: %v", d.Bans)
	}
	equal(t, "in force", r.inForce(now), "")
	equal(t, "history", len(r.Bans(prefix(unit))), 1)

	// It covers what happened before its end, and nothing after.
	r.take(r.preferred, now, repeat(9, after(1000), wrong("x", attacker)))
	equal(t, "counts within the ban", r.counts(), "")
	r.take(r.preferred, now, repeat(4, d.Bans[0].Until, wrong("x", attacker)))
	equal(t, "counts after the ban", r.counts(), "freeswitch "+unit+" 4")
	d = r.take(r.preferred, now, repeat(1, d.Bans[0].Until.Add(5*time.Second), wrong("x", attacker)))
	equal(t, "bans again", len(d.Bans), 1)
	equal(t, "in force again", r.inForce(now), "freeswitch "+unit)
}

func TestAfterUnban(t *testing.T) {
	r := newRig(t, nil)
	r.take(r.preferred, after(10), repeat(5, after(0), wrong("x", attacker)))
	r.take(r.preferred, after(10), repeat(3, after(5), wrong("x", attacker)))
	equal(t, "counts while banned", r.counts(), "")
	equal(t, "lifted", len(r.unban(unit, after(10))), 1)
	equal(t, "in force", r.inForce(after(10)), "")

	// What happened before is forgiven, though it is read later.
	r.take(r.preferred, after(11), repeat(9, after(0), wrong("x", attacker)))
	equal(t, "counts of before", r.counts(), "")
	r.take(r.preferred, after(20), repeat(4, after(10), wrong("x", attacker)))
	equal(t, "counts of after", r.counts(), "freeswitch "+unit+" 4")
	equal(t, "lifted without a ban", len(r.unban(unit, after(20))), 0)
	equal(t, "counts after unban", r.counts(), "")
	r.take(r.preferred, after(40), repeat(4, after(30), wrong("x", attacker)))
	equal(t, "in force after four more", r.inForce(after(40)), "")
	r.take(r.preferred, after(40), repeat(1, after(35), wrong("x", attacker)))
	equal(t, "in force after five more", r.inForce(after(40)), "freeswitch "+unit)
}

func TestExempt(t *testing.T) {
	r := newRig(t, overlays{"band": `allow = ["203.0.113.0/24", "2001:db8:1::/48"]`, "freeswitch": "maxretry = 1"})
	r.Local = local.Addresses{
		Own:      []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8:2::10")},
		Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
	}
	exempt := []string{
		"203.0.113.7", "2001:db8:1::7", "::ffff:203.0.113.8", // the allowlist
		"192.0.2.10", "::ffff:192.0.2.10", "2001:db8:2::10", "192.0.2.1",
		"127.0.0.1", "127.8.8.8", "::1", "169.254.1.1", "fe80::1", "224.0.0.1", "239.1.1.1", "ff02::1", "0.0.0.0", "::", "255.255.255.255",
	}
	for i, host := range exempt {
		at := after(float64(i))
		if d := r.take(r.preferred, at, line(at, steady, wrong("x", host))); len(d.Bans) > 0 || len(d.Batch.Events) > 0 {
			t.Errorf("%s was counted: %v", host, d.Bans)
		}
	}
	equal(t, "exempt", r.Jails["freeswitch"].Stats.Exempt, uint64(len(exempt)))
	equal(t, "matched", r.hosts(), "")
	for host, want := range map[string]string{
		"203.0.113.7": "on the allowlist (203.0.113.0/24)", "192.0.2.10": "an address of this machine", attacker: "",
	} {
		equal(t, "exempt "+host, r.Exempt(netip.MustParseAddr(host)), want)
	}
}

// What would contain an own address is narrowed to the host alone.
func TestUnits(t *testing.T) {
	r := newRig(t, overlays{"freeswitch": "maxretry = 1\nipv4_prefix = 24"})
	r.Local = local.Addresses{
		Own:      []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8:2::10")},
		Gateways: []netip.Addr{netip.MustParseAddr("2001:db8:3::1")},
	}
	for i, tt := range []struct{ host, want string }{
		{"2001:db8:9::7", "2001:db8:9::/64"},
		{"2001:db8:2::7", "2001:db8:2::7/128"}, // on the link
		{"2001:db8:3::7", "2001:db8:3::7/128"}, // with the gateway
		{"2001:db8:2:1::7", "2001:db8:2:1::/64"},
		{"198.51.100.7", "198.51.100.0/24"},
		{"::ffff:198.51.101.7", "198.51.101.0/24"},
		{"192.0.2.7", "192.0.2.7/32"},
	} {
		at := after(float64(i))
		d := r.take(r.preferred, at, line(at, steady, wrong("x", tt.host)))
		if len(d.Bans) != 1 || d.Bans[0].Unit != prefix(tt.want) {
			t.Errorf("%s: %v, want %s", tt.host, d.Bans, tt.want)
		}
	}
}

func TestTwoJailsOneUnit(t *testing.T) {
	r := newRig(t, overlays{"freeswitch": "maxretry = 2", "freeswitch-acl": "maxretry = 2"})
	at := after(0)
	r.take(r.preferred, at, line(at, steady, wrong("x", attacker)), line(at, steady, rejected(attacker)))
	equal(t, "counts", r.counts(), "freeswitch "+unit+" 1, freeswitch-acl "+unit+" 1")
	d := r.take(r.preferred, at, line(at, steady, wrong("x", attacker)))
	equal(t, "the first", len(d.Bans) == 1 && d.Bans[0].Jail == "freeswitch", true)
	equal(t, "counts", r.counts(), "freeswitch-acl "+unit+" 1")
	d = r.take(r.preferred, at, line(at, steady, rejected(attacker)))
	equal(t, "the second", len(d.Bans) == 1 && d.Bans[0].Jail == "freeswitch-acl", true)
	equal(t, "in force", r.inForce(at), "freeswitch "+unit+", freeswitch-acl "+unit)

	for range 20 {
		all := r.Bans(prefix(unit))
		equal(t, "history", all[0].Jail+" "+all[1].Jail, "freeswitch freeswitch-acl")
	}

	// To lift one leaves the other.
	d, lifted := r.Unban(func(k counter.Key) bool { return k.Jail == "freeswitch" }, after(1))
	equal(t, "lifted", len(lifted), 1)
	equal(t, "keys", len(d.Keys), 1)
	equal(t, "in force", r.inForce(after(1)), "freeswitch-acl "+unit)
}

func TestDistinctUsers(t *testing.T) {
	r := newRig(t, overlays{"freeswitch-scan": "maxretry = 3" + challenges})
	for i := range 20 {
		at := after(float64(i))
		r.take(r.preferred, at, line(at, steady, challenge([]string{"alice", "bob"}[i%2], attacker)))
	}
	equal(t, "counts", r.counts(), "freeswitch-scan "+unit+" 2")
	equal(t, "in force after two users", r.inForce(after(20)), "")
	r.take(r.preferred, after(20), line(after(20), steady, challenge("carol", attacker)))
	equal(t, "in force after three", r.inForce(after(20)), "freeswitch-scan "+unit)

	// The last time that a user failed is the one that counts.
	for _, f := range []struct {
		at   float64
		user string
	}{{0, "alice"}, {1, "bob"}, {620, "alice"}, {621, "carol"}} {
		r.take(r.preferred, after(f.at), line(after(f.at), steady, challenge(f.user, "198.51.100.8")))
	}
	equal(t, "in force with one too old", r.inForce(after(700)), "freeswitch-scan "+unit)
	r.take(r.preferred, after(622), line(after(622), steady, challenge("bob", "198.51.100.8")))
	equal(t, "in force", r.inForce(after(700)), "freeswitch-scan "+unit+", freeswitch-scan 198.51.100.8/32")
}

// Whose records are not kept any more, a snapshot knows the users of.
func TestDistinctUsersInSnapshot(t *testing.T) {
	files := overlays{"freeswitch-scan": "maxretry = 12" + challenges}
	c := load(t, files)
	r := newRig(t, files)
	for i := range 11 {
		at := after(float64(i))
		r.take(r.preferred, at, line(at, steady, challenge(fmt.Sprint(i), attacker)))
	}
	r.restart(c, true)
	for i := range 11 {
		at := after(20 + float64(i))
		r.take(r.preferred, at, line(at, steady, challenge(fmt.Sprint(i), attacker)))
	}
	equal(t, "counts of the same users", r.counts(), "freeswitch-scan "+unit+" 11")
	d := r.take(r.preferred, after(40), line(after(40), steady, challenge("11", attacker)))
	equal(t, "bans", len(d.Bans), 1)
}

// Failures are forgotten when none that a source late by an hour may tell can
// add up with them.
func TestForgetFailures(t *testing.T) {
	r := newRig(t, overlays{"freeswitch": "findtime = \"2m\""})
	r.take(r.preferred, after(9), repeat(4, after(0), wrong("x", attacker)))
	end := after(3).Add(2*time.Minute + time.Hour)
	r.Forget(end)
	equal(t, "counts", r.counts(), "freeswitch "+unit+" 4")
	tracked, evicted := r.Units()
	equal(t, "units", []uint64{uint64(tracked), evicted}, []uint64{1, 0})
	r.Forget(end.Add(time.Microsecond))
	equal(t, "counts when forgotten", r.counts(), "")
}

// What is known of a jail that is not at work any more stays until it is
// forgotten, and comes to life with the jail.
func TestJailRemoved(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		with := load(t, nil)
		without := load(t, overlays{"freeswitch": "enabled = false"})
		r := newRig(t, nil)
		r.keep(r.Ban([]netip.Prefix{prefix("198.51.100.99/32")}, 0, "", after(0)))
		r.take(r.preferred, after(10), repeat(5, after(0), wrong("x", attacker)))
		r.take(r.preferred, after(10), repeat(3, after(4), wrong("x", "198.51.100.8")))
		// One failure is held when the jail goes.
		r.take(r.vanilla, after(2000), line(after(1000), "50.00", chatter), line(after(1001), "60.00", wrong("x", "198.51.100.9")))

		r.restart(without, snapshot)
		equal(t, "named", slices.Contains(r.Names(), "freeswitch"), false)
		const known = "freeswitch " + unit + ", manual 198.51.100.99/32"
		equal(t, "in force", r.inForce(after(20)), known)
		equal(t, "counts", r.counts(), "freeswitch 198.51.100.8/32 3")
		d := r.take(r.vanilla, after(2000), line(after(1001), "60.00", chatter), line(after(1002), "60.00", wrong("x", "198.51.100.8")))
		equal(t, "events of a removed jail", len(d.Batch.Events), 0)

		r.restart(with, snapshot)
		equal(t, "in force when it is back", r.inForce(after(20)), known)
		d = r.take(r.preferred, after(20), repeat(2, after(10), wrong("x", "198.51.100.8")))
		equal(t, "bans when it is back", len(d.Bans), 1)

		r.restart(without, snapshot)
		r.Forget(after(0).AddDate(0, 0, 32))
		equal(t, "in force when forgotten", r.inForce(after(20)), "manual 198.51.100.99/32")
		equal(t, "lifted", len(r.unban("198.51.100.99/32", after(30))), 1)
	}
}

// A source that no jail watches has a position all the same.
func TestSourceOfNoJail(t *testing.T) {
	c := load(t, nil)
	r := newRig(t, nil)
	s := r.source("/var/log/other.log", source.ViaFile)
	d := r.take(s, after(9), line(after(0), steady, chatter), repeat(9, after(1), wrong("x", attacker)), "neither a record\n")
	if len(d.Bans)+len(d.Batch.Events)+d.Doubtful > 0 {
		t.Errorf("decided: %+v", d)
	}
	r.restart(c, true)
	equal(t, "known", slices.Contains(r.Known(), "/var/log/other.log"), true)
	equal(t, "read", read(t, r.source("/var/log/other.log", source.ViaFile)), 10)
	equal(t, "jails", r.source("/var/log/other.log", source.ViaFile).Jails(), []string{})
}

// A failure never counts later than it is read, and one without a time that
// a dedicated log could tell counts when it is read.
func TestTimes(t *testing.T) {
	r := newRig(t, overlays{"freeswitch": "maxretry = 1"})
	d := r.take(r.preferred, after(10), line(after(5000), steady, wrong("x", attacker)))
	equal(t, "since", d.Bans[0].Since, after(10))
	d = r.take(r.preferred, after(10), "2026-02-31 12:00:00.000000 81.60% "+wrong("x", "198.51.100.8")+"\n")
	equal(t, "since, no such day", d.Bans[0].Since, after(10))
}
