package metrics

import (
	"runtime"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"band/internal/doctor"
	"band/store"
)

// A family is the metrics of one name. Labels are names of jails, sources and
// kinds alone, which the configuration bounds; never what attackers choose.
type family struct {
	*prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) family {
	return family{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) family {
	return family{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue}
}

// docs/metrics.md explains each of them.
var (
	buildInfo  = gauge("band_build_info", "Which band this is; always 1.", "version", "goversion")
	startTime  = gauge("band_start_time_seconds", "When band started, in seconds since 1970.")
	goroutines = gauge("go_goroutines", "Number of goroutines that currently exist.")

	jailSources     = gauge("band_jail_sources_up", "Sources of the jail that can be read; with none it protects nothing.", "jail")
	jailRecords     = counter("band_jail_records_total", "Records that the jail has seen.", "jail")
	jailFailures    = counter("band_jail_failures_total", "Failures that the jail has counted.", "jail")
	jailExempt      = counter("band_jail_exempt_failures_total", "Failures of hosts that are never counted: on the allowlist, or addresses of this machine.", "jail")
	jailPassed      = counter("band_jail_passed_failures_total", "Failures that did not count because a preferred source tells them too.", "jail")
	jailLastFailure = gauge("band_jail_last_failure_timestamp_seconds", "When the last failure was that the jail has seen, in seconds since 1970.", "jail")
	jailBans        = counter("band_jail_bans_total", "Bans that the jail has decided.", "jail")
	jailActive      = gauge("band_jail_active_bans", "Bans in force that the kernel is to enforce; those by hand are of the jail manual.", "jail")
	jailDryRun      = gauge("band_jail_dry_run_bans", "Bans in force that are not enforced because of a dry run.", "jail")
	jailDropped     = counter("band_jail_dropped_packets_total", "Packets that bans have dropped; those of bans on all ports, also by hand, are of the jail all.", "jail")

	sourceUp         = gauge("band_source_up", "Whether the source can be read.", "source")
	sourceCaughtUp   = gauge("band_source_caught_up", "Whether everything was decided on that the source held when band began to read it.", "source")
	sourceRecords    = counter("band_source_records_total", "Records of the source that were decided on.", "source")
	sourceDoubtful   = counter("band_source_doubtful_failures_total", "Failures that did not count because they look forged.", "source")
	sourceLastRecord = gauge("band_source_last_record_timestamp_seconds", "The time that the last record of the source tells, in seconds since 1970.", "source")
	sourceUnread     = gauge("band_source_unread_bytes", "Bytes of the source that were not decided on yet; not told of the journal.", "source")
	sourceLag        = gauge("band_source_lag_seconds", "For how long the oldest part of the source has waited that was not decided on yet; 0 when all of it was.", "source")

	trackedUnits  = gauge("band_tracked_units", "Units with failures that may still add up.")
	evictedUnits  = counter("band_evicted_units_total", "Units whose failures were forgotten because there were too many.")
	kernelRepairs = counter("band_kernel_repairs_total", "How often others had changed the kernel table and it was repaired.")

	stateBatches   = counter("band_state_batches_total", "Changes that were given to the state on the disk.")
	statePending   = gauge("band_state_pending_batches", "Changes that are not on stable storage yet.")
	stateWritten   = counter("band_state_written_bytes_total", "Bytes written to the log of the state.")
	stateSnapshots = counter("band_state_snapshots_total", "Snapshots of the state that were written.")
	stateLog       = gauge("band_state_log_bytes", "Size of the log of the state.")
	stateSnapshot  = gauge("band_state_snapshot_bytes", "Size of the snapshot of the state.")
	stateSync      = prometheus.NewDesc("band_state_sync_seconds", "How long it took to write bans, and what came with them, to stable storage.", nil, nil)

	findings = gauge("band_findings", "Findings of the kind that stand now.", "kind")
	finding  = gauge("band_finding", "A finding that stands now; always 1. banctl doctor tells what it means, and what to do about it.", "kind", "severity", "jail", "source")
)

// collector hands out a snapshot.
type collector struct{ Snapshot }

// Describe implements [prometheus.Collector].
func (c collector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements [prometheus.Collector].
func (c collector) Collect(out chan<- prometheus.Metric) {
	o := output(out)
	o.is(buildInfo, 1, c.Version, runtime.Version())
	o.is(startTime, seconds(c.Started))
	o.is(goroutines, float64(runtime.NumGoroutine()))
	o.jails(c.Snapshot)
	for _, s := range c.Sources {
		o.source(s)
	}
	o.is(trackedUnits, float64(c.Units))
	o.is(evictedUnits, float64(c.Evicted))
	o.is(kernelRepairs, float64(c.Repairs))
	o.state(c.State)
	o.findings(c.Findings)
}

// output takes metrics.
type output chan<- prometheus.Metric

func (o output) is(f family, value float64, labels ...string) {
	for i, l := range labels {
		if !utf8.ValidString(l) { // the name of a file may be any bytes
			labels[i] = strconv.Quote(l)
		}
	}
	o <- prometheus.MustNewConstMetric(f.Desc, f.kind, value, labels...)
}

// at tells a time, unless there is none.
func (o output) at(f family, t time.Time, labels ...string) {
	if !t.IsZero() {
		o.is(f, seconds(t), labels...)
	}
}

func (o output) jails(s Snapshot) {
	for _, j := range s.Jails {
		o.is(jailSources, float64(j.Open), j.Name)
		o.is(jailRecords, float64(j.Records), j.Name)
		o.is(jailFailures, float64(j.Failures), j.Name)
		o.is(jailExempt, float64(j.Exempt), j.Name)
		o.is(jailPassed, float64(j.Passed), j.Name)
		o.at(jailLastFailure, j.LastMatch, j.Name)
		o.is(jailBans, float64(j.Banned), j.Name)
	}
	for _, b := range s.Bans {
		o.is(jailActive, float64(b.Enforced), b.Jail)
		o.is(jailDryRun, float64(b.DryRun), b.Jail)
	}
	for group, packets := range s.Dropped {
		o.is(jailDropped, float64(packets), group)
	}
}

func (o output) source(s Source) {
	o.is(sourceUp, truth(s.Open), s.Name)
	o.is(sourceCaughtUp, truth(s.CaughtUp), s.Name)
	o.is(sourceRecords, float64(s.Records), s.Name)
	o.is(sourceDoubtful, float64(s.Doubtful), s.Name)
	o.at(sourceLastRecord, s.Last, s.Name)
	if !s.Journal {
		o.is(sourceUnread, float64(s.Backlog.Bytes), s.Name)
	}
	o.is(sourceLag, s.Backlog.Age.Seconds(), s.Name)
}

func (o output) state(s store.Stats) {
	o.is(stateBatches, float64(s.Appended))
	o.is(statePending, float64(s.Appended-s.Durable))
	o.is(stateWritten, float64(s.Written))
	o.is(stateSnapshots, float64(s.Snapshots))
	o.is(stateLog, float64(s.LogBytes))
	o.is(stateSnapshot, float64(s.SnapshotBytes))
	buckets := make(map[float64]uint64)
	for i, bound := range store.LatencyBounds {
		buckets[bound.Seconds()] = s.Syncs.Within[i]
	}
	o <- prometheus.MustNewConstHistogram(stateSync, s.Syncs.Count, s.Syncs.Sum.Seconds(), buckets)
}

func (o output) findings(all []doctor.Finding) {
	count := make(map[doctor.Kind]int)
	for _, f := range all {
		count[f.Kind]++
		o.is(finding, 1, string(f.Kind), string(f.Severity), f.Jail, f.Source)
	}
	for _, kind := range doctor.Kinds() {
		o.is(findings, float64(count[kind]), string(kind))
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// seconds is t in seconds since 1970.
func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
