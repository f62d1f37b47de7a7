package jails

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
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
// other key replaces one value. A jail file of another name is a jail of its
// own and must be complete.
//
// A problem costs as little protection as it can. One in a jail file refuses
// that file alone: the jail is left out, or, where the file is an overlay, the
// shipped jail runs as if the file were not there. Only an enabled = false
// that can be read is honoured even in a refused overlay. In band.toml a bad
// value falls back to the built-in one and bad entries of allow are left out.
// When a file is not even TOML, what stands above its first table and outside
// the broken lines can still be read.
func Load(dir string, c Checker) *Config { return Parse(os.DirFS(dir), dir, c) }

// Parse is Load for the configuration directory that is the root of fsys.
// Problems and origins name its files as if they were in dir.
func Parse(fsys fs.FS, dir string, c Checker) *Config {
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
	cfg.Problems = band.problems

	shipped := readShipped()
	own, problems := readDir(fsys, dir)
	cfg.Problems = append(cfg.Problems, problems...)

	names := slices.Concat(slices.Collect(maps.Keys(shipped)), slices.Collect(maps.Keys(own)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		base := []*layer{builtIn(), band}
		if s := shipped[name]; s != nil {
			base = append(base, s)
		}
		jail, problems := build(name, base, own[name], c)
		cfg.Problems = append(cfg.Problems, problems...)
		if len(problems) > 0 && shipped[name] != nil && own[name] != nil {
			jail, problems = build(name, base, own[name].off(), c)
			cfg.Problems = append(cfg.Problems, problems...)
		}
		if len(problems) == 0 {
			cfg.Jails = append(cfg.Jails, jail)
		}
	}

	slices.SortFunc(cfg.Problems, compareProblems)
	cfg.Problems = slices.Compact(cfg.Problems) // an overlay and its fallback may share one
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

// namesUser finds what captures the user in a regex.
var namesUser = regexp.MustCompile(`<USER>|<F-USER>|\(\?P?<user>`)

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

// build lays top, which may be nil, over base and checks the whole.
func build(name string, base []*layer, top *layer, c Checker) (Jail, []Problem) {
	layers := slices.Clone(base)
	if top != nil {
		layers = append(layers, top)
	}
	j := Jail{Name: name, Origins: map[string]Origin{}}
	var problems []Problem
	for _, l := range layers {
		j.lay(l)
		if l.name != layerBand {
			problems = append(problems, l.problems...)
		}
	}
	last := layers[len(layers)-1]
	if last.damaged {
		return j, problems // what is missing may stand in the part that could not be read
	}

	report := func(key, text string) {
		o := j.Origins[key]
		problems = append(problems, Problem{o.File, o.Line, key, name, text})
	}
	// missing blames the last file, or the pattern that lacks something, unless
	// the key is there and was found to be bad.
	missing := func(key string, line int, text string) {
		for _, p := range problems {
			if strings.HasPrefix(p.Key, key) {
				return
			}
		}
		problems = append(problems, Problem{last.file, line, key, name, "is missing: " + text})
	}

	if len(j.Sources) == 0 {
		missing("source", 0, "a jail needs at least one [[source]]")
	}
	if len(j.Patterns) == 0 {
		missing("pattern", 0, "a jail needs at least one [[pattern]]")
	}
	formatErr := errors.New("no format")
	if j.Format == "" {
		missing("format", 0, `a jail needs a format such as "freeswitch"`)
	} else if formatErr = c.Format(j.Format); formatErr != nil {
		report("format", formatErr.Error())
	}
	if j.Enabled && len(j.Patterns) > 0 && !slices.ContainsFunc(j.Patterns, func(p Pattern) bool { return p.Enabled }) {
		o := j.Origins["pattern."+j.Patterns[0].Name+".enabled"]
		problems = append(problems, Problem{o.File, o.Line, "pattern", name, "no pattern is enabled, so nothing would ever match; to switch the jail off write enabled = false"})
	}
	for _, p := range j.Patterns {
		key := "pattern." + p.Name
		if j.Distinct == "user" && p.Enabled && !namesUser.MatchString(p.Regex) {
			report(key+".regex", `must name the user with <F-USER>...</F-USER>, because of distinct = "user"`)
		}
		if p.Regex == "" {
			missing(key+".regex", j.Origins[key].Line, "a pattern needs a regex in '''...'''")
		} else if formatErr == nil {
			if err := c.Pattern(j.Format, p); err != nil {
				report(key+".regex", err.Error())
			}
		}
	}
	return j, problems
}

// lay sets what the layer sets and leaves the rest as it is.
func (j *Jail) lay(l *layer) {
	lay(j, "enabled", &j.Enabled, l.enabled)
	lay(j, "format", &j.Format, l.format)
	lay(j, "findtime", &j.FindTime, l.findTime)
	lay(j, "maxretry", &j.MaxRetry, l.maxRetry)
	lay(j, "bantime", &j.BanTime, l.banTime)
	lay(j, "distinct", &j.Distinct, l.distinct)
	lay(j, "ports", &j.Ports, l.ports)
	lay(j, "ipv4_prefix", &j.IPv4Prefix, l.ipv4Prefix)
	lay(j, "ipv6_prefix", &j.IPv6Prefix, l.ipv6Prefix)
	lay(j, "source", &j.Sources, l.sources)

	for _, p := range l.patterns {
		key := "pattern." + p.label
		i := slices.IndexFunc(j.Patterns, func(old Pattern) bool { return old.Name == p.label })
		if i < 0 {
			i = len(j.Patterns)
			j.Patterns = append(j.Patterns, Pattern{Name: p.label})
			j.Origins[key] = p.origin
			builtIn := Origin{Layer: layerBuiltIn}
			lay(j, key+".kind", &j.Patterns[i].Kind, &setting[string]{"failure", builtIn})
			lay(j, key+".enabled", &j.Patterns[i].Enabled, &setting[bool]{true, builtIn})
			lay(j, key+".unsafe", &j.Patterns[i].Unsafe, &setting[bool]{false, builtIn})
		}
		lay(j, key+".regex", &j.Patterns[i].Regex, p.regex)
		lay(j, key+".kind", &j.Patterns[i].Kind, p.kind)
		lay(j, key+".enabled", &j.Patterns[i].Enabled, p.enabled)
		lay(j, key+".unsafe", &j.Patterns[i].Unsafe, p.unsafe)
	}
}

func lay[T any](j *Jail, key string, to *T, s *setting[T]) {
	if s != nil {
		*to = s.value
		j.Origins[key] = s.origin
	}
}

// off is all that a refused overlay still says.
func (l *layer) off() *layer {
	off := &layer{name: l.name, file: l.file}
	if l.enabled != nil && !l.enabled.value {
		off.enabled = l.enabled
	}
	return off
}
