package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"band/banner"
	"band/internal/allowlist"
	"band/internal/control"
	"band/internal/doctor"
	"band/internal/local"
	"band/internal/metrics"
	"band/internal/pipeline"
	"band/internal/pulse"
	"band/internal/source"
	"band/jails"
	"band/store"
)

const (
	// lookAround is how often the daemon looks for new files of a glob, and for what
	// weakens the protection.
	lookAround = 2 * time.Second
	// housekeeping is how often it looks after what no record brings up: own
	// addresses that changed, findings that expired, counts that are stale.
	housekeeping = 10 * time.Second
	// namesPatience is how long the start waits for the names of the allowlist.
	namesPatience = 3 * time.Second
)

// Config is what a Daemon needs.
type Config struct {
	Load     func() *jails.Config // reads the configuration, at the start and for a reload
	StateDir string
	Socket   string // path of the control socket
	Version  string
	Log      *slog.Logger
	Now      func() time.Time // nil: [time.Now]

	// Ready is called once, when every source that exists is open and the
	// kernel agrees with the state. Alive is called at least every AliveEvery
	// by the goroutine that decides, so that a watchdog sees when it hangs.
	Ready      func()
	Alive      func()
	AliveEvery time.Duration

	Hangups <-chan os.Signal // each reloads the configuration
}

// A Daemon protects this machine while it runs.
type Daemon struct {
	Config
	log      *slog.Logger
	started  time.Time
	board    *doctor.Board
	store    *store.Store
	banner   *banner.Banner
	allow    *allowlist.List
	watchers watchers
	asks     chan func()   // to be run by the deciding goroutine
	lookNow  chan struct{} // makes watchSurroundings look
	reload   sync.Mutex    // one at a time, from reading to putting in force
	running  running
	metrics  http.Handler
	repairs  atomic.Uint64 // of the kernel table

	// preferredRead is closed when the preferred sources have been caught up
	// with: only then can be told what of the others counts.
	preferredRead chan struct{}
	// surveyed is closed when FreeSWITCH's gateways were looked for.
	surveyed chan struct{}

	// Of the deciding goroutine alone, once it runs.
	Jails     *jails.Config // in force
	pipeline  *pipeline.Pipeline
	sources   []*following
	gateways  []allowlist.Item // of FreeSWITCH
	settled   bool             // every source has been caught up with
	scraped   listening
	watched   map[*following]*watched
	connected map[sourceKey]bool // event sockets that were there once
	evicted   uint64             // units that were forgotten so far
	clock     clock
}

// running is what inputs run in.
type running struct {
	ctx     context.Context
	group   *errgroup.Group
	batches chan source.Batch
}

// New reads the state and prepares everything; nothing is touched outside the
// state directory before Run.
func New(c Config) (*Daemon, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	config := c.Load()
	p, err := pipeline.New(config)
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		Config:   c,
		log:      c.Log,
		started:  c.Now().Round(0), // which watchClock moves along with the clock
		board:    doctor.NewBoard(c.Log, c.Now),
		asks:     make(chan func()),
		lookNow:  make(chan struct{}, 1),
		Jails:    config,
		pipeline: p,

		preferredRead: make(chan struct{}),
		surveyed:      make(chan struct{}),
		connected:     make(map[sourceKey]bool),
		clock:         startClock(c.Now()),
	}
	d.metrics = metrics.Handler(d.measure, c.Log)
	d.board.Changed = d.finding
	for _, p := range config.Problems {
		d.board.Raise(refused(p))
	}
	d.examineJails()
	if err := d.readLocal(); err != nil {
		return nil, err
	}
	if err := d.openStore(); err != nil {
		return nil, err
	}
	if _, err := d.findSources(); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	d.allow = allowlist.New(allowlist.Config{Log: c.Log, Board: d.board, Now: c.Now, Known: p.Resolved()})
	d.allow.Set(d.allowItems())
	d.banner = banner.New(banner.Config{
		Groups: d.groups(), Log: c.Log, Observer: kernelObserver{d.board, &d.repairs},
	})
	d.takeAllow()
	d.tellAll(false)
	return d, nil
}

// Run protects until ctx ends, and returns the first error that makes that
// impossible. What was decided is on the disk when it returns; the kernel goes
// on dropping.
func (d *Daemon) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, d.store.Close()) }()
	listener, err := control.Listen(d.Socket)
	if err != nil {
		return err
	}

	// The store and the kernel outlive those who tell them what to do.
	below, stopBelow := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBelow()
	sinks, below := errgroup.WithContext(below)
	sinks.Go(func() error { return d.store.Run(below) })
	sinks.Go(func() error { return d.banner.Run(below) })

	above, stopAbove := context.WithCancel(ctx)
	defer stopAbove()
	context.AfterFunc(below, stopAbove) // where a sink fails

	tasks, above := errgroup.WithContext(above)
	d.running = running{above, tasks, make(chan source.Batch)}
	ready := []<-chan struct{}{d.banner.Ready()}
	started := make(map[*input]bool)
	for _, s := range d.sources {
		if !started[s.input] {
			started[s.input] = true
			d.start(s.input)
			ready = append(ready, s.input.Ready())
		}
	}
	tasks.Go(func() error { return d.announce(above, ready) })
	tasks.Go(func() error { return d.decide(above) })
	tasks.Go(func() error { d.allow.Run(above); return nil })
	tasks.Go(func() error { return d.watchSurroundings(above) })
	tasks.Go(func() error { return d.reloadOnHangup(above) })
	tasks.Go(func() error { return control.Serve(above, listener, d, d.log) })

	err = tasks.Wait()
	stopBelow()
	return errors.Join(err, sinks.Wait(), os.Remove(d.Socket))
}

// announce says that the daemon is ready as soon as all of ready is.
func (d *Daemon) announce(ctx context.Context, ready []<-chan struct{}) error {
	for _, r := range ready {
		select {
		case <-r:
		case <-ctx.Done():
			return nil
		}
	}
	d.log.Info("ready; banctl status tells what is protected")
	if d.Ready != nil {
		d.Ready()
	}
	return nil
}

// decide is the one goroutine that takes records, asks and ticks in turn.
func (d *Daemon) decide(ctx context.Context) error {
	every := lookAround
	if d.AliveEvery > 0 {
		every = min(every, d.AliveEvery)
	}
	look := time.NewTimer(pulse.Next(every))
	defer look.Stop()
	clean := time.NewTicker(housekeeping)
	defer clean.Stop()
	d.settle()
	d.serveMetrics()
	// No record is decided on before the gateways and the names of the allowlist are
	// known, lest a trunk be banned for the sake of a second; but a resolver may hang.
	var batches <-chan source.Batch
	var listed <-chan struct{}
	surveyed, enough := d.surveyed, time.After(namesPatience)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-surveyed:
			surveyed, listed = nil, d.allow.Ready()
		case <-listed:
			d.takeAllow()
			batches, listed = d.running.batches, nil
		case <-enough:
			batches, enough = d.running.batches, nil
		case b := <-batches:
			d.watchClock()
			d.take(b)
		case ask := <-d.asks:
			d.watchClock()
			ask()
		case <-d.store.WantsSnapshot():
			d.snapshot()
		case <-d.allow.Changes():
			d.takeAllow()
		case <-look.C:
			look.Reset(pulse.Next(every))
			if d.Alive != nil {
				d.Alive()
			}
			d.watchClock()
			d.noteReadable()
			added, err := d.findFiles(true)
			if err != nil {
				return err
			}
			d.start(added...)
			d.watch()
		case <-clean.C:
			d.keepHouse()
		}
	}
}

// take decides on a batch.
func (d *Daemon) take(b source.Batch) {
	s := d.source(b.Source)
	if s == nil {
		return // it is not asked for any more; what it read is not lost, its position did not move
	}
	if b.CaughtUp && s.key.socket.IsValid() {
		d.noteReadable() // whose word counts has changed with the very next record
		d.look()         // and so has what it costs that a profile logs no failures
	}
	s.Live = s.caughtUp && !d.late(s)
	decision := d.pipeline.Take(s.Source, b.Records, b.Cursor, d.Now())
	d.carryOut(decision)
	s.doubtful += uint64(decision.Doubtful)
	if decision.Doubtful > 0 {
		d.board.Raise(forged(s.Name, decision.Doubtful))
	}
	for _, host := range decision.Exempt {
		d.board.Raise(exempt(s.Name, host, d.pipeline.Exempt(host)))
	}
	d.watchStamps(s)
	if b.CaughtUp && !s.caughtUp {
		s.caughtUp, s.Live = true, true
		if s.input.State() == source.Open {
			d.log.Info("source caught up", "source", s.Name, "records", s.Records)
		}
		d.settle()
	}
}

// carryOut tells the kernel and the store what was decided, at the same time.
func (d *Daemon) carryOut(decision pipeline.Decision) {
	now := d.Now()
	if changes := d.project(decision.Keys, now); len(changes) > 0 {
		d.banner.Change(changes)
	}
	if len(decision.Batch.Events) > 0 || len(decision.Batch.Cursors) > 0 {
		d.store.Append(decision.Batch)
	}
	for _, b := range decision.Bans {
		text := "ban"
		if b.DryRun {
			text = "ban, in a dry run: not enforced"
		}
		if !b.Until.IsZero() && !b.Until.After(now) {
			text = "ban is over already, not enforced"
		}
		attrs := []any{"jail", b.Jail, "unit", control.Unit{Prefix: b.Unit}, "failures", b.Failures, "since", b.Since}
		if !b.Until.IsZero() {
			attrs = append(attrs, "until", b.Until)
		}
		d.log.Info(text, attrs...)
	}
	d.tell(decision, now)
}

// tell tells those who watch of a decision.
func (d *Daemon) tell(decision pipeline.Decision, now time.Time) {
	if !d.watchers.any() {
		return
	}
	for _, e := range decision.Batch.Events {
		switch {
		case e.Failure != nil:
			f := e.Failure
			d.watchers.tell(control.Event{Time: f.Time, Event: control.EventFailure, Jail: f.Jail, Unit: &control.Unit{Prefix: f.Unit}, Host: f.Host, User: f.User, Text: f.Record})
		case e.Ban != nil:
			b := e.Ban
			d.watchers.tell(control.Event{Time: now, Event: control.EventBan, Jail: b.Jail, Unit: &control.Unit{Prefix: b.Unit}, Until: optional(b.Until), DryRun: b.DryRun, Text: b.Reason})
		case e.Lift != nil:
			d.watchers.tell(control.Event{Time: now, Event: control.EventUnban, Jail: e.Lift.Jail, Unit: &control.Unit{Prefix: e.Lift.Unit}})
		}
	}
}

// reloadOnHangup reloads for each hangup.
func (d *Daemon) reloadOnHangup(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.Hangups:
		}
		switch r, err := d.Reload(ctx); {
		case err != nil:
			d.log.Error("the configuration was not reloaded", "error", err)
		case len(r.Problems) > 0:
			d.log.Error("the configuration was not reloaded", "problems", r.Problems)
		}
	}
}

// settle does what waits for sources to be caught up with. The banner may remove
// what the state does not know as soon as everything that happened before the
// start has been decided again: a crash may have kept a ban from the disk that
// is in the kernel already.
func (d *Daemon) settle() {
	if d.settled {
		return
	}
	behind := func(which func(*following) bool) bool {
		return slices.ContainsFunc(d.sources, func(s *following) bool { return which(s) && !s.caughtUp })
	}
	if behind(func(s *following) bool { return s.preferred }) {
		return
	}
	d.noteReadable()
	closeOnce(d.preferredRead)
	if !behind(func(*following) bool { return true }) {
		d.settled = true
		d.banner.Settle()
	}
}

// closeOnce closes a channel of the deciding goroutine, if it is not closed yet.
func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// ask runs f between two batches, in the goroutine that decides.
func (d *Daemon) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case d.asks <- func() { f(); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the daemon is busy or stopping: %w", context.Cause(ctx))
	}
}

func (d *Daemon) keepHouse() {
	d.watchClock()
	d.board.Expire()
	d.serveMetrics()
	d.watchAddresses()
	if d.settled {
		d.pipeline.Forget(d.Now())
		d.forgetSources()
	}
}

// readLocal renews what is known of own addresses. On an error the addresses
// known before stay.
func (d *Daemon) readLocal() error {
	addresses, err := local.Read()
	if err == nil {
		d.pipeline.Local = addresses
	}
	return err
}

func (d *Daemon) openStore() (err error) {
	var report store.Report
	d.store, report, err = store.Open(d.StateDir, store.Options{
		Log: d.log, Now: d.Now, OnHealth: d.storeHealth,
	}, d.pipeline.Apply)
	if err != nil {
		return err
	}
	units, _ := d.pipeline.Units()
	bans := 0
	for range d.pipeline.EachInForce(d.Now()) {
		bans++
	}
	d.log.Info("state read", "dir", d.StateDir, "bans", bans, "units", units)
	if len(report.Damage) > 0 {
		d.board.Raise(damaged(report.Damage))
	}
	return nil
}

func (d *Daemon) snapshot() {
	if err := d.store.Snapshot(d.pipeline.Dump()); err != nil {
		d.log.Error("the state could not be written; it is tried again", "error", err)
	}
}
