package freeswitch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A stamp changes when its file does. The zero stamp is that of no file.
type stamp struct {
	dev, ino      uint64
	size          int64
	changed, nsec int64
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	s, _ := info.Sys().(*syscall.Stat_t)
	return stamp{s.Dev, s.Ino, s.Size, s.Ctim.Sec, s.Ctim.Nsec}
}

// watch remembers what stands at path, for Changed.
func (r *reader) watch(path string) {
	r.stamps[path] = stampOf(path)
	r.look(1)
}

// read returns what a file holds. Only regular files are opened: a device may do
// something, a named pipe waits.
func (r *reader) read(path string) (string, error) {
	r.watch(path)
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("read %s: it is no regular file", path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var text strings.Builder
	text.Grow(int(min(info.Size(), maxFile)))
	n, err := io.Copy(&text, io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", err
	}
	if n > maxFile {
		return "", fmt.Errorf("read %s: it is larger than %d MiB", path, maxFile>>20)
	}
	if !slices.Contains(r.files, path) {
		r.files = append(r.files, path)
	}
	return text.String(), nil
}

// glob returns the paths that match an absolute pattern, in the order of glob(3)
// in the C locale, which is FreeSWITCH's. None is no error.
func (r *reader) glob(pattern string) ([]string, error) {
	paths := []string{""}
	for _, part := range strings.Split(pattern, "/")[1:] {
		var next []string
		for _, dir := range paths {
			if r.stopped {
				return nil, nil
			}
			names := []string{part}
			if strings.ContainsAny(part, `*?[\`) {
				var err error
				if names, err = r.match(dir+"/", part); err != nil {
					return nil, err
				}
			}
			for _, name := range names {
				next = append(next, dir+"/"+name)
			}
		}
		paths = next
	}
	paths = slices.DeleteFunc(paths, r.missing)
	slices.Sort(paths)
	for i := range paths {
		paths[i] = tidy(paths[i])
	}
	return paths, nil
}

// missing reports whether there is nothing at path, and remembers it.
func (r *reader) missing(path string) bool {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		r.watch(path)
		return true
	}
	return false
}

// match returns the names in dir that match pattern.
func (r *reader) match(dir, pattern string) ([]string, error) {
	r.watch(dir)
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(max(maxNames-r.names, 0) + 1)
	if err != nil && err != io.EOF {
		return nil, err
	}
	r.look(len(names))
	pattern = strings.ReplaceAll(pattern, "[!", "[^")
	var matching []string
	for _, name := range names {
		ok, err := path.Match(pattern, name)
		if err != nil {
			return nil, fmt.Errorf("search %s for %s: %w", dir, shown(pattern), err)
		}
		if ok && (name[0] != '.' || pattern[0] == '.') {
			matching = append(matching, name)
		}
	}
	return matching, nil
}

// tidy shortens a path where that leads to the same directory. Behind a symbolic
// link ".." leads elsewhere than it seems.
func tidy(path string) string {
	clean := filepath.Clean(path)
	if clean == path {
		return path
	}
	dir, _ := filepath.Split(path)
	was, err := os.Stat(dir)
	if err != nil {
		return path
	}
	if is, err := os.Stat(filepath.Dir(clean)); err != nil || !os.SameFile(was, is) {
		return path
	}
	return clean
}
