package packaging_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The addresses of the machine, of a host that attacks and of one that does not.
const (
	server   = "203.0.113.10"
	phone    = "203.0.113.52"
	attacker = "198.51.100.70"
)

// nobody owns FreeSWITCH's logs.
const nobody = "65534"

// Installed into a folder, started, attacked, upgraded, cut off from its power
// and uninstalled: bans are kept, no packet of a banned host passes at any time,
// and nothing is left but state and configuration.
func TestInstall(t *testing.T) {
	root := debian(t)
	prepare(t, root)
	m := boot(t, root)
	m.up()
	before := files(t, root)

	install(t, root)
	m.run("systemd-sysusers")
	m.run("systemd-tmpfiles", "--create")
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "enable", "--now", "band")
	m.run("systemd-analyze", "verify", "band.service")
	confined(m)
	reloads(m)

	arrived := m.listen()
	m.send(phone)
	attack(t, root)
	until(t, func() bool { return m.drops(attacker) }, func() string {
		return "the attacker was not banned:\n" + m.try("banctl", "status")
	})
	m.send(attacker)
	bans := m.run("banctl", "list", "--json")
	kept := func() {
		t.Helper()
		until(t, func() bool { return arrived(phone) > 0 }, func() string { return "no packet of an honest host arrives" })
		if n := arrived(attacker); n > 0 {
			t.Errorf("%d packets of a banned host arrived", n)
		}
		if diff := cmp.Diff(withoutPackets(bans), withoutPackets(m.run("banctl", "list", "--json"))); diff != "" {
			t.Errorf("the bans changed: %s", diff)
		}
	}
	kept()

	// An upgrade: what runs is replaced, what the operator wrote is not.
	settings := filepath.Join(root, "etc/band/band.toml")
	if err := os.WriteFile(settings, []byte("maxretry = 4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	pid := m.run("systemctl", "show", "--property=MainPID", "band")
	install(t, root)
	kept()
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "band")
	kept()
	if now := m.run("systemctl", "show", "--property=MainPID", "band"); now == pid {
		t.Errorf("it was not restarted: %s", now)
	}
	if text, err := os.ReadFile(settings); err != nil || string(text) != "maxretry = 4\n" {
		t.Errorf("the upgrade changed band.toml: %q, %v", text, err)
	}

	// A death: systemd starts it again.
	pid = m.run("systemctl", "show", "--property=MainPID", "band")
	m.run("systemctl", "kill", "--signal=KILL", "band")
	until(t, func() bool {
		state := m.run("systemctl", "show", "--property=MainPID,ActiveState", "band")
		return !strings.Contains(state, pid) && strings.Contains(state, "ActiveState=active\n")
	}, func() string { return "it was not started again" })
	kept()

	// A power cut, after which the kernel knows nothing. The bans are back
	// before the network is.
	m.powerCut()
	m = boot(t, root)
	arrived = m.listen()
	m.send(phone)
	m.send(attacker)
	m.up()
	kept()
	if log := m.run("journalctl", "--boot", "--no-pager"); strings.Contains(log, "ordering cycle") || strings.Contains(log, "repaired") {
		t.Errorf("it was not started between the firewall and the network:\n%s", log)
	}

	m.run("systemctl", "disable", "--now", "band")
	kept = nil // nobody answers any more
	if !m.drops(attacker) || arrived(attacker) > 0 {
		t.Error("the bans ended with the daemon")
	}
	m.run("band", "--flush")
	until(t, func() bool { return arrived(attacker) > 0 }, func() string { return "band --flush leaves bans in the kernel" })
	run(t, "make", "-C", "..", "uninstall", "DESTDIR="+root)
	want := append(before,
		"etc/band", "etc/band/band.toml", "etc/band/jails.d", "etc/band/jails.d/door.toml",
		"etc/gshadow-", // the group band stays
		"var/lib/band")
	slices.Sort(want)
	if diff := cmp.Diff(want, files(t, root)); diff != "" {
		t.Errorf("what is left is not what should be: %s", diff)
	}
	if left := m.run("find", "/run", "/tmp", "/var/tmp", "-name", "*band*", "-not", "-path", "/run/systemd/*"); left != "" {
		t.Errorf("what is left while the machine runs:\n%s", left)
	}
}

// prepare gives the machine a network that systemd configures, a firewall that
// flushes everything at boot, and the folder of FreeSWITCH's logs.
func prepare(t *testing.T, root string) {
	t.Helper()
	network := fmt.Sprintf("[Match]\nName=eth0\n[Network]\nAddress=%s/24\nAddress=198.51.100.1/24\n", server)
	if err := os.WriteFile(filepath.Join(root, "etc/systemd/network/eth0.network"), []byte(network), 0o644); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(root, "etc/nftables.conf")); err != nil || !bytes.Contains(text, []byte("flush ruleset")) {
		t.Fatalf("nftables.conf flushes nothing, and so proves nothing: %v\n%s", err, text)
	}
	run(t, "chroot", root, "systemctl", "enable", "systemd-networkd", "nftables")
	run(t, "chroot", root, "systemctl", "mask", "systemd-networkd-wait-online")
	// Who does not wait for these two is seen to be too early.
	for unit, delay := range map[string]string{"nftables": "1", "band": "0.5"} {
		dir := filepath.Join(root, "etc/systemd/system", unit+".service.d")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "slow.conf"), []byte("[Service]\nExecStartPre=sleep "+delay+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "var/log/freeswitch"), 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, "chown", nobody, filepath.Join(root, "var/log/freeswitch"))
}

func install(t *testing.T, root string) {
	t.Helper()
	run(t, "make", "-C", "..", "build", "install", "CGO_ENABLED=0", "DESTDIR="+root)
}

// attack plays a recorded attack into the machine's log, as if it happened now.
func attack(t *testing.T, root string) {
	t.Helper()
	recording, err := os.ReadFile("../testdata/freeswitch/01_basic.guard.log")
	if err != nil {
		t.Fatal(err)
	}
	stamps := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}`)
	recording = stamps.ReplaceAll(recording, []byte(time.Now().UTC().Format("2006-01-02 15:04:05.000000")))
	log := filepath.Join(root, "var/log/freeswitch/freeswitch.log")
	if err := os.WriteFile(log, recording, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "chown", nobody, log)
}

// reloads checks that systemd can make the daemon read its configuration again,
// and hears when it is refused; and that a confined daemon can read the journal.
func reloads(m *machine) {
	t := m.t
	t.Helper()
	path := filepath.Join(m.root, "etc/band/jails.d/door.toml")
	const jail = `
format   = "syslog"
maxretry = 2

[[source]]
journal = ["SYSLOG_IDENTIFIER=door", "_UID=0"]

[[pattern]]
name  = "knock"
regex = '^door\[\d+\]: wrong knock from <HOST>$'
`
	if err := os.WriteFile(path, []byte("maxretries = 2"+jail), 0o644); err != nil {
		t.Fatal(err)
	}
	if m.command("systemctl", "reload", "band").Run() == nil {
		t.Error("systemd takes a refused configuration for one that was read")
	}
	if err := os.WriteFile(path, []byte(jail), 0o644); err != nil {
		t.Fatal(err)
	}
	m.run("systemctl", "reload", "band")
	for range 2 {
		m.run("systemd-cat", "--identifier=door", "echo", "wrong knock from 192.0.2.9")
	}
	until(t, func() bool { return strings.Contains(m.run("banctl", "list", "--jail", "door"), "192.0.2.9") }, func() string {
		return "who fails in the journal is not banned:\n" + m.try("banctl", "status")
	})
}

// confined checks that the unit allows what docs/install.md says, and nothing else.
func confined(m *machine) {
	t := m.t
	t.Helper()
	pid := strings.TrimSpace(m.run("systemctl", "show", "--property=MainPID", "--value", "band"))
	status := m.run("cat", "/proc/"+pid+"/status")
	for _, want := range []string{
		"CapEff:\t0000000000001004\n", // CAP_DAC_READ_SEARCH is bit 2, CAP_NET_ADMIN bit 12
		"CapBnd:\t0000000000001004\n",
		"NoNewPrivs:\t1\n",
		"Seccomp:\t2\n",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("the daemon's status lacks %q:\n%s", want, status)
		}
	}
	if socket := m.run("stat", "--format=%U:%G %a", "/run/band/band.sock"); socket != "root:band 660\n" {
		t.Errorf("the socket is %s", socket)
	}
	m.run("setpriv", "--reuid=nobody", "--regid=band", "--clear-groups", "banctl", "status")

	analysis := m.run("systemd-analyze", "security", "--no-pager", "band")
	score := regexp.MustCompile(`Overall exposure level for band.service: (\S+)`).FindStringSubmatch(analysis)
	document, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	written := regexp.MustCompile("`systemd-analyze security band` says (\\S+)").FindSubmatch(document)
	if score == nil || written == nil || score[1] != string(written[1]) {
		t.Errorf("docs/install.md says %q, systemd %q:\n%s", written, score, analysis)
	}
}

// withoutPackets is a list of bans without the numbers of packets, which change.
func withoutPackets(list string) string {
	return regexp.MustCompile(`"packets": ?\d+`).ReplaceAllString(list, "")
}

// files returns what is in a folder, the state as one, without what systemd and
// FreeSWITCH write while a machine runs.
func files(t *testing.T, root string) (paths []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, _ fs.DirEntry, err error) error {
		if slices.Contains([]string{"var/log", "var/lib/systemd"}, path) {
			return fs.SkipDir
		}
		paths = append(paths, path)
		if path == "var/lib/band" {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	return paths
}
