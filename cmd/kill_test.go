package cmd_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"band/internal/journaltest"
)

// freeswitchJail reads the log of the host and the journal.
func (h *host) freeswitchJail(more string) string {
	return fmt.Sprintf("%s\n[[source]]\nfile = %q\n[[source]]\njournal = [\"_SYSTEMD_UNIT=freeswitch.service\", \"+\", \"SYSLOG_IDENTIFIER=freeswitch\", \"_UID=0\"]\n", more, h.log())
}

// group is where the kernel holds the bans of a jail, where only the jail freeswitch
// has ports.
func group(jail string) string {
	if jail == "freeswitch" {
		return jail
	}
	return "all"
}

// Two hundred kills at random moments, while failures arrive by a file that is
// rotated and by the journal, and bans by hand by banctl, change nothing: who failed
// five times by one of the two is banned, who failed less is not and is not counted
// otherwise, what banctl was told is done, and no packet of a banned source arrives
// at any time. KILLS and SEED set how many and which.
func TestKill(t *testing.T) {
	t.Parallel()
	kills, seed := int(setting(t, "KILLS", 200)), setting(t, "SEED", 20261121)
	const perKill = 25 // failures
	random := rand.New(rand.NewPCG(seed, 0))
	server, outside, journald := newHost(t), newHost(t), journaltest.Start(t)
	cable(server, outside)
	arrived := server.listen(5060)
	server.bin, server.path = shipped(t), journald.Bin
	server.jails = map[string]string{"freeswitch": server.freeswitchJail(`findtime = "1h"`), "sshd": "enabled = false\n"}
	log := openLog(t, server.log(), session)
	oracle := newOracle(map[string]rule{"freeswitch": {maxretry: 5, findtime: time.Hour, bantime: time.Hour}})
	daemon := newLives(server)

	// A source that is banned before the first kill, and never stops sending.
	banned := netip.MustParseAddr("198.51.100.70")
	for range 5 {
		oracle.fail("freeswitch", banned, "file", log.put(wrongPassword(banned)), "failure")
	}
	daemon.begin()
	inKernel := func() string {
		have, _ := server.elements()
		return oracle.inKernel(have, time.Now(), group)
	}
	until(t, func() bool { return inKernel() == "" }, inKernel)
	attack, honest := outside.dial(banned.String(), "203.0.113.10:5060"), outside.dial("203.0.113.52", "203.0.113.10:5060")
	var stop atomic.Bool
	var sent atomic.Int64
	var tasks sync.WaitGroup
	defer func() { stop.Store(true); tasks.Wait() }()
	tasks.Go(func() {
		for !stop.Load() {
			attack.Write([]byte("REGISTER"))
			honest.Write([]byte("REGISTER"))
			sent.Add(1)
			time.Sleep(200 * time.Microsecond)
		}
	})

	// Each source fails by the file, by the journal and by both, up to five times each.
	type planned struct {
		from          netip.Addr
		file, journal bool
	}
	var attempts []planned
	for n := 0; len(attempts) < kills*perKill; n++ {
		from := netip.AddrFrom4([4]byte{198, 18, byte(n / 250), byte(n % 250)})
		if n%5 == 0 {
			from = netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::%x", n, random.IntN(1<<16)))
		}
		for _, by := range []planned{{from, true, false}, {from, false, true}, {from, true, true}} {
			attempts = append(attempts, slices.Repeat([]planned{by}, random.IntN(4))...)
		}
	}
	random.Shuffle(len(attempts), func(i, j int) { attempts[i], attempts[j] = attempts[j], attempts[i] })

	// They arrive while the daemon is killed again and again.
	byFile := func(from netip.Addr) {
		oracle.fail("freeswitch", from, "file", log.put(wrongPassword(from)), "failure")
	}
	byJournal := func(from netip.Addr) {
		at := now()
		journald.Syslog("<12>Nov 21 07:47:57 freeswitch[869]: " + header(at, 8160) + wrongPassword(from))
		oracle.fail("freeswitch", from, "journal", at, "failure")
	}
	due := make(chan planned, 10*perKill)
	pauses := rand.New(rand.NewPCG(seed, 1))
	var finished sync.WaitGroup
	finished.Go(func() {
		for a := range due {
			if a.file {
				byFile(a.from)
			}
			if a.journal {
				byJournal(a.from)
			}
			time.Sleep(time.Duration(pauses.IntN(5000)) * time.Microsecond)
		}
	})
	var orders orders
	choices := rand.New(rand.NewPCG(seed, 2))
	orders.next(server, oracle, choices)
	orders.finish(server, oracle)
	var killed atomic.Bool
	finished.Go(func() {
		for !killed.Load() {
			orders.next(server, oracle, choices)
			time.Sleep(time.Duration(choices.IntN(50)) * time.Millisecond)
		}
	})
	when := make(map[string]int)
	for i := range kills {
		for _, a := range attempts[i*perKill : (i+1)*perKill] {
			due <- a
		}
		if i%8 == 7 {
			log.rotate(rotations[random.IntN(len(rotations))])
		}
		when[daemon.moment(random, 2)]++
		daemon.kill()
		daemon.begin()
	}
	killed.Store(true)
	close(due)
	finished.Wait()
	orders.finish(server, oracle)

	// What was written last has been read when those are banned who failed last.
	lastByFile, lastByJournal := netip.MustParseAddr("100.64.0.1"), netip.MustParseAddr("100.64.0.2")
	for range 5 {
		byFile(lastByFile)
		byJournal(lastByJournal)
	}
	within(t, patience, func() bool {
		daemon.alive()
		return daemon.decided(unitOf(lastByFile)) && daemon.decided(unitOf(lastByJournal))
	}, func() string {
		return fmt.Sprintf("seed %d: not everything was read:\n%s", seed, server.banctl("status"))
	})
	all, ok := daemon.asked()
	if !ok {
		t.Fatal("the daemon does not answer")
	}
	if diff := oracle.differences(all); diff != "" {
		t.Fatalf("seed %d: oracle and daemon differ: %s", seed, diff)
	}
	within(t, patience, func() bool { return inKernel() == "" }, func() string {
		return fmt.Sprintf("seed %d: oracle and kernel differ: %s", seed, inKernel())
	})
	if n := arrived(banned.String()); n > 0 {
		t.Errorf("seed %d: %d of %d packets of a banned source arrived", seed, n, sent.Load())
	}
	if n := arrived("203.0.113.52"); n == 0 {
		t.Errorf("no packet of %d of an honest source arrived: the test shows nothing", sent.Load())
	}
	t.Logf("seed %d: %d kills %v, %d failures, %d rotations, %s, %d bans, %d packets of a banned source dropped",
		seed, kills, when, len(attempts), log.turn, &orders, len(all.bans), sent.Load())
}

// shipped builds the commands as they are shipped: with the race detector, starting
// takes so long that most kills would hit the same part of it.
func shipped(t *testing.T) (dir string) {
	t.Helper()
	if !raceDetector() {
		return binaries
	}
	dir = t.TempDir()
	build := exec.Command("go", "build", "-o", dir, "./band", "./banctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build.Args, err, out)
	}
	return dir
}

// orders are bans by hand that come while the daemon is killed, each given until
// banctl says that it is done.
type orders struct {
	bans, lifts, tries int
	banned             []netip.Prefix
	lift               bool
	unit               netip.Prefix // the zero prefix where the last order is done
	tried              bool         // and banctl did not say that it was done
}

func (o *orders) String() string {
	return fmt.Sprintf("%d bans and %d unbans by hand in %d tries", o.bans, o.lifts, o.tries)
}

// next gives an order, the last one again if it is not done yet.
func (o *orders) next(h *host, want *oracle, random *rand.Rand) {
	if !o.unit.IsValid() {
		o.lift, o.tried = len(o.banned) > 0 && random.IntN(3) == 0, false
		o.unit = unitOf(netip.AddrFrom4([4]byte{100, 65, byte(o.bans / 250), byte(o.bans % 250)}))
		if o.lift {
			o.unit = o.banned[random.IntN(len(o.banned))]
		}
	}
	o.try(h, want)
}

func (o *orders) try(h *host, want *oracle) {
	o.tries++
	if !o.lift {
		code, _ := h.order("ban", o.unit.String(), "--for", "1d")
		if code == 0 {
			want.ban(o.unit)
			o.bans++
			o.banned = append(o.banned, o.unit)
			o.unit = netip.Prefix{}
		}
		return
	}
	code, said := h.order("unban", o.unit.String())
	switch {
	case code == 0:
		want.lift(o.unit)
		o.lifts++
		o.banned = slices.DeleteFunc(o.banned, func(u netip.Prefix) bool { return u == o.unit })
		o.unit = netip.Prefix{}
	case code == 1 && !o.tried:
		h.t.Errorf("a ban by hand of %s was lost: %s", o.unit, said)
		o.lift = false
	case code == 1: // the try before did it, but perhaps not on the disk: once more
		o.banned = slices.DeleteFunc(o.banned, func(u netip.Prefix) bool { return u == o.unit })
		o.lift = false
	}
	o.tried = true
}

// finish gives the last order until it is done.
func (o *orders) finish(h *host, want *oracle) {
	within(h.t, patience, func() bool {
		if o.unit.IsValid() {
			o.try(h, want)
		}
		return !o.unit.IsValid()
	}, func() string { return fmt.Sprintf("an order by hand about %s is never done", o.unit) })
}
