package cmd_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"band/internal/journaltest"
)

// How long a soak lasts, and how often everything is compared. A ban of the jail
// drill ends while the soak lasts, and its units are banned again and again: it has
// one source, and records that tell their times, so that the oracle knows every ban
// to the microsecond. A ban of the jail freeswitch, which reads both a log and the
// journal, outlasts the soak, since there it is chance which failure is the last one;
// instead it is lifted by hand.
const (
	shortSoak = 25 * time.Second
	drillBan  = 8 * time.Second
	drillFind = 6 * time.Second
)

// soak is a server in bad weather.
type soak struct {
	*lives
	oracle  *oracle
	random  *rand.Rand // of the one who acts
	log     *logFile   // freeswitch
	drill   *logFile   // a dedicated log
	journal *journaltest.Journald
	console *journaltest.Stream
	gate    sync.RWMutex // held for reading while something is written
	over    atomic.Bool
	writers sync.WaitGroup

	attack, honest flow
	orders         orders
	trunk          netip.Addr // fails, and is on the allowlist now and then
	marks          int
	maxretry       int
	idle           bool   // whether the jail idle is enabled
	state          string // the path of the daemon's state, as seen from here

	began  time.Time
	lag    time.Duration  // the longest
	tally  map[string]int // what was done how often; of acts and of checks
	traces []string
	texts  counters
	used   []usage // at the checks of the last life
}

// counters count what is written. They may be used from any goroutine.
type counters struct {
	mu sync.Mutex
	of map[string]int
}

func (c *counters) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[what]++
}

// act is something that befalls the server.
type act struct {
	name   string
	weight int
	deadly bool // it ends the daemon's life
	do     func(s *soak)
}

var acts = []act{
	{"kill", 10, true, func(s *soak) { s.kill(); s.begin() }},
	{"kills in a row", 4, true, func(s *soak) {
		for range 2 + s.random.IntN(3) {
			s.kill()
			s.begin()
			s.moment(s.random, 3)
		}
	}},
	{"kill, and start later", 4, true, func(s *soak) {
		s.kill()
		s.nap(time.Second)
		s.begin()
	}},
	{"kill, and rotate before the start", 6, true, func(s *soak) {
		s.kill()
		for range 1 + s.random.IntN(3) {
			s.anyLog().rotate(s.anyRotation())
			s.nap(200 * time.Millisecond)
		}
		s.begin()
	}},
	{"kill during an order", 6, true, func(s *soak) {
		done := make(chan struct{})
		moment := time.After(time.Duration(s.random.IntN(50)) * time.Millisecond)
		go func() { defer close(done); s.orders.next(s.host, s.oracle, s.random) }()
		<-moment
		s.kill()
		<-done
		s.begin()
		s.orders.finish(s.host, s.oracle)
	}},
	{"restart", 4, true, func(s *soak) { s.lives.stop(); s.begin() }},
	{"full disk and a kill", 2, true, func(s *soak) {
		s.fill(func() {
			s.nap(500 * time.Millisecond)
			s.kill()
			s.begin()
			s.nap(500 * time.Millisecond)
		})
	}},
	{"full disk", 2, false, func(s *soak) { s.fill(func() { s.nap(2 * time.Second) }) }},
	{"rotate", 12, false, func(s *soak) { s.anyLog().rotate(s.anyRotation()) }},
	{"rotate in a row", 4, false, func(s *soak) {
		log := s.anyLog()
		for range 2 + s.random.IntN(4) {
			log.rotate(s.anyRotation())
			s.nap(20 * time.Millisecond)
		}
	}},
	{"copy and truncate", 3, false, (*soak).copyTruncate},
	{"delete and create", 3, false, (*soak).deleteCreate},
	{"flush the ruleset", 3, false, func(s *soak) { s.nft("flush", "ruleset") }},
	{"delete the table", 3, false, func(s *soak) { s.nft("delete", "table", "inet", "band") }},
	{"flush a set", 3, false, func(s *soak) {
		s.nft("flush", "set", "inet", "band", []string{"freeswitch-ip4", "freeswitch-ip6-64", "all-ip4"}[s.random.IntN(3)])
	}},
	{"reload", 6, false, (*soak).harmless},
	{"order", 10, false, func(s *soak) {
		s.orders.next(s.host, s.oracle, s.random)
		s.orders.finish(s.host, s.oracle)
	}},
	{"rotate the journal", 4, false, func(s *soak) { s.journal.Rotate() }},
	{"restart journald", 2, false, func(s *soak) { s.restartJournald(func() {}) }},
	{"kill journald", 2, false, func(s *soak) { s.restartJournald(s.journal.Kill) }},
	{"kill the journal's reader", 3, false, (*soak).killReaders},
	{"freeze", 2, false, func(s *soak) {
		s.signal(unix.SIGSTOP)
		s.nap(time.Second)
		s.signal(unix.SIGCONT)
	}},
}

// Whatever befalls the server, exactly those are banned who should be: the daemon
// is killed, logs are rotated, the journal is restarted, the kernel's rules are
// flushed, the disk is full, the configuration is reloaded, at random, while
// failures arrive. In its last life, of about half the time, the daemon is left
// alive, and its memory, descriptors and goroutines do not grow.
//
// SOAK sets how long it lasts, SEED what happens; how that falls together in time is
// the machine's.
func TestSoak(t *testing.T) {
	t.Parallel()
	lasting, seed := shortSoak, setting(t, "SEED", rand.Uint64N(1e9))
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if lasting, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOAK: %v", err)
		}
	}
	t.Logf("seed %d", seed)
	s := newSoak(t, seed)
	defer s.finish(seed)
	s.begin()
	// Each source has a position then, from which it is resumed.
	s.await(true, s.log, s.drill)
	s.durable()
	s.write(rand.New(rand.NewPCG(seed, 1)), (*soak).intoFiles)
	s.write(rand.New(rand.NewPCG(seed, 2)), (*soak).intoJournal)

	every := min(lasting/5, 10*time.Second)
	next := s.began.Add(every)
	for time.Since(s.began) < lasting {
		calm := time.Since(s.began) > lasting/2
		s.act(calm)
		if time.Now().After(next) {
			s.check(calm)
			next = time.Now().Add(every)
		}
	}
	s.check(true)
	s.grown()
}

func newSoak(t *testing.T, seed uint64) *soak {
	server, outside := newHost(t), newHost(t)
	cable(server, outside)
	s := &soak{
		random: rand.New(rand.NewPCG(seed, 0)),
		oracle: newOracle(map[string]rule{
			"freeswitch": {maxretry: 5, findtime: 10 * time.Hour, bantime: 10 * time.Hour},
			"drill":      {maxretry: 3, findtime: drillFind, bantime: drillBan, exact: true},
		}),
		log: openLog(t, server.log(), session), drill: openLog(t, filepath.Join(server.dir, "drill.log"), challenge),
		journal: journaltest.Start(t), trunk: netip.MustParseAddr("198.51.100.99"), maxretry: 5,
		tally: make(map[string]int), texts: counters{of: make(map[string]int)}, began: time.Now(),
	}
	s.console = s.journal.Stdout("freeswitch", "freeswitch.service")
	server.path = s.journal.Bin
	server.jails = map[string]string{
		"sshd": "enabled = false\n",
		"drill": fmt.Sprintf("format = \"freeswitch\"\nfindtime = %q\nbantime = %q\nmaxretry = 3\nports = \"all\"\n[[source]]\nfile = %q\n[[pattern]]\nname = \"auth-failure\"\nregex = '''%s'''\n",
			drillFind, drillBan, s.drill.path, `^\[WARNING\] sofia_reg\.c:\d+ SIP auth failure \(REGISTER\) on sofia profile '.*' for \[.*\] from ip <HOST>$`),
	}
	s.state = server.smallDisk(filepath.Join(server.dir, "lib"))
	s.lives = newLives(server)
	s.configureJails()
	s.attack, s.honest = s.flows(server, outside)
	return s
}

func (s *soak) configureJails() {
	s.jails["freeswitch"] = s.freeswitchJail(fmt.Sprintf("findtime = \"10h\"\nbantime = \"10h\"\nmaxretry = %d\n", s.maxretry))
	s.jails["idle"] = fmt.Sprintf("enabled = %v\nformat = \"syslog\"\n[[source]]\njournal = [\"SYSLOG_IDENTIFIER=idle\", \"_UID=0\"]\n[[pattern]]\nname = \"idle\"\nregex = '''^idle: <HOST>$'''\n", s.idle)
}

// flows are those of a source that is banned by hand all the time, and of one that
// never is.
func (s *soak) flows(server, outside *host) (attack, honest flow) {
	sip := server.listen(5060)
	return outside.flow("198.51.100.70", "203.0.113.10:5060", sip), outside.flow("203.0.113.52", "203.0.113.10:5060", sip)
}

// smallDisk puts a small file system of its own where a directory is, for what runs
// on the host, and returns its path for others.
func (h *host) smallDisk(dir string) (path string) {
	h.t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	hold := h.command("unshare", "--mount", "sh", "-c", "mount -t tmpfs -o size=64m tmpfs "+dir+" && echo up && exec sleep infinity")
	out, err := hold.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := hold.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { end(hold.Process) })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		h.t.Fatalf("%v: %v", hold.Args, err)
	}
	h.enter = append(h.enter, fmt.Sprintf("--mount=/proc/%d/ns/mnt", hold.Process.Pid))
	return fmt.Sprintf("/proc/%d/root%s", hold.Process.Pid, dir)
}

// write writes until the soak is over.
func (s *soak) write(random *rand.Rand, one func(*soak, *rand.Rand)) {
	s.writers.Go(func() {
		for !s.over.Load() {
			s.gate.RLock()
			one(s, random)
			s.gate.RUnlock()
			pause := time.Duration(random.IntN(10_000)) * time.Microsecond
			if random.IntN(100) == 0 {
				pause *= 20
			}
			time.Sleep(pause)
		}
	})
}

// act lets something befall the server.
func (s *soak) act(calm bool) {
	var from []act
	weights := 0
	for _, a := range acts {
		if !calm || !a.deadly {
			from = append(from, a)
			weights += a.weight
		}
	}
	n := s.random.IntN(weights)
	i := 0
	for ; n >= from[i].weight; i++ {
		n -= from[i].weight
	}
	s.trace("%s", from[i].name)
	s.tally[from[i].name]++
	from[i].do(s)
	s.alive()
	s.nap(400 * time.Millisecond)
}

func (s *soak) trace(format string, args ...any) {
	s.traces = append(s.traces, clock(time.Now())+" "+fmt.Sprintf(format, args...))
}

// nap waits for a while, of this length at most.
func (s *soak) nap(most time.Duration) { time.Sleep(time.Duration(s.random.Int64N(int64(most)))) }

func (s *soak) anyLog() *logFile {
	if s.random.IntN(2) == 0 {
		return s.drill
	}
	return s.log
}

func (s *soak) anyRotation() rotation {
	r := rotations[s.random.IntN(len(rotations))]
	s.trace("  %s", r.name)
	s.tally["  "+r.name]++
	return r
}

func (s *soak) nft(args ...string) {
	// There may be no table yet, or no longer.
	_ = s.command(append([]string{"nft"}, args...)...).Run()
}

func (s *soak) signal(sig unix.Signal) {
	if err := s.present.cmd.Process.Signal(sig); err != nil {
		s.t.Error(err)
	}
}

// readers returns the processes that follow the journal, whosever children.
func (s *soak) readers() (pids []int) {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, dir := range processes {
		// It may have ended meanwhile.
		args, _ := os.ReadFile(dir + "/cmdline")
		mounts, _ := os.ReadFile(dir + "/mountinfo")
		if !bytes.Contains(args, []byte("\x00--follow\x00")) || !bytes.Contains(mounts, []byte(s.journal.Root+"/run /run ")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			s.t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func (s *soak) killReaders() {
	for _, pid := range s.readers() {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			s.t.Error(err)
		}
	}
}

// harmless reloads the configuration, in which a jail was switched on or off that
// nobody fails in.
func (s *soak) harmless() {
	s.idle = !s.idle
	s.reload()
}

func (s *soak) reload() {
	s.configureJails()
	s.configure()
	s.insist("reload")
}

// insist gives an order until it is done. Where banctl only warned that it may be
// forgotten, it may have nothing left to lift.
func (s *soak) insist(args ...string) {
	s.t.Helper()
	tried, code, said := false, 0, ""
	within(s.t, patience, func() bool {
		s.alive()
		code, said = s.order(args...)
		done := code == 0 || code == 1 && tried && args[0] != "ban"
		tried = true
		return done
	}, func() string { return fmt.Sprintf("banctl %v: exit code %d: %s", args, code, said) })
}

// fill fills the disk of the state while something happens.
func (s *soak) fill(during func()) {
	path := filepath.Join(s.state, "ballast")
	ballast, err := os.Create(path)
	if err != nil {
		s.t.Error(err)
		return
	}
	for block := make([]byte, 1<<20); err == nil; {
		_, err = ballast.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		s.t.Error(err)
	}
	during()
	if err := errors.Join(ballast.Close(), os.Remove(path)); err != nil {
		s.t.Error(err)
	}
	s.durable()
}

// restartJournald restarts it when it has taken everything that was sent.
func (s *soak) restartJournald(before func()) {
	s.gate.Lock()
	defer s.gate.Unlock()
	s.endRecord()
	s.journal.Sync()
	before()
	s.journal.Restart()
	s.console.Close()
	s.console = s.journal.Stdout("freeswitch", "freeswitch.service")
}

// copyTruncate rotates a log by copying it. What was not read by then is found in the
// copy, where something of this file was read before.
func (s *soak) copyTruncate() {
	log := s.anyLog()
	s.gate.Lock()
	s.await(false, log)
	s.gate.Unlock()
	s.nap(500 * time.Millisecond)
	log.rotate(rotation{do: func(l *logFile) {
		text, err := os.ReadFile(l.path)
		if err = errors.Join(err, os.WriteFile(l.dated(), text, 0o644), os.Truncate(l.path, 0)); err != nil {
			s.t.Error(err)
		}
	}})
}

// deleteCreate deletes a log that was read and begins another.
func (s *soak) deleteCreate() {
	log := s.anyLog()
	s.gate.Lock()
	defer s.gate.Unlock()
	s.await(false, log)
	s.durable()
	log.rotate(rotation{do: func(l *logFile) {
		if err := os.Remove(l.path); err != nil {
			s.t.Error(err)
		}
		l.open()
	}})
	// Where the file that was read last is gone, nothing tells which of the others came
	// after it: something of this one is read before the next rotation.
	s.await(false, log)
	s.durable()
}

// durable returns when everything that was decided is on the disk: an order by hand
// is done then.
func (s *soak) durable() {
	s.insist("ban", s.attack.source, "--for", "1d")
	s.oracle.ban(mustUnit(s.attack.source))
}

// await waits until everything was read that was written to these logs, and to the
// journal where that is wanted. Nothing may be written meanwhile.
func (s *soak) await(journal bool, logs ...*logFile) {
	s.t.Helper()
	began := time.Now()
	var marks []netip.Prefix
	mark := func(fail func(netip.Addr)) {
		s.marks++
		from := netip.AddrFrom4([4]byte{100, 64, byte(s.marks / 250), byte(s.marks % 250)})
		for range s.maxretry {
			fail(from)
		}
		marks = append(marks, unitOf(from))
	}
	for _, log := range logs {
		mark(func(from netip.Addr) { s.byFile(log, from, wrong) })
	}
	if journal {
		mark(func(from netip.Addr) { s.bySyslog(from, wrong) })
		mark(func(from netip.Addr) { s.byConsole(from, wrong) })
		s.endRecord()
	}
	within(s.t, patience, func() bool {
		s.alive()
		marks = slices.DeleteFunc(marks, s.decided)
		return len(marks) == 0
	}, func() string {
		return fmt.Sprintf("not read: %v\n%s", marks, s.banctl("status"))
	})
	s.lag = max(s.lag, time.Since(began))
}

// check waits until everything was read and compares what the daemon says, and the
// kernel holds, with what should be so.
func (s *soak) check(calm bool) {
	s.t.Helper()
	s.trace("check")
	s.tally["check"]++
	s.gate.Lock()
	defer s.gate.Unlock()
	s.await(true, s.log, s.drill)
	said, ok := s.asked()
	if !ok {
		s.t.Fatal("the daemon does not answer")
	}
	if diff := s.oracle.differences(said); diff != "" {
		s.t.Fatalf("oracle and daemon differ: %s", diff)
	}
	differ := func() string {
		have, ok := s.elements()
		if !ok {
			return "no table"
		}
		return s.oracle.inKernel(have, time.Now(), group)
	}
	within(s.t, patience, func() bool { return differ() == "" }, func() string { return "oracle and kernel differ: " + differ() })
	if s.attack.arrives(s.t, s.honest) {
		s.t.Error("packets of a banned source arrive")
	}
	within(s.t, patience, func() bool { return len(s.readers()) == 1 }, func() string {
		return fmt.Sprintf("one process should read the journal, and these do: %v", s.readers())
	})
	s.durable()
	if calm {
		u, err := s.usage()
		if err != nil {
			s.t.Fatal(err)
		}
		s.used = append(s.used, u)
	}
	s.tidy()
	s.change()
	s.durable()
}

// tidy removes what was read.
func (s *soak) tidy() {
	s.log.prune()
	s.drill.prune()
	if s.random.IntN(3) == 0 {
		s.journal.Rotate()
		s.journal.Vacuum()
	}
}

// change changes what is right from now on.
func (s *soak) change() {
	var pardoned []string
	for _, unit := range s.oracle.banned("freeswitch", time.Now()) {
		if s.random.IntN(2) == 0 {
			pardoned = append(pardoned, unit.String())
			s.oracle.lift(unit)
		}
	}
	if len(pardoned) > 0 {
		s.insist(append([]string{"unban"}, pardoned...)...)
		s.tally["pardon"] += len(pardoned)
	}
	switch s.random.IntN(4) {
	case 0:
		s.maxretry = 8 - s.maxretry // 3 or 5
		s.reload()
		s.oracle.tolerate("freeswitch", s.maxretry)
		s.tally["another maxretry"]++
	case 1:
		verb := "add"
		if s.oracle.allowed[s.trunk] {
			verb = "del"
		}
		s.insist("allow", verb, s.trunk.String())
		s.oracle.allow(s.trunk, verb == "add")
		s.tally["allow "+verb]++
	}
}

// finish ends the writers and reports.
func (s *soak) finish(seed uint64) {
	s.over.Store(true)
	s.writers.Wait()
	var report strings.Builder
	fmt.Fprintf(&report, "seed %d: %v, largest lag %v\n", seed, time.Since(s.began).Round(time.Second), s.lag.Round(time.Millisecond))
	for _, of := range []map[string]int{s.tally, s.texts.of} {
		for _, name := range slices.Sorted(maps.Keys(of)) {
			fmt.Fprintf(&report, "  %6d %s\n", of[name], name)
		}
	}
	fmt.Fprintf(&report, "  %s\n", &s.orders)
	for _, u := range s.used {
		fmt.Fprintf(&report, "  used: %v\n", u)
	}
	s.t.Log(report.String())
	if s.t.Failed() {
		s.t.Logf("the last that was done:\n%s", strings.Join(s.traces[max(0, len(s.traces)-60):], "\n"))
	}
}

// grown fails the test where the daemon uses more in the second half of its life
// than in the first.
func (s *soak) grown() {
	const enough = 8 // checks that show a trend
	n := len(s.used)
	if n < enough {
		return
	}
	early, late := s.used[n/6:n/2], s.used[n/2:]
	for _, of := range []struct {
		what  string
		slack int
		of    func(usage) int
	}{
		{"descriptors", 10, func(u usage) int { return u.descriptors }},
		{"threads", 4, func(u usage) int { return u.threads }},
		{"goroutines", 10, func(u usage) int { return u.goroutines }},
		{"KiB of memory", 16 << 10, func(u usage) int { return u.memory }},
	} {
		before, after := median(early, of.of), median(late, of.of)
		if after > before+before/5+of.slack {
			s.t.Errorf("%d %s in the first half of a life, %d in the second", before, of.what, after)
		}
	}
}

func median(all []usage, of func(usage) int) int {
	var values []int
	for _, u := range all {
		values = append(values, of(u))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
