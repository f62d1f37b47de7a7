package daemon

import (
	"fmt"
	"slices"
	"time"

	"band/internal/doctor"
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
	// foreignRecords of which none tells its time are of another format.
	foreignRecords = 100
)

// watchMatches looks for a jail that sees records and never a failure: as if its
// patterns did not fit what the service writes.
func (d *Daemon) watchMatches(j *pipeline.Jail) {
	if !j.Stats.LastMatch.IsZero() || j.Stats.Records < manyRecords || d.Now().Sub(d.started) < unmatchedFor {
		d.board.Clear(doctor.JailUnmatched, j.Name, "")
		return
	}
	d.board.Raise(doctor.Finding{
		Kind: doctor.JailUnmatched, Severity: doctor.Warning, Jail: j.Name,
		Text:   fmt.Sprintf("none of %d records was a failure since band started, a day ago or more", j.Stats.Records),
		Remedy: fmt.Sprintf("fail to log in yourself and look whether it is counted; see what the patterns make of the log: banctl test %s LOG", j.Name),
	})
}

// watchSilence looks for a file that nobody writes while others are written, and
// for one whose records are of another format.
func (d *Daemon) watchSilence(s *following) {
	if s.Records >= foreignRecords && s.Last.IsZero() && s.key.format != "raw" {
		d.board.Raise(doctor.Finding{
			Kind: doctor.SourceNotUnderstood, Severity: doctor.Error, Source: s.Name,
			Text:   fmt.Sprintf("none of its %d records has the format %s: no failure in it can be seen", s.Records, s.key.format),
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
