package follow

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

const (
	headBytes = 256 // the start of a file that tells it from its successor
	tailBytes = 64  // the bytes before an offset that tell whether they are still there

	// chunkBytes bounds a Chunk.
	chunkBytes = 256 << 10
)

// Position identifies a byte of a file across renames, copies and restarts.
// An inode alone is no identity, since a new file may receive the number that
// a deleted one has just freed: the fingerprints decide.
type Position struct {
	Path   string `json:"path"`
	Inode  uint64 `json:"ino"`
	Device uint64 `json:"dev"`
	Offset int64  `json:"off"`
	Head   string `json:"head,omitempty"` // of the first min(Offset, 256) bytes, as count:hex
	Tail   string `json:"tail,omitempty"` // of the min(Offset, 64) bytes before Offset, as count:hex
	// Before is the end of a file that was read before this one, where their times
	// do not tell which is older: several generations fit into a clock tick.
	Before *Position `json:"before,omitempty"`
}

// IsZero reports whether p is no position at all: nothing was ever taken.
func (p Position) IsZero() bool { return p == Position{} }

// Chunk is a run of bytes of the file, in order.
type Chunk struct {
	// Data is owned by the receiver. It is usually whole lines but may end
	// anywhere, and it may be empty; it is never longer than 256 KiB.
	Data []byte
	// Start is the offset of Data[0] in its file.
	Start int64
	// NewFile says that Data starts a file, or one that was truncated or
	// changed over to: what was pending before is over and complete.
	NewFile bool
	// Settled says that everything up to the end of Data is complete: the last
	// byte is a newline, the file ends there, and its size is not a multiple of
	// 4096 (the kernel shows a single write(2) in pieces that end at page
	// boundaries, and only there); or nothing more came for one second.
	Settled bool
	// CaughtUp says that Data ends where the file does now, with no newer file
	// waiting. It is sent once even when the file is empty or missing.
	CaughtUp bool
	// ModTime is the file's modification time when Data was read.
	ModTime time.Time

	file         Position // identity only, or all of the answer when fixed
	fixed        bool
	head, before []byte
}

// At returns the position after the first n bytes of Data, 0 <= n <= len(Data).
// It reads Data, so it is to be called before the receiver changes it. It is
// zero when no file was read yet.
func (c Chunk) At(n int) Position {
	if c.fixed {
		return c.file
	}
	p := c.file
	p.Offset = c.Start + int64(n)
	p.Head = fingerprint(c.head[:min(p.Offset, headBytes)])
	p.Tail = fingerprint(lastBytes(c.before, c.Data[:n]))
	return p
}

// lastBytes returns a copy of the last tailBytes of a followed by b.
func lastBytes(a, b []byte) []byte {
	if len(b) >= tailBytes {
		return slices.Clone(b[len(b)-tailBytes:])
	}
	return slices.Concat(a[max(0, len(a)+len(b)-tailBytes):], b)
}

func fingerprint(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	sum := sha256.Sum256(b)
	return fmt.Sprintf("%d:%s", len(b), hex.EncodeToString(sum[:8]))
}
