package store_test

import (
	"sync/atomic"
	"testing"

	"band/store"
)

// BenchmarkDurable puts batches with a ban, each acknowledged after its fsync.
func BenchmarkDurable(b *testing.B) {
	b.Run("sequential", func(b *testing.B) {
		o := mustOpen(b, b.TempDir(), store.Options{})
		for b.Loop() {
			o.Append(batch(2))
			mustSync(b, o)
		}
		mustStop(b, o)
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
	})
	b.Run("64 writers", func(b *testing.B) {
		o := mustOpen(b, b.TempDir(), store.Options{})
		var left atomic.Int64
		left.Store(int64(b.N))
		done := make(chan error)
		b.ResetTimer()
		for range 64 {
			go func() {
				var err error
				for err == nil && left.Add(-1) >= 0 {
					o.Append(batch(2))
					err = o.sync()
				}
				done <- err
			}()
		}
		for range 64 {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		mustStop(b, o)
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
	})
}

// BenchmarkEncode puts failures, of which a thousand share an fsync: what counts is
// that they are encoded and written.
func BenchmarkEncode(b *testing.B) {
	const failures = 1000
	o := mustOpen(b, b.TempDir(), store.Options{})
	b.ReportAllocs()
	for b.Loop() {
		for range failures {
			o.Append(batch(1))
		}
		mustSync(b, o)
	}
	mustStop(b, o)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*failures), "ns/failure")
}

// BenchmarkRestore opens a snapshot of 100,000 bans.
func BenchmarkRestore(b *testing.B) {
	dir := b.TempDir()
	o := mustOpen(b, dir, store.Options{})
	bans := make([]int, 100_000)
	for i := range bans {
		bans[i] = 4*i + 2
	}
	o.numbers = bans
	if err := o.snapshot(); err != nil {
		b.Fatal(err)
	}
	mustStop(b, o)
	b.ReportAllocs()
	for b.Loop() {
		s, report, err := store.Open(dir, store.Options{}, func(store.Batch) {})
		if err != nil || report.Bans != len(bans) {
			b.Fatal(err, report)
		}
		s.Close()
	}
}
