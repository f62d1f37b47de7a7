package replay

import (
	"context"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"band/internal/pipeline"
	"band/matcher"
)

// batch is records of one stream and what matches them.
type batch struct {
	stream  *stream
	records []matcher.Record
	found   []pipeline.Found
	matched chan struct{} // closed when found is there
}

// match looks for patterns in what read gives to its taker, on all cores, and calls
// decide in the order in which it was read: the cores change no result.
func match(ctx context.Context, read func(context.Context, taker) error, decide func(*batch)) error {
	cores := runtime.GOMAXPROCS(0)
	rooms := sync.Pool{New: func() any { return new(batch) }}
	work, inOrder := make(chan *batch, cores), make(chan *batch, 2*cores)
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		defer close(work)
		defer close(inOrder)
		next := rooms.Get().(*batch)
		return read(ctx, func(s *stream, records []matcher.Record) []matcher.Record {
			b := next
			b.stream, b.records, b.matched = s, records, make(chan struct{})
			work <- b
			inOrder <- b
			next = rooms.Get().(*batch)
			return next.records[:0]
		})
	})
	for range cores {
		tasks.Go(func() error {
			for b := range work {
				b.found = b.stream.source.Match(b.records, b.found[:0])
				close(b.matched)
			}
			return nil
		})
	}
	tasks.Go(func() error {
		for b := range inOrder {
			<-b.matched
			decide(b)
			rooms.Put(b)
		}
		return nil
	})
	return tasks.Wait()
}
