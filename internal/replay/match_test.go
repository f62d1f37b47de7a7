package replay_test

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"band/internal/replay"
)

// pieces reads as much at once as it is told.
type pieces struct {
	io.Reader
	size int
}

func (p pieces) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), p.size)]) }

// However many cores match, and however the log is read, the result is the same.
func TestCoresChangeNothing(t *testing.T) {
	cores := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(cores) })
	c := shipped(t, "freeswitch", "freeswitch-acl", "freeswitch-scan")
	bans := 0
	rapid.Check(t, func(t *rapid.T) {
		at := time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC)
		var log strings.Builder
		for range rapid.IntRange(1, 400).Draw(t, "records") {
			at = at.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
			host := fmt.Sprintf("198.51.100.%d", rapid.IntRange(1, 9).Draw(t, "host"))
			line := rapid.SampledFrom([]string{
				"[WARNING] sofia_reg.c:1787 SIP auth failure (REGISTER) on sofia profile 'internal' for [x@pbx] from ip " + host,
				"[WARNING] sofia_reg.c:1842 SIP auth challenge (REGISTER) on sofia profile 'internal' for [x@pbx] from ip " + host,
				"[WARNING] sofia_reg.c:2406 IP " + host + ` Rejected by register acl "domains"`,
				"[NOTICE] switch_channel.c:1142 New Channel sofia/internal/x@pbx\nvia " + host,
			}).Draw(t, "line")
			fmt.Fprintf(&log, "%s 81.60%% %s\n", at.Format("2006-01-02 15:04:05.000000"), line)
		}
		var results []*replay.Result
		for _, cores := range []int{1, 4} {
			runtime.GOMAXPROCS(cores)
			size := rapid.SampledFrom([]int{100, 5000, 1 << 20}).Draw(t, "size")
			r, err := replay.Run(t.Context(), c, []io.Reader{pieces{bytes.NewReader([]byte(log.String())), size}})
			if err != nil {
				t.Fatal(err)
			}
			results = append(results, r)
		}
		bans += len(results[0].Bans)
		if diff := cmp.Diff(results[0], results[1], cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("one core and four (-one +four):\n%s", diff)
		}
	})
	if bans == 0 {
		t.Error("nobody was banned")
	}
}
