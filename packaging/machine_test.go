package packaging_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// deadline is how long a test waits for what must happen; nothing waits for it
// where all is well.
const deadline = time.Minute

// debian returns a folder with a small Debian in it, systemd included.
func debian(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root for namespaces, nothing was tested")
	}
	root := filepath.Join(t.TempDir(), "root")
	t.Cleanup(func() {
		if t.Failed() {
			journal, _ := exec.Command("journalctl", "--directory="+root+"/var/log/journal", "--lines=200").CombinedOutput()
			t.Logf("the journal of the machine:\n%s", journal)
		}
	})
	run(t, "mmdebstrap", "--quiet", "--variant=essential", "--include=systemd-sysv,nftables", "bookworm", root)
	return root
}

// machine is a Debian that was booted from a folder, on one end of a cable. It
// has a kernel state of its own, as far as nftables and the network are concerned.
type machine struct {
	t       *testing.T
	root    string
	init    int // process id of its systemd
	net     int // process id of the holder of its network
	outside int // process id of the holder of the cable's other end
}

// boot boots a machine and connects it with a cable, before it is up. The
// network inside is its own affair.
func boot(t *testing.T, root string) *machine {
	t.Helper()
	runtime.LockOSThread() // what is started dies with its thread
	m := &machine{t: t, root: root, net: namespace(t), outside: namespace(t)}
	m.nsenter(m.net, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(m.outside))
	m.nsenter(m.outside, "ip", "address", "add", phone+"/24", "dev", "eth0")
	m.nsenter(m.outside, "ip", "address", "add", attacker+"/24", "dev", "eth0")
	m.nsenter(m.outside, "ip", "link", "set", "eth0", "up")

	group, err := os.Open(cgroup(t))
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	systemd := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", m.net), "unshare", "--mount", "--cgroup", "sh", "-euc", powerOn, "sh", root)
	systemd.Stderr = os.Stderr
	systemd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		UseCgroupFD: true, CgroupFD: int(group.Fd()),
		Pdeathsig: syscall.SIGKILL,
	}
	if err := systemd.Start(); err != nil {
		t.Fatal(err)
	}
	m.init = systemd.Process.Pid
	t.Cleanup(func() {
		m.powerCut()
		systemd.Wait()
	})
	return m
}

// powerOn makes a folder a machine's root, and its systemd the first process,
// as https://systemd.io/CONTAINER_INTERFACE has it.
const powerOn = `
	mount --bind "$1" "$1"
	cd "$1"
	mount -t proc proc proc
	mount -t sysfs -o ro sysfs sys
	mount -t cgroup2 cgroup2 sys/fs/cgroup
	for dir in dev run tmp; do mount -t tmpfs tmpfs $dir; done
	for device in null zero full random urandom tty; do
		touch dev/$device
		mount --bind /dev/$device dev/$device
	done
	mkdir dev/shm dev/pts
	mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
	ln -s pts/ptmx dev/ptmx
	pivot_root . mnt
	umount --lazy /mnt
	exec env -i container=test /lib/systemd/systemd
`

// up waits until the machine has booted.
func (m *machine) up() {
	m.t.Helper()
	// Before, its root is still that of the host.
	until(m.t, func() bool {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", m.init))
		return string(comm) == "systemd\n"
	}, func() string { return "systemd was not started" })
	until(m.t, func() bool {
		state := m.try("systemctl", "is-system-running")
		return state == "running\n" || state == "degraded\n" // by what a container cannot have
	}, func() string { return "it does not boot: " + m.try("systemctl", "list-jobs", "--no-pager") })
}

// powerCut ends the machine at once.
func (m *machine) powerCut() {
	for _, pid := range []int{m.init, m.net, m.outside} {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

func (m *machine) command(args ...string) *exec.Cmd {
	args = append([]string{"--target", fmt.Sprint(m.init), "--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup"}, args...)
	c := exec.Command("nsenter", args...)
	c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return c
}

// run runs a command in the machine and returns what it printed.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	return output(m.t, m.command(args...))
}

// try is run for a command that may fail.
func (m *machine) try(args ...string) string {
	out, _ := m.command(args...).CombinedOutput()
	return string(out)
}

// nsenter runs a command of the host in a network namespace.
func (m *machine) nsenter(pid int, args ...string) string {
	m.t.Helper()
	return run(m.t, "nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", pid)}, args...)...)
}

// listen counts the packets that arrive at the port of SIP, by source.
func (m *machine) listen() (arrived func(source string) int) {
	m.t.Helper()
	var conn *net.UDPConn
	m.inside(m.net, func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 5060})
		return err
	})
	m.t.Cleanup(func() { conn.Close() })
	var mu sync.Mutex
	seen := make(map[string]int)
	go func() { // ends with the connection
		buf := make([]byte, 64)
		for {
			_, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			mu.Lock()
			seen[from.Addr().String()]++
			mu.Unlock()
		}
	}()
	return func(source string) int {
		mu.Lock()
		defer mu.Unlock()
		return seen[source]
	}
}

// send sends packets from a source to the machine until the test ends, whether
// there is a way to it or not.
func (m *machine) send(source string) {
	m.t.Helper()
	var conn *net.UDPConn
	m.inside(m.outside, func() (err error) {
		conn, err = net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(source)}, &net.UDPAddr{IP: net.ParseIP(server), Port: 5060})
		return err
	})
	m.t.Cleanup(func() { conn.Close() })
	go func() { // ends with the connection
		for tick := time.Tick(time.Millisecond); ; <-tick {
			if _, err := conn.Write([]byte("REGISTER")); errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}()
}

// inside runs f on a thread in a network namespace: a socket that it opens stays
// there.
func (m *machine) inside(pid int, f func() error) {
	m.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		ns, err := netns.GetFromPid(pid)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		m.t.Fatal(err)
	}
}

// drops reports whether the machine's kernel holds a ban of the jail freeswitch.
func (m *machine) drops(source string) bool {
	m.t.Helper()
	out, _ := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", m.net), "nft", "list", "set", "inet", "band", "freeswitch-ip4").Output()
	return strings.Contains(string(out), source+" ")
}

// namespace returns the process id of the holder of a new network namespace.
func namespace(t *testing.T) int {
	t.Helper()
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		holder.Process.Kill()
		holder.Wait()
	})
	return holder.Process.Pid
}

// cgroup makes a control group for a machine and returns its directory.
func cgroup(t *testing.T) string {
	t.Helper()
	all := t.TempDir()
	if err := syscall.Mount("cgroup2", all, "cgroup2", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(all, 0); err != nil {
			t.Error(err)
		}
	})
	group, err := os.MkdirTemp(all, "band-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		until(t, func() bool {
			exec.Command("find", group, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").Run()
			_, err := os.Stat(group)
			return os.IsNotExist(err)
		}, func() string { return group + " is not empty" })
	})
	return group
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	return output(t, exec.Command(name, args...))
}

func output(t *testing.T, c *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", c.Args, err, out, &stderr)
	}
	return string(out)
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
