package follow

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"band/internal/pulse"
)

const (
	// quiet is how long nothing must come before the end of a file is taken for
	// the end of a record, and a file that was rotated away is left.
	quiet = time.Second
	// grace is how long a file that was left is still read.
	grace = 10 * time.Second
	// busyTick and idleTick are how often the file system is asked when the
	// kernel does not wake us: often while something is happening.
	busyTick = 200 * time.Millisecond
	idleTick = time.Second
	// maxOpen bounds the generations held open while the receiver is slow.
	maxOpen = 64
	// maxDone bounds the memory of files that were read to their end.
	maxDone = 16
)

// Config says what to follow and from where.
type Config struct {
	// Path may not exist yet; it may be a symbolic link.
	Path string
	// From is where to resume, the zero Position at the first start.
	From Position
	// Older, at the first start, tells whether a line is older than what is
	// wanted, and whether it can tell. The file is searched by bisection for the
	// first line that is not older. The line has no newline and may be cut after
	// 64 KiB. When nil, or when no line can tell, the file is read from its
	// beginning.
	Older func(line []byte) (older, dated bool)
	// New says that the file appeared while we were watching, so that it is
	// read from its beginning.
	New bool
	// Log receives details for debugging; nil discards them.
	Log *slog.Logger
	// Observer may be nil.
	Observer Observer
}

// Observer is told what happens to the file. Its methods are called from the
// goroutine of Run and must not block.
type Observer interface {
	// Opened: the file is being read, or can be read again.
	Opened(path string, inode uint64)
	// Missing: there is no such file, or no longer for a second. Once each time.
	Missing(err error)
	// Unreadable: it exists and cannot be read, which is retried for ever. Once each time.
	Unreadable(err error)
	// Truncated: it was truncated, and what was written just before may be lost.
	Truncated(path string)
	// Lost: text says which part could not be found again.
	Lost(path string, text string)
	// Reaches: so far goes what is there, in bytes from the first one that was
	// sent. It is told before a Chunk is sent, while the receiver is waited for,
	// and at least once a second.
	Reaches(end int64)
}

// Follower reads one path. It is made by New.
type Follower struct {
	Config
	ready chan struct{}
	out   chan<- Chunk
	watch *watch // nil when the kernel has none left: then the clock alone wakes

	begun   bool    // where to begin was decided
	files   []*file // the one being read, then newer generations
	current *file   // files[0] once it was announced
	late    []*file // older generations whose writer might not have noticed yet
	done    []ended

	sent            int64     // bytes, ever
	told            bool      // a chunk with data was sent
	settled         bool      // what was sent is complete
	caughtUp        bool      // the end was reached and reported
	following       bool      // the end was reached before: what comes now is being appended
	busy            time.Time // when something happened last
	naming, reading trouble
}

// trouble is why the path cannot be opened, if it cannot.
type trouble struct {
	kind     troubleKind
	since    time.Time
	reported bool
}

type troubleKind int

const (
	noTrouble troubleKind = iota
	isMissing
	isUnreadable
)

// New returns a follower that does nothing before Run.
func New(c Config) *Follower {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	c.Path = filepath.Clean(c.Path)
	if c.New {
		c.Older = nil
	}
	return &Follower{Config: c, ready: make(chan struct{}), settled: true}
}

// Ready is closed when the file was opened, or found missing or unreadable.
func (f *Follower) Ready() <-chan struct{} { return f.ready }

// Run sends the file's bytes to out until ctx ends, and then returns nil. It
// blocks while the receiver does, and drops nothing. What is there at the
// start is read in blocks; what is appended later is read by lines. No state
// of the file ends it: what cannot be read is told to the Observer and tried
// again. It may be called once.
func (f *Follower) Run(ctx context.Context, out chan<- Chunk) error {
	f.out = out
	w, err := newWatch()
	if err != nil {
		f.Log.Warn("the file is polled, not watched", "path", f.Path, "error", err)
	} else {
		f.watch = w
		defer w.close()
	}
	defer f.closeAll()

	for first := true; ctx.Err() == nil; first = false {
		f.look()
		if first {
			close(f.ready)
		}
		if !f.pass(ctx) {
			f.wait(ctx)
		}
	}
	return nil
}

// pass takes one step and reports whether there may be more to do at once.
func (f *Follower) pass(ctx context.Context) bool {
	if len(f.files) == 0 {
		if !f.caughtUp {
			f.caughtUp = f.send(ctx, Chunk{CaughtUp: true, Settled: true, fixed: true, file: f.From})
		}
		return false
	}
	cur := f.files[0]
	if cur != f.current {
		f.announce(cur)
	}
	data, err := f.next(cur)
	if err != nil {
		f.startOver(cur, err)
		return false
	}
	f.reading = trouble{}
	if f.files[0] != cur {
		return true
	}
	if len(data) > 0 {
		f.deliver(ctx, cur, data)
		return true
	}
	f.deliver(ctx, cur, nil)
	return f.turn(cur) || f.drainLate(ctx)
}

// announce begins to read a file.
func (f *Follower) announce(cur *file) {
	f.current = cur
	cur.fresh = cur.off == 0 || f.told && !cur.continues
	f.caughtUp, f.following = false, false
	f.busy = time.Now()
	f.Log.Debug("reading", "path", cur.name, "inode", cur.ino, "offset", cur.off)
	f.Observer.Opened(cur.name, cur.ino)
}

// next reads what follows in cur without taking it, nil when nothing does.
func (f *Follower) next(cur *file) ([]byte, error) {
	if cur.zip != nil {
		data, err := cur.unzip(chunkBytes)
		if err != nil {
			f.lost(cur.name, "the rest of a compressed file cannot be read: "+err.Error())
		}
		return data, nil
	}
	st, err := cur.stamp()
	if err != nil {
		return nil, err
	}
	// A clock tick may hold two changes, so a recent stamp proves nothing.
	same := st == cur.seen && time.Since(st.mtime).Abs() > 2*quiet
	before := cur.seen
	cur.seen = st
	if st.size == cur.off && same {
		return nil, nil
	}
	var data []byte
	if cur.rewound && cur.off == 0 && st.size > 0 {
		if err := cur.skipHole(); err != nil {
			return nil, err
		}
		cur.rewound = false
	}
	if st.size > cur.off {
		if data, err = f.read(cur, st.size); err != nil {
			return nil, err
		}
	}
	// After reading, so that nothing of another content gets through.
	ok := st.size >= cur.off
	if ok {
		if ok, err = cur.unchanged(); err != nil {
			return nil, err
		}
	}
	if ok {
		return data, nil
	}
	f.Log.Debug("truncated", "path", cur.name, "offset", cur.off, "size", st.size)
	f.Observer.Truncated(cur.name)
	p := cur.position(f.Path)
	if err := cur.rewind(); err != nil {
		return nil, err
	}
	if p.Offset == before.size {
		f.finish(ended{p, st.mtime}) // a copy of it may look like an unread generation
	}
	f.caughtUp, f.following = false, false
	if old := f.copyOf(cur, p); old != nil {
		f.adopt(old)
		f.files = slices.Insert(f.files, 0, old)
		return nil, nil
	}
	return f.block(cur)
}

// read reads by lines what was appended since the end was last reached, if it
// is lines and not too many, and else a block.
func (f *Follower) read(cur *file, size int64) ([]byte, error) {
	if f.following && size-cur.off <= aheadBytes {
		var last [1]byte
		if _, err := cur.ReadAt(last[:], size-1); err == nil && last[0] == '\n' {
			return cur.lines(size)
		}
	}
	return cur.block(size)
}

// block reads what is there of a file.
func (f *Follower) block(cur *file) ([]byte, error) {
	st, err := cur.stamp()
	if err != nil || st.size <= cur.off {
		return nil, err
	}
	return cur.block(st.size)
}

// deliver sends data in chunks; without data it sends an empty one if there is
// something to say.
func (f *Follower) deliver(ctx context.Context, cur *file, data []byte) {
	for {
		n := min(len(data), chunkBytes)
		news := n > 0 || cur.fresh
		c := cur.chunk(f.Path, data[:n:n])
		data = data[n:]
		if n > 0 {
			cur.grew = time.Now()
			f.busy = cur.grew
			f.told = true
			f.settled = false
		}
		// The size is asked after the bytes were read: only then does an equal
		// one say that they end there.
		if st, err := cur.stamp(); err == nil {
			c.ModTime = st.mtime
			c.file.Before = f.notOlder(st.mtime)
			end := cur.off == st.size || cur.ended
			c.Settled = cur.settledAt(st) || end && time.Since(cur.grew) >= quiet
			c.CaughtUp = end && f.nothingNewer()
		}
		news = news || c.Settled && !f.settled || c.CaughtUp && !f.caughtUp
		if !news || !f.send(ctx, c) {
			return
		}
		f.settled = c.Settled
		f.caughtUp = c.CaughtUp
		f.following = f.following || c.CaughtUp
		if len(data) == 0 {
			return
		}
	}
}

// ended is how far was read what gets no more: a file, or what was in it before it
// was truncated.
type ended struct {
	Position
	mtime time.Time
}

// finish takes note of what was read.
func (f *Follower) finish(e ended) {
	f.done = append(f.done, e)
	if len(f.done) > maxDone {
		f.done = f.done[1:]
	}
}

// notOlder returns the ends of the files read before that are not older than a
// time, as a chain; nil, as a rule.
func (f *Follower) notOlder(mtime time.Time) *Position {
	var chain *Position
	for _, e := range f.done {
		if !e.mtime.Before(mtime) {
			p := e.Position
			p.Before = chain
			chain = &p
		}
	}
	return chain
}

// nothingNewer reports whether no newer generation has content.
func (f *Follower) nothingNewer() bool {
	for _, g := range f.files {
		if g != f.current && !g.empty() {
			return false
		}
	}
	return true
}

// send hands c over and says whether it could.
func (f *Follower) send(ctx context.Context, c Chunk) bool {
	f.measure(c)
	if !f.hand(ctx, c) {
		return false
	}
	f.sent += int64(len(c.Data))
	return true
}

// hand waits for a receiver, which may take long: meanwhile new generations are
// opened, or one that comes and is deleted would be missed.
func (f *Follower) hand(ctx context.Context, c Chunk) bool {
	select {
	case f.out <- c:
		return true
	default:
	}
	tick := time.NewTicker(busyTick)
	defer tick.Stop()
	for {
		select {
		case f.out <- c:
			return true
		case <-ctx.Done():
			return false
		case <-f.wakes():
			f.look()
		case <-tick.C:
			f.look()
		}
		f.measure(c)
	}
}

// measure tells how far what is there goes, with a chunk that is not sent yet.
func (f *Follower) measure(c Chunk) {
	end := f.sent + int64(len(c.Data))
	for _, g := range f.files {
		end += g.unread()
	}
	f.Observer.Reaches(end)
}

// turn goes on to the next generation when the present one is at its end and
// was quiet, and its writer has evidently changed over: while the newer files
// are empty there is nothing to be had from them. It reports whether it did.
func (f *Follower) turn(cur *file) bool {
	if len(f.files) < 2 || f.files[0] != cur {
		return false
	}
	// A compressed file, or a copy, gets no more.
	if cur.zip == nil && !cur.continues {
		st, err := cur.stamp()
		recent := time.Since(cur.grew) < quiet && time.Since(st.mtime) < quiet
		if err != nil || st.size > cur.off || recent || f.nothingNewer() {
			return false
		}
	}
	f.files = f.files[1:]
	e := ended{Position: cur.position(f.Path)}
	if st, err := cur.stamp(); err == nil {
		e.mtime = st.mtime
	}
	f.finish(e)
	cur.until = time.Now().Add(grace)
	f.late = append(f.late, cur)
	return true
}

// drainLate reads what was still written to a file after it was left, and
// reports whether it sent some. Such a chunk stands between two of the present
// file, so it waits until nothing is pending, and its position is that of the
// present file: resuming there reads nothing twice.
func (f *Follower) drainLate(ctx context.Context) bool {
	for _, old := range slices.Clone(f.late) {
		if f.settled && old.zip == nil {
			data, err := f.block(old)
			ok, err2 := old.unchanged()
			if len(data) > 0 && ok && err == nil && err2 == nil {
				cur := f.files[0]
				old.fresh = true
				c := old.chunk(f.Path, data)
				c.file, c.fixed = cur.position(f.Path), true
				if st, err := old.stamp(); err == nil {
					c.ModTime = st.mtime
					c.Settled = old.settledAt(st)
				}
				f.settled = c.Settled
				cur.fresh, cur.grew = true, time.Now()
				return f.send(ctx, c)
			}
		}
		if time.Now().After(old.until) {
			f.close(old)
			f.late = slices.DeleteFunc(f.late, func(x *file) bool { return x == old })
		}
	}
	return false
}

// look asks which file the path names now, and opens it when it is another.
func (f *Follower) look() {
	if f.watch != nil {
		f.watch.directory(filepath.Dir(f.Path))
	}
	fi, err := os.Stat(f.Path)
	if err == nil {
		if len(f.files) > 0 && f.files[len(f.files)-1].is(fi) {
			f.readable(f.files[len(f.files)-1])
			return
		}
		if f.returned(fi) || len(f.files) >= maxOpen {
			return
		}
	}
	var now *file
	if err == nil {
		now, err = open(f.Path)
	}
	if err != nil {
		f.report(&f.naming, err)
		if f.begun || f.naming.kind != isMissing {
			return
		}
		// It will be read from its beginning when it appears.
		f.Older = nil
	}
	var files []*file
	if f.begun {
		files = f.succeed(now)
	} else if files, err = f.begin(now); err != nil {
		f.report(&f.naming, err)
		return
	}
	if len(files) == 0 {
		return
	}
	f.begun = true
	f.busy = time.Now()
	for _, g := range files {
		f.adopt(g)
	}
	f.files = append(f.files, files...)
	if now != nil {
		f.readable(now)
	}
}

// returned brings a file back whose name was given to another in between.
func (f *Follower) returned(fi os.FileInfo) bool {
	for _, from := range []*[]*file{&f.files, &f.late} {
		i := slices.IndexFunc(*from, func(g *file) bool { return g.is(fi) })
		if i >= 0 {
			g := (*from)[i]
			*from = slices.Delete(slices.Clone(*from), i, i+1)
			f.files = append(f.files, g)
			return true
		}
	}
	return false
}

// readable ends a trouble with the name. The file itself is announced when its
// turn comes, which may be long after.
func (f *Follower) readable(g *file) {
	if f.naming.reported && f.current != nil {
		f.Observer.Opened(f.Path, g.ino)
	}
	f.naming = trouble{}
}

// report tells of a trouble once. Rotation makes a name vanish for a moment, so
// while a file is open it must last.
func (f *Follower) report(t *trouble, err error) {
	kind := isUnreadable
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		kind = isMissing
	}
	if t.kind != kind {
		*t = trouble{kind: kind, since: time.Now()}
		f.busy = t.since
	}
	if t.reported || len(f.files) > 0 && time.Since(t.since) < quiet {
		return
	}
	t.reported = true
	f.Log.Debug("cannot be read", "path", f.Path, "error", err)
	if kind == isMissing {
		f.Observer.Missing(err)
	} else {
		f.Observer.Unreadable(err)
	}
}

// startOver closes everything after a failure to read and finds it again from
// the position reached.
func (f *Follower) startOver(cur *file, err error) {
	f.From = cur.position(f.Path)
	f.closeAll()
	f.report(&f.reading, err)
	f.begun = false
}

func (f *Follower) lost(path, text string) {
	f.Log.Debug("lost", "path", path, "what", text)
	f.Observer.Lost(path, text)
}

func (f *Follower) wakes() <-chan struct{} {
	if f.watch == nil {
		return nil
	}
	return f.watch.C
}

// wait returns when it is time to look again.
func (f *Follower) wait(ctx context.Context) {
	tick := pulse.Next(idleTick)
	if f.watch == nil || !f.settled || len(f.late) > 0 || time.Since(f.busy) < 2*quiet {
		tick = busyTick
	}
	f.measure(Chunk{})
	timer := time.NewTimer(tick)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-f.wakes():
	case <-timer.C:
	}
}

// adopt lets what happens to an open file wake us.
func (f *Follower) adopt(g *file) {
	if f.watch != nil {
		g.wd = f.watch.add(g.File)
	}
}

func (f *Follower) close(g *file) {
	if f.watch != nil {
		f.watch.remove(g.wd)
	}
	_ = g.Close()
}

func (f *Follower) closeAll() {
	for _, g := range slices.Concat(f.files, f.late) {
		f.close(g)
	}
	f.files, f.late, f.current = nil, nil, nil
}

// nobody observes nothing.
type nobody struct{}

func (nobody) Opened(string, uint64) {}
func (nobody) Missing(error)         {}
func (nobody) Unreadable(error)      {}
func (nobody) Truncated(string)      {}
func (nobody) Lost(string, string)   {}
func (nobody) Reaches(int64)         {}
