package source

import (
	"slices"
	"sync"
	"time"
)

// A Backlog is what a source holds and nobody has taken yet. The zero Backlog is
// none.
type Backlog struct {
	Bytes int64         // of the journal it cannot be told
	Age   time.Duration // how long at least the oldest of it has been there
}

// progress compares how far a file goes with how far it was taken. When a byte
// was written nobody can tell; when it was first seen to be there the marks do.
// It is safe for concurrent use.
type progress struct {
	mu         sync.Mutex
	end, taken int64  // in bytes from the first one that was read
	marks      []mark // in order; the first is of what is to be taken next
}

// mark says that the file went so far at a time.
type mark struct {
	end int64
	at  time.Time
}

// finely is how exact the age is told: to a part in so many. The marks thin out
// as the backlog grows older, which bounds them: to some hundreds in a year.
const finely = 16

// reaches notes how far the file goes now.
func (p *progress) reaches(end int64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = end
	p.marks = slices.DeleteFunc(p.marks, func(m mark) bool { return m.end > end }) // it was truncated
	n := len(p.marks)
	if end <= p.taken || n > 0 && p.marks[n-1].end == end {
		return
	}
	if n >= 2 && p.marks[n-1].at.Sub(p.marks[n-2].at) < now.Sub(p.marks[0].at)/finely {
		p.marks = p.marks[:n-1]
	}
	p.marks = append(p.marks, mark{end, now})
}

// take notes that so many bytes more were taken.
func (p *progress) take(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken += int64(n)
	p.marks = slices.DeleteFunc(p.marks, func(m mark) bool { return m.end <= p.taken })
}

func (p *progress) backlog(now time.Time) Backlog {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.marks) == 0 {
		return Backlog{}
	}
	return Backlog{p.end - p.taken, now.Sub(p.marks[0].at)}
}
