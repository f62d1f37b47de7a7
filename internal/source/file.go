package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"band/internal/doctor"
	"band/internal/source/follow"
	"band/matcher"
)

// FileConfig says which file to read, and from where.
type FileConfig struct {
	Path   string
	Name   string // of the source, in batches and findings
	Format matcher.Format
	// Cursor is where to resume, as an earlier Batch gave it; nil on the first
	// start, which begins at the first record that is not older than Since.
	Cursor json.RawMessage
	Since  time.Time
	// New says that the file appeared while the daemon ran: it is read from
	// its beginning.
	New bool
	// After is closed when batches may be sent: when sources whose word counts
	// more have been caught up with. nil: at once.
	After <-chan struct{}
	// Optional says that the file need not exist: that it is missing is only
	// worth a finding once it was there.
	Optional bool

	Log   *slog.Logger
	Board *doctor.Board
}

// A File reads the records of one growing, rotating file.
type File struct {
	config   FileConfig
	follower *follow.Follower
	observer *observer
}

// NewFile returns a File that has not been opened. A cursor that cannot be
// read is an error.
func NewFile(c FileConfig) (*File, error) {
	o := &observer{FileConfig: c}
	f := follow.Config{Path: c.Path, New: c.New, Log: c.Log, Observer: o}
	if c.Cursor != nil {
		if err := json.Unmarshal(c.Cursor, &f.From); err != nil {
			return nil, fmt.Errorf("read the cursor of %s: %w", c.Path, err)
		}
	} else if !c.New {
		f.Older = func(line []byte) (older, dated bool) {
			at, dated := matcher.NewClock(c.Format, time.Local).Time(matcher.Stamp(c.Format, line))
			return dated && at.Before(c.Since), dated
		}
	}
	return &File{config: c, follower: follow.New(f), observer: o}, nil
}

// State tells whether the file can be read now. It is safe for concurrent use.
func (f *File) State() State { return State(f.observer.state.Load()) }

// Ready is closed when the file is open or was found to be missing.
func (f *File) Ready() <-chan struct{} { return f.follower.Ready() }

// Backlog tells what of the file was not handed over yet. A file that cannot be
// read has none. It is safe for concurrent use.
func (f *File) Backlog() Backlog { return f.observer.backlog(time.Now()) }

// Run reads until ctx ends. A slow receiver slows it; nothing is dropped.
func (f *File) Run(ctx context.Context, out chan<- Batch) error {
	group, ctx := errgroup.WithContext(ctx)
	chunks := make(chan follow.Chunk)
	group.Go(func() error {
		defer close(chunks)
		return f.follower.Run(ctx, chunks)
	})
	group.Go(func() error {
		framing := framing{framer: matcher.NewFramer(f.config.Format)}
		for chunk := range chunks {
			batch, err := framing.add(chunk)
			if err != nil {
				return fmt.Errorf("write the cursor of %s: %w", f.config.Path, err)
			}
			if len(batch.Records) == 0 && !batch.CaughtUp {
				f.observer.take(len(chunk.Data))
				continue
			}
			batch.Source = f.config.Name
			if f.config.After != nil {
				select {
				case <-f.config.After:
				case <-ctx.Done():
					return nil
				}
			}
			select {
			case out <- batch:
				f.observer.take(len(chunk.Data))
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
	return group.Wait()
}

// framing turns chunks into records and knows the position behind each.
type framing struct {
	framer *matcher.Framer
	read   int64               // bytes pushed so far
	rooms  [2][]matcher.Record // for the next batch, and that of the one before, which is not looked at any more then
	chunks []begun             // those that may hold the end of the pending record
}

// begun is a chunk and the offset in the stream at which it begins.
type begun struct {
	follow.Chunk
	at int64
}

func (f *framing) add(chunk follow.Chunk) (Batch, error) {
	b := Batch{Records: f.rooms[0][:0]}
	clear(f.rooms[0])  // lest it keep what was read
	if chunk.NewFile { // the old file ends here, and with it its last record
		b.Records = f.framer.Finish(b.Records)
	}
	end, position := f.position(b.Records)

	f.forget(f.read - matcher.LineStart) // no record can still end before
	f.chunks = append(f.chunks, begun{chunk, f.read})
	f.read += int64(len(chunk.Data))
	if len(chunk.Data) > 0 {
		f.framer.Push(chunk.Data)
	}
	b.Records = f.framer.Drain(b.Records)
	if chunk.Settled && !pageEnds(chunk) && !f.framer.Torn() {
		b.Records = f.framer.Finish(b.Records)
	}
	switch {
	case chunk.Settled: // what follows may be little, and long in coming
		f.rooms = [2][]matcher.Record{}
	case len(b.Records) > 0:
		f.rooms = [2][]matcher.Record{f.rooms[1], b.Records}
	}
	if n := len(b.Records); n > 0 && b.Records[n-1].End > end {
		_, position = f.position(b.Records)
	}
	b.CaughtUp = chunk.CaughtUp
	if position == nil {
		return b, nil
	}
	var err error
	b.Cursor, err = json.Marshal(position)
	return b, err
}

// pageEnds reports whether what was read ends where a page of the file does. A
// write may pause there for as long as a slow disk makes its writer wait, and
// callers can let a line end just there: only the next record tells that the last
// one is whole.
func pageEnds(chunk follow.Chunk) bool {
	return (chunk.Start+int64(len(chunk.Data)))%pageSize == 0
}

// pageSize is the unit in which the kernel shows what one write(2) wrote.
const pageSize = 4096

// position returns the end of the last record in the stream and in its file.
func (f *framing) position(records []matcher.Record) (int64, *follow.Position) {
	if len(records) == 0 {
		return 0, nil
	}
	end := records[len(records)-1].End
	f.forget(end)
	n := end - f.chunks[0].at
	if n < 0 {
		return 0, nil // the position before stands
	}
	p := f.chunks[0].At(int(n))
	return end, &p
}

// forget lets go of the chunks that end before an offset in the stream.
func (f *framing) forget(before int64) {
	for len(f.chunks) > 1 && f.chunks[1].at <= before {
		f.chunks = f.chunks[1:]
	}
}

// observer turns what befalls the file into findings.
type observer struct {
	FileConfig
	progress
	state atomic.Int32 // a State
	seen  atomic.Bool  // the file was open once
}

func (o *observer) Opened(path string, inode uint64) {
	o.state.Store(int32(Open))
	o.seen.Store(true)
	o.Log.Info("source opened", "source", o.Name, "file", path, "inode", inode)
	o.Board.Clear(doctor.SourceMissing, "", o.Name)
	o.Board.Clear(doctor.SourceUnreadable, "", o.Name)
}

func (o *observer) Missing(err error) {
	o.state.Store(int32(Missing))
	if o.Optional && !o.seen.Load() {
		return
	}
	o.Board.Raise(doctor.Finding{
		Kind: doctor.SourceMissing, Severity: doctor.Warning, Source: o.Name,
		Text:   "the log does not exist: " + cause(err),
		Remedy: "nothing to do if the service was not started yet: the file is read as soon as it appears; otherwise correct the path in the jail",
	})
}

func (o *observer) Unreadable(err error) {
	o.state.Store(int32(Unreadable))
	o.Board.Raise(doctor.Finding{
		Kind: doctor.SourceUnreadable, Severity: doctor.Error, Source: o.Name,
		Text:   "the log cannot be read: " + cause(err),
		Remedy: "give band access to the file; it is tried again until it works",
	})
}

// cause drops the path that a file error repeats.
func cause(err error) string {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

func (o *observer) Truncated(path string) {
	o.lost("the log was truncated; what had not been read by then is lost",
		"rotate by renaming (logrotate without copytruncate), which loses nothing")
}

func (o *observer) Lost(path, text string) {
	o.lost(text, "look at the rotated logs with banctl replay")
}

func (o *observer) Reaches(end int64) { o.reaches(end, time.Now()) }

func (o *observer) lost(text, remedy string) {
	o.Board.Raise(doctor.Finding{
		Kind: doctor.SourceTruncated, Severity: doctor.Warning, Source: o.Name, Text: text, Remedy: remedy, For: 24 * time.Hour,
	})
}
