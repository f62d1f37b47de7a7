package cmd_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// host is a machine of the test: a network namespace with a daemon in it.
type host struct {
	t     *testing.T
	pid   int
	enter []string
	dir   string
	bin   string            // where the commands are
	band  string            // text of band.toml
	jails map[string]string // text of further jail files, by the name of the jail
	path  string            // where the daemon finds journalctl
	files map[string]string // that the daemon sees in the place of others, by their path
}

func newHost(t *testing.T) *host {
	t.Helper()
	enter, holder, err := namespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(holder) })
	h := &host{t: t, pid: holder.Pid, enter: enter, dir: t.TempDir(), bin: binaries}
	if h.path, err = noJournal(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return h
}

// noJournal makes a directory to be put first in PATH: the journalctl in it
// reads an empty journal, and not that of the machine that runs the tests.
func noJournal(dir string) (string, error) {
	empty := filepath.Join(dir, "journal")
	if err := os.Mkdir(empty, 0o755); err != nil {
		return "", err
	}
	journalctl, err := exec.LookPath("journalctl")
	if err != nil {
		return "", fmt.Errorf("these tests need journalctl: %w", err)
	}
	script := fmt.Sprintf("#!/bin/sh\nexec %s --directory=%s \"$@\"\n", journalctl, empty)
	return dir, os.WriteFile(filepath.Join(dir, "journalctl"), []byte(script), 0o755)
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
	return h.run(append([]string{filepath.Join(h.bin, "banctl"), "--socket", h.dir + "/band.sock"}, args...)...)
}

// start starts a daemon that follows the log of the host, and ends it with the test.
func (h *host) start() *exec.Cmd {
	h.t.Helper()
	h.configure()
	text := &strings.Builder{}
	daemon := h.launch(text)
	h.t.Cleanup(func() {
		daemon.Process.Kill()
		daemon.Wait()
		if h.t.Failed() {
			h.t.Logf("a daemon's log:\n%.4000s", text)
		}
	})
	return daemon
}

// configure writes what the daemon reads.
func (h *host) configure() {
	h.t.Helper()
	etc := filepath.Join(h.dir, "etc", "jails.d")
	if err := os.MkdirAll(etc, 0o755); err != nil {
		h.t.Fatal(err)
	}
	files := map[string]string{
		filepath.Join(etc, "freeswitch.toml"):    fmt.Sprintf("[[source]]\nfile = %q\n", h.log()),
		filepath.Join(h.dir, "etc", "band.toml"): h.band,
	}
	for name, text := range h.jails {
		files[filepath.Join(etc, name+".toml")] = text
	}
	for path, text := range files {
		// Whole, since a daemon may just read it.
		next := filepath.Join(h.dir, "next")
		if err := errors.Join(os.WriteFile(next, []byte(text), 0o644), os.Rename(next, path)); err != nil {
			h.t.Fatal(err)
		}
	}
}

// launch starts a daemon that says what it does to stderr.
func (h *host) launch(stderr io.Writer) *exec.Cmd {
	h.t.Helper()
	args := []string{filepath.Join(h.bin, "band"), "--config", h.dir + "/etc", "--state", h.dir + "/lib", "--socket", h.dir + "/band.sock"}
	if len(h.files) > 0 {
		script := ""
		for path, instead := range h.files {
			script += "mount --bind " + instead + " " + path + " && "
		}
		args = append([]string{"unshare", "--mount", "sh", "-c", script + `exec "$@"`, "sh"}, args...)
	}
	daemon := h.command(args...)
	daemon.Env = append(os.Environ(), "TZ=UTC", "PATH="+h.path+":"+os.Getenv("PATH"))
	daemon.Stderr = stderr
	if err := daemon.Start(); err != nil {
		h.t.Fatal(err)
	}
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

// listen counts the packets that arrive at a UDP port of the host, by source, and
// by source and text: "203.0.113.52 REGISTER".
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
	seen := make(map[string]int)
	go func() {
		buf := make([]byte, 64)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			source := from.Addr().Unmap().String()
			mu.Lock()
			seen[source]++
			seen[source+" "+string(buf[:n])]++
			mu.Unlock()
		}
	}()
	return func(source string) int {
		mu.Lock()
		defer mu.Unlock()
		return seen[source]
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
	within(t, deadline, ok, describe)
}

// within is until, with as much patience as is said.
func within(t *testing.T, patience time.Duration, ok func() bool, describe func() string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal(describe())
}

type listed struct {
	Unit     string    `json:"unit"`
	Jail     string    `json:"jail"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	Failures int       `json:"failures"`
}

// list returns the bans, and false while no daemon answers.
func (h *host) list() (bans []listed, ok bool) {
	c := h.command(filepath.Join(h.bin, "banctl"), "--socket", h.dir+"/band.sock", "list", "--json")
	out, err := c.Output()
	return bans, err == nil && json.Unmarshal(out, &bans) == nil
}

func failure(at time.Time, source netip.Addr) string {
	return fmt.Sprintf("%s 81.60%% [WARNING] sofia_reg.c:1787 SIP auth failure (REGISTER) on sofia profile 'internal' for [1000@pbx] from ip %s\n",
		at.UTC().Format("2006-01-02 15:04:05.000000"), source)
}
