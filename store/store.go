package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxQueue bounds what waits for the disk, in bytes as Batch.weight has them.
const maxQueue = 32 << 20

var (
	errQueueFull = errors.New("the disk does not keep up")
	errClosed    = errors.New("closed")
)

// Options are the settings of a Store; the zero value is ready for use.
type Options struct {
	Log *slog.Logger     // nil: none
	FS  FS               // nil: the real one, which always has the lock
	Now func() time.Time // nil: time.Now. For the times in first lines only
	// OnHealth is told when the disk fails, is slow, and is well again (the
	// zero Health). Calls do not overlap and must not block: the writer waits.
	OnHealth func(Health)
}

// Health is how the disk does; the zero value is well.
type Health struct {
	Err  error         // what failed: the state on the disk is older than that in memory, or its log cannot be shortened
	Slow time.Duration // a write or fsync of more than a second: how long, or has lasted so far
}

// Store is the durable state in a directory. Append, Sync and Snapshot may be
// called from any goroutine, before Run and while it runs; only who owns the
// state can call Snapshot between the right Appends. Run writes the files.
type Store struct {
	onHealth func(Health)
	logger   *slog.Logger
	lock     *os.File
	wake     chan struct{}
	wants    chan struct{}
	disk     disk // of Open, then Run, then Close

	mu       sync.Mutex
	queue    []item
	weight   int    // of the queue
	appended uint64 // batches, ever
	durable  uint64 // how many of these are on stable storage
	waiters  []waiter
	// lost is why batches were not queued. The next snapshot contains them.
	lost  error
	stats Stats // but for what is counted here already
}

// item is one task of the writer: a batch, or a snapshot.
type item struct {
	batch    Batch
	snapshot *snapshot
}

type snapshot struct {
	state    iter.Seq[Batch]
	appended uint64 // Store.appended at its time
	gap      bool   // batches before it were lost
	covers   int64  // as in its mark
}

type waiter struct {
	appended uint64 // what must be durable
	done     chan error
}

// Open locks dir, which it creates with mode 0700 if missing, and calls apply
// for every intact batch in its order, those of the snapshot first. Damage is
// skipped and reported; it makes Open ask for a snapshot, so that it is told
// once. Open fails, leaving the files as they are, if another Store has the
// directory, if a file is of a newer version, or if reading fails. If only
// writing fails, Open succeeds and Run reports it.
func Open(dir string, opt Options, apply func(Batch)) (*Store, Report, error) {
	var report Report
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.FS == nil {
		opt.FS = diskFS{}
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.OnHealth == nil {
		opt.OnHealth = func(Health) {}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, report, fmt.Errorf("open state: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, report, err
	}
	s := &Store{
		onHealth: opt.OnHealth,
		logger:   opt.Log,
		lock:     lock,
		wake:     make(chan struct{}, 1),
		wants:    make(chan struct{}, 1),
		disk:     disk{fs: opt.FS, dir: dir, now: opt.Now, logger: opt.Log},
	}
	log, err := s.disk.load(&report, apply)
	if err != nil {
		lock.Close()
		return nil, report, err
	}
	if err := s.disk.attach(log); err != nil {
		s.lost = fmt.Errorf("open state for writing: %w", err)
	}
	s.measure(func(*Stats) {})
	if len(report.Damage) > 0 {
		s.signal(s.wants)
	}
	return s, report, nil
}

// lockDir makes sure that one daemon writes a directory. The kernel lets go of
// the lock when the directory is closed, also by the death of the process. It is
// the directory itself that is locked, since a read-only disk refuses a new file.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock state: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock state: another band is using %s: stop it, or use another directory", dir)
	}
	return nil, fmt.Errorf("lock state: %s: %w", dir, err)
}

// Append queues a batch for the log, in order, and returns at once; b and what
// it refers to must not be changed afterwards. Ban, Lift and Allow are synced within
// 100 ms, as far as the disk can, the rest within a second. When the disk
// fails or falls behind by 32 MiB, batches are dropped and WantsSnapshot asks
// for what makes up for them.
func (s *Store) Append(b Batch) {
	weight := b.weight()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appended++
	if s.lost != nil {
		return
	}
	if s.weight+weight > maxQueue {
		s.drop(errQueueFull)
	} else {
		s.queue = append(s.queue, item{batch: b})
		s.weight += weight
	}
	s.signal(s.wake)
}

// Sync returns when everything appended before is on stable storage. Its error
// says why it cannot be, or is that of the context.
func (s *Store) Sync(ctx context.Context) error {
	s.mu.Lock()
	if s.lost != nil {
		defer s.mu.Unlock()
		return fmt.Errorf("sync state: %w", s.lost)
	}
	if s.durable == s.appended {
		s.mu.Unlock()
		return nil
	}
	w := waiter{s.appended, make(chan error, 1)}
	s.waiters = append(s.waiters, w)
	s.signal(s.wake)
	s.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("sync state: %w", ctx.Err())
	}
}

// Snapshot replaces the files by the batches of state, which must rebuild all
// that was appended before. It returns at once; the writer takes the batches, once
// at most, while Append goes on: they must not change with what is appended. The
// result is seen in Health, and if the log was broken in Sync. The error is that
// the store is closed.
func (s *Store) Snapshot(state iter.Seq[Batch]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.lost, errClosed) {
		return fmt.Errorf("write snapshot: %w", s.lost)
	}
	snap := &snapshot{state: state, appended: s.appended, gap: s.lost != nil}
	s.lost = nil
	// An older one that still waits is of no more use.
	s.queue = slices.DeleteFunc(s.queue, func(i item) bool {
		snap.gap = snap.gap || i.snapshot != nil && i.snapshot.gap
		return i.snapshot != nil
	})
	if snap.gap {
		s.queue, s.weight = nil, 0
	}
	s.queue = append(s.queue, item{snapshot: snap})
	select {
	case <-s.wants: // answered
	default:
	}
	s.signal(s.wake)
	return nil
}

// WantsSnapshot yields a value when the owner of the state should call
// Snapshot: the log is over 4 MiB and twice the snapshot, damage was found, or
// the disk failed, again and again until it no longer does.
func (s *Store) WantsSnapshot() <-chan struct{} { return s.wants }

// Close gives up the files and the lock. Run must have returned; what it did
// not write is lost.
func (s *Store) Close() error {
	s.mu.Lock()
	s.drop(errClosed)
	s.mu.Unlock()
	var err error
	if s.disk.log != nil {
		err = s.disk.log.Close()
	}
	return errors.Join(err, s.lock.Close())
}

// drop empties the queue and lets nobody wait for it; s.mu is held.
func (s *Store) drop(why error) {
	s.lost = why
	s.queue, s.weight = nil, 0
	for _, w := range s.waiters {
		w.done <- fmt.Errorf("sync state: %w", why)
	}
	s.waiters = nil
}

// signal leaves a value in c unless there is one.
func (s *Store) signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
