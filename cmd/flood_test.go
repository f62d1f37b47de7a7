package cmd_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"band/internal/control"
	"band/internal/doctor"
)

// memoryLimit is what the daemon may take at its worst, in MiB.
const memoryLimit = 150

// long reports whether a test is to take the time that it needs to show all.
func long() bool { return os.Getenv("BAND_TEST_LONG") != "" }

// status returns what the daemon says, the zero Status while it does not answer.
func (h *host) status() control.Status {
	s, _ := control.NewClient(h.dir + "/band.sock").Status(context.Background())
	return s
}

// follows waits until the daemon reads the log as it is written.
func (h *host) follows() {
	h.t.Helper()
	until(h.t, func() bool {
		s := h.status()
		return len(s.Sources) > 0 && s.Sources[0].State == "following"
	}, func() string { return "the log is not followed" })
}

// taken waits until the daemon has taken so many records, and fails when it
// makes no headway or has taken more.
func (h *host) taken(want int) {
	h.t.Helper()
	var last uint64
	for last != uint64(want) {
		var now uint64
		until(h.t, func() bool {
			if s := h.status(); len(s.Sources) > 0 {
				now = s.Sources[0].Records
			}
			return now != last
		}, func() string { return fmt.Sprintf("%d records were taken, want %d", last, want) })
		if last = now; last > uint64(want) {
			h.t.Fatalf("%d records were taken, want %d", last, want)
		}
	}
}

// finding waits for a finding.
func (h *host) finding(kind doctor.Kind) {
	h.t.Helper()
	until(h.t, func() bool {
		return slices.ContainsFunc(h.status().Findings, func(f doctor.Finding) bool { return f.Kind == kind })
	}, func() string { return fmt.Sprintf("no finding %s: %v", kind, h.status().Findings) })
}

// peak returns the most memory that a process ever took, in MiB.
func peak(t *testing.T, p *os.Process) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatalf("VmHWM: %v in\n%s", err, text)
	}
	return kib >> 10
}

// bounded checks what memory the daemon took.
func bounded(t *testing.T, p *os.Process) {
	t.Helper()
	if got := peak(t, p); got > memoryLimit {
		t.Errorf("the daemon took %d MiB, want at most %d", got, memoryLimit)
	} else {
		t.Logf("the daemon took %d MiB at most", got)
	}
}

// append adds to the log what write writes.
func (h *host) append(write func(w *bufio.Writer)) {
	h.t.Helper()
	log, err := os.OpenFile(h.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		h.t.Fatal(err)
	}
	w := bufio.NewWriterSize(log, 64<<10)
	write(w)
	if err := w.Flush(); err != nil {
		h.t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		h.t.Fatal(err)
	}
}

// neighbour is a record as callers make FreeSWITCH write them all the time.
func neighbour(at time.Time, text string) string {
	return at.UTC().Format("2006-01-02 15:04:05.000000") + " 81.60% [INFO] sofia.c:10460 " + text + "\n"
}

// A flood of hosts that fail once hides no attacker among them, and takes a
// bounded memory, the snapshots and the next start included.
func TestFlood(t *testing.T) {
	hosts := 300_000 // more than are tracked
	if long() {
		hosts = 1_000_000
	}
	h := newHost(t)
	h.bin = shipped(t)
	h.append(func(*bufio.Writer) {})
	daemon := h.start()
	h.follows()
	attackers := []netip.Addr{netip.MustParseAddr("198.51.100.70"), netip.MustParseAddr("198.51.100.71"), netip.MustParseAddr("2001:db8:bad::66")}
	began := time.Now()
	h.append(func(w *bufio.Writer) {
		v4, v6 := netip.MustParseAddr("11.0.0.0"), netip.MustParseAddr("2001:db8:1::").As16()
		for i := range hosts {
			now := time.Now()
			if i%2 == 0 {
				v4 = v4.Next()
				w.WriteString(failure(now, v4))
			} else {
				copy(v6[4:8], []byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}) // another /64
				w.WriteString(failure(now, netip.AddrFrom16(v6)))
			}
			if i%(hosts/10) == 0 && i < hosts/2 { // in the first half, so that most of the flood is behind
				for _, a := range attackers {
					w.WriteString(failure(now, a))
				}
			}
		}
	})
	h.taken(hosts + 5*len(attackers))
	t.Logf("%.0f records a second", float64(hosts)/time.Since(began).Seconds())
	h.bans(t, "198.51.100.70 198.51.100.71 2001:db8:bad::/64")
	h.finding(doctor.UnitsEvicted)
	if units := h.status().Units; units != 200_000 {
		t.Errorf("%d units are tracked, want 200000", units)
	}
	bounded(t, daemon.Process)

	if err := daemon.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	daemon = h.start()
	h.follows()
	h.bans(t, "198.51.100.70 198.51.100.71 2001:db8:bad::/64")
	if units := h.status().Units; units != 200_000 {
		t.Errorf("%d units are tracked after a restart, want 200000", units)
	}
	bounded(t, daemon.Process)
}

// A line of a gigabyte hides neither its own failure nor the next, and names no
// victim, whatever a caller wrote into it.
func TestHugeLine(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.bin = shipped(t)
	attacker, other := netip.MustParseAddr("198.51.100.70"), netip.MustParseAddr("198.51.100.71")
	forged := strings.Repeat("\r"+strings.TrimSuffix(failure(time.Now(), netip.MustParseAddr("192.0.2.60")), "\n"), 20)
	records := 0
	write := func(text string) {
		records += strings.Count(text, "\n")
		h.append(func(w *bufio.Writer) { w.WriteString(text) })
	}
	// line writes one with forged text and so many bytes in its middle: a hole, or
	// in the long form text.
	line := func(head string, middle int64, tail string) {
		write(head + forged)
		if long() {
			h.append(func(w *bufio.Writer) {
				for n := 0; n < int(middle); n += len(forged) {
					w.WriteString(forged)
				}
			})
		} else if info, err := os.Stat(h.log()); err != nil {
			t.Fatal(err)
		} else if err := os.Truncate(h.log(), info.Size()+middle); err != nil {
			t.Fatal(err)
		}
		write(forged + tail + "\n")
	}
	fail := func(host netip.Addr, times int) {
		for range times {
			now := time.Now()
			write(failure(now, host) + neighbour(now, "x"))
		}
	}
	invite := strings.TrimSuffix(neighbour(time.Now(), "receiving invite"), "\n")
	fail(attacker, 1)
	if long() { // where to begin is looked for in it, too
		line(invite, 1<<30, " from ip 192.0.2.60")
		fail(attacker, 1)
	}
	daemon := h.start()
	h.taken(records)
	line("", 1<<30, "") // a record of its own: the one before was taken for complete
	fail(attacker, 3)
	for range 5 {
		line(invite, 16<<20, " from ip 192.0.2.60")
	}
	fail(other, 4)
	own, _ := strings.CutSuffix(failure(time.Now(), other), "@pbx] from ip 198.51.100.71\n")
	line(own, 1<<30, "@pbx] from ip 198.51.100.71") // as FreeSWITCH ends it
	fail(attacker, 1)
	h.taken(records)
	h.bans(t, "198.51.100.70 198.51.100.71")
	bounded(t, daemon.Process)
}

// A log that grows by 100,000 lines a second, with kernel and disk at work, is
// read to the last record, and everybody in it who failed five times is banned.
func TestBusyLog(t *testing.T) {
	const rate, attackers, every = 100_000, 500, 100 // one line in a hundred is a failure
	seconds := 3
	if long() {
		seconds = 10
	}
	h := newHost(t)
	h.bin = shipped(t)
	h.append(func(*bufio.Writer) {})
	daemon := h.start()
	h.follows()
	records, failed := 0, make(map[netip.Addr]int)
	began := time.Now()
	h.append(func(w *bufio.Writer) {
		for records < seconds*rate {
			now := time.Now()
			if records%every == 0 {
				n := records / every % attackers
				host := netip.AddrFrom4([4]byte{198, 18, byte(n / 250), byte(n % 250)})
				failed[host]++
				w.WriteString(failure(now, host))
			} else {
				w.WriteString(neighbour(now, "sofia/internal/1000@pbx receiving invite from 203.0.113.52:5060 version: 1.10.12-release 64bit"))
			}
			if records++; records%(rate/100) == 0 {
				w.Flush()
				time.Sleep(time.Until(began.Add(time.Duration(records) * time.Second / rate)))
			}
		}
	})
	wrote := time.Since(began)
	h.taken(records)
	t.Logf("%d lines, written at %.0f a second and read at %.0f", records, float64(records)/wrote.Seconds(), float64(records)/time.Since(began).Seconds())
	var want []string
	for host, n := range failed {
		if n >= 5 {
			want = append(want, host.String())
		}
	}
	if len(want) < attackers {
		t.Fatalf("only %d of %d failed often enough", len(want), attackers)
	}
	slices.Sort(want)
	h.bans(t, strings.Join(want, " "))
	inKernel := func() int { return bytes.Count(h.run("nft", "list", "table", "inet", "band"), []byte(" expires ")) }
	until(t, func() bool { return inKernel() == len(want) }, func() string {
		return fmt.Sprintf("%d are banned in the kernel, want %d", inKernel(), len(want))
	})
	bounded(t, daemon.Process)
}

// What was written before the start and is still to be read waits on the disk.
func TestFarBehind(t *testing.T) {
	size := 100 << 20
	if long() {
		size = 2 << 30
	}
	h := newHost(t)
	h.bin = shipped(t)
	records, now := 0, time.Now()
	h.append(func(w *bufio.Writer) {
		line := neighbour(now, "sofia/internal/1000@pbx receiving invite from 203.0.113.52:5060 version: 1.10.12-release 64bit")
		for n := 0; n < size; n += len(line) {
			w.WriteString(line)
			records++
		}
		for range 5 {
			w.WriteString(failure(now, netip.MustParseAddr("198.51.100.70")) + neighbour(now, "x"))
			records += 2
		}
	})
	began := time.Now()
	daemon := h.start()
	h.taken(records)
	t.Logf("%d MiB, %.0f records a second", size>>20, float64(records)/time.Since(began).Seconds())
	h.bans(t, "198.51.100.70")
	bounded(t, daemon.Process)
}

// Records of which the kernel shows a part that ends at a page boundary, as it
// does of a single write, are taken when they are whole, however long it takes.
// Callers know that, and let a header's fold or a forged start stand just there.
func TestHalfWrittenRecords(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	log, err := os.Create(h.log())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	h.start()
	h.follows()
	random := rand.New(rand.NewPCG(20261121, 0))
	attackers := []netip.Addr{netip.MustParseAddr("198.51.100.70"), netip.MustParseAddr("198.51.100.71"), netip.MustParseAddr("2001:db8:bad::66")}
	honest := netip.MustParseAddr("198.51.100.99") // fails four times
	size, records := 0, 0
	write := func(text string) {
		if _, err := log.WriteString(text); err != nil {
			t.Fatal(err)
		}
		size += len(text)
	}
	pauses := []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond}
	// halves writes a record whose first part ends at a page boundary, and pauses.
	halves := func(first, second string, pause time.Duration) {
		if over := (size + len(first)) % 4096; over > 0 {
			room := 4096 - over // filled by the record before
			for room < 100 {
				room += 4096
			}
			now := neighbour(time.Now(), "")
			write(strings.TrimSuffix(now, "\n") + strings.Repeat("x", room-len(now)) + "\n")
			records++
		}
		write(first)
		if size%4096 != 0 {
			t.Fatalf("the part ends at %d, which is no page boundary", size)
		}
		time.Sleep(pause) // the writer's, not synchronisation
		write(second)
		records++
	}
	attack := func(host netip.Addr, pause time.Duration) {
		victim := netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(3))}).String()
		record := strings.Replace(failure(time.Now(), host), "1000@pbx", "%s", 1)
		head, tail, _ := strings.Cut(record, "%s")
		switch random.IntN(4) {
		case 0: // a folded header
			halves(head+"a] from ip "+victim+"\n", " b@pbx"+tail, pause)
		case 1: // the same with the return that belongs to it
			halves(head+"a] from ip "+victim+"\r\n", "\tb@pbx"+tail, pause)
		case 2: // anywhere
			at := len(head) + random.IntN(len(tail))
			whole := head + "1000@pbx" + tail
			halves(whole[:at], whole[at:], pause)
		case 3: // with what looks like the start of another record behind the fold
			halves(head+"a]\n", " "+strings.TrimSuffix(failure(time.Now(), netip.MustParseAddr(victim)), "\n")+"@pbx"+tail, pause)
		}
		write(neighbour(time.Now(), "x"))
		records++
	}
	failed := make(map[string]int)
	for i := range 20 {
		host := attackers[i%len(attackers)]
		if i%5 == 4 {
			host = honest
		}
		if host == honest || failed[host.String()] < 5 {
			failed[host.String()]++
		}
		attack(host, pauses[random.IntN(len(pauses))])
	}
	// A disk that does not keep up holds a writer for longer than a second.
	for range 5 {
		victim := "192.0.2.100"
		head, tail, _ := strings.Cut(failure(time.Now(), attackers[0]), "1000@pbx")
		halves(head+"a] from ip "+victim+"\n", " b@pbx"+tail, 1500*time.Millisecond)
	}
	write(neighbour(time.Now(), "x"))
	records++
	h.taken(records)
	h.bans(t, "198.51.100.70 198.51.100.71 2001:db8:bad::/64")
	e, err := control.NewClient(h.dir+"/band.sock").Explain(t.Context(), control.Unit{Prefix: netip.PrefixFrom(honest, 32)})
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Counts) != 1 || e.Counts[0].Failures != 4 {
		t.Errorf("counted of the honest host: %v, want 4 failures", e.Counts)
	}
	if out := h.banctl("status", "--json"); bytes.Contains(out, []byte("192.0.2.")) {
		t.Errorf("a victim is named:\n%s", out)
	}
}
