package cmd_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// systemd hears when the daemon is ready, although its log does not exist, that
// it is alive, and when it stops.
func TestNotify(t *testing.T) {
	h := newHost(t)
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "100000")
	daemon := h.start()

	hear := func(want string) {
		t.Helper()
		buf := make([]byte, 4096)
		var heard []string
		for {
			if err := systemd.SetReadDeadline(time.Now().Add(deadline)); err != nil {
				t.Fatal(err)
			}
			n, err := systemd.Read(buf)
			if err != nil {
				t.Fatalf("systemd never heard %s, only %v: %v", want, heard, err)
			}
			heard = append(heard, string(buf[:n]))
			if strings.Contains(string(buf[:n]), want) {
				return
			}
		}
	}
	hear("READY=1")
	if ruleset := string(h.run("nft", "list", "ruleset")); !strings.Contains(ruleset, "table inet band") {
		t.Errorf("ready, and the kernel holds no table:\n%s", ruleset)
	}
	if _, ok := h.list(); !ok {
		t.Error("ready, and banctl gets no answer")
	}
	hear("WATCHDOG=1")
	hear("WATCHDOG=1")
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	hear("STOPPING=1")
	if err := daemon.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if _, err := os.Stat(h.dir + "/band.sock"); !os.IsNotExist(err) {
		t.Errorf("it left its socket behind: %v", err)
	}
}

// One deaf or silent client does not keep others from the daemon, nor the
// daemon from its end.
func TestRudeClients(t *testing.T) {
	h := newHost(t)
	daemon := h.start()
	until(t, func() bool { _, ok := h.list(); return ok }, func() string { return "the daemon does not answer" })
	for _, text := range []string{"", "GET /v1/status HTTP/1.1\r\nHost: b", "POST /v1/ban HTTP/1.1\r\nHost: band\r\nContent-Length: 1000000\r\n\r\n{",
		"\x00\xff garbage\r\n\r\n", "GET /" + strings.Repeat("x", 1<<20)} {
		for range 20 {
			conn, err := net.Dial("unix", h.dir+"/band.sock")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go conn.Write([]byte(text)) // it may be refused in the middle
		}
	}
	if _, ok := h.list(); !ok {
		t.Error("the daemon does not answer any more")
	}
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// The socket is for root, and for the group band where there is one.
func TestSocketPermissions(t *testing.T) {
	h := newHost(t)
	h.start()
	until(t, func() bool { _, ok := h.list(); return ok }, func() string { return "the daemon does not answer" })
	info, err := os.Stat(h.dir + "/band.sock")
	if err != nil {
		t.Fatal(err)
	}
	groups, err := os.ReadFile("/etc/group")
	if err != nil {
		t.Fatal(err)
	}
	want := os.FileMode(0o600)
	if strings.Contains("\n"+string(groups), "\nband:") {
		want = 0o660
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("the socket has mode %o, want %o", got, want)
	}
	for _, path := range []string{h.dir + "/lib", h.dir + "/lib/state.log"} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %o", path, info.Mode().Perm())
		}
	}
}
