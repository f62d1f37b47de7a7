package services_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"band/internal/services"
)

// environ is that of a program, which under the race detector would take a
// second to end.
func environ(more ...string) []string {
	return append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), more...)
}

// role makes the test binary one of the programs that the tests start.
const role = "SERVICES_TEST_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(role) {
	case "serve":
		err = serve()
	case "harden":
		err = harden()
	case "ask":
		err = json.NewEncoder(os.Stdout).Encode(ask(os.Args[1:]))
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A world is a network namespace in which programs run.
type world struct {
	t  *testing.T
	ns netns.NsHandle
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{t: t}
	onThread(t, func() (err error) {
		if w.ns, err = netns.New(); err != nil {
			return err
		}
		for _, args := range []string{"link set lo up", "address add 203.0.113.10 dev lo"} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				return fmt.Errorf("ip %s: %w: %s", args, err, out)
			}
		}
		return nil
	})
	t.Cleanup(func() { w.ns.Close() })
	return w
}

// inside runs f on a thread of the namespace, in which its children live too.
func (w world) inside(f func() error) {
	w.t.Helper()
	onThread(w.t, func() error {
		if err := netns.Set(w.ns); err != nil {
			return err
		}
		return f()
	})
}

func onThread(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A program is one that a test starts.
type program struct {
	Name    string
	Args    []string
	Sockets []string // "network address", and "connected" or a device
	User    int
	Cgroup  string // in which it starts, and makes its sockets
	Moves   string // the cgroup to which it goes then
}

// start starts a program in the world, waits until it holds its sockets, and
// returns its PID.
func (w world) start(p program) int {
	w.t.Helper()
	self, err := json.Marshal(p)
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(alias(w.t, p.Name), p.Args...)
	cmd.Env = environ(role+"=serve", "SERVICES_TEST_PROGRAM="+string(self))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if p.Cgroup != "" {
		dir, err := os.Open(p.Cgroup)
		if err != nil {
			w.t.Fatal(err)
		}
		defer dir.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	}
	w.inside(cmd.Start)
	w.t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			w.t.Errorf("%s: %v", p.Name, err)
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		w.t.Fatalf("%s did not become ready: %v", p.Name, err)
	}
	return cmd.Process.Pid
}

// alias returns a path of the test binary that ends in name: the kernel names
// the process so.
func alias(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// serve is the program: it holds its sockets until its input ends.
func serve() error {
	var p program
	if err := json.Unmarshal([]byte(os.Getenv("SERVICES_TEST_PROGRAM")), &p); err != nil {
		return err
	}
	if p.User != 0 {
		if err := syscall.Setuid(p.User); err != nil {
			return err
		}
	}
	for _, text := range p.Sockets {
		close, err := open(strings.Fields(text))
		if err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		defer close()
	}
	if p.Moves != "" {
		if err := os.WriteFile(filepath.Join(p.Moves, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString(0)
	return nil
}

func open(words []string) (close func() error, err error) {
	network, address, config := words[0], words[1], net.ListenConfig{}
	if len(words) == 3 && words[2] == "connected" {
		from, err := net.ResolveUDPAddr(network, address)
		if err != nil {
			return nil, err
		}
		conn, err := net.DialUDP(network, from, &net.UDPAddr{IP: from.IP, Port: 9})
		if err != nil {
			return nil, err
		}
		return conn.Close, nil
	} else if len(words) == 3 {
		config.Control = func(_, _ string, c syscall.RawConn) (err error) {
			c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), words[2]) })
			return err
		}
	}
	if strings.HasPrefix(network, "udp") {
		conn, err := config.ListenPacket(context.Background(), network, address)
		if err != nil {
			return nil, err
		}
		return conn.Close, nil
	}
	listener, err := config.Listen(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	return listener.Close, nil
}

// An answer is what the package tells.
type answer struct {
	Ports     []string
	PortsErr  string
	Rivals    []string
	RivalsErr string
}

func ask(names []string) (a answer) {
	ports, err := services.Listening(names)
	if err != nil {
		a.PortsErr = err.Error()
	}
	for _, p := range ports {
		a.Ports = append(a.Ports, p.String())
	}
	rivals, err := services.Beside()
	if err != nil {
		a.RivalsErr = err.Error()
	}
	for _, r := range rivals {
		a.Rivals = append(a.Rivals, r.String())
	}
	return a
}

// ask asks as root.
func (w world) ask(names ...string) (a answer) {
	w.t.Helper()
	w.inside(func() error {
		a = ask(names)
		return nil
	})
	return a
}

// unprivileged asks as another user than root.
func (w world) unprivileged(names ...string) (a answer) {
	w.t.Helper()
	w.inside(func() error {
		// Of this thread alone.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, user, user, user); errno != 0 {
			return fmt.Errorf("become user %d: %w", user, errno)
		}
		a = ask(names)
		return nil
	})
	return a
}

// hardened asks as the daemon in its unit: root with two capabilities.
func (w world) hardened(names ...string) answer {
	w.t.Helper()
	return w.behind("", names...)
}

// behind asks so where /proc is mounted with options that hide processes, if any.
func (w world) behind(options string, names ...string) (a answer) {
	w.t.Helper()
	cmd := exec.Command(alias(w.t, "asks"), names...)
	cmd.Env = environ(role+"=harden", "SERVICES_TEST_PROC="+options)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.Stderr = os.Stderr
	w.inside(func() error {
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("%v: %w", cmd.Args, err)
		}
		return json.Unmarshal(out, &a)
	})
	return a
}

// harden gives up what the daemon's unit does not grant, and asks.
func harden() error {
	runtime.LockOSThread()
	if options := os.Getenv("SERVICES_TEST_PROC"); options != "" {
		if err := unix.Mount("proc", "/proc", "proc", 0, options); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
	}
	for capability := range uintptr(unix.CAP_LAST_CAP + 1) {
		if capability == unix.CAP_NET_ADMIN || capability == unix.CAP_DAC_READ_SEARCH {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Setenv(role, "ask"); err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, os.Environ())
}

// cgroups makes cgroups of version 2 with the names, in one of the test's own.
func cgroups(t *testing.T, names ...string) (dirs []string) {
	t.Helper()
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(mount, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		own, err := os.MkdirTemp(mount, "services-test-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { remove(t, own) })
		for _, name := range names {
			dir := filepath.Join(own, name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { remove(t, dir) })
			dirs = append(dirs, dir)
		}
		return dirs
	}
	t.Fatal("cgroups of version 2 are not mounted, nothing was tested")
	return nil
}

func remove(t *testing.T, dir string) {
	if err := os.Remove(dir); err != nil {
		t.Error(err)
	}
}
