package cmd_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A hundred kills at random moments, while 3,000 failures of 1,000 sources
// arrive, change nothing: who failed five times is banned, who failed four
// times is not, and no packet of a banned source arrives at any time.
func TestKill(t *testing.T) {
	const (
		kills    = 100
		sources  = 1000
		failures = 3000
		seed     = 20261121
	)
	random := rand.New(rand.NewPCG(seed, 0))
	server, outside := newHost(t), newHost(t)
	cable(server, outside)
	arrived := server.listen(5060)

	// A source that is banned before the first kill, and never stops sending.
	log, err := os.OpenFile(server.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	banned := netip.MustParseAddr("198.51.100.70")
	for range 5 {
		if _, err := log.WriteString(failure(time.Now(), banned)); err != nil {
			t.Fatal(err)
		}
	}
	daemon := server.start()
	inKernel := func() string { return string(server.run("nft", "list", "ruleset")) }
	until(t, func() bool { return strings.Contains(inKernel(), banned.String()+" counter") }, func() string {
		return "the first ban never reached the kernel:\n" + inKernel()
	})
	attack, honest := outside.dial(banned.String(), "203.0.113.10:5060"), outside.dial("203.0.113.52", "203.0.113.10:5060")
	var stop atomic.Bool
	var sent atomic.Int64
	var sender sync.WaitGroup
	sender.Go(func() {
		for !stop.Load() {
			attack.Write([]byte("REGISTER"))
			honest.Write([]byte("REGISTER"))
			sent.Add(1)
			time.Sleep(200 * time.Microsecond)
		}
	})
	defer func() { stop.Store(true); sender.Wait() }()

	// The failures arrive while the daemon is killed again and again.
	oracle := map[string]int{banned.String(): 5}
	var lines []netip.Addr
	for range failures {
		source := netip.AddrFrom4([4]byte{198, 18, byte(random.IntN(sources) / 250), byte(random.IntN(250))})
		oracle[source.String()]++
		lines = append(lines, source)
	}
	var writer sync.WaitGroup
	var written error
	pauses := random.Perm(failures)
	writer.Go(func() {
		for i, source := range lines {
			if _, err := log.WriteString(failure(time.Now(), source)); err != nil {
				written = err
				return
			}
			time.Sleep(time.Duration(pauses[i]) * 4 * time.Microsecond)
		}
	})
	for range kills {
		time.Sleep(time.Duration(random.IntN(60_000)) * time.Microsecond)
		daemon.Process.Kill()
		daemon.Wait()
		daemon = server.start()
	}
	writer.Wait()
	if written != nil {
		t.Fatal(written)
	}

	want := []string{}
	for source, n := range oracle {
		if n >= 5 {
			want = append(want, source)
		}
	}
	slices.Sort(want)
	units := func() (units []string) {
		bans, _ := server.list()
		for _, b := range bans {
			units = append(units, b.Unit)
		}
		slices.Sort(units)
		return units
	}
	until(t, func() bool { return slices.Equal(units(), want) }, func() string {
		return fmt.Sprintf("seed %d: oracle and bans differ: %s", seed, cmp.Diff(want, units()))
	})
	until(t, func() bool { return len(kernelUnits(t, server)) == len(want) }, func() string {
		return fmt.Sprintf("seed %d: oracle and kernel differ: %s", seed, cmp.Diff(want, kernelUnits(t, server)))
	})
	if diff := cmp.Diff(want, kernelUnits(t, server)); diff != "" {
		t.Errorf("seed %d: oracle and kernel differ: %s", seed, diff)
	}
	bans, _ := server.list()
	for _, b := range bans {
		if b.Failures != 5 || b.Until.Sub(b.Since) != time.Hour {
			t.Errorf("seed %d: %s has %d failures and lasts %v, want 5 and an hour", seed, b.Unit, b.Failures, b.Until.Sub(b.Since))
		}
	}
	if n := arrived(banned.String()); n > 0 {
		t.Errorf("%d of %d packets of a banned source arrived", n, sent.Load())
	}
	if n := arrived("203.0.113.52"); n == 0 {
		t.Errorf("no packet of %d of an honest source arrived: the test shows nothing", sent.Load())
	}
	t.Logf("%d kills, %d bans, %d packets of a banned source dropped", kills, len(want), sent.Load())
}

// kernelUnits returns the addresses in the jail's set.
func kernelUnits(t *testing.T, h *host) []string {
	t.Helper()
	var ruleset struct {
		Nftables []struct {
			Set struct {
				Elem []struct {
					Elem struct {
						Val string `json:"val"`
					} `json:"elem"`
				} `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(h.run("nft", "-j", "list", "set", "inet", "band", "freeswitch-ip4"), &ruleset); err != nil {
		t.Fatal(err)
	}
	units := []string{}
	for _, object := range ruleset.Nftables {
		for _, e := range object.Set.Elem {
			units = append(units, e.Elem.Val)
		}
	}
	slices.Sort(units)
	return units
}
