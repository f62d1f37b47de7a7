package store_test

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"band/store"
)

// faultFS is the real file system, or another, with errors of choice before an
// operation: open, read, write, sync, truncate, rename, remove, syncdir.
type faultFS struct {
	under store.FS // nil: the real one

	mu    sync.Mutex
	fault func(op, name string) error
}

func (f *faultFS) set(fault func(op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *faultFS) check(op, name string) error {
	f.mu.Lock()
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	if err := fault(op, filepath.Base(name)); err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (f *faultFS) OpenFile(name string, flag int, perm fs.FileMode) (store.File, error) {
	if err := f.check("open", name); err != nil {
		return nil, err
	}
	if f.under != nil {
		file, err := f.under.OpenFile(name, flag, perm)
		if err != nil {
			return nil, err
		}
		return &faultFile{file, f, name}, nil
	}
	file, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultFile{file, f, name}, nil
}

func (f *faultFS) Rename(oldname, newname string) error {
	if err := f.check("rename", newname); err != nil {
		return err
	}
	if f.under != nil {
		return f.under.Rename(oldname, newname)
	}
	return os.Rename(oldname, newname)
}

func (f *faultFS) Remove(name string) error {
	if err := f.check("remove", name); err != nil {
		return err
	}
	if f.under != nil {
		return f.under.Remove(name)
	}
	return os.Remove(name)
}

func (f *faultFS) SyncDir(name string) error {
	if err := f.check("syncdir", name); err != nil {
		return err
	}
	if f.under != nil {
		return f.under.SyncDir(name)
	}
	return nil // no test of this one cuts the power
}

type faultFile struct {
	store.File
	fs   *faultFS
	name string
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.check("read", f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

// Write fails as a full disk does: half of it is written.
func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.fs.check("write", f.name); err != nil {
		n, _ := f.File.Write(p[:len(p)/2])
		return n, err
	}
	return f.File.Write(p)
}

func (f *faultFile) Sync() error {
	if err := f.fs.check("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.fs.check("truncate", f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// powerFS is a file system in memory that knows what a power cut leaves: what
// was synced, and of the rest what chance kept.
type powerFS struct {
	mu      sync.Mutex
	names   map[string]*inode
	durable map[string]*inode
	pending []func(map[string]*inode) // changes of names since the last SyncDir
	left    int                       // operations until the power is cut
}

type inode struct{ data, synced []byte }

var errPower = errors.New("no power")

func newPowerFS() *powerFS {
	return &powerFS{names: map[string]*inode{}, durable: map[string]*inode{}}
}

// op counts one operation that changes something; false: too late.
func (p *powerFS) op() bool {
	p.left--
	return p.left >= 0
}

// cut returns what is there after a power cut. choose(n) picks from 0..n.
func (p *powerFS) cut(choose func(n int) int) *powerFS {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := maps.Clone(p.durable)
	for _, change := range p.pending[:choose(len(p.pending))] {
		change(names) // a journal keeps their order
	}
	after := newPowerFS()
	for name, node := range names {
		data := node.synced
		if bytes.HasPrefix(node.data, node.synced) {
			data = node.data[:len(node.synced)+choose(len(node.data)-len(node.synced))]
		} else if choose(1) == 1 { // truncated since
			data = node.data
		}
		kept := &inode{bytes.Clone(data), bytes.Clone(data)}
		after.names[name], after.durable[name] = kept, kept
	}
	return after
}

func (p *powerFS) rename(change func(map[string]*inode)) {
	change(p.names)
	p.pending = append(p.pending, change)
}

func (p *powerFS) OpenFile(name string, flag int, _ fs.FileMode) (store.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name = filepath.Base(name) // there is one directory
	node := p.names[name]
	switch {
	case node == nil && flag&os.O_CREATE == 0:
		return nil, fs.ErrNotExist
	case node == nil:
		if !p.op() {
			return nil, errPower
		}
		node = &inode{}
		p.rename(func(names map[string]*inode) { names[name] = node })
	case flag&os.O_TRUNC != 0:
		if !p.op() {
			return nil, errPower
		}
		node.data = nil
	}
	return &powerFile{p, node}, nil
}

func (p *powerFS) Rename(oldname, newname string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	oldname, newname = filepath.Base(oldname), filepath.Base(newname)
	if !p.op() {
		return errPower
	}
	node := p.names[oldname]
	p.rename(func(names map[string]*inode) {
		delete(names, oldname)
		names[newname] = node
	})
	return nil
}

func (p *powerFS) Remove(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	name = filepath.Base(name)
	if p.names[name] == nil {
		return fs.ErrNotExist
	}
	if !p.op() {
		return errPower
	}
	p.rename(func(names map[string]*inode) { delete(names, name) })
	return nil
}

func (p *powerFS) SyncDir(string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.op() {
		return errPower
	}
	p.durable, p.pending = maps.Clone(p.names), nil
	return nil
}

type powerFile struct {
	fs   *powerFS
	node *inode
}

func (f *powerFile) ReadAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return bytes.NewReader(f.node.data).ReadAt(b, off)
}

func (f *powerFile) Write(b []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if !f.fs.op() {
		if f.fs.left == -1 { // it hit this one
			f.node.data = append(f.node.data, b[:len(b)/2]...)
		}
		return 0, errPower
	}
	f.node.data = append(f.node.data, b...)
	return len(b), nil
}

func (f *powerFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if !f.fs.op() {
		return errPower
	}
	f.node.synced = bytes.Clone(f.node.data)
	return nil
}

func (f *powerFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if !f.fs.op() {
		return errPower
	}
	f.node.data = f.node.data[:size:size]
	return nil
}

func (f *powerFile) Close() error { return nil }
