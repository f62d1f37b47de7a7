package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
)

// A Log is a log file, plain or compressed by gzip, told by its content.
type Log struct {
	io.Reader
	Size int64 // bytes of the file; 0 where it is not known
	file *os.File
}

// Open opens the log at path; "-" is the standard input. Read, where it is not
// nil, is called with the number of bytes of each read of the file.
func Open(path string, read func(n int)) (*Log, error) {
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return nil, err
		}
	}
	l := &Log{file: file}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		l.Size = info.Size()
	}
	raw := bufio.NewReaderSize(counting{file, read}, chunkSize)
	l.Reader = raw
	magic, err := raw.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(fmt.Errorf("read %s: %w", path, err), file.Close())
	}
	if bytes.Equal(magic, []byte{0x1f, 0x8b}) { // RFC 1952, section 2.3.1
		if l.Reader, err = gzip.NewReader(raw); err != nil {
			return nil, errors.Join(fmt.Errorf("read %s: %w", path, err), file.Close())
		}
	}
	return l, nil
}

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() }

type counting struct {
	io.Reader
	read func(n int)
}

func (c counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.read != nil {
		c.read(n)
	}
	return n, err
}
