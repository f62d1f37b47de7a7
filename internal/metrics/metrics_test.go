package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"band/internal/doctor"
	"band/internal/metrics"
	"band/internal/pipeline"
	"band/internal/source"
	"band/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// at is the time of everything.
var at = time.Date(2026, 11, 21, 9, 0, 0, 500_000_000, time.UTC)

func snapshot() metrics.Snapshot {
	s := metrics.Snapshot{
		Version: "1.2.3", Started: at,
		Jails: []metrics.Jail{
			{Name: "sshd", Open: 1, JailStats: pipeline.JailStats{Records: 9, Failures: 7, Exempt: 2, Passed: 1, Banned: 3, LastMatch: at}},
			{Name: "idle"},
		},
		Bans:    []metrics.Bans{{Jail: "manual", Enforced: 4}, {Jail: "sshd", Enforced: 2, DryRun: 1}},
		Dropped: map[string]uint64{"all": 11, "sshd": 12},
		Sources: []metrics.Source{
			{Name: "/var/log/auth.log", Open: true, Records: 9, Doubtful: 5, Last: at, Backlog: source.Backlog{Bytes: 4096, Age: 1500 * time.Millisecond}},
			{Name: "journal: a", Journal: true, CaughtUp: true, Backlog: source.Backlog{Age: time.Minute}},
		},
		Units: 20, Evicted: 21, Repairs: 22,
		State: store.Stats{Appended: 30, Durable: 28, Written: 31, Snapshots: 32, LogBytes: 33, SnapshotBytes: 34},
		Findings: []doctor.Finding{
			{Kind: doctor.SourceSilent, Severity: doctor.Warning, Source: "/var/log/auth.log"},
			{Kind: doctor.SourceSilent, Severity: doctor.Warning, Source: "/var/log/other.log"},
			{Kind: doctor.DryRun, Severity: doctor.Note, Jail: "sshd", Text: "never told", Remedy: "never told"},
		},
	}
	s.State.Syncs = store.Latency{Count: 3, Sum: 250 * time.Millisecond}
	for i, bound := range store.LatencyBounds {
		if bound >= 100*time.Millisecond {
			s.State.Syncs.Within[i] = 2
		}
	}
	return s
}

// scrape returns the answer to a scrape.
func scrape(h http.Handler) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w
}

// of answers scrapes with one snapshot.
func of(s metrics.Snapshot) http.Handler {
	return metrics.Handler(func(context.Context) (metrics.Snapshot, error) { return s, nil }, quiet)
}

// What a snapshot says is told, and nothing that it does not say.
func TestExposition(t *testing.T) {
	w := scrape(of(snapshot()))
	text := w.Body.String()
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, text)
	}
	for _, line := range strings.Fields(`
		band_jail_sources_up{jail="sshd"}=1
		band_jail_records_total{jail="sshd"}=9
		band_jail_failures_total{jail="sshd"}=7
		band_jail_exempt_failures_total{jail="sshd"}=2
		band_jail_passed_failures_total{jail="sshd"}=1
		band_jail_bans_total{jail="sshd"}=3
		band_jail_bans_total{jail="idle"}=0
		band_jail_last_failure_timestamp_seconds{jail="sshd"}=1.7952516005e+09
		band_jail_active_bans{jail="manual"}=4
		band_jail_active_bans{jail="sshd"}=2
		band_jail_dry_run_bans{jail="sshd"}=1
		band_jail_dropped_packets_total{jail="all"}=11
		band_source_up{source="/var/log/auth.log"}=1
		band_source_caught_up{source="/var/log/auth.log"}=0
		band_source_records_total{source="/var/log/auth.log"}=9
		band_source_doubtful_failures_total{source="/var/log/auth.log"}=5
		band_source_last_record_timestamp_seconds{source="/var/log/auth.log"}=1.7952516005e+09
		band_source_unread_bytes{source="/var/log/auth.log"}=4096
		band_source_lag_seconds{source="/var/log/auth.log"}=1.5
		band_tracked_units=20
		band_evicted_units_total=21
		band_kernel_repairs_total=22
		band_state_batches_total=30
		band_state_pending_batches=2
		band_state_written_bytes_total=31
		band_state_snapshots_total=32
		band_state_log_bytes=33
		band_state_snapshot_bytes=34
		band_state_sync_seconds_bucket{le="0.05"}=0
		band_state_sync_seconds_bucket{le="0.1"}=2
		band_state_sync_seconds_bucket{le="+Inf"}=3
		band_state_sync_seconds_sum=0.25
		band_state_sync_seconds_count=3
		band_findings{kind="source-silent"}=2
		band_findings{kind="kernel-failing"}=0
		band_finding{jail="sshd",kind="dry-run",severity="note",source=""}=1
		band_start_time_seconds=1.7952516005e+09
	`) {
		name, value, _ := cutLast(line, "=")
		if !strings.Contains(text, "\n"+name+" "+value+"\n") {
			t.Errorf("%s %s is missing", name, value)
		}
	}
	for _, absent := range []string{
		`band_source_unread_bytes{source="journal: a"}`, `last_failure_timestamp_seconds{jail="idle"}`,
		`last_record_timestamp_seconds{source="journal: a"}`, "never told",
	} {
		if strings.Contains(text, absent) {
			t.Errorf("%s is told", absent)
		}
	}
	if problems, err := promlint.New(w.Body).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
	s := snapshot()
	s.Dropped = nil
	if text := scrape(of(s)).Body.String(); strings.Contains(text, "dropped_packets") || !strings.Contains(text, "band_tracked_units 20") {
		t.Errorf("when the kernel does not tell of packets:\n%s", text)
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	return s[:i], s[i+len(sep):], true
}

// The name of a file may be any bytes: none of them breaks the format, hides
// another source, or keeps the rest from being told.
func TestAwkwardNames(t *testing.T) {
	s := snapshot()
	names := []string{"/a\nband_tracked_units 666", `/"} 1`, `/\`, "/\xff", "/\xfe", `"/\xff"`, "/\x00\x1b[31m", "", strings.Repeat("/x", 5000)}
	s.Sources = nil
	for _, name := range names {
		s.Sources = append(s.Sources, metrics.Source{Name: name, Open: true})
		s.Findings = append(s.Findings, doctor.Finding{Kind: doctor.SourceTruncated, Severity: doctor.Warning, Source: name})
	}
	w := scrape(of(s))
	text := w.Body.String()
	if n := strings.Count(text, "\nband_source_up{"); w.Code != http.StatusOK || n < len(names)-1 {
		t.Errorf("%d: of %d sources %d are told", w.Code, len(names), n)
	}
	if strings.Contains(text, "\nband_tracked_units 666") || !strings.Contains(text, "\nband_tracked_units 20\n") {
		t.Errorf("a name made a metric:\n%.2000s", text)
	}
	if problems, err := promlint.New(bytes.NewBufferString(text)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
}

// However many ask, a snapshot is taken by one at a time and once a second.
func TestTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, now atomic.Int32
		h := metrics.Handler(func(context.Context) (metrics.Snapshot, error) {
			if now.Add(1) > 1 {
				t.Error("two snapshots are taken at once")
			}
			defer now.Add(-1)
			time.Sleep(100 * time.Millisecond)
			s := snapshot()
			s.Units = int(calls.Add(1))
			return s, nil
		}, quiet)
		var asking sync.WaitGroup
		ask := func(want string) {
			for range 20 {
				asking.Go(func() {
					if w := scrape(h); !strings.Contains(w.Body.String(), "\n"+want+"\n") {
						t.Errorf("%d, without %s", w.Code, want)
					}
				})
			}
			asking.Wait()
		}
		ask("band_tracked_units 1")
		ask("band_tracked_units 1")
		time.Sleep(time.Second)
		ask("band_tracked_units 2")
	})
}

// A daemon that does not answer costs a scrape some seconds, and no later one.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := true
		h := metrics.Handler(func(ctx context.Context) (metrics.Snapshot, error) {
			if busy {
				<-ctx.Done()
				return metrics.Snapshot{}, errors.Join(errors.New("the daemon is busy"), ctx.Err())
			}
			return snapshot(), nil
		}, quiet)
		begin := time.Now()
		var asking sync.WaitGroup
		for range 20 {
			asking.Go(func() {
				if w := scrape(h); w.Code != http.StatusServiceUnavailable || w.Body.Len() == 0 {
					t.Errorf("%d: %s", w.Code, w.Body)
				}
			})
		}
		asking.Wait()
		if took := time.Since(begin); took > 9*time.Second {
			t.Errorf("it took %v, and Prometheus waits for 10 s", took)
		}
		busy = false
		if w := scrape(h); w.Code != http.StatusOK {
			t.Errorf("%d: %s", w.Code, w.Body)
		}
	})
}
