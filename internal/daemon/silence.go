package daemon

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"band/internal/doctor"
	"band/internal/journal"
	"band/internal/pipeline"
	"band/internal/source"
)

const (
	// manyRecords without a failure among them, in unmatchedFor, are suspicious:
	// scanners find every public host within hours.
	manyRecords  = 1000
	unmatchedFor = 24 * time.Hour
	// silentFor is how long nothing is written to a log that is in use: each is
	// written by cron's sessions, registrations or keep-alives alone.
	silentFor = 24 * time.Hour
	// speaking is how lately another source must have been written, to tell that
	// the silence is not that of the machine.
	speaking = time.Hour
	// foreignRecords in a row of which none tells its time are of another format.
	foreignRecords = 100
)

// watched is what is remembered of a source from one look to the next.
type watched struct {
	since   time.Time // the first look
	backlog time.Duration
}

func (d *Daemon) watching(s *following) *watched {
	if d.watched == nil {
		d.watched = make(map[*following]*watched)
	}
	if d.watched[s] == nil {
		d.watched[s] = &watched{since: d.Now()}
	}
	return d.watched[s]
}

// watchMatches looks for a jail that sees records and never a failure: as if its
// patterns did not fit what the service writes. Where those of another jail fit,
// there may just have been none.
func (d *Daemon) watchMatches(j *pipeline.Jail) {
	if !j.Stats.LastMatch.IsZero() || j.Stats.Records < manyRecords || d.Now().Sub(d.started) < unmatchedFor {
		d.board.Clear(doctor.JailUnmatched, j.Name, "")
		return
	}
	f := doctor.Finding{
		Kind: doctor.JailUnmatched, Severity: doctor.Warning, Jail: j.Name,
		Text:   fmt.Sprintf("none of %d records was a failure since band started, a day ago or more", j.Stats.Records),
		Remedy: fmt.Sprintf("fail to log in yourself and look whether it is counted; see what the patterns make of the log: banctl test %s LOG", j.Name),
	}
	if slices.ContainsFunc(d.sources, func(s *following) bool {
		return slices.Contains(s.Jails(), j.Name) && slices.ContainsFunc(s.Jails(), func(other string) bool {
			return !d.pipeline.Jails[other].Stats.LastMatch.IsZero()
		})
	}) {
		f.Severity = doctor.Note
	}
	d.board.Raise(f)
}

// watchSilence looks for a file that nobody writes while others are written, and
// for one whose records are of another format.
func (d *Daemon) watchSilence(s *following) {
	if s.Untold >= foreignRecords && s.key.format != "raw" {
		d.board.Raise(doctor.Finding{
			Kind: doctor.SourceNotUnderstood, Severity: doctor.Error, Source: s.Name,
			Text:   fmt.Sprintf("none of its last %d records has the format %s: no failure in them can be seen", s.Untold, s.key.format),
			Remedy: "name the format that it has in the jail, or the file that the service writes",
		})
	} else {
		d.board.Clear(doctor.SourceNotUnderstood, "", s.Name)
	}

	since := s.Last
	if s.Last.IsZero() {
		since = d.started
	}
	now := d.Now()
	others := slices.ContainsFunc(d.sources, func(o *following) bool { return o != s && now.Sub(o.Last) < speaking })
	if s.key.path == "" || s.preferred || !s.caughtUp || s.input.State() != source.Open || now.Sub(since) < silentFor || !others {
		d.board.Clear(doctor.SourceSilent, "", s.Name)
		return
	}
	d.board.Raise(doctor.Finding{
		Kind: doctor.SourceSilent, Severity: doctor.Warning, Source: s.Name,
		Text:   fmt.Sprintf("nobody wrote to it since %s, while other logs are written", since.Format(time.RFC3339)),
		Remedy: "look where the service logs now, and name that in the jail; remove the file if it is not in use any more",
	})
}

// watchForgery looks for a log into which callers can write lines, without one
// beside it into which they cannot.
func (d *Daemon) watchForgery(s *following) {
	told := func(jail string) bool { // by a source into which they cannot
		return slices.ContainsFunc(d.sources, func(o *following) bool {
			return o.preferred && o.input.State() == source.Open && slices.Contains(o.Jails(), jail)
		})
	}
	believing := slices.DeleteFunc(s.Jails(), told)
	if s.key.path == "" || s.key.format != "freeswitch" || s.input.State() != source.Open || len(believing) == 0 {
		d.board.Clear(doctor.LogForgeable, "", s.Name)
		return
	}
	d.board.Raise(doctor.Finding{
		Kind: doctor.LogForgeable, Severity: doctor.Note, Source: s.Name,
		Text:   "where FreeSWITCH writes all of its records, callers can write lines that look like failures of others, which " + strings.Join(believing, ", ") + " would count; what does not fit its neighbours is not counted, but only the event socket and a dedicated log are sure",
		Remedy: "let band read the event socket, or let FreeSWITCH write a dedicated log (docs/freeswitch.md), and name it in the jail, with preferred = true",
	})
}

// watchSources looks at all sources together: for jails that have nothing to read
// although no source is known to be missing (a glob that matches no file, and logs
// that need not exist), and for what was found of the journal that no jail reads any
// more.
func (d *Daemon) watchSources() {
	maps.DeleteFunc(d.watched, func(s *following, _ *watched) bool { return !slices.Contains(d.sources, s) })
	if !slices.ContainsFunc(d.sources, func(s *following) bool { return s.key.match != "" }) {
		d.board.ClearSource(journal.Source)
		d.board.ClearAll(doctor.JournalSuppressed, nil)
	}

	told := make(map[string]bool) // sources that are known to be missing
	for _, f := range d.board.Findings() {
		told[f.Source] = told[f.Source] || f.Kind == doctor.SourceMissing && f.Jail == ""
	}
	type place struct{ jail, source string }
	found := make(map[place]bool)
	missing := func(severity doctor.Severity, j *pipeline.Jail, of, text, remedy string) {
		found[place{j.Name, of}] = true
		d.board.Raise(doctor.Finding{Kind: doctor.SourceMissing, Severity: severity, Jail: j.Name, Source: of, Text: text, Remedy: remedy})
	}
	const appears = "nothing to do if the service was not started yet: a log is read as soon as it appears; otherwise correct the paths in the jail"
	for _, name := range d.pipeline.Names() {
		j := d.pipeline.Jails[name]
		var names []string
		silent := true
		for _, of := range j.Sources {
			if events := of.EventSocket.IsValid(); events && len(j.Events()) == 0 || !events && !j.Lines() {
				continue // none of its patterns is for that
			}
			names = append(names, of.String())
			matched := false
			for _, s := range d.sources {
				if !reads(of, s.key) {
					continue
				}
				matched = true
				silent = silent && s.input.State() == source.Missing && !told[s.Name] && s.key.match == ""
			}
			if !matched && of.File != "" && !of.Optional && !of.Preferred {
				silent = false
				missing(doctor.Warning, j, of.File, "no file matches it"+because(of.File), appears)
			}
		}
		switch {
		case !silent:
		case j.Lines() && len(names) == 0:
			missing(doctor.Warning, j, "", "the jail has nothing to read: its patterns are for lines, and none of its sources is a log or the journal",
				"name a log where the jail's sources are named; or switch the jail off: enabled = false")
		case j.Lines():
			missing(doctor.Warning, j, "", "the jail has nothing to read: none of "+strings.Join(names, ", ")+" exists", appears)
		case d.readsFreeSWITCH(): // else it is not missed
			text := strings.Join(names, ", ") + " is not there"
			if len(names) == 0 {
				text = "its patterns are for events, and none of its sources is an event socket"
			}
			missing(doctor.Note, j, "", "the jail has nothing to read: "+text,
				"switch on FreeSWITCH's event socket, and name it where the jail's sources are named (docs/freeswitch.md); or switch the jail off: enabled = false")
		}
	}
	d.board.ClearAll(doctor.SourceMissing, func(f doctor.Finding) bool {
		return f.Jail == "" || found[place{f.Jail, f.Source}]
	})
}

// readsFreeSWITCH reports whether a log of FreeSWITCH is there.
func (d *Daemon) readsFreeSWITCH() bool {
	return slices.ContainsFunc(d.sources, func(s *following) bool {
		return strings.HasPrefix(s.key.format, "freeswitch") && s.key.path != "" && s.input.State() == source.Open
	})
}

// because says why no file matches a glob, where its directory is to blame.
func because(glob string) string {
	dir := filepath.Dir(glob)
	if strings.ContainsAny(dir, "*?[") {
		return ""
	}
	f, err := os.Open(dir)
	if err != nil {
		return ": " + err.Error()
	}
	f.Close()
	return ""
}
