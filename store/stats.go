package store

import "time"

// Stats is what a Store has done since Open, for whoever watches the disk.
type Stats struct {
	Appended  uint64 // batches
	Durable   uint64 // how many of these are on stable storage, in the log or in a snapshot
	Written   uint64 // bytes of lines that were written to the log
	Snapshots uint64 // that were put in force

	LogBytes, SnapshotBytes int64 // the sizes of the files now

	// Syncs are the writes that had to reach stable storage, and how long each
	// took with its fsync. One that hangs is among them once it has ended.
	Syncs Latency
}

// Latency is how long something took each time.
type Latency struct {
	Count uint64
	Sum   time.Duration
	// Within is how many took at most as long as each of LatencyBounds.
	Within [len(LatencyBounds)]uint64
}

// LatencyBounds are what a Latency sorts by: from a disk with a cache that
// survives a power cut to one that is a finding.
var LatencyBounds = [...]time.Duration{
	100 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, time.Second, 10 * time.Second,
}

func (l *Latency) add(took time.Duration) {
	l.Count++
	l.Sum += took
	for i, bound := range LatencyBounds {
		if took <= bound {
			l.Within[i]++
		}
	}
}

// Stats returns what was done so far. It is safe for concurrent use, and does not
// wait for the disk.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Appended, stats.Durable = s.appended, s.durable
	return stats
}

// measure notes what was done, and how large the files are now.
func (s *Store) measure(did func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	did(&s.stats)
	s.stats.LogBytes, s.stats.SnapshotBytes = s.disk.size, s.disk.snapSize
}
