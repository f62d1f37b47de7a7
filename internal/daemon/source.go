package daemon

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"band/internal/pipeline"
	"band/internal/source"
	"band/internal/source/follow"
	"band/matcher"
)

// following is a source and how far it has come.
type following struct {
	*pipeline.Source
	file      *source.File
	preferred bool
	caughtUp  bool // with what it held at the start
}

// findSources adds the sources that are not followed yet and returns them;
// none of them is open. Each file is read once, whatever the number of jails
// that follow it. A file that appears later, as matching a glob only then, is
// read from its beginning.
func (d *Daemon) findSources(later bool) (added []*following, err error) {
	for _, name := range d.pipeline.Names() {
		j := d.pipeline.Jails[name]
		for _, s := range j.Sources {
			paths, err := d.matching(s.File)
			if err != nil {
				return added, fmt.Errorf("jail %s: source %s: %w", j.Name, s.File, err)
			}
			for _, path := range paths {
				known := d.source(path)
				if known == nil {
					if known, err = d.follow(j, path, s.Preferred, later); err != nil {
						return added, err
					}
					added = append(added, known)
				}
				if !slices.Contains(known.Jails(), j.Name) {
					known.Watch(j, s.Preferred)
				}
			}
		}
	}
	return added, nil
}

// matching returns the path, or what a glob matches and ever matched, without
// the rotated files of those: they are read as a part of the file that they were.
func (d *Daemon) matching(path string) ([]string, error) {
	if !strings.ContainsAny(path, "*?[") {
		return []string{path}, nil
	}
	matches, err := filepath.Glob(path)
	if err != nil {
		return nil, err
	}
	for _, known := range d.pipeline.Known() {
		if ok, err := filepath.Match(path, known); err == nil && ok && !slices.Contains(matches, known) {
			matches = append(matches, known)
		}
	}
	return slices.DeleteFunc(slices.Clone(matches), func(path string) bool {
		return linked(matches, path) || slices.ContainsFunc(matches, func(of string) bool {
			return filepath.Dir(of) == filepath.Dir(path) && follow.IsRotated(filepath.Base(of), filepath.Base(path))
		})
	}), nil
}

// linked reports whether path is a link to another of paths.
func linked(paths []string, path string) bool {
	target, err := filepath.EvalSymlinks(path)
	return err == nil && target != path && slices.Contains(paths, target)
}

func (d *Daemon) follow(j *pipeline.Jail, path string, preferred, later bool) (*following, error) {
	format, err := matcher.FormatNamed(j.Format)
	if err != nil {
		return nil, fmt.Errorf("jail %s: %w", j.Name, err)
	}
	via := source.ViaFile
	if preferred {
		via = source.ViaPreferred
	}
	s := &following{preferred: preferred}
	if s.Source, err = d.pipeline.NewSource(path, via, time.Local); err != nil {
		return nil, err
	}
	config := source.FileConfig{
		Path: path, Format: format, Cursor: s.Cursor(), Since: d.started.Add(-d.longest()), New: later,
		Optional: preferred, Log: d.log, Board: d.board,
	}
	if !preferred {
		config.After = d.preferredRead
	}
	if s.file, err = source.NewFile(config); err != nil {
		return nil, err
	}
	d.sources = append(d.sources, s)
	return s, nil
}

// longest returns the longest findtime: what a first start reads of a log, which
// several jails may share.
func (d *Daemon) longest() time.Duration {
	var longest time.Duration
	for _, j := range d.pipeline.Jails {
		longest = max(longest, j.FindTime)
	}
	return longest
}

// source returns the source of that name, nil where there is none.
func (d *Daemon) source(name string) *following {
	i := slices.IndexFunc(d.sources, func(s *following) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return d.sources[i]
}
