package follow

import (
	"bufio"
	"bytes"
	"io"
)

// lineBytes is how much of a long line is looked at.
const lineBytes = 64 << 10

// bisect returns the offset of the first line in the first size bytes of r that
// is not older; if all are, of the unfinished line at the end, or the end. Lines
// that cannot tell are passed over; if none can tell, it is 0.
//
// It reads little more than size, however long the lines are.
func bisect(r io.ReaderAt, size int64, older func([]byte) (older, dated bool)) (int64, error) {
	size, err := finished(r, size)
	if err != nil {
		return 0, err
	}
	_, _, dated, err := firstDated(r, 0, size, size, older)
	if err != nil || !dated {
		return 0, err
	}
	// The first dated line at or after hi is not older, or there is none; the
	// one at or after any offset before lo is older.
	lo, hi := int64(0), size
	for lo < hi {
		mid := lo + (hi-lo)/2
		_, old, dated, err := firstDated(r, mid, hi, size, older)
		if err != nil {
			return 0, err
		}
		if dated && old {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	start, _, _, err := firstDated(r, lo, size, size, older)
	return start, err
}

// finished returns where the last finished line of the first size bytes ends.
func finished(r io.ReaderAt, size int64) (int64, error) {
	block := make([]byte, lineBytes)
	for size > 0 {
		part := block[:min(size, lineBytes)]
		if _, err := r.ReadAt(part, size-int64(len(part))); err != nil && err != io.EOF {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return size - int64(len(part)-i-1), nil
		}
		size -= int64(len(part))
	}
	return 0, nil
}

// firstDated finds the first line that begins in [from, to) and can tell, of size
// bytes of finished lines. If there is none, start is where the line after the
// last one begins, or behind to.
func firstDated(r io.ReaderAt, from, to, size int64, older func([]byte) (older, dated bool)) (start int64, old, dated bool, err error) {
	start = max(0, from-1)
	end := min(size, to+lineBytes) // as much as may be looked at
	b := bufio.NewReaderSize(io.NewSectionReader(r, start, end-start), lineBytes)
	if from > 0 {
		// To the next beginning of a line, which may be from itself.
		_, n, err := readLine(b)
		if err != nil {
			return 0, false, false, err
		}
		start += n
	}
	for start < to {
		line, n, err := readLine(b)
		if err != nil {
			return 0, false, false, err
		}
		if old, dated = older(line); dated {
			return start, old, true, nil
		}
		start += n
	}
	return start, false, false, nil
}

// readLine returns the beginning of a line, and its length with the newline.
func readLine(b *bufio.Reader) (line []byte, n int64, err error) {
	part, err := b.ReadSlice('\n')
	n = int64(len(part))
	line = part
	if err == bufio.ErrBufferFull {
		line = bytes.Clone(part)
	}
	for err == bufio.ErrBufferFull {
		part, err = b.ReadSlice('\n')
		n += int64(len(part))
	}
	if err == io.EOF {
		err = nil
	}
	return bytes.TrimSuffix(line, []byte("\n")), n, err
}
