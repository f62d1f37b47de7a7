package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"band/internal/freeswitch"
	"band/internal/journal"
	"band/internal/pipeline"
	"band/internal/source"
	"band/internal/source/follow"
	"band/jails"
	"band/matcher"
)

// following is a source and how far it has come.
type following struct {
	*pipeline.Source
	input     *input
	key       sourceKey
	preferred bool
	caughtUp  bool   // with what it held at the start
	doubtful  uint64 // failures that were not counted
}

// sourceKey tells sources apart: what is read, and in which format.
type sourceKey struct {
	path   string // of a file
	match  string // of the journal
	socket netip.AddrPort
	format string
	layout string
}

// name is what an operator calls the source, and how its position is kept.
// FreeSWITCH's is the format that needs no word.
func (k sourceKey) name() string {
	name := k.path
	switch {
	case k.socket.IsValid():
		return jails.Source{EventSocket: k.socket}.String()
	case name == "":
		name = "journal: " + k.match
	}
	if k.format != "freeswitch" {
		name += " (" + strings.TrimSpace(k.format+" "+k.layout) + ")"
	}
	return name
}

// input is what reads one source, or several.
type input struct {
	reader
	stop context.CancelFunc // and wait for it
}

// A reader reads one source or several and hands out their records, in order.
type reader interface {
	Run(ctx context.Context, out chan<- source.Batch) error
	Ready() <-chan struct{}
	State() source.State
	Backlog() source.Backlog
}

// start runs inputs until they are stopped or the daemon ends.
func (d *Daemon) start(inputs ...*input) {
	for _, in := range inputs {
		ctx, cancel := context.WithCancel(d.running.ctx)
		done := make(chan struct{})
		in.stop = func() { cancel(); <-done }
		d.running.group.Go(func() error {
			defer close(done)
			defer cancel()
			return in.Run(ctx, d.running.batches)
		})
	}
}

// findSources adds what the jails name and is not read yet, and returns what reads
// it; on an error, what was found before.
func (d *Daemon) findSources() (added []*input, err error) {
	if added, err = d.findFiles(false); err != nil {
		return added, err
	}
	journal, err := d.findJournal()
	if err != nil {
		return added, err
	}
	if journal != nil {
		added = append(added, journal)
	}
	sockets, err := d.findEvents()
	return append(added, sockets...), err
}

// findFiles adds the files that are not followed yet and returns what reads
// them. Each file is read once, whatever the number of jails that follow it. A
// file that appears later, as matching a glob only then, is read from its
// beginning.
func (d *Daemon) findFiles(later bool) (added []*input, err error) {
	for _, name := range d.pipeline.Names() {
		j := d.pipeline.Jails[name]
		for _, s := range j.Sources {
			if s.File == "" || !j.Lines() {
				continue
			}
			paths, err := d.matching(s.File, j)
			if err != nil {
				return added, fmt.Errorf("jail %s: source %s: %w", j.Name, s.File, err)
			}
			for _, path := range paths {
				key := keyOf(j, path, "")
				known := d.followed(key)
				if known == nil {
					if known, err = d.follow(j, key, s, later); err != nil {
						return added, err
					}
					added = append(added, known.input)
				}
				if !slices.Contains(known.Jails(), j.Name) {
					known.Watch(j, s.Preferred)
				}
			}
		}
	}
	return added, nil
}

func keyOf(j *pipeline.Jail, path, match string) sourceKey {
	return sourceKey{path: path, match: match, format: j.Format, layout: j.Time}
}

// matching returns the path, or what a glob matches and ever matched, without
// the rotated files of those: they are read as a part of the file that they were.
func (d *Daemon) matching(path string, j *pipeline.Jail) ([]string, error) {
	if !strings.ContainsAny(path, "*?[") {
		return []string{path}, nil
	}
	matches, err := filepath.Glob(path)
	if err != nil {
		return nil, err
	}
	suffix := strings.TrimPrefix(keyOf(j, "/", "").name(), "/")
	for _, known := range d.pipeline.Known() {
		known, ours := strings.CutSuffix(known, suffix)
		if ok, err := filepath.Match(path, known); ours && err == nil && ok && !slices.Contains(matches, known) {
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

func (d *Daemon) follow(j *pipeline.Jail, key sourceKey, of jails.Source, later bool) (*following, error) {
	format, err := matcher.FormatNamed(j.Format, j.Time)
	if err != nil {
		return nil, fmt.Errorf("jail %s: %w", j.Name, err)
	}
	via := source.ViaFile
	if of.Preferred {
		via = source.ViaPreferred
	}
	s, err := d.newSource(key, via, format)
	if err != nil {
		return nil, err
	}
	s.preferred = of.Preferred
	config := source.FileConfig{
		Path: key.path, Name: s.Name, Format: format, Cursor: s.Cursor(), Since: d.since(s, later), New: later,
		Optional: of.Preferred || of.Optional, Log: d.log, Board: d.board,
	}
	if !of.Preferred {
		config.After = d.preferredRead
	}
	file, err := source.NewFile(config)
	if err != nil {
		return nil, err
	}
	s.input = &input{reader: file}
	d.sources = append(d.sources, s)
	return s, nil
}

func (d *Daemon) newSource(key sourceKey, via string, format matcher.Format) (*following, error) {
	s, err := d.pipeline.NewSource(key.name(), via, format, time.Local)
	if err != nil {
		return nil, err
	}
	return &following{Source: s, key: key}, nil
}

// findJournal adds what the jails take from the journal and returns what reads
// it: one input for all of them, nil where there is none.
func (d *Daemon) findJournal() (*input, error) {
	var streams []*source.JournalStream
	var found []*following
	for _, name := range d.pipeline.Names() {
		j := d.pipeline.Jails[name]
		for _, s := range j.Sources {
			if len(s.Journal) == 0 || !j.Lines() {
				continue
			}
			match, err := journal.ParseMatch(s.Journal)
			if err != nil {
				return nil, fmt.Errorf("jail %s: source %s: %w", j.Name, s, err)
			}
			key := keyOf(j, "", match.String())
			i := slices.IndexFunc(found, func(f *following) bool { return f.key == key })
			if i < 0 {
				format, err := matcher.FormatNamed(j.Format, j.Time)
				if err != nil {
					return nil, fmt.Errorf("jail %s: %w", j.Name, err)
				}
				f, err := d.newSource(key, source.ViaJournal, format)
				if err != nil {
					return nil, err
				}
				stream, err := source.NewJournalStream(f.Name, match, format, f.Cursor(), d.since(f, false))
				if err != nil {
					return nil, fmt.Errorf("jail %s: source %s: %w", j.Name, s, err)
				}
				f.preferred = s.Preferred
				i, found, streams = len(found), append(found, f), append(streams, stream)
			}
			if !slices.Contains(found[i].Jails(), j.Name) {
				found[i].Watch(j, s.Preferred)
			}
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	config := source.JournalConfig{Streams: streams, Log: d.log, Board: d.board}
	if !slices.ContainsFunc(found, func(f *following) bool { return f.preferred }) {
		config.After = d.preferredRead
	}
	in := &input{reader: source.NewJournal(config)}
	for _, f := range found {
		f.input = in
	}
	d.sources = append(d.sources, found...)
	return in, nil
}

// findEvents adds the event sockets that the jails name, and returns what reads them.
func (d *Daemon) findEvents() ([]*input, error) {
	type socket struct {
		*following
		config source.EventsConfig
		file   string // of the password
	}
	var found []*socket
	for _, name := range d.pipeline.Names() {
		j := d.pipeline.Jails[name]
		events := j.Events()
		for _, s := range j.Sources {
			if !s.EventSocket.IsValid() || len(events) == 0 {
				continue
			}
			key := sourceKey{socket: s.EventSocket}
			i := slices.IndexFunc(found, func(of *socket) bool { return of.key == key })
			if i < 0 {
				// Two may be of one FreeSWITCH: each tells an attempt.
				f, err := d.newSource(key, source.ViaEvents+" "+key.socket.String(), matcher.Events())
				if err != nil {
					return nil, err
				}
				f.preferred = s.Preferred
				i, found = len(found), append(found, &socket{f, source.EventsConfig{
					Address: s.EventSocket, Name: f.Name, Optional: !d.connected[key], Log: d.log, Board: d.board,
				}, s.PasswordFile})
			}
			of := found[i]
			of.file = cmp.Or(of.file, s.PasswordFile)
			of.config.Optional = of.config.Optional && (s.Optional || s.Preferred)
			for _, event := range events {
				if !slices.Contains(of.config.Events, event) {
					of.config.Events = append(of.config.Events, event)
				}
			}
			if !slices.Contains(of.Jails(), j.Name) {
				of.Watch(j, s.Preferred)
			}
		}
	}
	var added []*input
	for _, of := range found {
		of.config.Password = d.passwordOf(of.file)
		of.input = &input{reader: source.NewEvents(of.config)}
		d.sources = append(d.sources, of.following)
		added = append(added, of.input)
	}
	return added, nil
}

// passwordOf returns what reads the password of an event socket: from the first line
// of a file, or from FreeSWITCH's configuration where there is none.
func (d *Daemon) passwordOf(file string) func() (string, error) {
	if file != "" {
		return func() (string, error) {
			if info, err := os.Stat(file); err != nil {
				return "", err
			} else if !info.Mode().IsRegular() {
				return "", fmt.Errorf("%s is no regular file", file)
			}
			f, err := os.Open(file)
			if err != nil {
				return "", err
			}
			defer f.Close()
			const most = 4096
			text, err := io.ReadAll(io.LimitReader(f, most))
			if err != nil {
				return "", err
			}
			line, _, _ := strings.Cut(string(text), "\n")
			return strings.TrimSuffix(line, "\r"), nil
		}
	}
	jails := d.Jails
	return func() (string, error) {
		at := freeswitchDir(jails)
		if at == "" {
			return "", errors.New("FreeSWITCH's configuration was not found; name its directory in band.toml (freeswitch), or a password_file in the jail")
		}
		c, err := freeswitch.Read(at)
		switch {
		case err != nil:
			return "", err
		case c.EventSocket.Password == "":
			return "", fmt.Errorf("%s does not tell it; name a password_file in the jail", at)
		}
		return c.EventSocket.Password, nil
	}
}

// noteReadable notes whether the journal and the event sockets can be read.
func (d *Daemon) noteReadable() {
	for _, s := range d.sources {
		s.Readable = s.key.path == "" && s.input.State() == source.Open
		if events, ok := s.input.reader.(*source.Events); ok {
			s.ReadableSince = events.Since()
			if s.Readable = !s.ReadableSince.IsZero(); s.Readable {
				d.connected[s.key] = true
			}
		}
	}
}

// since returns from when on a source is read of which nothing was: as far back as
// failures add up. But what a jail has counted already it may have read there,
// under another name or in another format: unless it is a new log, a source begins
// now for such a jail. Once decided, that holds until it is read.
func (d *Daemon) since(s *following, later bool) time.Time {
	now := d.Now()
	begins := now.Add(-d.longest())
	switch {
	case s.Cursor() != nil:
	case s.Begins.IsZero():
		if !later && d.counted(s.key) {
			begins = now
		}
		d.store.Append(d.pipeline.Begin(s.Source, begins).Batch)
	case s.Begins.After(begins):
		begins = s.Begins
	}
	return begins
}

// counted reports whether a jail that reads a source counted failures that may
// still add up.
func (d *Daemon) counted(key sourceKey) bool {
	for _, j := range d.pipeline.Jails {
		for _, s := range j.Sources {
			if reads(s, key) && j.Format == key.format && d.pipeline.Counted(j.Name) {
				return true
			}
		}
	}
	return false
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
	return d.sourceWhere(func(s *following) bool { return s.Name == name })
}

func (d *Daemon) followed(key sourceKey) *following {
	return d.sourceWhere(func(s *following) bool { return s.key == key })
}

func (d *Daemon) sourceWhere(is func(*following) bool) *following {
	if i := slices.IndexFunc(d.sources, is); i >= 0 {
		return d.sources[i]
	}
	return nil
}

// dropSources stops reading what the jails do not ask for any more, or ask for
// otherwise. What was read so far is kept.
func (d *Daemon) dropSources() {
	wanted := func(s *following) bool {
		for _, j := range d.pipeline.Jails {
			for _, of := range j.Sources {
				if s.preferred == of.Preferred && s.key.format == j.Format && s.key.layout == j.Time && reads(of, s.key) {
					return true
				}
			}
		}
		return false
	}
	stopped := make(map[*input]bool)
	d.sources = slices.DeleteFunc(d.sources, func(s *following) bool {
		// The journal is read anew: that loses nothing, and its streams are asked for
		// together. So are the events of an event socket, whose logs go on meanwhile.
		if s.key.path != "" && wanted(s) {
			s.Unwatch()
			return false
		}
		if !stopped[s.input] {
			stopped[s.input] = true
			s.input.stop()
		}
		d.board.ClearSource(s.Name)
		if s.key.path != "" && s.Cursor() == nil {
			// Until it is asked for again, it may be read under another name.
			d.carryOut(d.pipeline.ForgetSource(s.Name))
		}
		return true
	})
}

// forgottenAfter is how long a log that nobody names, and that is gone, is waited
// for: logs that carry their date in their name come and go for ever.
const forgottenAfter = 7 * 24 * time.Hour

// forgetSources drops the files that a glob matched once and that are long gone,
// and the positions of sources that no jail has asked for since.
func (d *Daemon) forgetSources() {
	gone := func(last time.Time) bool { return d.Now().Sub(last) > forgottenAfter }
	d.sources = slices.DeleteFunc(d.sources, func(s *following) bool {
		last := s.Last
		if s.Records > 0 && last.IsZero() {
			last = d.started // they told no time
		}
		if !gone(last) || s.input.State() != source.Missing || d.named(s.key) {
			return false
		}
		s.input.stop()
		d.board.ClearSource(s.Name)
		d.log.Info("log forgotten: it is gone for days", "source", s.Name)
		d.carryOut(d.pipeline.ForgetSource(s.Name))
		return true
	})
	for _, name := range d.pipeline.Known() {
		if d.source(name) == nil && gone(d.pipeline.LastOf(name)) {
			d.carryOut(d.pipeline.ForgetSource(name))
		}
	}
}

// named reports whether a jail names the source as it is, not by a glob.
func (d *Daemon) named(key sourceKey) bool {
	if key.path == "" {
		return true
	}
	for _, j := range d.pipeline.Jails {
		if slices.ContainsFunc(j.Sources, func(of jails.Source) bool { return of.File == key.path }) {
			return true
		}
	}
	return false
}

// reads reports whether a source of a jail names what a source reads.
func reads(of jails.Source, key sourceKey) bool {
	switch {
	case key.socket.IsValid():
		return of.EventSocket == key.socket
	case key.path == "":
		match, err := journal.ParseMatch(of.Journal)
		return len(of.Journal) > 0 && err == nil && match.String() == key.match
	}
	matched, err := filepath.Match(of.File, key.path)
	return of.File != "" && (of.File == key.path || err == nil && matched)
}
