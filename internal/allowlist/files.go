package allowlist

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"band/internal/doctor"
	"band/jails"
)

const (
	// lookEvery is how often the files are looked at.
	lookEvery = 2 * time.Second
	// patience is at how many looks in a row a file that changes all the time is
	// left alone.
	patience = 5

	maxFile    = 10 << 20 // bytes of one file that count
	maxEntries = 100_000  // of one file that count
	maxLine    = 300      // bytes; no entry is longer
	maxTold    = 3        // lines of one file that are told of when they are wrong
)

// file is a file that holds entries, and what is known of it.
type file struct {
	path string

	// Of the goroutine that reads files alone.
	seen  stamp // at the last look
	taken stamp // of what was read when it had been the same for a while
	left  int   // looks at which it was left alone, in a row

	tried  bool
	loaded time.Time // when it was read
	err    string
	content
}

// stamp is what tells two states of a file apart.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

// read looks at the files every now and then, until ctx ends.
func (l *List) read(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	some := l.look(ctx, func(*file) bool { return true })
	for {
		tick := ticker.C
		if !some {
			tick = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-l.fileWake:
			some = l.look(ctx, func(f *file) bool { return !f.tried })
		case <-tick:
			some = l.look(ctx, func(*file) bool { return true })
		}
	}
}

// look looks at those files of which which reports true, and reports whether
// there are any files.
func (l *List) look(ctx context.Context, which func(*file) bool) bool {
	l.mu.Lock()
	files := slices.Collect(maps.Values(l.files))
	wanted := slices.DeleteFunc(slices.Clone(files), func(f *file) bool { return !which(f) })
	l.mu.Unlock()
	for _, f := range wanted {
		if ctx.Err() != nil {
			break
		}
		if c, changed, err := f.look(); changed || err != nil {
			l.load(f, c, err)
		}
	}
	return len(files) > 0
}

// look reads the file where it changed.
//
// A file that is being written may miss what it will hold, so what was read
// before stays until the file is the same at two looks. That is also why it is
// read a second time when it was read at the first look at it.
func (f *file) look() (c content, changed bool, err error) {
	now, err := stat(f.path)
	if err != nil {
		f.seen, f.taken = stamp{}, stamp{}
		return c, false, err
	}
	if now == f.taken {
		return c, false, nil
	}
	quiet := now == f.seen
	f.seen = now
	if !quiet && !f.loaded.IsZero() && f.left < patience {
		f.left++
		return c, false, nil
	}
	f.left = 0
	if c, err = readFile(f.path); err != nil {
		return c, false, err
	}
	if quiet {
		f.taken = now
	}
	return c, true, nil
}

// load makes c what f holds, or keeps what it held and says what is wrong.
func (l *List) load(f *file, c content, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files[f.path] != f {
		return
	}
	f.tried = true
	l.snapshot = nil
	if err != nil {
		f.err = err.Error()
		text := f.err
		if !f.loaded.IsZero() {
			text += "; what it held before stays"
		}
		l.raise(f, text, "make it a regular file that can be read, or take it off the allowlist")
		l.announce()
		return
	}
	f.loaded, f.err = l.now(), join(c.problems, c.more)
	if f.err == "" {
		l.board.Clear(doctor.AllowFile, "", f.path)
	} else {
		l.raise(f, f.err+"; the rest of the file counts", "write one address, prefix or host name on each line")
	}
	if !slices.Equal(c.prefixes, f.prefixes) || !slices.Equal(c.names, f.names) {
		l.log.Info("allowlist file read", "file", f.path, "prefixes", len(c.prefixes), "names", len(c.names))
		f.content = c
		l.reconcile()
		l.changed()
	}
	l.announce()
}

func (l *List) raise(f *file, text, remedy string) {
	l.board.Raise(doctor.Finding{
		Kind: doctor.AllowFile, Severity: doctor.Warning, Source: f.path,
		Text: text, Remedy: remedy,
	})
}

func stat(path string) (stamp, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	st := fi.Sys().(*syscall.Stat_t)
	return stamp{uint64(st.Dev), st.Ino, st.Size, unix.Timespec(st.Mtim), unix.Timespec(st.Ctim)}, nil
}

// readFile reads a regular file and nothing else: a pipe or a device would block
// or have side effects.
func readFile(path string) (content, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("not a regular file (%s)", fi.Mode().Type())
	}
	if err != nil {
		return content{}, fmt.Errorf("open %s: %w", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return content{}, fmt.Errorf("read %s: %w", path, err)
	}
	return parse(path, data), nil
}

// content is what a file holds.
type content struct {
	prefixes []netip.Prefix // sorted
	names    []string       // sorted
	problems []string       // the first ones, with path and line
	more     int            // problems that are not told
}

// parse reads an entry from each line. Whitespace around it, comments from '#'
// on and blank lines are skipped.
func parse(path string, data []byte) content {
	var c content
	problem := func(line int, err error) {
		if len(c.problems) == maxTold {
			c.more++
			return
		}
		c.problems = append(c.problems, fmt.Sprintf("%s:%d: %v", path, line, err))
	}
	cut := len(data) > maxFile
	if cut {
		data = data[:bytes.LastIndexByte(data[:maxFile], '\n')+1]
	}
	line, entries := 0, 0
	for text := range bytes.Lines(data) {
		line++
		text, _, _ = bytes.Cut(text, []byte("#"))
		text = bytes.TrimSpace(text)
		if len(text) == 0 {
			continue
		}
		if entries++; entries > maxEntries {
			problem(line, fmt.Errorf("more than %d entries: this and what follows is ignored", maxEntries))
			cut = false
			break
		}
		if len(text) > maxLine {
			problem(line, fmt.Errorf("%d bytes are no address, prefix or host name", len(text)))
			continue
		}
		e, err := jails.ParseEntry(string(text))
		switch {
		case err != nil:
			problem(line, err)
		case e.File != "":
			problem(line, fmt.Errorf("%q: a file cannot name another", e.File))
		case e.Name != "":
			c.names = append(c.names, e.Name)
		default:
			c.prefixes = append(c.prefixes, e.Prefix)
		}
	}
	if cut {
		problem(line+1, fmt.Errorf("more than %d MiB: this and what follows is ignored", maxFile>>20))
	}
	slices.SortFunc(c.prefixes, netip.Prefix.Compare)
	c.prefixes = slices.Compact(c.prefixes)
	slices.Sort(c.names)
	c.names = slices.Compact(c.names)
	return c
}
