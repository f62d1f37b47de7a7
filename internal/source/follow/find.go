package follow

import (
	"cmp"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// begin decides where to begin and returns the files to be read, in order. now
// is the file that the path names, nil when it names none; it is closed or
// among the files. No files means that it is too early to decide.
func (f *Follower) begin(now *file) ([]*file, error) {
	if !f.From.IsZero() {
		return f.resume(now), nil
	}
	if now == nil {
		return nil, nil
	}
	start := int64(0)
	var err error
	if f.Older != nil {
		var st stamp
		if st, err = now.stamp(); err == nil {
			start, err = bisect(now, st.size, f.Older)
		}
	}
	if err == nil {
		err = now.seek(start)
	}
	if err != nil {
		_ = now.Close()
		return nil, err
	}
	return []*file{now}, nil
}

// resume finds the file of the cursor, and what was rotated away since.
func (f *Follower) resume(now *file) []*file {
	p := f.From
	if now != nil && now.ino == p.Inode && now.holds(p) {
		f.readBefore(now)
		return []*file{now}
	}
	// By inode; then by content, since a copy has another inode and a moved file
	// may have too; the fingerprint of few bytes proves nothing.
	old := f.openFirst(p, func(s sibling) bool { return s.ino() == p.Inode })
	if old == nil && p.Offset >= tailBytes {
		if now != nil && now.holds(p) {
			f.readBefore(now)
			return []*file{now}
		}
		old = f.openFirst(p, func(s sibling) bool { return s.near })
	}
	switch {
	case old != nil:
		f.readBefore(old)
		f.done = append(f.done, ended{Position: old.position(f.Path)})
		if now == nil {
			return append([]*file{old}, f.rotatedSince(old, nil)...)
		}
		_ = now.seek(0)
		return slices.Concat([]*file{old}, f.rotatedSince(old, now), []*file{now})
	case now != nil:
		f.lost(f.Path, "the file last read is gone: resumed at the beginning of the present one")
		_ = now.seek(0)
		return []*file{now}
	}
	return nil
}

// readBefore takes note of what the cursor says was read before g, which its time
// does not tell: a second restart must know it, too.
func (f *Follower) readBefore(g *file) {
	st, err := g.stamp()
	for before := f.From.Before; before != nil && err == nil; before = before.Before {
		f.done = append(f.done, ended{*before, st.mtime})
	}
}

// succeed returns the files to be read after the newest open one: what came and
// was rotated away unseen, then now.
func (f *Follower) succeed(now *file) []*file {
	for _, p := range f.done {
		if p.Offset > 0 && p.Inode == now.ino && p.Device == now.dev && now.holds(p.Position) {
			return []*file{now}
		}
	}
	_ = now.seek(0)
	if len(f.files) == 0 {
		return []*file{now}
	}
	return append(f.rotatedSince(f.files[len(f.files)-1], now), now)
}

// copyOf opens the copy that was made of cur before it was truncated at p, if it
// may hold more than was read. Something else may have been written between the
// copy and the truncation: that is gone.
func (f *Follower) copyOf(cur *file, p Position) *file {
	if p.Offset < tailBytes {
		return nil
	}
	old := f.openFirst(p, func(s sibling) bool {
		return s.near && !cur.is(s) && (s.Size() > p.Offset || strings.HasSuffix(s.path, ".gz"))
	})
	if old != nil {
		old.continues = true
	}
	return old
}

// rotatedSince opens the rotated files that were not written before old, oldest
// first, but none that was read or is open, and no copy of such a one. Times of
// files are those of a clock tick, 4 ms at 250 Hz, so an equal time counts:
// whole generations fit in a tick.
func (f *Follower) rotatedSince(old, now *file) []*file {
	st, err := old.stamp()
	if err != nil {
		return nil
	}
	known := slices.Concat(f.files, f.late)
	before := f.taken(known)
	newest := []*file{old} // those that may still grow
	if now != nil {
		newest = append(newest, now)
	}
	known = append(known, newest...)
	var files []*file
	var unreadable map[string]error
	for others := range f.listings() {
		closeThem(files)
		files, unreadable = nil, make(map[string]error)
		taken := append(ends(newest, f.Path), before...)
		last := f.rotatedAt(now)
		for _, s := range others {
			if !last.IsZero() && s.ModTime().After(last) {
				break // it has yet to come, after now
			}
			if !s.rotated || s.ModTime().Before(st.mtime) || slices.ContainsFunc(known, func(g *file) bool { return g.is(s) }) {
				continue
			}
			g, err := openRotated(s.path)
			if err != nil {
				unreadable[s.path] = err
				continue
			}
			// The fingerprint of few bytes proves nothing: other files begin so, too.
			wasTaken := func(p Position) bool {
				return (p.Offset >= tailBytes || p.Offset > 0 && p.Inode == g.ino) && g.holds(p)
			}
			if slices.ContainsFunc(taken, wasTaken) || g.seek(0) != nil {
				_ = g.Close()
				continue
			}
			files = append(files, g)
		}
	}
	for path, err := range unreadable {
		f.lost(path, "a rotated file cannot be read: "+err.Error())
	}
	return files
}

// rotatedAt returns when a file was last written that the path no longer names; zero
// where it does.
func (f *Follower) rotatedAt(g *file) time.Time {
	if g == nil {
		return time.Time{}
	}
	if fi, err := os.Stat(f.Path); err == nil && g.is(fi) {
		return time.Time{}
	}
	st, err := g.stamp()
	if err != nil {
		return time.Time{}
	}
	return st.mtime
}

// taken returns positions in the files read before and in those open: a copy of such
// a file, as a compressed one is, holds one of them.
func (f *Follower) taken(open []*file) []Position {
	positions := ends(open, f.Path)
	for _, e := range f.done {
		positions = append(positions, e.Position)
	}
	return positions
}

// ends returns how far files were read, and how far they go.
func ends(files []*file, path string) (positions []Position) {
	for _, g := range files {
		positions = append(positions, g.position(path))
		if end, err := g.end(path); err == nil {
			positions = append(positions, end)
		}
	}
	return positions
}

func closeThem(files []*file) {
	for _, g := range files {
		_ = g.Close()
	}
}

// sibling is a regular file in the directory of the followed one.
type sibling struct {
	fs.FileInfo
	path    string
	near    bool // its name begins like the followed one's
	rotated bool // its name is that of a rotated file
	number  int  // the 2 of fs.log.2, which is older than fs.log.1; 0 where there is none
}

func (s sibling) ino() uint64 { return s.Sys().(*syscall.Stat_t).Ino }

// listings yields the siblings, and again as long as names changed while they were
// looked at: rotation renames one file after the other.
func (f *Follower) listings() iter.Seq[[]sibling] {
	return func(yield func([]sibling) bool) {
		files := f.siblings()
		for range maxListings {
			before := inodes(files)
			if !yield(files) {
				return
			}
			if files = f.siblings(); maps.Equal(inodes(files), before) {
				return
			}
		}
	}
}

// maxListings bounds how often that is.
const maxListings = 10

// inodes returns which files have the names that rotation gives.
func inodes(files []sibling) map[string]uint64 {
	of := make(map[string]uint64)
	for _, s := range files {
		if s.near {
			of[s.path] = s.ino()
		}
	}
	return of
}

// siblings lists the files of the directory, and of the directory that a
// symbolic link leads to, by the time of their last write. A compressed file
// whose uncompressed form is still there is left out.
func (f *Follower) siblings() []sibling {
	places := []string{f.Path}
	if real, err := filepath.EvalSymlinks(f.Path); err == nil && real != f.Path {
		places = append(places, real)
	}
	var found []sibling
	seen := make(map[string]int) // where in found
	for _, place := range places {
		dir, base := filepath.Split(place)
		entries, err := os.ReadDir(cmp.Or(dir, "."))
		if err != nil {
			continue
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			fi, err := e.Info()
			if err != nil || !fi.Mode().IsRegular() {
				continue
			}
			rotated := IsRotated(base, e.Name()) || place != f.Path && sameDate(base, e.Name())
			near := rotated || strings.HasPrefix(e.Name(), base)
			i, known := seen[path]
			if !known {
				i = len(found)
				seen[path] = i
				found = append(found, sibling{FileInfo: fi, path: path, number: number(base, e.Name())})
			}
			found[i].near = found[i].near || near
			found[i].rotated = found[i].rotated || rotated
		}
	}
	found = slices.DeleteFunc(found, func(s sibling) bool {
		plain := compressed.ReplaceAllString(s.path, "")
		_, there := seen[plain]
		return plain != s.path && there && !slices.Contains(places, plain)
	})
	slices.SortStableFunc(found, func(a, b sibling) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(b.number, a.number))
	})
	return found
}

// suffix is what rotation adds to a name: .1, -20261121, .2026-11-21-10-00-00.1, .old.
var suffix = regexp.MustCompile(`^[._-](\d[\dTZ:._-]*|old)$`)

// infix is what it puts before the extension (logrotate's "extension"): .1,
// -20261121, -2026-11-21. A mere -2 is more likely the log of a second program.
var infix = regexp.MustCompile(`^(\.\d+|[._-](\d{6}|\d{4}[._-]\d\d)[\dTZ:._-]*)$`)

// counted is what counts the generations: .1, which is newer than .2.
var counted = regexp.MustCompile(`^\.\d{1,4}$`)

// IsRotated reports whether name is what rotation makes of base, compressed or
// not. Both are names in one directory.
func IsRotated(base, name string) bool {
	behind, within := added(base, name)
	return suffix.MatchString(behind) || infix.MatchString(within)
}

// number returns what counts name among the generations of base; 0 where nothing does.
func number(base, name string) int {
	text := cmp.Or(added(base, name))
	if !counted.MatchString(text) {
		return 0
	}
	n, _ := strconv.Atoi(text[1:])
	return n
}

// compressed is what compressors add. Only what gzip made can be read.
var compressed = regexp.MustCompile(`\.(gz|xz|bz2|zst)$`)

// added returns what name has behind base, and before base's extension.
func added(base, name string) (behind, within string) {
	name = compressed.ReplaceAllString(name, "")
	if rest, ok := strings.CutPrefix(name, base); ok {
		behind = rest
	}
	ext := filepath.Ext(base)
	if rest, ok := strings.CutPrefix(name, strings.TrimSuffix(base, ext)); ok && ext != "" {
		if rest, ok = strings.CutSuffix(rest, ext); ok {
			within = rest
		}
	}
	return behind, within
}

// sameDate reports whether two names differ in the digits of a date alone: what a
// link leads to is often called so, one after the other.
func sameDate(a, b string) bool {
	return len(digit.FindAllString(a, -1)) >= len("20261121") && digit.ReplaceAllString(a, "0") == digit.ReplaceAllString(b, "0")
}

var digit = regexp.MustCompile(`[0-9]`)

// openFirst opens the newest of the siblings wanted that holds p, at p; an
// uncompressed one if there is.
func (f *Follower) openFirst(p Position, wanted func(sibling) bool) (found *file) {
	for others := range f.listings() {
		if found != nil {
			_ = found.Close()
		}
		found = firstOf(others, p, wanted)
	}
	return found
}

func firstOf(from []sibling, p Position, wanted func(sibling) bool) *file {
	for _, zipped := range []bool{false, true} {
		for _, s := range slices.Backward(from) {
			if strings.HasSuffix(s.path, ".gz") != zipped || !wanted(s) {
				continue
			}
			g, err := openRotated(s.path)
			if err != nil {
				continue
			}
			if g.holds(p) {
				return g
			}
			_ = g.Close()
		}
	}
	return nil
}
