package banner_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"band/banner"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	inside       = "BANNER_TEST_INSIDE"
	unprivileged = "BAND_TEST_UNPRIVILEGED"
)

// TestMain runs the tests again in a network namespace of their own. It is the
// whole process that moves: a netlink socket belongs to the namespace of the
// thread that opens it, and goroutines change threads.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(inside) == "" && os.Getenv(unprivileged) != "1" && os.Geteuid() == 0 {
		cmd := exec.Command(os.Args[0], os.Args[1:]...)
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if err := cmd.Run(); err != nil {
			if cmd.ProcessState == nil {
				fmt.Fprintln(os.Stderr, "cannot run in a network namespace:", err)
			}
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// privileged ends a test that cannot reach the kernel, and clears the ruleset
// for the others.
func privileged(t testing.TB) {
	t.Helper()
	if os.Getenv(inside) == "" {
		const reason = "needs root, for a network namespace and nftables"
		if os.Getenv(unprivileged) == "1" {
			t.Skip(reason)
		}
		t.Fatal(reason + "; " + unprivileged + "=1 skips")
	}
	shell(t, "nft flush ruleset")
}

// shell runs a command line, which must succeed, and returns what it printed.
func shell(t testing.TB, line string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// eventually polls until the condition holds, and says what was missing when
// it does not.
func eventually(t testing.TB, within time.Duration, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A watcher is an Observer that remembers.
type watcher struct {
	mu       sync.Mutex
	repaired []string
	failing  []error

	uncounted int // how often that was told
}

func (w *watcher) Repaired(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.repaired = append(w.repaired, what)
}

func (w *watcher) Failing(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing = append(w.failing, err)
}

func (w *watcher) Uncounted() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.uncounted++
}

func (w *watcher) told() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.uncounted
}

func (w *watcher) repairs() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.repaired, "; ")
}

func (w *watcher) failures() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]error(nil), w.failing...)
}

// start runs a banner until the test, or the returned function, ends it.
func start(t testing.TB, c banner.Config, changes ...banner.Change) (*banner.Banner, func()) {
	t.Helper()
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	b := banner.New(c)
	b.Change(changes)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	await(t, b)
	return b, stop
}

// A logWriter shows the log with the test, and fails the test when the kernel
// refused a write: that heals by itself, and would else go unseen.
type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Helper()
	w.t.Logf("%s", bytes.TrimSpace(p))
	if bytes.Contains(p, []byte("the kernel refused")) {
		w.t.Error("refused")
	}
	return len(p), nil
}

// await waits for the kernel.
func await(t testing.TB, b *banner.Banner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := b.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}

// tell changes the desired state and waits for the kernel.
func tell(t testing.TB, b *banner.Banner, changes ...banner.Change) {
	t.Helper()
	b.Change(changes)
	await(t, b)
}

func ban(group, unit string, until time.Time) banner.Change {
	return banner.Change{Element: element(group, unit), Until: until}
}

func lift(group, unit string) banner.Change {
	return banner.Change{Element: element(group, unit), Lift: true}
}

func element(group, unit string) banner.Element {
	return banner.Element{Group: group, Unit: prefix(unit)}
}

// prefix reads a prefix, or a single address.
func prefix(s string) netip.Prefix {
	if strings.Contains(s, "/") {
		return netip.MustParsePrefix(s)
	}
	addr := netip.MustParseAddr(s)
	return netip.PrefixFrom(addr, addr.BitLen())
}

func within(d time.Duration) time.Time { return time.Now().Add(d) }

// expiries reads a set with nft(8): how long each element stays, 0 for ever.
func expiries(t testing.TB, set string) map[string]time.Duration {
	t.Helper()
	text := shell(t, "nft list set inet band "+set)
	elements := map[string]time.Duration{}
	_, list, _ := strings.Cut(text, "elements = {")
	list, _, _ = strings.Cut(list, "}")
	for item := range strings.SplitSeq(list, ",") {
		fields := strings.Fields(item)
		if len(fields) == 0 {
			continue
		}
		elements[fields[0]] = 0
		for i, f := range fields {
			if f != "expires" {
				continue
			}
			days, rest, found := strings.Cut(fields[i+1], "d")
			if !found {
				days, rest = "0", days
			}
			n, err := time.ParseDuration(days + "h")
			if err != nil {
				t.Fatal(err)
			}
			d, err := time.ParseDuration(rest + "0s")
			if err != nil {
				t.Fatal(err)
			}
			elements[fields[0]] = 24*n + d
		}
	}
	return elements
}

// near reports whether a time left is that until a time.
func near(left time.Duration, until time.Time) bool {
	return (time.Until(until) - left).Abs() < 2*time.Second
}

// generation returns the number of commits to the ruleset so far.
func generation(t testing.TB) uint32 {
	t.Helper()
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	replies, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.NFPROTO_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.Uint32(replies[0].Data[8:]) // after nfgenmsg and the first attribute's header
}

var sip = banner.Group{Name: "freeswitch", Ports: banner.Ports{UDP: []uint16{5080, 5060, 5060}, TCP: []uint16{5060}}}

// packets asks the banner what the kernel has.
func packets(t testing.TB, b *banner.Banner) map[banner.Element]uint64 {
	t.Helper()
	got, err := b.Packets(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

var comparers = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

var quiet = slog.New(slog.DiscardHandler)

// inKernel reports whether an address is in the allowlist of the kernel.
func inKernel(addr netip.Addr) bool {
	set := "allow4"
	if addr.Is6() {
		set = "allow6"
	}
	return exec.Command("nft", "get", "element", "inet", "band", set, "{ "+addr.String()+" }").Run() == nil
}
