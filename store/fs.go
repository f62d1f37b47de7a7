package store

import (
	"io"
	"io/fs"
	"os"
)

// FS is what the store needs of a file system; paths are those of package os.
// It is called by one goroutine for the log and one for a snapshot.
type FS interface {
	// OpenFile opens or creates, as os.OpenFile does.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Rename replaces newname by oldname at once.
	Rename(oldname, newname string) error
	// Remove deletes a file.
	Remove(name string) error
	// SyncDir brings the names of a directory to stable storage.
	SyncDir(name string) error
}

// File is an open file of an FS.
type File interface {
	io.ReaderAt
	io.Writer
	io.Closer
	// Sync brings the file to stable storage.
	Sync() error
	// Truncate cuts the file to size bytes.
	Truncate(size int64) error
}

// diskFS is the real one.
type diskFS struct{}

func (diskFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // a nil *os.File would be a File that is not nil
	}
	return f, nil
}

func (diskFS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }

func (diskFS) Remove(name string) error { return os.Remove(name) }

func (diskFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
