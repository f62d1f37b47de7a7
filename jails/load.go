package jails

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Load reads the configuration in dir: band.toml, and the jail files in
// jails.d. A directory or file that does not exist is not a problem: the
// shipped jails run with the built-in values. c must not be nil.
//
// Of a value, the last of these layers decides: built-in, band.toml, the
// shipped jail, the jail file of the same name in jails.d. In such an overlay
// the sources replace all shipped ones, the patterns merge by name, and every
// other key, also of [escalate], replaces one value. A jail file of another name
// is a jail of its own and must be complete. Once all this is done, a jail with
// sources_of takes the sources of the other.
//
// A problem costs as little protection as it can. One in a jail file refuses
// that file alone: the jail is left out, or, where the file is an overlay, the
// shipped jail runs as if the file were not there. Only an enabled = false or a
// dry_run = true that can be read is honoured even in a refused overlay. In
// band.toml a bad value falls back to the built-in one, one that contradicts a
// jail gives way there, and bad entries of allow are left out. When a file is
// not even TOML, what stands above its first table and outside the broken lines
// can still be read.
func Load(dir string, c Checker) *Config { return Parse(os.DirFS(dir), dir, c) }

// Parse is Load for the configuration directory that is the root of fsys.
// Problems and origins name its files as if they were in dir.
func Parse(fsys fs.FS, dir string, c Checker) *Config { return parse(Shipped(), fsys, dir, c) }

// parse is Parse with other shipped jails.
func parse(shipped, fsys fs.FS, dir string, c Checker) *Config {
	cfg := &Config{}
	band := &layer{name: layerBand}
	switch r, err := openFile(fsys, "band.toml"); {
	case err == nil:
		band = readBand(filepath.Join(dir, "band.toml"), r)
		r.Close()
	case !errors.Is(err, fs.ErrNotExist):
		band.problems = []Problem{{File: filepath.Join(dir, "band.toml"), Text: err.Error()}}
	}
	cfg.Allow = band.allow
	set(&cfg.FreeSWITCH, band.freeSWITCH)
	set(&cfg.Metrics, band.metrics)

	own, problems := readDir(fsys, dir)
	b := &builder{checker: c, band: band, shipped: readShipped(shipped), own: own, jails: map[string]*built{}}
	for _, name := range b.names() {
		if jail := b.jail(name); !jail.refused {
			cfg.Jails = append(cfg.Jails, jail.Jail)
		}
	}

	cfg.Problems = slices.Concat(band.problems, problems, b.problems)
	slices.SortFunc(cfg.Problems, compareProblems)
	cfg.Problems = slices.Compact(cfg.Problems) // several jails may share one, and an overlay and its fallback
	return cfg
}

func compareProblems(a, b Problem) int {
	return cmp.Or(
		strings.Compare(a.File, b.File),
		cmp.Compare(a.Line, b.Line),
		strings.Compare(a.Key, b.Key),
		strings.Compare(a.Text, b.Text),
	)
}

// openFile opens a regular file. Anything else could block for ever.
func openFile(fsys fs.FS, name string) (io.ReadCloser, error) {
	info, err := fs.Stat(fsys, name)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	var file fs.File
	if err == nil {
		file, err = fsys.Open(name)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", cause(err))
	}
	return file, nil
}

// nameForm is that of a jail, which names sets of the kernel table too: nft(8)
// takes only a letter at the start of a name.
var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// reserved are the names that have a meaning of their own where a jail's name
// may stand: on the command line, and as a set of the kernel table.
var reserved = []string{"all", "manual", "allow4", "allow6"}

// leftovers are what editors and package managers leave beside a file.
var leftovers = []string{".*", "*~", "*.bak", "*.dpkg-*", "*.rpm*"}

// readDir reads the jail files of jails.d, by the name of their jail.
func readDir(fsys fs.FS, dir string) (map[string]*layer, []Problem) {
	dir = filepath.Join(dir, "jails.d")
	entries, err := fs.ReadDir(fsys, "jails.d")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var problems []Problem
	report := func(file, jail, text string) {
		problems = append(problems, Problem{File: file, Jail: jail, Text: text})
	}
	if err != nil {
		report(dir, "", fmt.Sprintf("cannot be read: %v", cause(err)))
	}

	own := map[string]*layer{}
	for _, entry := range entries {
		file := filepath.Join(dir, entry.Name())
		name, isToml := strings.CutSuffix(entry.Name(), ".toml")
		isLeftover := func(form string) bool { ok, _ := path.Match(form, entry.Name()); return ok }
		switch {
		case strings.HasPrefix(name, "."), !isToml && slices.ContainsFunc(leftovers, isLeftover):
			continue
		case !isToml:
			// A forgotten suffix would be a jail that is off without a word.
			report(file, name, "is not read: the name of a jail file ends in .toml")
			continue
		case !nameForm.MatchString(name):
			report(file, name, fmt.Sprintf("%q cannot be the name of a jail: up to 32 of a-z, 0-9, - and _, and the first a letter", name))
			continue
		case slices.Contains(reserved, name):
			report(file, name, fmt.Sprintf("%q cannot be the name of a jail: it is reserved", name))
			continue
		}
		r, err := openFile(fsys, path.Join("jails.d", entry.Name()))
		if err != nil {
			own[name] = &layer{damaged: true, problems: []Problem{{File: file, Jail: name, Text: err.Error()}}}
			continue
		}
		own[name] = readJail(layerOverlay, file, name, r)
		r.Close()
	}
	return own, problems
}
