package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// opened is how the journal was found.
type opened struct {
	args    []string // for the child
	newest  Cursor   // the last entry that we want; "" where there is none
	missing bool     // there is no entry at all
	gap     string   // why entries may be lost; "" where none are
	err     error
}

// open looks where the child has to begin.
func (r *reading) open() (o opened) {
	if o.newest, o.err = r.one(append([]string{"--lines=1"}, r.terms...)); o.err != nil {
		return o
	}
	if o.newest == "" {
		any, err := r.one([]string{"--lines=1"})
		if err != nil || any == "" {
			o.missing, o.err = any == "", err
			return o
		}
	}
	var begin []string
	switch {
	case r.at != "":
		begin, o.gap = r.resume()
	case !r.config.Since.IsZero():
		begin = since(r.config.Since.Add(-overlap))
	}
	o.args = append([]string{"--output-fields=" + strings.Join(r.fields, ","), "--follow", "--lines=all"}, begin...)
	o.args = append(o.args, r.terms...)
	return o
}

// resume returns the arguments that let a child begin at r.at, that entry
// included: where it has vanished, what is the next can then still be told.
func (r *reading) resume() (begin []string, gap string) {
	begin = []string{"--cursor=" + string(r.at)}
	first, err := r.one(append([]string{"--lines=1"}, begin...))
	if err == nil && first == r.at {
		return begin, ""
	}
	// journalctl goes by the time of a cursor that it does not find. Where the
	// clock was set back, or the host starts with a clock that is late, that
	// would pass over everything until then.
	from := r.at.Time()
	if from.IsZero() || from.After(time.Now()) {
		from, begin = r.config.Since, since(r.config.Since)
	}
	if err != nil { // the journal could be read: it is the cursor that is refused
		return since(from), fmt.Sprintf("the position %q is refused, and the journal is read from %v on: %v", r.at, from, err)
	}
	return begin, "the entry that was last read is no longer in the journal; those behind it may have gone with it before they were read"
}

func since(t time.Time) []string {
	if t.IsZero() {
		return nil
	}
	usec := t.UnixMicro()
	return []string{fmt.Sprintf("--since=@%d.%06d", usec/1e6, usec%1e6)}
}

// checked is what the journal holds, as asked at a time.
type checked struct {
	asked    time.Time
	last     Cursor // of all entries
	matching Cursor // of those that we want, asked for after last
	err      error
}

func (r *reading) compare() (c checked) {
	c.asked = time.Now()
	if c.last, c.err = r.one([]string{"--lines=1"}); c.err == nil {
		c.matching, c.err = r.one(append([]string{"--lines=1"}, r.terms...))
	}
	return c
}

// oneTimeout is how long a single look into the journal may take: with many
// files on a slow disk it takes seconds.
const oneTimeout = time.Minute

// one returns the cursor of the one entry that args ask for, "" where there is
// none.
func (r *reading) one(args []string) (Cursor, error) {
	ctx, cancel := context.WithTimeout(r.ctx, oneTimeout)
	defer cancel()
	cmd, stderr := r.command(ctx, append([]string{"--output-fields=_PID"}, args...))
	out, err := cmd.Output()
	if err != nil {
		return "", stderr.explain(err)
	}
	e, err := newDecoder(bytes.NewReader(out)).next()
	if errors.Is(err, io.EOF) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the last entry of the journal: %w", err)
	}
	return e.Cursor, nil
}
