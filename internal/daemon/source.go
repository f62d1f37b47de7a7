package daemon

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"band/internal/pipeline"
	"band/internal/source"
	"band/matcher"
)

// following is a source and how far it has come.
type following struct {
	pipeline.Source
	file     *source.File
	caughtUp bool // with what it held at the start
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
				if known := d.source(path); known == nil {
					s, err := d.follow(j, path, later)
					if err != nil {
						return added, err
					}
					added = append(added, s)
				} else if !slices.Contains(known.Jails, j) {
					known.Jails = append(known.Jails, j)
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
	rotated := func(path string) bool {
		return slices.ContainsFunc(matches, func(of string) bool {
			return strings.HasPrefix(path, of+".") || strings.HasPrefix(path, of+"-")
		})
	}
	return slices.DeleteFunc(slices.Clone(matches), rotated), nil
}

func (d *Daemon) follow(j *pipeline.Jail, path string, later bool) (*following, error) {
	format, err := matcher.FormatNamed(j.Format)
	if err != nil {
		return nil, fmt.Errorf("jail %s: %w", j.Name, err)
	}
	file, err := source.NewFile(source.FileConfig{
		Path: path, Format: format, Cursor: d.pipeline.Cursor(path), Since: d.started.Add(-j.FindTime), New: later,
		Log: d.log, Board: d.board,
	})
	if err != nil {
		return nil, err
	}
	s := &following{
		Source: pipeline.Source{
			Name: path, Via: source.ViaFile, Jails: []*pipeline.Jail{j}, Clock: matcher.NewClock(time.Local),
		},
		file: file,
	}
	d.sources = append(d.sources, s)
	return s, nil
}

// source returns the source of that name, nil where there is none.
func (d *Daemon) source(name string) *following {
	i := slices.IndexFunc(d.sources, func(s *following) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return d.sources[i]
}
