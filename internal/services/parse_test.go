package services_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"band/internal/services"
)

func TestBans(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"/usr/bin/python3 /usr/bin/fail2ban-server -xf start", "fail2ban-server"},
		{"/opt/venv/bin/python3.11 -E /opt/venv/bin/fail2ban-server --async -b", "fail2ban-server"},
		{"fail2ban-server", "fail2ban-server"},
		{"/usr/bin/php /var/www/fusionpbx/app/event_guard/resources/service/event_guard.php", "event_guard.php"},
		{"php8.2 -d memory_limit=1G event_guard.php debug=true", "event_guard.php"},
		{"/usr/bin/crowdsec-firewall-bouncer -c /etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml", "crowdsec-firewall-bouncer"},
		{"/usr/libexec/sshguard/sshg-blocker -a 30", "sshg-blocker"},

		{"", ""},
		{"/usr/bin/crowdsec -c /etc/crowdsec/config.yaml", ""},
		{"/usr/bin/python3 /usr/bin/fail2ban-client status", ""},
		{"tail -f /var/log/fail2ban-server", ""},
		{"grep event_guard.php", ""},
		{"vim /usr/bin/fail2ban-server", ""},
		{"php-fpm: pool www", ""},
		{"php /var/www/fusionpbx/app/event_guard/event_guard_logs.php", ""},
		{"sh /usr/sbin/sshguard", ""},
	} {
		if got := services.Bans(strings.Split(test.line, " ")); got != test.want {
			t.Errorf("%q: %q, want %q", test.line, got, test.want)
		}
	}
	if got := services.Bans(nil); got != "" {
		t.Errorf("a kernel thread: %q", got)
	}
}

func TestParseCgroup(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"0::/system.slice/ssh.service\n", "system.slice/ssh.service"},
		{"2:cpu:/a\n1:name=systemd:/system.slice/b.service\n0::/system.slice/c.service\n", "system.slice/c.service"},
		{"0::/system.slice/a b.service (deleted)\n", "system.slice/a b.service (deleted)"},
		{"0::/..a\n", "..a"},
		{"0::/\n", ""},
		{"0::/..\n", ""},
		{"0::/../../user.slice\n", ""},
		{"1:name=systemd:/system.slice/ssh.service\n", ""},
		{"", ""},
	} {
		if got := services.ParseCgroup(test.text); got != test.want {
			t.Errorf("%q: %q, want %q", test.text, got, test.want)
		}
	}
}

// FuzzCgroup looks for a text that leads out of the mount.
func FuzzCgroup(f *testing.F) {
	f.Add("1:name=systemd:/\n0::/system.slice/ssh.service\n")
	f.Add("0::/a/../../b\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := services.ParseCgroup(text)
		if path != "" && !strings.HasPrefix(filepath.Join("/mount", path)+"/", "/mount/") {
			t.Errorf("path %q", path)
		}
	})
}

func FuzzStatus(f *testing.F) {
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Fuzz(func(t *testing.T, status []byte) {
		name, _, _, err := services.ParseStatus(status)
		if err == nil && (name == "" || strings.Contains(name, "\n") || !bytes.Contains(status, []byte(name))) {
			t.Errorf("name %q", name)
		}
	})
}

func TestParseStatus(t *testing.T) {
	const status = "Name:\tsshd\nUmask:\t0022\nState:\tS (sleeping)\nPid:\t812\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n"
	for _, test := range []struct {
		name, text string
		want       string
		runs, fail bool
	}{
		{"sleeping", status, "sshd", true, false},
		{"of two words", strings.Replace(status, "sshd", "(sd-pam) x", 1), "(sd-pam) x", true, false},
		{"named to deceive", strings.Replace(status, "sshd", `x\nUid:`, 1), `x\nUid:`, true, false},
		{"zombie", strings.Replace(status, "S (sleeping)", "Z (zombie)", 1), "sshd", false, false},
		{"dead", strings.Replace(status, "S (sleeping)", "X (dead)", 1), "sshd", false, false},
		{"no user", strings.Replace(status, "Uid", "Gid", 1), "", false, true},
		{"too few users", strings.Replace(status, "\t3\t4", "", 1), "", false, true},
		{"no state", strings.Replace(status, "State", "Stat", 1), "", false, true},
		{"no name", strings.Replace(status, "Name", "Nam", 1), "", false, true},
		{"empty", "", "", false, true},
	} {
		name, uids, runs, err := services.ParseStatus([]byte(test.text))
		if (err != nil) != test.fail {
			t.Errorf("%s: error %v", test.name, err)
		} else if err == nil && (name != test.want || runs != test.runs || uids != [4]uint32{1, 2, 3, 4}) {
			t.Errorf("%s: name %q, users %v, runs %v", test.name, name, uids, runs)
		}
	}
}

// answered is what the kernel says of a socket (linux/inet_diag.h).
func answered(family byte, source netip.AddrPort, device, uid, inode uint32, attributes ...netlink.Attribute) []byte {
	data := make([]byte, 72)
	data[0] = family
	binary.BigEndian.PutUint16(data[4:], source.Port())
	copy(data[8:], source.Addr().AsSlice())
	binary.NativeEndian.PutUint32(data[40:], device)
	binary.NativeEndian.PutUint32(data[64:], uid)
	binary.NativeEndian.PutUint32(data[68:], inode)
	more, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		panic(err)
	}
	return append(data, more...)
}

func number(n uint64) []byte { return binary.NativeEndian.AppendUint64(nil, n) }

func TestParseSocket(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("203.0.113.10:5090"), netip.MustParseAddrPort("[2001:db8::1]:65535")
	cgroup := netlink.Attribute{Type: 21, Data: number(1 << 40)}
	for _, test := range []struct {
		name   string
		data   []byte
		at     netip.AddrPort
		cgroup uint64
		fail   bool
	}{
		{"IPv4", answered(unix.AF_INET, v4, 2, 1000, 4711, netlink.Attribute{Type: 8, Data: []byte{1}}, cgroup), v4, 1 << 40, false},
		{"IPv6", answered(unix.AF_INET6, v6, 2, 1000, 4711, cgroup, netlink.Attribute{Type: 12, Data: []byte{0}}), v6, 1 << 40, false},
		{"IPv4 in IPv6", answered(unix.AF_INET6, netip.MustParseAddrPort("[::ffff:203.0.113.10]:5090"), 2, 1000, 4711, cgroup), v4, 1 << 40, false},
		{"before Linux 5.9", answered(unix.AF_INET, v4, 2, 1000, 4711), v4, 0, false},
		{"short", answered(unix.AF_INET, v4, 2, 1000, 4711)[:71], v4, 0, true},
		{"short attribute", answered(unix.AF_INET, v4, 2, 1000, 4711, netlink.Attribute{Type: 21, Data: []byte{1}}), v4, 0, true},
		{"cut attribute", append(answered(unix.AF_INET, v4, 2, 1000, 4711), 12, 0, 21, 0, 1), v4, 0, true},
		{"of another family", answered(unix.AF_VSOCK, v4, 2, 1000, 4711), v4, 0, true},
		{"empty", nil, v4, 0, true},
	} {
		at, device, inode, uid, cgroup, err := services.ParseSocket(test.data)
		if (err != nil) != test.fail {
			t.Errorf("%s: error %v", test.name, err)
		} else if err == nil && (at != test.at || device != 2 || uid != 1000 || inode != 4711 || cgroup != test.cgroup) {
			t.Errorf("%s: at %v, device %d, uid %d, inode %d, cgroup %d", test.name, at, device, uid, inode, cgroup)
		}
	}
}

func FuzzSocket(f *testing.F) {
	f.Add(answered(unix.AF_INET, netip.MustParseAddrPort("203.0.113.10:5090"), 1, 2, 3, netlink.Attribute{Type: 21, Data: number(4)}))
	f.Add(answered(unix.AF_INET6, netip.MustParseAddrPort("[::]:22"), 0, 0, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		at, _, _, _, _, err := services.ParseSocket(data)
		if err != nil {
			return
		}
		if len(data) < 72 || !at.IsValid() || at.Port() != binary.BigEndian.Uint16(data[4:]) {
			t.Errorf("%v of %d bytes", at, len(data))
		}
	})
}
