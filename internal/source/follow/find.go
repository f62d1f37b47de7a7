package follow

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
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
	for before := p.Before; before != nil; before = before.Before {
		f.done = append(f.done, ended{Position: *before})
	}
	if now != nil && now.ino == p.Inode && now.holds(p) {
		return []*file{now}
	}
	others := f.siblings(now)
	// By inode; then by content, since a copy has another inode and a moved file
	// may have too; the fingerprint of few bytes proves nothing.
	old := openFirst(others, p, func(s sibling) bool { return s.ino() == p.Inode })
	if old == nil && p.Offset >= tailBytes {
		if now != nil && now.holds(p) {
			return []*file{now}
		}
		old = openFirst(others, p, func(s sibling) bool { return s.near })
	}
	switch {
	case old != nil:
		f.done = append(f.done, ended{Position: old.position(f.Path)})
		files := append([]*file{old}, f.rotatedSince(old, now)...)
		if now != nil {
			_ = now.seek(0)
			files = append(files, now)
		}
		return files
	case now != nil:
		f.lost(f.Path, "the file last read is gone: resumed at the beginning of the present one")
		_ = now.seek(0)
		return []*file{now}
	}
	return nil
}

// succeed returns the files to be read after the newest open one: what came and
// was rotated away unseen, then now.
func (f *Follower) succeed(now *file) []*file {
	for _, p := range f.done {
		if p.Inode == now.ino && p.Device == now.dev && now.holds(p.Position) {
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
// holds more than was read. Something else may have been written between the
// copy and the truncation: that is gone.
func (f *Follower) copyOf(cur *file, p Position) *file {
	if p.Offset < tailBytes {
		return nil
	}
	old := openFirst(f.siblings(cur), p, func(s sibling) bool {
		return s.near && s.Size() > p.Offset && !strings.HasSuffix(s.path, ".gz")
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
	known := slices.Concat(f.files, f.late, []*file{old})
	var read []Position
	for _, e := range f.done {
		read = append(read, e.Position)
	}
	for _, g := range known {
		read = append(read, g.position(f.Path))
	}
	read = slices.DeleteFunc(read, func(p Position) bool { return p.Offset == 0 })

	var files []*file
	for _, s := range f.siblings(now) {
		if !s.rotated || s.ModTime().Before(st.mtime) || slices.ContainsFunc(known, func(g *file) bool { return g.is(s) }) {
			continue
		}
		g, err := openRotated(s.path)
		if err != nil {
			f.lost(s.path, "a rotated file cannot be read: "+err.Error())
			continue
		}
		// The fingerprint of few bytes proves nothing: other files begin so, too.
		wasRead := func(p Position) bool { return (p.Offset >= tailBytes || p.Inode == g.ino) && g.holds(p) }
		if slices.ContainsFunc(read, wasRead) || g.seek(0) != nil {
			_ = g.Close()
			continue
		}
		files = append(files, g)
	}
	return files
}

// sibling is a regular file in the directory of the followed one.
type sibling struct {
	fs.FileInfo
	path    string
	near    bool // its name begins like the followed one's
	rotated bool // its name is that of a rotated file
}

func (s sibling) ino() uint64 { return s.Sys().(*syscall.Stat_t).Ino }

// siblings lists the other files of the directory, and of the directory that a
// symbolic link leads to, by the time of their last write. A compressed file
// whose uncompressed form is still there is left out.
func (f *Follower) siblings(now *file) []sibling {
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
			if err != nil || !fi.Mode().IsRegular() || now != nil && now.is(fi) {
				continue
			}
			rotated := IsRotated(base, e.Name()) || place != f.Path && sameDate(base, e.Name())
			near := rotated || strings.HasPrefix(e.Name(), base)
			i, known := seen[path]
			if !known {
				i = len(found)
				seen[path] = i
				found = append(found, sibling{FileInfo: fi, path: path})
			}
			found[i].near = found[i].near || near
			found[i].rotated = found[i].rotated || rotated
		}
	}
	found = slices.DeleteFunc(found, func(s sibling) bool {
		plain, zipped := strings.CutSuffix(s.path, ".gz")
		_, there := seen[plain]
		return zipped && there
	})
	slices.SortStableFunc(found, func(a, b sibling) int { return a.ModTime().Compare(b.ModTime()) })
	return found
}

// suffix is what rotation adds to a name: .1, -20261121, .2026-11-21-10-00-00.1, .old.
var suffix = regexp.MustCompile(`^[._-](\d[\dTZ:._-]*|old)$`)

// infix is what it puts before the extension (logrotate's "extension"): .1,
// -20261121. A mere -2 is more likely the log of a second program.
var infix = regexp.MustCompile(`^(\.\d+|[._-]\d{6}[\dTZ:._-]*)$`)

// IsRotated reports whether name is what rotation makes of base, compressed or
// not. Both are names in one directory.
func IsRotated(base, name string) bool {
	name = strings.TrimSuffix(name, ".gz")
	if added, ok := strings.CutPrefix(name, base); ok && suffix.MatchString(added) {
		return true
	}
	ext := filepath.Ext(base)
	added, ok := strings.CutPrefix(name, strings.TrimSuffix(base, ext))
	if !ok || ext == "" {
		return false
	}
	added, ok = strings.CutSuffix(added, ext)
	return ok && infix.MatchString(added)
}

// sameDate reports whether two names differ in the digits of a date alone: what a
// link leads to is often called so, one after the other.
func sameDate(a, b string) bool {
	return len(digit.FindAllString(a, -1)) >= len("20261121") && digit.ReplaceAllString(a, "0") == digit.ReplaceAllString(b, "0")
}

var digit = regexp.MustCompile(`[0-9]`)

// openFirst opens the newest of those wanted that holds p, at p; an
// uncompressed one if there is.
func openFirst(from []sibling, p Position, wanted func(sibling) bool) *file {
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
