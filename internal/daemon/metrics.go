package daemon

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"band/internal/doctor"
	"band/internal/metrics"
	"band/internal/pipeline"
	"band/internal/source"
)

// Metrics implements [control.Backend].
func (d *Daemon) Metrics(w http.ResponseWriter, r *http.Request) { d.metrics.ServeHTTP(w, r) }

// measure takes what a scrape tells.
func (d *Daemon) measure(ctx context.Context) (metrics.Snapshot, error) {
	dropped, err := d.banner.Drops(ctx)
	if err != nil {
		dropped = nil // a finding of its own
	}
	version, _, _ := strings.Cut(d.Version, " ") // without what it was built with
	var s metrics.Snapshot
	err = d.ask(ctx, func() {
		units, evicted := d.pipeline.Units()
		s = metrics.Snapshot{
			Version: version, Started: d.started, Dropped: dropped, Bans: d.countBans(),
			Units: units, Evicted: evicted, Repairs: d.repairs.Load(), State: d.store.Stats(), Findings: d.board.Findings(),
		}
		open := make(map[string]int)
		for _, of := range d.sources {
			m := metrics.Source{
				Name: of.Name, Journal: of.key.path == "", Open: of.input.State() == source.Open, CaughtUp: of.caughtUp,
				Records: of.Records, Doubtful: of.doubtful, Last: of.Last, Backlog: of.input.Backlog(),
			}
			s.Sources = append(s.Sources, m)
			for _, jail := range of.Jails() {
				if m.Open {
					open[jail]++
				}
			}
		}
		for _, name := range d.pipeline.Names() {
			s.Jails = append(s.Jails, metrics.Jail{Name: name, Open: open[name], JailStats: d.pipeline.Jails[name].Stats})
		}
	})
	return s, err
}

// countBans counts the bans in force of the jails at work, also where there are none.
func (d *Daemon) countBans() []metrics.Bans {
	all := []metrics.Bans{{Jail: pipeline.Manual}}
	place := map[string]int{pipeline.Manual: 0}
	for _, name := range d.pipeline.Names() {
		place[name] = len(all)
		all = append(all, metrics.Bans{Jail: name})
	}
	for b := range d.pipeline.EachInForce(d.Now()) {
		i, atWork := place[b.Jail]
		switch {
		case !atWork:
		case d.dry(*b):
			all[i].DryRun++
		default:
			all[i].Enforced++
		}
	}
	return all
}

// listening is where metrics are served over TCP.
type listening struct {
	at    netip.AddrPort
	ended chan struct{} // closed when it has ended
	stop  func()        // ends it; the address is free then. nil where it never began
}

func (l listening) alive() bool {
	if l.stop == nil {
		return false
	}
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

// serveMetrics sees to it that metrics are served where the configuration says. It
// never waits, and what fails is tried again when it is called the next time.
func (d *Daemon) serveMetrics() {
	at := d.Jails.Metrics
	if d.scraped.alive() {
		if d.scraped.at == at {
			return
		}
		d.scraped.stop()
	}
	d.scraped = listening{}
	if !at.IsValid() {
		d.board.Clear(doctor.MetricsFailing, "", "")
		return
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		d.board.Raise(unserved(err))
		return
	}
	d.board.Clear(doctor.MetricsFailing, "", "")
	d.log.Info("metrics are served", "address", at)
	ctx, cancel := context.WithCancel(d.running.ctx)
	ended := make(chan struct{})
	d.scraped = listening{at, ended, func() { cancel(); l.Close() }}
	d.running.group.Go(func() error {
		defer close(ended)
		defer cancel()
		if err := metrics.Serve(ctx, l, d.metrics, d.log); err != nil {
			d.board.Raise(unserved(err))
		}
		return nil
	})
}

// unserved is the finding that metrics cannot be scraped.
func unserved(err error) doctor.Finding {
	return doctor.Finding{
		Kind: doctor.MetricsFailing, Severity: doctor.Warning,
		Text:   fmt.Sprintf("metrics are not served over TCP: %v", err),
		Remedy: "free the address, or set metrics in band.toml to another, and banctl reload; it is tried again until it works",
	}
}
