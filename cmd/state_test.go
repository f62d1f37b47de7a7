package cmd_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"band/internal/control"
	"band/internal/doctor"
	"band/store"
)

// The state is cut, zeroed and flipped at random places, as power cuts and bad disks
// do. The daemon starts all the same, keeps each ban whose line was not hit, in the
// kernel too, and says that the others were lost.
func TestDamagedState(t *testing.T) {
	rounds := 8
	if long() {
		rounds = 300
	}
	const seed = 20261121
	random := rand.New(rand.NewPCG(seed, 0))
	h := newHost(t)
	intact := manyBans(t, h)

	lost := 0
	for round := range rounds {
		damaged := map[string][]byte{"state.snap": bytes.Clone(intact["state.snap"]), "state.log": bytes.Clone(intact["state.log"])}
		name := []string{"state.snap", "state.log"}[random.IntN(2)]
		data, what := damage(random, damaged[name])
		damaged[name] = data
		for name, data := range damaged {
			if err := os.WriteFile(filepath.Join(h.dir, "lib", name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		must, all := bansIn(damaged), bansIn(intact)

		h.run("nft", "flush", "ruleset")
		daemon := h.start()
		h.follows()
		units, ok := h.list()
		got := []string{}
		for _, b := range units {
			got = append(got, b.Unit)
		}
		slices.Sort(got)
		describe := fmt.Sprintf("seed %d, round %d: %s of %s", seed, round, what, name)
		if diff := cmp.Diff(must, got); diff != "" || !ok {
			t.Errorf("%s: bans (-intact +got):\n%s", describe, diff)
		}
		until(t, func() bool { return slices.Equal(h.banned4(), got) }, func() string {
			return describe + ": in the kernel (-want +got):\n" + cmp.Diff(got, h.banned4())
		})
		// Where the log ends with a whole line nothing tells that more was there.
		whole := name == "state.log" && bytes.HasPrefix(intact[name], data) && bytes.HasSuffix(data, []byte("\n"))
		if len(got) < len(all) && !whole {
			lost++
			h.finding(doctor.StateDamaged)
			if status := string(h.banctl("status")); !strings.Contains(status, name) {
				t.Errorf("%s: it does not say in which file:\n%s", describe, status)
			}
		}
		daemon.Process.Kill()
		daemon.Wait()
	}
	t.Logf("%d rounds, of which %d cost bans", rounds, lost)
	if lost < rounds/4 {
		t.Errorf("only %d rounds of %d cost bans: shows little", lost, rounds)
	}
}

// manyBans returns the state files of a daemon with sixty bans by hand: forty in the
// snapshot, which it writes when it finds damage, and twenty in the log.
func manyBans(t *testing.T, h *host) map[string][]byte {
	t.Helper()
	if err := os.WriteFile(h.log(), []byte(failure(time.Now(), netip.MustParseAddr("203.0.113.9"))), 0o644); err != nil {
		t.Fatal(err)
	}
	lib := func(name string) string { return filepath.Join(h.dir, "lib", name) }
	life := func(from, to int) {
		t.Helper()
		daemon := h.start()
		h.follows()
		for i := from; i < to; i++ {
			unit := control.Unit{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 32)}
			request := control.BanRequest{Units: []control.Unit{unit}, For: time.Hour}
			if _, err := control.NewClient(h.dir+"/band.sock").Ban(t.Context(), request); err != nil {
				t.Fatal(err)
			}
		}
		if from > 0 {
			until(t, func() bool { _, err := os.Stat(lib("state.snap")); return err == nil }, func() string { return "no snapshot" })
		}
		if err := daemon.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := daemon.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	life(0, 40)
	log, err := os.OpenFile(lib("state.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.WriteString("damage\n"); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	life(40, 60)
	files := map[string][]byte{}
	for _, name := range []string{"state.snap", "state.log"} {
		if files[name], err = os.ReadFile(lib(name)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(bansIn(files)); n != 60 {
		t.Fatalf("%d bans in the files, want 60", n)
	}
	return files
}

// damage changes data at a random place, and says how.
func damage(random *rand.Rand, data []byte) (damaged []byte, what string) {
	at := random.IntN(len(data))
	switch random.IntN(4) {
	case 0:
		return data[:at], fmt.Sprintf("a cut at %d", at)
	case 1:
		// As a file system leaves it that knew the size and not the data.
		clear(data[at:])
		return data, fmt.Sprintf("zeros from %d", at)
	case 2:
		to := min(at/512*512+512, len(data))
		clear(data[at/512*512 : to])
		return data, fmt.Sprintf("a zeroed sector before %d", to)
	}
	data[at] ^= 1 << random.IntN(8)
	return data, fmt.Sprintf("a flipped bit at %d", at)
}

// bansIn returns the units whose bans are in lines that are as they were written. A
// line can be found anywhere in the text, as where the newline before it was hit.
func bansIn(files map[string][]byte) (units []string) {
	for _, data := range files {
		for _, begin := range regexp.MustCompile(`[0-9a-f]{8} \{"`).FindAllIndex(data, -1) {
			body := data[begin[0]+9:]
			var raw json.RawMessage
			if json.NewDecoder(bytes.NewReader(body)).Decode(&raw) != nil || sum(raw) != string(data[begin[0]:begin[0]+8]) {
				continue
			}
			var b store.Batch
			if json.Unmarshal(raw, &b) != nil {
				continue
			}
			for _, e := range b.Events {
				if e.Ban != nil {
					units = append(units, e.Ban.Unit.Addr().String())
				}
			}
		}
	}
	slices.Sort(units)
	return slices.Compact(units)
}

// sum is what a line of the state begins with: docs/design.md.
func sum(body []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
}

// banned4 returns the single IPv4 addresses that are banned on all ports in the kernel.
func (h *host) banned4() []string {
	out, _ := h.command("nft", "list", "set", "inet", "band", "all-ip4").Output()
	units := regexp.MustCompile(`198\.51\.100\.\d+`).FindAllString(string(out), -1)
	slices.Sort(units)
	if units == nil {
		units = []string{}
	}
	return units
}
