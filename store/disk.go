package store

import (
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

const (
	snapName = "state.snap"
	logName  = "state.log"
	temp     = ".tmp"
	chunk    = 1 << 20 // bytes that are encoded before they are written
)

// disk is the state files. One goroutine at a time uses it, but for
// writeSnapshot, which touches only a file of its own.
type disk struct {
	fs     FS
	dir    string
	now    func() time.Time
	logger *slog.Logger

	log        File
	size       int64  // of the log
	generation uint64 // of the log
	snapSize   int64
	// broken: the log may lack lines. After a failed write or fsync nobody
	// knows which (Linux drops the dirty pages), so only a snapshot mends it.
	broken bool
}

func (d *disk) path(name string) string { return filepath.Join(d.dir, name) }

// attach makes the log that load found ready for appending: cut behind its
// last intact line, since nothing may be appended to half a line, or begun.
func (d *disk) attach(log contents) (err error) {
	defer func() { d.broken = err != nil }()
	for _, name := range []string{snapName, logName} {
		_ = d.fs.Remove(d.path(name + temp)) // left by a crash, if any
	}
	if log.end == 0 {
		return d.startLog(d.generation, nil)
	}
	d.log, err = d.fs.OpenFile(d.path(logName), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	d.size = log.end
	if log.end < log.size {
		if err := d.log.Truncate(log.end); err != nil {
			return err
		}
	}
	if !log.newline {
		return d.append([]byte("\n"))
	}
	return nil
}

// append writes encoded lines to the log.
func (d *disk) append(lines []byte) error {
	n, err := d.log.Write(lines)
	d.size += int64(n)
	return err
}

// writeSnapshot writes a snapshot next to the present one.
func (d *disk) writeSnapshot(state iter.Seq[Batch], m mark) (size int64, err error) {
	f, err := d.writeTemp(snapName, func(f io.Writer) error {
		e := newEncoder()
		if err := e.line(m); err != nil {
			return err
		}
		flush := func() error {
			n, err := f.Write(e.buf.Bytes())
			size += int64(n)
			e.buf.Reset()
			return err
		}
		for b := range state {
			if d.encode(e, b) {
				m.Lines++
			}
			if e.buf.Len() < chunk {
				continue
			}
			if err := flush(); err != nil {
				return err
			}
		}
		m.End = true
		if err := e.line(m); err != nil {
			return err
		}
		return flush()
	})
	if err != nil {
		return 0, err
	}
	return size, f.Close()
}

// adopt puts the written snapshot in force and begins the next log, with what
// the present one holds after the first covers bytes; 0 stands for all of it.
// Until the log is replaced the present one stays good: with the old snapshot
// all of it counts, with the new one what follows the covered bytes.
func (d *disk) adopt(size, covers int64) error {
	if err := d.install(snapName); err != nil {
		return err
	}
	d.snapSize = size
	var rest io.Reader
	if covers > 0 {
		rest = io.NewSectionReader(d.log, covers, d.size-covers)
	}
	return d.startLog(d.generation+1, rest)
}

// startLog replaces the log by one of the given generation that holds rest.
func (d *disk) startLog(generation uint64, rest io.Reader) error {
	var size int64
	f, err := d.writeTemp(logName, func(f io.Writer) error {
		e := newEncoder()
		if err := e.line(mark{Band: "state", Version: version, Generation: generation, Written: stamp(d.now())}); err != nil {
			return err
		}
		n, err := f.Write(e.buf.Bytes())
		size = int64(n)
		if err == nil && rest != nil {
			var m int64
			m, err = io.Copy(f, rest)
			size += m
		}
		return err
	})
	if err != nil {
		return err
	}
	if d.log != nil {
		d.log.Close()
	}
	d.log, d.size, d.generation = f, size, generation
	err = d.install(logName)
	d.broken = err != nil // which of the two a crash would leave is unknown
	return err
}

// writeTemp writes and syncs what is to replace a file, or leaves nothing.
func (d *disk) writeTemp(name string, write func(io.Writer) error) (File, error) {
	path := d.path(name + temp)
	f, err := d.fs.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		_ = d.fs.Remove(path) // gives its space back to a full disk
		return nil, err
	}
	return f, nil
}

// install renames what writeTemp wrote over the file, for good.
func (d *disk) install(name string) error {
	if err := d.fs.Rename(d.path(name+temp), d.path(name)); err != nil {
		return err
	}
	return d.fs.SyncDir(d.dir)
}

// encode adds a batch to e and says whether it could. What cannot be JSON is a
// mistake of the caller that must not keep the bans of others from the disk.
func (d *disk) encode(e *encoder, b Batch) bool {
	b = b.stored()
	err := e.line(b)
	if err == nil {
		return true
	}
	d.logger.Error("cannot store a batch as it is", "err", err)
	return e.line(b.withValidCursors()) == nil
}
