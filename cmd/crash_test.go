package cmd_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"
)

// host is a machine of the test: a network namespace with a daemon in it.
type host struct {
	t     *testing.T
	pid   int
	enter []string
	dir   string
}

func newHost(t *testing.T) *host {
	t.Helper()
	enter, holder, err := namespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(holder) })
	return &host{t: t, pid: holder.Pid, enter: enter, dir: t.TempDir()}
}

// command prepares a command in the host's namespace.
func (h *host) command(args ...string) *exec.Cmd {
	args = append(slices.Clone(h.enter), args...)
	return exec.Command(args[0], args[1:]...)
}

// run runs a command in the host's namespace and returns what it printed.
func (h *host) run(args ...string) []byte {
	h.t.Helper()
	c := h.command(args...)
	out, err := c.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			out = append(out, exit.Stderr...)
		}
		h.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

func (h *host) banctl(args ...string) []byte {
	h.t.Helper()
	return h.run(append([]string{filepath.Join(binaries, "banctl"), "--socket", h.dir + "/band.sock"}, args...)...)
}

// start starts a daemon that follows the log of the host.
func (h *host) start() *exec.Cmd {
	h.t.Helper()
	etc := filepath.Join(h.dir, "etc", "jails.d")
	if err := os.MkdirAll(etc, 0o755); err != nil {
		h.t.Fatal(err)
	}
	overlay := fmt.Sprintf("[[source]]\nfile = %q\n", h.log())
	if err := os.WriteFile(filepath.Join(etc, "freeswitch.toml"), []byte(overlay), 0o644); err != nil {
		h.t.Fatal(err)
	}
	daemon := h.command(filepath.Join(binaries, "band"),
		"--config", h.dir+"/etc", "--state", h.dir+"/lib", "--socket", h.dir+"/band.sock")
	daemon.Env = append(os.Environ(), "TZ=UTC")
	daemon.Stderr = &strings.Builder{}
	if err := daemon.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		daemon.Process.Kill()
		daemon.Wait()
		if h.t.Failed() {
			h.t.Logf("a daemon's log:\n%.4000s", daemon.Stderr)
		}
	})
	return daemon
}

func (h *host) log() string { return filepath.Join(h.dir, "freeswitch.log") }

// inside runs f on a thread in the host's namespace: a socket that it opens
// stays there.
func (h *host) inside(f func()) {
	h.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		ns, err := netns.GetFromPid(h.pid)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		h.t.Fatalf("enter the namespace of %d: %v", h.pid, err)
	}
}

// cable connects two hosts.
func cable(server, outside *host) {
	server.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(outside.pid))
	for _, end := range []struct {
		*host
		addresses []string
	}{
		{server, []string{"203.0.113.10/24", "198.51.100.1/24", "2001:db8:113::10/64"}},
		{outside, []string{"203.0.113.52/24", "198.51.100.70/24", "2001:db8:113::52/64"}},
	} {
		for _, address := range end.addresses {
			args := []string{"ip", "address", "add", address, "dev", "eth0"}
			if strings.Contains(address, "::") {
				args = append(args, "nodad")
			}
			end.run(args...)
		}
		end.run("ip", "link", "set", "eth0", "up")
	}
}

// listen counts the packets that arrive at a UDP port of the host, by source.
func (h *host) listen(port int) (count func(source string) int) {
	h.t.Helper()
	var conn *net.UDPConn
	var err error
	h.inside(func() { conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: port}) })
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	var mu sync.Mutex
	seen := make(map[netip.Addr]int)
	go func() {
		buf := make([]byte, 64)
		for {
			_, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			mu.Lock()
			seen[from.Addr().Unmap()]++
			mu.Unlock()
		}
	}()
	return func(source string) int {
		mu.Lock()
		defer mu.Unlock()
		return seen[netip.MustParseAddr(source)]
	}
}

// dial opens a UDP socket from one of the host's addresses.
func (h *host) dial(from, to string) net.Conn {
	h.t.Helper()
	var conn net.Conn
	var err error
	h.inside(func() {
		dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
		conn, err = dialer.Dial("udp", to)
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return conn
}

// until waits for ok, or fails the test with what describe says.
func until(t *testing.T, ok func() bool, describe func() string) {
	t.Helper()
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal(describe())
}

type listed struct {
	Unit     string    `json:"unit"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	Failures int       `json:"failures"`
}

// list returns the bans, and false while no daemon answers.
func (h *host) list() (bans []listed, ok bool) {
	c := h.command(filepath.Join(binaries, "banctl"), "--socket", h.dir+"/band.sock", "list", "--json", "--jail", "freeswitch")
	out, err := c.Output()
	return bans, err == nil && json.Unmarshal(out, &bans) == nil
}

func failure(at time.Time, source netip.Addr) string {
	return fmt.Sprintf("%s 81.60%% [WARNING] sofia_reg.c:1787 SIP auth failure (REGISTER) on sofia profile 'internal' for [1000@pbx] from ip %s\n",
		at.UTC().Format("2006-01-02 15:04:05.000000"), source)
}

// A hundred kills at random moments, while 3,000 failures of 1,000 sources
// arrive, change nothing: who failed five times is banned, who failed four
// times is not, and no packet of a banned source arrives at any time.
func TestKill(t *testing.T) {
	const (
		kills    = 100
		sources  = 1000
		failures = 3000
		seed     = 20261121
	)
	random := rand.New(rand.NewPCG(seed, 0))
	server, outside := newHost(t), newHost(t)
	cable(server, outside)
	arrived := server.listen(5060)

	// A source that is banned before the first kill, and never stops sending.
	log, err := os.OpenFile(server.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	banned := netip.MustParseAddr("198.51.100.70")
	for range 5 {
		if _, err := log.WriteString(failure(time.Now(), banned)); err != nil {
			t.Fatal(err)
		}
	}
	daemon := server.start()
	inKernel := func() string { return string(server.run("nft", "list", "ruleset")) }
	until(t, func() bool { return strings.Contains(inKernel(), banned.String()+" counter") }, func() string {
		return "the first ban never reached the kernel:\n" + inKernel()
	})
	attack, honest := outside.dial(banned.String(), "203.0.113.10:5060"), outside.dial("203.0.113.52", "203.0.113.10:5060")
	var stop atomic.Bool
	var sent atomic.Int64
	var sender sync.WaitGroup
	sender.Go(func() {
		for !stop.Load() {
			attack.Write([]byte("REGISTER"))
			honest.Write([]byte("REGISTER"))
			sent.Add(1)
			time.Sleep(200 * time.Microsecond)
		}
	})
	defer func() { stop.Store(true); sender.Wait() }()

	// The failures arrive while the daemon is killed again and again.
	oracle := map[string]int{banned.String(): 5}
	var lines []netip.Addr
	for range failures {
		source := netip.AddrFrom4([4]byte{198, 18, byte(random.IntN(sources) / 250), byte(random.IntN(250))})
		oracle[source.String()]++
		lines = append(lines, source)
	}
	var writer sync.WaitGroup
	var written error
	pauses := random.Perm(failures)
	writer.Go(func() {
		for i, source := range lines {
			if _, err := log.WriteString(failure(time.Now(), source)); err != nil {
				written = err
				return
			}
			time.Sleep(time.Duration(pauses[i]) * 4 * time.Microsecond)
		}
	})
	for range kills {
		time.Sleep(time.Duration(random.IntN(60_000)) * time.Microsecond)
		daemon.Process.Kill()
		daemon.Wait()
		daemon = server.start()
	}
	writer.Wait()
	if written != nil {
		t.Fatal(written)
	}

	want := []string{}
	for source, n := range oracle {
		if n >= 5 {
			want = append(want, source)
		}
	}
	slices.Sort(want)
	units := func() (units []string) {
		bans, _ := server.list()
		for _, b := range bans {
			units = append(units, b.Unit)
		}
		slices.Sort(units)
		return units
	}
	until(t, func() bool { return slices.Equal(units(), want) }, func() string {
		return fmt.Sprintf("seed %d: oracle and bans differ: %s", seed, cmp.Diff(want, units()))
	})
	until(t, func() bool { return len(kernelUnits(t, server)) == len(want) }, func() string {
		return fmt.Sprintf("seed %d: oracle and kernel differ: %s", seed, cmp.Diff(want, kernelUnits(t, server)))
	})
	if diff := cmp.Diff(want, kernelUnits(t, server)); diff != "" {
		t.Errorf("seed %d: oracle and kernel differ: %s", seed, diff)
	}
	bans, _ := server.list()
	for _, b := range bans {
		if b.Failures != 5 || b.Until.Sub(b.Since) != time.Hour {
			t.Errorf("seed %d: %s has %d failures and lasts %v, want 5 and an hour", seed, b.Unit, b.Failures, b.Until.Sub(b.Since))
		}
	}
	if n := arrived(banned.String()); n > 0 {
		t.Errorf("%d of %d packets of a banned source arrived", n, sent.Load())
	}
	if n := arrived("203.0.113.52"); n == 0 {
		t.Errorf("no packet of %d of an honest source arrived: the test shows nothing", sent.Load())
	}
	t.Logf("%d kills, %d bans, %d packets of a banned source dropped", kills, len(want), sent.Load())
}

// kernelUnits returns the addresses in the jail's set.
func kernelUnits(t *testing.T, h *host) []string {
	t.Helper()
	var ruleset struct {
		Nftables []struct {
			Set struct {
				Elem []struct {
					Elem struct {
						Val string `json:"val"`
					} `json:"elem"`
				} `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(h.run("nft", "-j", "list", "set", "inet", "band", "freeswitch-ip4"), &ruleset); err != nil {
		t.Fatal(err)
	}
	units := []string{}
	for _, object := range ruleset.Nftables {
		for _, e := range object.Set.Elem {
			units = append(units, e.Elem.Val)
		}
	}
	slices.Sort(units)
	return units
}
