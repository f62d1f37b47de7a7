package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// patience is how long a snapshot may take; Prometheus waits for 10 s.
	patience = 5 * time.Second
	// fresh is for how long a snapshot is good: whoever asks all the time does not
	// keep the daemon from its work.
	fresh = time.Second
)

// Handler answers every request with the metrics of a snapshot that take returns.
// Take is called once at a time and once a second at most.
func Handler(take func(context.Context) (Snapshot, error), log *slog.Logger) http.Handler {
	h := &handler{
		take:    take,
		last:    make(chan taken, 1),
		process: collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		options: promhttp.HandlerOpts{
			ErrorHandling: promhttp.ContinueOnError, // what can be told is better than nothing
			ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
			// It would save a few kilobytes, and keep a megabyte of buffers.
			DisableCompression: true,
		},
	}
	h.last <- taken{}
	return h
}

type handler struct {
	take    func(context.Context) (Snapshot, error)
	last    chan taken // holds one; who takes it out puts one in
	process prometheus.Collector
	options promhttp.HandlerOpts
}

// taken is a snapshot that was taken at a time.
type taken struct {
	Snapshot
	at time.Time
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	snapshot, err := h.snapshot(ctx)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{snapshot}, h.process)
	promhttp.HandlerFor(registry, h.options).ServeHTTP(w, r)
}

func (h *handler) snapshot(ctx context.Context) (Snapshot, error) {
	var last taken
	select {
	case last = <-h.last:
	case <-ctx.Done():
		return Snapshot{}, context.Cause(ctx)
	}
	defer func() { h.last <- last }()
	if !last.at.IsZero() && time.Since(last.at) < fresh {
		return last.Snapshot, nil
	}
	s, err := h.take(ctx)
	if err == nil {
		last = taken{s, time.Now()}
	}
	return s, err
}
