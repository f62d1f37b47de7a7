package follow

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nxadm/tail"
	"golang.org/x/sys/unix"
)

// aheadBytes is how far a file may run ahead of what was taken before it is
// read in blocks rather than line by line.
const aheadBytes = 1 << 20

// file is one generation of the followed file, open. A held descriptor keeps
// its inode from being reused, so among open files the inode is an identity.
type file struct {
	*os.File
	name     string
	dev, ino uint64
	wd       int
	zip      *gzip.Reader // of a compressed file; offsets are of its content
	ended    bool         // a compressed file was read to its end

	off     int64     // what was taken
	head    []byte    // the first min(off, headBytes) bytes
	tail    []byte    // the min(off, tailBytes) bytes before off
	seen    stamp     // at the last look
	grew    time.Time // when bytes were last taken
	fresh   bool      // the next chunk is the first of this file
	rewound bool      // it was truncated, and nothing was written to it since
	until   time.Time // when a file that was left is closed

	continues bool // its bytes follow those of the file before it
}

// stamp is what fstat says.
type stamp struct {
	size         int64
	mtime, ctime time.Time
}

// open opens a regular file and nothing else: a pipe or a device would block
// or have side effects.
func open(name string) (*file, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: not a regular file (%s)", name, fi.Mode().Type())
	}
	h, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := &file{File: h, name: name, wd: -1}
	if err := f.identify(); err != nil {
		_ = h.Close()
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return f, nil
}

func (f *file) identify() error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	st := fi.Sys().(*syscall.Stat_t)
	f.dev, f.ino = uint64(st.Dev), st.Ino
	var first [1]byte
	if _, err := f.ReadAt(first[:], 0); err != nil && err != io.EOF {
		return err
	}
	return nil
}

// openRotated opens a file that may have been compressed.
func openRotated(name string) (*file, error) {
	if compressed.MatchString(name) && !strings.HasSuffix(name, ".gz") {
		return nil, fmt.Errorf("open %s: compressed, and not by gzip", name)
	}
	f, err := open(name)
	if err != nil || !strings.HasSuffix(name, ".gz") {
		return f, err
	}
	if f.zip, err = gzip.NewReader(f.File); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("unzip %s: %w", name, err)
	}
	return f, nil
}

// is reports whether fi describes this file.
func (f *file) is(fi os.FileInfo) bool {
	st := fi.Sys().(*syscall.Stat_t)
	return f.ino == st.Ino && f.dev == uint64(st.Dev)
}

func (f *file) stamp() (stamp, error) {
	fi, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	c := fi.Sys().(*syscall.Stat_t).Ctim
	return stamp{fi.Size(), fi.ModTime(), time.Unix(c.Unix())}, nil
}

// empty reports whether nothing is left to be taken.
func (f *file) empty() bool {
	if f.zip != nil {
		return f.ended
	}
	st, err := f.stamp()
	return err == nil && st.size <= f.off
}

// unread returns how many bytes are left to be taken; of a compressed file about.
func (f *file) unread() int64 {
	st, err := f.stamp()
	switch {
	case err != nil || f.ended:
		return 0
	case f.zip != nil:
		return st.size
	}
	return max(0, st.size-f.off)
}

// settledAt reports whether what was taken is complete, by the size that the
// file had afterwards.
func (f *file) settledAt(st stamp) bool {
	return f.off == st.size && st.size%4096 != 0 && bytes.HasSuffix(f.tail, []byte("\n"))
}

// chunk wraps the bytes that follow what was taken, and takes them.
func (f *file) chunk(path string, data []byte) Chunk {
	before := f.tail
	if room := headBytes - len(f.head); room > 0 {
		f.head = slices.Concat(f.head, data[:min(room, len(data))])
	}
	f.tail = lastBytes(f.tail, data)
	c := Chunk{
		Data: data, Start: f.off, NewFile: f.fresh,
		file: Position{Path: path, Inode: f.ino, Device: f.dev},
		head: f.head, before: before,
	}
	f.off += int64(len(data))
	f.fresh = false
	return c
}

// position is where the next byte will be taken.
func (f *file) position(path string) Position {
	return Position{
		Path: path, Inode: f.ino, Device: f.dev, Offset: f.off,
		Head: fingerprint(f.head), Tail: fingerprint(f.tail),
	}
}

// end is the position behind its last byte; of a compressed file it is not known.
func (f *file) end(path string) (Position, error) {
	g := *f
	st, err := f.stamp()
	if err != nil || f.zip != nil {
		return Position{}, err
	}
	err = g.seek(st.size)
	return g.position(path), err
}

// seek moves to off, which must not be past the end.
func (f *file) seek(off int64) error {
	if f.zip != nil {
		return f.seekZip(off)
	}
	head := make([]byte, min(off, headBytes))
	tail := make([]byte, min(off, tailBytes))
	if _, err := f.ReadAt(head, 0); err != nil {
		return err
	}
	if _, err := f.ReadAt(tail, off-int64(len(tail))); err != nil {
		return err
	}
	f.off, f.head, f.tail = off, head, tail
	return nil
}

func (f *file) seekZip(off int64) error {
	if off < f.off {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := f.zip.Reset(f.File); err != nil {
			return err
		}
		f.off, f.head, f.tail, f.ended = 0, nil, nil, false
	}
	fresh := f.fresh
	for f.off < off {
		data, err := f.unzip(off - f.off)
		if err != nil {
			return err
		}
		if data == nil {
			return io.ErrUnexpectedEOF
		}
		f.chunk("", data)
	}
	f.fresh = fresh
	return nil
}

// holds reports whether p is a position in this file's content, and moves there.
func (f *file) holds(p Position) bool {
	// Of many positions most differ here, and it is there already.
	n := min(p.Offset, headBytes)
	if f.off != n && f.seek(n) != nil || fingerprint(f.head) != p.Head {
		return false
	}
	return f.seek(p.Offset) == nil && fingerprint(f.tail) == p.Tail
}

// unchanged reports whether the bytes before the offset are still there: they
// are not when the file was truncated and has grown again, to whatever size.
func (f *file) unchanged() (bool, error) {
	now := make([]byte, len(f.tail))
	_, err := f.ReadAt(now, f.off-int64(len(now)))
	if err == io.EOF {
		return false, nil
	}
	return bytes.Equal(now, f.tail), err
}

// rewind moves to the first byte of a truncated file.
func (f *file) rewind() error {
	f.fresh, f.rewound = true, true
	return f.skipHole()
}

// skipHole moves to the first byte of a truncated file that was written again. A
// writer that does not append goes on at its old offset and leaves a hole before
// it, now or when it writes the next time.
func (f *file) skipHole() error {
	start, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA)
	if err != nil || start < 0 {
		start = 0
	}
	if start > 0 {
		block := make([]byte, 64<<10)
		n, err := f.ReadAt(block, start)
		if err != nil && err != io.EOF {
			return err
		}
		start += int64(n - len(bytes.TrimLeft(block[:n], "\x00")))
	}
	f.rewound = start == 0
	return f.seek(start)
}

// block reads what follows, up to size: whole lines if a line ends in it.
// It takes nothing.
func (f *file) block(size int64) ([]byte, error) {
	data := make([]byte, min(size-f.off, chunkBytes))
	n, err := f.ReadAt(data, f.off)
	if err != nil && err != io.EOF {
		return nil, err
	}
	data = data[:n]
	if n == chunkBytes {
		if i := bytes.LastIndexByte(data, '\n'); i >= 0 {
			data = data[:i+1]
		}
	}
	return data, nil
}

// lines reads the lines that follow, up to size, where a line must end. It takes nothing.
//
// The library makes one pass to the end of the file and is gone. Left to
// follow by itself it would share one inotify instance by path with every other
// tail of the process, end the process when stat fails, and collect a line
// without end in memory, since nothing can interrupt it there. Opening the
// descriptor's own path makes it read this file whatever became of the name,
// and each line must end exactly where the offsets say or it is not believed.
func (f *file) lines(size int64) ([]byte, error) {
	t, err := tail.TailFile(procPath(f.File), tail.Config{
		Location:      &tail.SeekInfo{Offset: f.off, Whence: io.SeekStart},
		MustExist:     true,
		CompleteLines: true,
		Logger:        tail.DiscardingLogger,
	})
	if err != nil {
		// Permission to open it anew may be gone: the descriptor still reads.
		return f.block(size)
	}
	data := make([]byte, 0, size-f.off)
	for f.off+int64(len(data)) < size {
		line, ok := <-t.Lines
		if !ok || line.Err != nil || line.SeekInfo.Offset != f.off+int64(len(data)+len(line.Text))+1 {
			break
		}
		data = append(append(data, line.Text...), '\n')
	}
	// It ends by itself at the end of the file, or here. Its error would be one
	// of reading, and what it did not read the next block reads.
	_ = t.Stop()
	if len(data) == 0 {
		return f.block(size)
	}
	return data, nil
}

// unzip reads what follows in a compressed file, nil at its end.
func (f *file) unzip(atMost int64) ([]byte, error) {
	data := make([]byte, min(atMost, chunkBytes))
	for !f.ended {
		n, err := f.zip.Read(data)
		if n > 0 {
			return data[:n], nil
		}
		if err != nil {
			f.ended = true
			if err != io.EOF {
				return nil, fmt.Errorf("unzip %s: %w", f.name, err)
			}
		}
	}
	return nil, nil
}
