package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
)

// maxDamage bounds Report.Damage; what follows is added to its last entry.
const maxDamage = 1000

// Report is what Open read, and what it had to skip.
type Report struct {
	Generation            uint64 // of the log in use; every snapshot begins a new one
	Batches               int    // handed to apply
	Failures, Bans, Lifts int    // within these
	Damage                []Damage
}

// Damage is one stretch of a state file that could not be used.
type Damage struct {
	File   string
	Line   int    // the first one hit, from 1
	Offset int64  // of the first byte, from 0
	Bytes  int64  // how many were skipped; 0 where something is missing
	Reason string // for the first line hit
}

// String is for a log or a finding.
func (d Damage) String() string {
	return fmt.Sprintf("%s line %d (byte %d): %s, %d bytes skipped", d.File, d.Line, d.Offset, d.Reason, d.Bytes)
}

func (r *Report) damage(d Damage) {
	if n := len(r.Damage); n > 0 {
		last := &r.Damage[n-1]
		adjacent := last.File == d.File && last.Bytes > 0 && last.Offset+last.Bytes == d.Offset
		if adjacent || n == maxDamage {
			last.Bytes += d.Bytes
			return
		}
	}
	r.Damage = append(r.Damage, d)
}

func (r *Report) count(b Batch) {
	r.Batches++
	for _, e := range b.Events {
		switch {
		case e.Failure != nil:
			r.Failures++
		case e.Ban != nil:
			r.Bans++
		case e.Lift != nil:
			r.Lifts++
		}
	}
}

// contents is what one state file turned out to be.
type contents struct {
	exists  bool
	mark    mark // the first that could be read; Generation 0: none
	size    int64
	end     int64 // of the last intact line
	newline bool  // and whether it has its newline
}

// load reads the snapshot and then what the log adds to it, writing nothing.
// It returns the log as found: the zero value if none of it counts.
func (d *disk) load(report *Report, apply func(Batch)) (contents, error) {
	snap, err := d.read(snapName, report, apply, func(mark) int64 { return 0 })
	if err != nil {
		return contents{}, err
	}
	d.snapSize = snap.size
	// A crash between the renames of Snapshot leaves the old log, of which the
	// snapshot contains the beginning or all.
	from := func(m mark) int64 {
		switch {
		case m.Generation >= snap.mark.Generation:
			return 0
		case m.Generation+1 == snap.mark.Generation && snap.mark.Covers > 0:
			return snap.mark.Covers
		}
		return math.MaxInt64
	}
	log, err := d.read(logName, report, apply, from)
	if err != nil {
		return contents{}, err
	}

	switch {
	case snap.exists && !log.exists:
		report.damage(Damage{File: logName, Line: 1, Reason: "missing"})
	case !snap.exists && log.mark.Generation > 1:
		report.damage(Damage{File: snapName, Line: 1, Reason: "missing"})
	case snap.mark.Generation > 0 && log.mark.Generation > snap.mark.Generation:
		report.damage(Damage{File: snapName, Line: 1, Reason: fmt.Sprintf("generation %d, too old for generation %d of the log", snap.mark.Generation, log.mark.Generation)})
	}
	d.generation = max(snap.mark.Generation, 1)
	switch {
	case log.mark.Generation == 0:
	case log.end <= from(log.mark):
		log = contents{} // and what is appended there would be passed over
	default:
		d.generation = log.mark.Generation
	}
	report.Generation = d.generation
	return log, nil
}

// read reads one file. Batches that begin before the offset that from returns
// for the file's first mark are passed over.
func (d *disk) read(name string, report *Report, apply func(Batch), from func(mark) int64) (contents, error) {
	f, err := d.fs.OpenFile(d.path(name), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return contents{}, nil
	}
	if err != nil {
		return contents{}, fmt.Errorf("read state: %w", err)
	}
	defer f.Close()

	var (
		first, last mark
		begin       int64 // of what counts
		started     bool  // the first intact line was seen
		batches     int
		known       = len(report.Damage)
	)
	damaged := func(at place, n int64, reason string) {
		if at.offset >= begin {
			report.damage(Damage{File: name, Line: at.line, Offset: at.offset, Bytes: n, Reason: reason})
		}
	}
	s := scanner{damaged: damaged, intact: func(at place, body []byte) error {
		var err error
		if bytes.HasPrefix(body, markBegin) {
			var m mark
			if err = json.Unmarshal(body, &m); err == nil {
				if m.Version > version {
					return fmt.Errorf("read state: %s has version %d and this band knows versions up to %d: run the newer band, or move the state away", d.path(name), m.Version, version)
				}
				if first.Generation == 0 && (!started || m.End) {
					first = m
				}
				if !started {
					begin = from(m)
				}
				last = m
			}
		} else if at.offset >= begin {
			var b Batch
			if err = json.Unmarshal(body, &b); err == nil {
				// Kinds of a later band of the same version are not ours to judge.
				b.Events = slices.DeleteFunc(b.Events, func(e Event) bool { return e == Event{} })
				batches++
				report.count(b)
				apply(b)
			}
		}
		started = true
		if err != nil {
			damaged(at, int64(sumWidth+len(body)+1), "not a batch: "+err.Error())
		}
		return nil
	}}
	if err := s.scan(io.NewSectionReader(f, 0, math.MaxInt64)); err != nil {
		return contents{}, err
	}
	if first.Generation == 0 || first.End {
		damaged(place{line: 1}, 0, "first line unreadable")
	}
	if name == snapName && len(report.Damage) == known {
		if !last.End {
			damaged(place{line: 1, offset: s.size}, 0, "cut short: no end mark")
		} else if last.Lines != batches {
			damaged(place{line: 1}, 0, fmt.Sprintf("%d of %d lines", batches, last.Lines))
		}
	}
	return contents{exists: true, mark: first, size: s.size, end: s.end, newline: s.newline}, nil
}
