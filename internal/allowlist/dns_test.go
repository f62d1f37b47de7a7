package allowlist_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"band/internal/allowlist"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// both is an answer for both families.
const both = zoneFile(`
	trunk.example.com. 300 192.0.2.7
	trunk.example.com. 200 2001:db8::7
`)

// only lets a handler answer what is asked of one type, and other the rest.
func only(t dnsmessage.Type, h, other handler) handler {
	return func(network string, query dnsmessage.Message) [][]byte {
		if query.Questions[0].Type == t {
			return h(network, query)
		}
		return other(network, query)
	}
}

func silence(string, dnsmessage.Message) [][]byte { return nil }

// code answers with a code and nothing else.
func code(code dnsmessage.RCode) handler {
	return func(_ string, query dnsmessage.Message) [][]byte {
		m := zoneFile("").reply(query)
		m.RCode = code
		return [][]byte{pack(m)}
	}
}

// truncated has no room for its answer in a datagram.
func truncated(h handler) handler {
	return func(network string, query dnsmessage.Message) [][]byte {
		if network == "tcp" {
			return h(network, query)
		}
		m := zoneFile("").reply(query)
		m.Truncated, m.RCode = true, dnsmessage.RCodeSuccess
		return [][]byte{pack(m)}
	}
}

// forged sends what others made up before the answer.
func forged(h handler) handler {
	return func(network string, query dnsmessage.Message) [][]byte {
		lie := zoneFile("trunk.example.com. 1 192.0.2.66\ntrunk.example.com. 1 2001:db8::66\n")
		id := lie.reply(query)
		id.ID++
		question := lie.reply(query)
		question.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName("other.example.com."), Type: query.Questions[0].Type, Class: dnsmessage.ClassINET}}
		asks := lie.reply(query)
		asks.Response = false
		none := lie.reply(query)
		none.Questions = nil
		return append([][]byte{nil, []byte("garbage"), pack(none), pack(asks), pack(question), pack(id)}, h(network, query)...)
	}
}

// damaged cuts off the last bytes of an answer.
func damaged(_ string, query dnsmessage.Message) [][]byte {
	m := both.reply(query)
	m.Authorities = nil
	b := pack(m)
	return [][]byte{b[:len(b)-2]}
}

// unsteady answers each question when it is asked again.
func unsteady(h handler) handler {
	var mu sync.Mutex
	asked := map[dnsmessage.Type]bool{}
	return func(network string, query dnsmessage.Message) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		if t := query.Questions[0].Type; !asked[t] {
			asked[t] = true
			return nil
		}
		return h(network, query)
	}
}

func TestLookup(t *testing.T) {
	large := zoneFile("")
	var hundred []string
	for i := range 100 {
		large += zoneFile(fmt.Sprintf("trunk.example.com. %d 198.51.100.%d\n", 1000-i, 100+i))
		hundred = append(hundred, fmt.Sprintf("198.51.100.%d", 100+i))
	}
	const A, AAAA = dnsmessage.TypeA, dnsmessage.TypeAAAA
	answer := func(ttl time.Duration, as ...string) allowlist.Answer {
		return allowlist.Answer{Addrs: addrs(as...), TTL: ttl * time.Second}
	}
	noIPv6 := answer(300, "192.0.2.7")
	noIPv6.MissingIPv6 = true
	noIPv4 := answer(200, "2001:db8::7")
	noIPv4.MissingIPv4 = true
	for _, test := range []struct {
		name string
		h    handler
		want allowlist.Answer
		err  string
	}{
		{name: "both families", h: both.handle, want: answer(200, "192.0.2.7", "2001:db8::7")},
		{name: "IPv4", h: zoneFile("trunk.example.com. 300 192.0.2.7").handle, want: answer(300, "192.0.2.7")},
		{name: "IPv6", h: zoneFile("trunk.example.com. 300 2001:db8::7").handle, want: answer(300, "2001:db8::7")},
		{
			name: "alias",
			h: zoneFile(`
				trunk.example.com. 300 CNAME one.example.net.
				one.example.net. 20 CNAME two.example.net.
				two.example.net. 100 192.0.2.7
			`).handle,
			want: answer(20, "192.0.2.7"),
		},
		{
			name: "address that is good for less than its alias",
			h:    zoneFile("trunk.example.com. 300 CNAME one.example.net.\none.example.net. 10 192.0.2.7\n").handle,
			want: answer(10, "192.0.2.7"),
		},
		{
			name: "other records",
			h:    zoneFile("trunk.example.com. 1 text\ntrunk.example.com. 40 192.0.2.7\ntrunk.example.com. 50 192.0.2.8").handle,
			want: answer(40, "192.0.2.7", "192.0.2.8"),
		},
		{name: "no time", h: zoneFile("trunk.example.com. 0 192.0.2.7").handle, want: answer(0, "192.0.2.7")},
		{name: "all time", h: zoneFile("trunk.example.com. 4294967295 192.0.2.7").handle, want: answer(1<<32-1, "192.0.2.7")},
		{name: "large", h: truncated(large.handle), want: answer(901, hundred...)},
		{name: "forged", h: forged(both.handle), want: answer(200, "192.0.2.7", "2001:db8::7")},
		{name: "lost", h: unsteady(both.handle), want: answer(200, "192.0.2.7", "2001:db8::7")},

		{name: "silent about IPv6", h: only(A, both.handle, silence), want: noIPv6},
		{name: "silent about IPv4", h: only(AAAA, both.handle, silence), want: noIPv4},
		{name: "failure of IPv6", h: only(A, both.handle, code(dnsmessage.RCodeServerFailure)), want: noIPv6},
		{name: "failure of IPv4", h: only(AAAA, both.handle, code(dnsmessage.RCodeRefused)), want: noIPv4},
		{name: "damaged IPv6", h: only(A, both.handle, damaged), want: noIPv6},
		{name: "no such name in IPv6", h: only(A, both.handle, code(dnsmessage.RCodeNameError)), want: answer(300, "192.0.2.7")},
		{name: "silent over TCP", h: only(A, both.handle, truncated(silence)), want: noIPv6},
		{name: "forged alone", h: only(A, both.handle, forged(silence)), want: noIPv6},

		{name: "no such name", h: zoneFile("").handle, err: "no such host"},
		{name: "no address", h: zoneFile("trunk.example.com. 1 text").handle, err: "no such host"},
		{name: "failure", h: code(dnsmessage.RCodeServerFailure), err: "server misbehaving"},
		{name: "silent", h: silence, err: "i/o timeout"},
		{name: "forged and nothing else", h: forged(silence), err: "i/o timeout"},
		{name: "damaged", h: damaged, err: "cannot unmarshal DNS message"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := allowlist.DNS{Dial: serve(t, "127.0.0.1:0", test.h).dial}.Lookup(t.Context(), trunk)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), "lookup "+trunk) {
					t.Fatalf("the error is %v, not %q; the answer %v", err, test.err, got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range got.Addrs {
				got.Addrs[i] = a.Unmap()
			}
			slices.SortFunc(got.Addrs, netip.Addr.Compare)
			if d := cmp.Diff(test.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// The end of its context ends a look-up, and nothing of it is left.
func TestLookupStops(t *testing.T) {
	asked := make(chan struct{}, 100)
	s := serve(t, "127.0.0.1:0", func(string, dnsmessage.Message) [][]byte {
		asked <- struct{}{}
		return nil
	})
	others := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error)
	go func() {
		_, err := allowlist.DNS{Dial: s.dial}.Lookup(ctx, trunk)
		failed <- err
	}()
	<-asked
	<-asked
	cancel()
	if err := <-failed; err == nil {
		t.Error("a look-up that was stopped succeeded")
	}
	goleak.VerifyNone(t, others)
	if n := len(asked); n > 0 {
		t.Errorf("%d questions were asked after it", n)
	}
}

// eventually waits until the list holds what is wanted.
func (r *rig) eventually(want ...string) {
	r.t.Helper()
	var got []string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		got = nil
		for _, p := range allowlist.Prefixes(r.Snapshot()) {
			got = append(got, p.String())
		}
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-r.Changes():
		case <-time.After(50 * time.Millisecond):
		}
	}
	r.t.Fatalf("the list holds %v, not %v", got, want)
}

// A list follows a name server, and keeps what it knows when that hangs.
func TestListAndServer(t *testing.T) {
	t.Parallel()
	s := serve(t, "127.0.0.1:0", zoneFile("trunk.example.com. 1 192.0.2.7").handle)
	r := newRigWith(t, allowlist.DNS{Dial: s.dial}.Lookup, nil, trunk).start()
	r.eventually("192.0.2.7/32")
	s.set(zoneFile("trunk.example.com. 1 192.0.2.8").handle)
	r.eventually("192.0.2.7/32", "192.0.2.8/32")
	s.set(forged(silence))
	before := s.questions(dnsmessage.TypeA)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && r.item(trunk).Err == ""; {
		time.Sleep(20 * time.Millisecond)
	}
	if item := r.item(trunk); item.Err == "" || s.questions(dnsmessage.TypeA) == before {
		t.Errorf("the item is %+v", item)
	}
	r.eventually("192.0.2.7/32", "192.0.2.8/32")
	s.set(truncated(zoneFile("trunk.example.com. 1 192.0.2.9").handle))
	r.eventually("192.0.2.7/32", "192.0.2.8/32", "192.0.2.9/32")
}

// inside reports whether the test runs in namespaces of its own, and runs it
// there where it does not.
func inside(t *testing.T) bool {
	t.Helper()
	const mark = "ALLOWLIST_TEST_INSIDE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	t.Parallel()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// TestSystem shows that a list without a resolver of its own asks what this
// system is configured to ask: /etc/hosts, the name servers in turn, and the
// search domains. It runs in namespaces of its own.
func TestSystem(t *testing.T) {
	if !inside(t) {
		return
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for path, text := range map[string]string{
		"/etc/hosts":         "192.0.2.50 in-hosts.example.com\n127.0.0.1 localhost\n",
		"/etc/resolv.conf":   "nameserver 127.0.0.2\nnameserver 127.0.0.3\nnameserver 127.0.0.4\nsearch example.com\noptions attempts:9\n",
		"/etc/nsswitch.conf": "hosts: files resolve [!UNAVAIL=return] dns\n",
	} {
		own := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(own, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(own, path, "", unix.MS_BIND, ""); err != nil {
			t.Fatalf("mount over %s: %v", path, err)
		}
	}
	serve(t, "127.0.0.2:53", silence)
	serve(t, "127.0.0.3:53", silence)
	s := serve(t, "127.0.0.4:53", zoneFile("trunk.example.com. 1 192.0.2.7").handle)
	r := newRigWith(t, nil, nil, "trunk", "in-hosts.example.com").start()
	r.eventually("192.0.2.7/32", "192.0.2.50/32")
	s.set(zoneFile("trunk.example.com. 1 192.0.2.8").handle)
	r.eventually("192.0.2.7/32", "192.0.2.8/32", "192.0.2.50/32")
	r.stop()

	answer, err := allowlist.DNS{}.Lookup(t.Context(), "in-hosts.example.com")
	if want := (allowlist.Answer{Addrs: addrs("192.0.2.50"), TTL: time.Minute}); err != nil || answer.TTL != want.TTL || answer.MissingIPv4 || answer.MissingIPv6 {
		t.Errorf("from /etc/hosts: %+v, %v", answer, err)
	}

	// The three name servers are asked nine times if nothing ends that.
	s.set(silence)
	before := s.questions(dnsmessage.TypeA)
	if _, err := (allowlist.DNS{}).Lookup(t.Context(), "trunk.example.com"); err == nil {
		t.Error("a look-up succeeded that nobody answered")
	}
	if n := s.questions(dnsmessage.TypeA) - before; n != 1 {
		t.Errorf("the third name server was asked %d times", n)
	}
}
