package cmd_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"band/internal/journaltest"
)

// banned fails five times and waits for the ban in the kernel.
func (h *host) banned(addr string) {
	h.t.Helper()
	h.append(func(w *bufio.Writer) {
		for range 5 {
			w.WriteString(failure(time.Now(), netip.MustParseAddr(addr)))
		}
	})
	h.inKernel(addr)
}

func (h *host) inKernel(addr string) {
	h.t.Helper()
	until(h.t, func() bool {
		return strings.Contains(string(h.run("nft", "list", "ruleset")), " "+addr+" counter")
	}, func() string {
		return fmt.Sprintf("%s is not banned in the kernel:\n%s", addr, h.run("nft", "list", "ruleset"))
	})
}

func (h *host) dialSocket() net.Conn {
	h.t.Helper()
	conn, err := net.Dial("unix", h.dir+"/band.sock")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return conn
}

// A request that makes no sense, or is too large, is refused with a reason.
func TestMalformedRequests(t *testing.T) {
	h := newHost(t)
	h.append(func(*bufio.Writer) {})
	h.start()
	h.follows()
	post := func(path, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: band\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	}
	tests := []struct {
		name, request string
		want          int
	}{
		{"no HTTP", "\x00\xff\x1b[2J garbage\r\n\r\n", 400},
		{"no host", "GET /v1/status HTTP/1.1\r\n\r\n", 400},
		{"an unknown path", "GET /etc/passwd HTTP/1.1\r\nHost: band\r\n\r\n", 404},
		{"a path that climbs", "GET /v1/../../etc/passwd HTTP/1.1\r\nHost: band\r\n\r\n", 307}, // to where it leads: 404
		{"the wrong method", "DELETE /v1/ban HTTP/1.1\r\nHost: band\r\n\r\n", 405},
		{"a long URL", "GET /v1/explain?unit=" + strings.Repeat("1", 1<<20) + " HTTP/1.1\r\nHost: band\r\n\r\n", 431},
		{"a large header", "GET /v1/status HTTP/1.1\r\nHost: band\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", 431},
		{"many headers", "GET /v1/status HTTP/1.1\r\nHost: band\r\n" + strings.Repeat("X: x\r\n", 1<<17) + "\r\n", 431},
		{"no unit", "GET /v1/explain?unit=%1b%5b2J HTTP/1.1\r\nHost: band\r\n\r\n", 400},
		{"no JSON", post("/v1/ban", "\xff\xfe"), 400},
		{"deep JSON", post("/v1/ban", `{"units":`+strings.Repeat("[", 500_000)), 400},
		{"another type", post("/v1/ban", `{"units":{"a":1}}`), 400},
		{"an unknown key", post("/v1/ban", `{"unit":["198.51.100.7"]}`), 400},
		{"no address", post("/v1/ban", `{"units":["198.51.100.7; rm -rf /"]}`), 400},
		{"a null address", post("/v1/ban", `{"units":[null]}`), 409},
		{"a time before now", post("/v1/ban", `{"units":["198.51.100.7"],"for":-1}`), 409},
		{"a time beyond all", post("/v1/ban", `{"units":["198.51.100.7"],"for":1e30}`), 400},
		{"a large body", post("/v1/ban", `{"reason":"`+strings.Repeat("x", 2<<20)+`"}`), 400},
		{"a long reason", post("/v1/ban", `{"units":["198.51.100.7"],"reason":"`+strings.Repeat("x", 2<<10)+`"}`), 409},
		{"a bad chunk", "POST /v1/ban HTTP/1.1\r\nHost: band\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n", 400},
		{"two lengths", "POST /v1/ban HTTP/1.1\r\nHost: band\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := h.dialSocket()
			go io.WriteString(conn, tt.request) // it may be refused in the middle
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			text, _ := io.ReadAll(answer.Body) // cut off, where the request was not read to its end
			if answer.StatusCode != tt.want {
				t.Errorf("%s: %s, want %d", answer.Status, text, tt.want)
			}
			if bytes.ContainsRune(text, '\x1b') {
				t.Errorf("the answer holds what was sent: %q", text)
			}
		})
	}
	h.banned("198.51.100.70")
}

// Whoever may use the socket, by however many connections and however slowly,
// keeps neither the daemon from deciding nor others from it, and leaves nothing
// behind.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.bin = shipped(t)
	h.append(func(*bufio.Writer) {})
	daemon := h.start()
	h.follows()
	open := func() int {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", daemon.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	running := func() int {
		_, after, _ := strings.Cut(h.scrape(""), "\ngo_goroutines ")
		n, err := strconv.Atoi(strings.SplitN(after, "\n", 2)[0])
		if err != nil {
			t.Fatalf("go_goroutines: %v", err)
		}
		return n
	}
	h.list()
	descriptors, goroutines := open(), running()

	var clients sync.WaitGroup
	defer clients.Wait()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	// each runs so many clients, until the daemon or the test hangs up.
	each := func(n int, run func(conn net.Conn)) {
		for range n {
			conn := h.dialSocket()
			context.AfterFunc(ctx, func() { conn.Close() })
			clients.Go(func() { run(conn) })
		}
	}
	silent := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	slowly := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			for {
				for i := range text {
					if _, err := conn.Write([]byte{text[i]}); err != nil {
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
			}
		}
	}
	endless := func(head, body string) func(net.Conn) {
		return func(conn net.Conn) {
			_, err := io.WriteString(conn, head)
			for n := 0; n < 1<<30 && err == nil; n += len(body) {
				_, err = io.WriteString(conn, body)
			}
			if err == nil {
				t.Error("a gigabyte was taken")
			}
		}
	}
	deaf := func(request string) func(net.Conn) {
		return func(conn net.Conn) { io.WriteString(conn, request); <-ctx.Done() }
	}
	each(16, deaf("GET /v1/watch HTTP/1.1\r\nHost: band\r\n\r\n"))
	each(20, deaf("GET /v1/status HTTP/1.1\r\nHost: band\r\n\r\n"))
	each(20, slowly("GET /v1/status HTTP/1.1\r\nHost: band\r\n"+strings.Repeat("X: x\r\n", 1000)))
	each(20, slowly("POST /v1/ban HTTP/1.1\r\nHost: band\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat(" ", 1000)))
	each(20, endless("POST /v1/ban HTTP/1.1\r\nHost: band\r\nContent-Length: 1073741824\r\n\r\n", strings.Repeat(" ", 1<<16)))
	each(20, endless("POST /v1/ban HTTP/1.1\r\nHost: band\r\nTransfer-Encoding: chunked\r\n\r\n", "10000\r\n"+strings.Repeat("[", 1<<16)+"\r\n"))
	each(20, func(conn net.Conn) { // half closed
		io.WriteString(conn, "GET /v1/bans HTTP/1.1\r\nHost: band\r\n\r\n")
		conn.(*net.UnixConn).CloseWrite()
		<-ctx.Done()
	})
	each(1000, silent)

	h.banned("198.51.100.70")
	if n := open() - descriptors; n > 300 {
		t.Errorf("%d clients are served at once", n)
	}
	if bans, ok := h.list(); !ok || len(bans) != 1 {
		t.Errorf("an operator was told %v, %v", bans, ok)
	}
	// More than those who watch without reading can be told.
	h.append(func(w *bufio.Writer) {
		host := netip.MustParseAddr("11.0.0.0")
		for range 20_000 {
			host = host.Next()
			w.WriteString(failure(time.Now(), host))
		}
	})
	h.banned("198.51.100.71")
	stop()
	clients.Wait()
	until(t, func() bool { return open() <= descriptors && running() <= goroutines }, func() string {
		return fmt.Sprintf("descriptors %d, then %d; goroutines %d, then %d", descriptors, open(), goroutines, running())
	})
	bounded(t, daemon.Process)
}

// The socket appears with its final mode and group: it is made where nobody else
// can enter, and moved to its place. Its group may use it, and nobody else.
func TestSocketIsNeverOpen(t *testing.T) {
	for _, test := range []struct {
		name, groups string
		mode         os.FileMode
		gid          uint32
	}{
		{"with a group", "root:x:0:\nband:x:4711:\n", 0o660, 4711},
		{"without a group", "root:x:0:\n", 0o600, 0},
		{"with a group that is none", "root:x:0:\nband:x:x:\n", 0o600, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			for _, dir := range []string{h.dir, filepath.Dir(h.dir)} {
				if err := os.Chmod(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			groups := filepath.Join(t.TempDir(), "group")
			if err := os.WriteFile(groups, []byte(test.groups), 0o644); err != nil {
				t.Fatal(err)
			}
			h.files = map[string]string{"/etc/group": groups}
			events, err := unix.InotifyInit1(unix.IN_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(events)
			if _, err := unix.InotifyAddWatch(events, h.dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ATTRIB); err != nil {
				t.Fatal(err)
			}
			before := unix.Umask(0) // the daemon inherits it
			h.start()
			unix.Umask(before)
			until(t, func() bool { _, ok := h.list(); return ok }, func() string { return "the daemon does not answer" })
			const socket = "band.sock"
			seen := make([]byte, 64<<10)
			n, err := unix.Read(events, seen)
			if err != nil {
				t.Fatal(err)
			}
			moved := false
			for at := 0; at < n; {
				mask, length := binary.NativeEndian.Uint32(seen[at+4:]), int(binary.NativeEndian.Uint32(seen[at+12:]))
				name := string(bytes.TrimRight(seen[at+unix.SizeofInotifyEvent:at+unix.SizeofInotifyEvent+length], "\x00"))
				if at += unix.SizeofInotifyEvent + length; name != socket {
					continue
				}
				if mask&unix.IN_MOVED_TO == 0 {
					t.Errorf("the socket was made or changed in its place: event %#x", mask)
				}
				moved = true
			}
			if !moved {
				t.Error("the socket was never moved to its place")
			}
			info, err := os.Stat(filepath.Join(h.dir, socket))
			if err != nil {
				t.Fatal(err)
			}
			owner := info.Sys().(*syscall.Stat_t)
			if info.Mode().Perm() != test.mode || owner.Uid != 0 || owner.Gid != test.gid {
				t.Errorf("mode %o of %d:%d, want %o of 0:%d", info.Mode().Perm(), owner.Uid, owner.Gid, test.mode, test.gid)
			}
			for _, user := range []struct {
				groups string
				may    bool
			}{{"--clear-groups", false}, {"--groups=4711", test.gid == 4711}} {
				ask := h.command("setpriv", "--reuid=65534", "--regid=65534", user.groups, filepath.Join(h.bin, "banctl"), "--socket", h.dir+"/band.sock", "status")
				out, err := ask.CombinedOutput()
				if (err == nil) != user.may || !user.may && ask.ProcessState.ExitCode() != 3 {
					t.Errorf("%v: %v\n%s", ask.Args, err, out)
				}
			}
		})
	}
}

// Whatever a caller wrote into a log, and whatever a log is called, nothing that is
// printed of it does anything to a terminal, and JSON stays JSON.
func TestNothingPrintedUnescaped(t *testing.T) {
	const addr = "198.51.100.70"
	users := []string{
		"a\r\n\t\x1b[1A\x1b[2Kb",             // a folded header, the cursor up, a line gone
		"\xff\x80\x9b2J\u009b2J\x7f\v\f",     // no UTF-8, and a start of a sequence in one byte
		"\u202e\u2066\u200b\ufeff\U000e0041", // turns the text round, or cannot be seen
		`\x1b[2J` + strings.Repeat("\x1b[5m€", 2000),
		"\x1b[2J\x1b]0;owned\a\x1b[8m", // clears, names and hides
	}
	h := newHost(t)
	logs := filepath.Join(h.dir, "logs")
	if err := os.Mkdir(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(logs, "a\x1b[2J\n\u202e.log")
	h.jails = map[string]string{"freeswitch": fmt.Sprintf("[[source]]\nfile = %q\n", logs+"/*.log")}
	if err := os.WriteFile(log, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	daemon := h.start()
	until(t, func() bool { return h.status().Sources != nil }, func() string { return "the daemon does not answer" })
	printed := make(map[string]string) // by command
	watch := func(args ...string) (text func() string) {
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		c := h.command(append([]string{filepath.Join(h.bin, "banctl"), "--socket", h.dir + "/band.sock", "watch"}, args...)...)
		begun := &strings.Builder{}
		c.Stdout, c.Stderr = out, begun
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Process.Kill(); c.Wait() })
		return func() string {
			text, err := os.ReadFile(out.Name())
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
	watched, watchedJSON := watch(), watch("--json")
	until(t, func() bool { // until both watch
		h.banctl("allow", "add", "203.0.113.99")
		h.banctl("allow", "del", "203.0.113.99")
		return watched() != "" && watchedJSON() != ""
	}, func() string { return "nothing is shown" })
	var text strings.Builder
	for _, user := range users {
		text.WriteString(strings.Replace(failure(time.Now(), netip.MustParseAddr(addr)), "1000", user, 1))
	}
	text.WriteString(neighbour(time.Now(), "x\x1b[2J"))
	if err := os.WriteFile(log, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	h.inKernel(addr)
	reason := "\x1b[2J\nbecause \u202e"
	h.banctl("ban", "203.0.113.7", "--reason", reason)
	h.banctl("ban", addr, "--reason", reason)
	h.banctl("allow", "add", "203.0.113.8", "--reason", reason)
	for _, args := range [][]string{
		{"show", addr}, {"show", "203.0.113.7"}, {"list"}, {"status"}, {"allow"}, {"replay", log}, {"test", "freeswitch", log}, {"doctor"}, {"jails"}, {"jails", "show", "freeswitch"},
	} {
		for _, json := range []string{"--json=false", "--json"} {
			command := append([]string{filepath.Join(h.bin, "banctl"), "--socket", h.dir + "/band.sock", "--config", h.dir + "/etc", json}, args...)
			out, _ := h.command(command...).CombinedOutput() // with what it says of it
			printed[json+" "+strings.Join(args, " ")] = string(out)
		}
	}
	until(t, func() bool {
		return strings.Contains(watched(), " ban  manual") && strings.Contains(watchedJSON(), `"event":"ban","jail":"manual"`)
	}, func() string { return "the bans are not shown:\n" + watched() + watchedJSON() })
	printed["watch"], printed["--json watch"] = watched(), watchedJSON()
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		t.Error(err)
	}
	printed["band"] = fmt.Sprint(daemon.Stderr)

	for command, text := range printed {
		if text == "" {
			t.Errorf("%q printed nothing", command)
		}
		if !utf8.ValidString(text) {
			t.Errorf("%q printed what is no UTF-8: %q", command, text)
		}
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }); i >= 0 {
			t.Errorf("%q printed %q unescaped", command, text[i:min(i+20, len(text))])
		}
		if strings.HasPrefix(command, "--json ") {
			for d := json.NewDecoder(strings.NewReader(text)); ; {
				var v any
				if err := d.Decode(&v); err == io.EOF {
					break
				} else if err != nil {
					t.Errorf("%q printed no JSON: %v\n%s", command, err, text)
					break
				}
			}
		}
	}
	for line := range strings.Lines(printed["watch"]) {
		if !regexp.MustCompile(`^\d\d:\d\d:\d\d  \w`).MatchString(line) {
			t.Errorf("watch printed a line that is none of its own: %q", line)
		}
	}
	for command, want := range map[string][]string{ // they are there, and not taken for one another
		"--json=false show " + addr:  {`\x1b[2J\x1b]0;owned\a`, `\u202e\u2066\u200b\ufeff`, `\\x1b[2J`},
		"--json=false status":        {`a\x1b[2J\n\u202e.log`},
		"--json=false replay " + log: {addr},
		"watch":                      {`user \x1b[2J`},
	} {
		for _, w := range want {
			if !strings.Contains(printed[command], w) {
				t.Errorf("%q printed no %s:\n%s", command, w, printed[command])
			}
		}
	}
}

// The daemon protects with the capabilities of its unit alone: it reads logs and a
// journal that others own, bans, and is started again.
func TestTwoCapabilities(t *testing.T) {
	t.Parallel()
	unit, err := os.ReadFile("../packaging/band.service")
	if err != nil {
		t.Fatal(err)
	}
	bits := map[string]int{"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH}
	want, set := 0, "-all"
	for name := range strings.FieldsSeq(string(regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindSubmatch(unit)[1])) {
		if _, ok := bits[name]; !ok {
			t.Fatalf("the unit names %s, which this test does not know", name)
		}
		want |= 1 << bits[name]
		set += ",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_"))
	}
	const owner, reader = 4711, 4712
	for _, who := range []struct {
		name string
		uid  int
		args []string
	}{
		{"root, as in the unit", 0, nil},
		{"another user", reader, []string{fmt.Sprintf("--reuid=%d", reader), fmt.Sprintf("--regid=%d", reader), "--inh-caps=" + set, "--ambient-caps=" + set}},
	} {
		t.Run(who.name, func(t *testing.T) {
			j, h := journaltest.Start(t), newHost(t)
			// The journal's directory is read as it is: to enter the namespace of the
			// test's journald takes more.
			script := fmt.Sprintf("#!/bin/sh\nexec journalctl --directory=%s/run/log/journal \"$@\"\n", j.Root)
			own := t.TempDir()
			journalctl, err := exec.LookPath("journalctl")
			if err != nil {
				t.Fatal(err)
			}
			script = strings.Replace(script, "journalctl", journalctl, 1)
			limited := append([]string{"setpriv", "--no-new-privs", "--clear-groups", "--bounding-set=" + set}, who.args...)
			band := fmt.Sprintf("#!/bin/sh\nexec %s %s \"$@\"\n", strings.Join(limited, " "), filepath.Join(h.bin, "band"))
			for name, text := range map[string]string{"journalctl": script, "band": band} {
				if err := os.WriteFile(filepath.Join(own, name), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(filepath.Join(h.bin, "banctl"), filepath.Join(own, "banctl")); err != nil {
				t.Fatal(err)
			}
			h.bin, h.path = own, own

			logs := filepath.Join(t.TempDir(), "log")
			log := filepath.Join(logs, "freeswitch.log")
			if err := os.Mkdir(logs, 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(log, nil, 0o640); err != nil {
				t.Fatal(err)
			}
			for path, uid := range map[string]int{logs: owner, log: owner, h.dir: who.uid} {
				if err := os.Chown(path, uid, uid); err != nil {
					t.Fatal(err)
				}
			}
			h.jails = map[string]string{"freeswitch": fmt.Sprintf("[[source]]\nfile = %q\n", log)}
			fail := func(times int, addr string) {
				t.Helper()
				f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				for range times {
					if _, err := f.WriteString(failure(time.Now(), netip.MustParseAddr(addr))); err != nil {
						t.Fatal(err)
					}
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				for range times {
					j.Syslog("<38>" + time.Now().UTC().Format(time.Stamp) + " sshd[4711]: Failed password for root from " + netip.MustParseAddr(addr).Next().String() + " port 40022 ssh2")
				}
			}
			daemon := h.start()
			until(t, func() bool { _, ok := h.list(); return ok }, func() string { return "the daemon does not answer" })
			fail(5, "198.51.100.70")
			h.inKernel("198.51.100.70")
			h.inKernel("198.51.100.71") // by the journal
			fail(4, "198.51.100.72")
			until(t, func() bool {
				return strings.Contains(h.show("198.51.100.72"), "4 of 5") && strings.Contains(h.show("198.51.100.73"), "4 of 5")
			}, func() string {
				return h.show("198.51.100.72") + h.show("198.51.100.73")
			})

			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", daemon.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
				_, after, _ := strings.Cut(string(status), set+":")
				if has, err := strconv.ParseInt(strings.Fields(after)[0], 16, 64); err != nil || has != int64(want) {
					t.Errorf("%s is %x, want %x", set, has, want)
				}
			}
			if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := daemon.Wait(); err != nil {
				t.Errorf("it ended with %v", err)
			}
			h.start()
			fail(1, "198.51.100.72")
			for _, addr := range []string{"198.51.100.70", "198.51.100.71", "198.51.100.72", "198.51.100.73"} {
				h.inKernel(addr)
			}
		})
	}
}

// What is logged is data: it is never a format, and no shell sees it. The one
// program that is run reads the journal.
func TestTextIsOnlyData(t *testing.T) {
	runs := "band/internal/journal " // it runs journalctl, with arguments of its own
	out, err := exec.Command("go", "list", "-deps", "-f", `{{range .GoFiles}}{{$.ImportPath}} {{$.Dir}}/{{.}}{{"\n"}}{{end}}`, "./band", "./banctl").Output()
	if err != nil {
		t.Fatal(err)
	}
	set, files := token.NewFileSet(), 0
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "band/") {
			continue
		}
		_, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files++
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ImportSpec:
				if n.Path.Value == `"os/exec"` && !strings.HasPrefix(line, runs) || n.Path.Value == `"text/template"` || n.Path.Value == `"plugin"` {
					t.Errorf("%s: imports %s", set.Position(n.Pos()), n.Path.Value)
				}
			case *ast.BasicLit:
				if slices.Contains([]string{`"sh"`, `"bash"`, `"/bin/sh"`, `"-c"`}, n.Value) {
					t.Errorf("%s: a shell: %s", set.Position(n.Pos()), n.Value)
				}
			case *ast.CallExpr:
				if format, ok := formatOf(n); ok && !literal(format) {
					t.Errorf("%s: a format that is no literal", set.Position(n.Pos()))
				}
			}
			return true
		})
	}
	if files < 100 {
		t.Errorf("only %d files were looked at", files)
	}
}

// formatOf returns the format of a call of package fmt that has one.
func formatOf(call *ast.CallExpr) (ast.Expr, bool) {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil, false
	}
	if p, ok := f.X.(*ast.Ident); !ok || p.Name != "fmt" {
		return nil, false
	}
	at, ok := map[string]int{"Sprintf": 0, "Printf": 0, "Errorf": 0, "Fprintf": 1, "Appendf": 1, "Sscanf": 1}[f.Sel.Name]
	if !ok {
		return nil, false
	}
	return call.Args[at], true
}

// literal reports whether an expression is written where it is used, or is what go
// vet checks for where it is handed over.
func literal(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return true
	case *ast.BinaryExpr:
		return literal(e.X) && literal(e.Y)
	case *ast.Ident:
		return e.Name == "format"
	}
	return false
}
