package cmd_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"band/internal/journaltest"
)

// kinds returns the kinds of the findings of this moment, as programs see them.
func (h *host) kinds() []string {
	c := h.command(filepath.Join(binaries, "banctl"), "--socket", h.dir+"/band.sock", "doctor", "--json")
	out, _ := c.Output() // with findings its exit status is 1
	var doctor struct{ Findings []struct{ Kind string } }
	if err := json.Unmarshal(out, &doctor); err != nil {
		return nil
	}
	kinds := []string{}
	for _, f := range doctor.Findings {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}

// find waits until there are findings of these kinds, and people see them too.
func (h *host) find(kinds ...string) {
	h.t.Helper()
	for _, kind := range kinds {
		until(h.t, func() bool { return slices.Contains(h.kinds(), kind) }, func() string {
			return fmt.Sprintf("%s was never found:\n%s", kind, h.banctl("status"))
		})
		if status := string(h.banctl("status")); !strings.Contains(status, "["+kind+"]") {
			h.t.Errorf("banctl status does not show %s:\n%s", kind, status)
		}
	}
}

// over waits until the findings of these kinds are over.
func (h *host) over(kinds ...string) {
	h.t.Helper()
	for _, kind := range kinds {
		until(h.t, func() bool { found := h.kinds(); return found != nil && !slices.Contains(found, kind) }, func() string {
			return fmt.Sprintf("%s is never over:\n%s", kind, h.banctl("status"))
		})
	}
}

// logged stops the daemon and checks that its log tells once that each of these
// kinds began, and once that it was over, but for what is only past: "kind ...".
func (h *host) logged(daemon *exec.Cmd, kinds ...string) {
	h.t.Helper()
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		h.t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		h.t.Error(err)
	}
	log := fmt.Sprint(daemon.Stderr)
	for _, kind := range kinds {
		kind, past := strings.CutSuffix(kind, " ...")
		ends := 1
		if past {
			ends = 0
		}
		begun, over := strings.Count(log, "msg=finding kind="+kind+" "), strings.Count(log, `msg="finding is over" kind=`+kind+"\n")+strings.Count(log, `msg="finding is over" kind=`+kind+" ")
		if begun != 1 || over != ends {
			h.t.Errorf("%s begins %d times in the log, and ends %d times, want 1 and %d", kind, begun, over, ends)
		}
	}
}

// What keeps the journal from being read whole is found.
func TestJournalFindings(t *testing.T) {
	t.Parallel()
	j, h := journaltest.Start(t, "RateLimitIntervalSec=1s", "RateLimitBurst=5"), newHost(t)
	h.path = j.Bin
	h.jails = map[string]string{"freeswitch": "[[source]]\njournal = [\"_SYSTEMD_UNIT=freeswitch.service\"]\n", "sshd": "enabled = false\n"}
	journalctl := filepath.Join(j.Bin, "journalctl")
	if err := errors.Join(os.Rename(journalctl, journalctl+".kept"), os.Symlink("/bin/false", journalctl)); err != nil {
		t.Fatal(err)
	}
	daemon := h.start()
	h.find("journal-failing")
	if err := os.Rename(journalctl+".kept", journalctl); err != nil {
		t.Fatal(err)
	}
	out := j.Stdout("freeswitch", "freeswitch.service")
	fmt.Fprintln(out, "the first entry")
	h.over("journal-failing")

	fmt.Fprintln(out, strings.Repeat("x", 100_000)) // LineMax is 48 KiB
	h.find("journal-cut")
	// Journald tells of what it dropped with the first message that it lets through again.
	until(t, func() bool {
		fmt.Fprint(out, strings.Repeat("much\n", 1000))
		return slices.Contains(h.kinds(), "journal-suppressed")
	}, func() string { return "what journald dropped was never found:\n" + string(h.banctl("status")) })
	h.logged(daemon, "journal-failing", "journal-cut ...", "journal-suppressed ...")

	for range 2 {
		fmt.Fprintln(out, "an entry that is gone before it is read")
		j.Rotate()
	}
	j.Vacuum()
	daemon = h.start()
	h.find("journal-gap")
	h.logged(daemon, "journal-gap ...")
}

// What stands around the daemon is found, and looked for again after a reload.
func TestSurroundingFindings(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	name, err := os.ReadFile("/proc/self/comm") // of the process that listens
	if err != nil {
		t.Fatal(err)
	}
	h.jails = map[string]string{"door": fmt.Sprintf(`
format   = "syslog"
ports    = { tcp = [22] }
services = [%q]
[[source]]
file = %q
[[pattern]]
name  = "failed"
regex = '^door: failed from <HOST>$'
`, strings.TrimSpace(string(name)), h.log())}
	conf := filepath.Join(h.dir, "conf")
	h.band = fmt.Sprintf("freeswitch = %q\n", conf)
	var door net.Listener
	h.inside(func() { door, err = net.Listen("tcp", ":7070") })
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	rival := h.command("bash", "-c", "exec -a /usr/bin/fail2ban-server sleep infinity")
	if err := rival.Start(); err != nil {
		t.Fatal(err)
	}
	defer end(rival.Process)
	daemon := h.start()
	h.find("port-uncovered", "rival-running", "freeswitch-unreadable")

	door.Close()
	end(rival.Process)
	profile := func(value string) {
		t.Helper()
		text := fmt.Sprintf(`<document><section name="configuration"><configuration name="sofia.conf"><profiles><profile name="internal"><settings>
<param name="log-auth-failures" value=%q/></settings></profile></profiles></configuration></section></document>`, value)
		if err := os.MkdirAll(conf, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(conf, "freeswitch.xml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		h.banctl("reload")
	}
	profile("false")
	h.find("failures-unlogged")
	h.over("port-uncovered", "rival-running", "freeswitch-unreadable")
	profile("true")
	h.over("failures-unlogged")
	h.logged(daemon, "port-uncovered", "rival-running", "freeswitch-unreadable", "failures-unlogged")
}

// Where the kernel watches no more files, that is found. The limit is that of a user
// namespace, in which this daemon runs.
func TestInotifyFindings(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const limit = "/proc/sys/user/max_inotify_instances"
	h.enter = []string{"unshare", "--user", "--map-root-user", "--net", "sh", "-c", "ip link set lo up && echo 0 >" + limit + ` && exec "$@"`, "sh"}
	daemon := h.start()
	h.enter = nil
	h.find("inotify-exhausted")
	raise := exec.Command("nsenter", "--user", "--preserve-credentials", "--target", fmt.Sprint(daemon.Process.Pid), "sh", "-c", "echo 100 >"+limit)
	if out, err := raise.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", raise, err, out)
	}
	h.banctl("reload")
	h.over("inotify-exhausted")
	h.logged(daemon, "inotify-exhausted")
}

// Where no socket can be opened to ask for own addresses, that is found, and what
// was known of them is kept.
func TestAddressFindings(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	log := filepath.Join(h.dir, "log")
	h.enter = append(slices.Clone(h.enter), "sh", "-c", `exec "$@" 2>`+log, "sh")
	daemon := h.start()
	tells := func(what string) {
		t.Helper()
		text := func() string { out, _ := os.ReadFile(log); return string(out) }
		until(t, func() bool { return strings.Contains(text(), what) }, func() string { return "the log never tells: " + what + "\n" + text() })
	}
	tells(`msg="ready;`)
	descriptors := func(limit string) {
		t.Helper()
		if out, err := exec.Command("prlimit", "--pid", fmt.Sprint(daemon.Process.Pid), "--nofile="+limit).CombinedOutput(); err != nil {
			t.Fatalf("prlimit: %v\n%s", err, out)
		}
	}
	descriptors("3:1024")
	tells("level=WARN msg=finding kind=addresses-unknown")
	descriptors("1024:1024")
	tells(`msg="finding is over" kind=addresses-unknown`)
	h.over("addresses-unknown")
}
