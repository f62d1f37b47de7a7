package replay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"slices"
	"time"

	"band/internal/journal"
	"band/internal/pipeline"
	"band/internal/source"
	"band/jails"
	"band/matcher"
	"band/matcher/counter"
	"band/store"
)

// chunkSize is how many bytes are read at once.
const chunkSize = 256 << 10

// longAfter is later than every record: in a replay none is in the future.
var longAfter = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Result is what a replay found.
type Result struct {
	Records  int // of the format in which they are the most
	Doubtful int // failures that were not counted because they look forged
	Exempt   int // failures of hosts that are never counted
	// Understood says that a record of a jail's format began somewhere.
	Understood bool
	Attempts   map[string]map[netip.Addr]int // by jail and by host, as logged
	Bans       []store.Ban                   // in the order of decision
}

// Run reads logs to their ends, one after the other as one source of the
// enabled jails of c, and decides on their records. A log may be an export of
// the journal: of that a jail sees what its journal sources name, or all where it
// has none.
func Run(ctx context.Context, c *jails.Config, logs []io.Reader) (*Result, error) {
	p, err := pipeline.New(c)
	if err != nil {
		return nil, err
	}
	attempts := make(tally)
	p.Matched = attempts.add
	streams, err := streamsOf(p)
	if err != nil {
		return nil, err
	}
	r := &Result{Attempts: make(map[string]map[netip.Addr]int)}
	err = match(ctx, func(ctx context.Context, take taker) error {
		for _, log := range logs {
			if err := read(ctx, log, streams, take); err != nil {
				return err
			}
		}
		return nil
	}, func(b *batch) {
		decision := p.TakeMatched(b.stream.source, b.records, b.found, nil, longAfter)
		r.Bans = append(r.Bans, decision.Bans...)
		r.Doubtful += decision.Doubtful
		r.Understood = r.Understood || !b.stream.source.Last.IsZero()
	})
	if err != nil {
		return nil, err
	}
	for _, s := range streams {
		r.Records = max(r.Records, int(s.source.Records))
	}
	for _, name := range p.Names() {
		r.Attempts[name] = attempts.of(name)
		r.Exempt += int(p.Jails[name].Stats.Exempt)
	}
	return r, nil
}

// Records yields the records of a log, plain or an export of the journal, as a
// jail sees them. An error is yielded last.
func Records(ctx context.Context, j *pipeline.Jail, log io.Reader) iter.Seq2[matcher.Record, error] {
	return func(yield func(matcher.Record, error) bool) {
		s, err := newStream(j)
		if err != nil {
			yield(matcher.Record{}, err)
			return
		}
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		enough := false
		err = read(ctx, log, []*stream{s}, func(_ *stream, records []matcher.Record) []matcher.Record {
			for _, r := range records {
				if !enough && !yield(r, nil) {
					enough = true
					stop()
				}
			}
			return records[:0]
		})
		if err != nil && !enough {
			yield(matcher.Record{}, err)
		}
	}
}

// stream is the logs as jails of one format and the same journal sources see
// them.
type stream struct {
	framer  *matcher.Framer
	entries *source.Entries
	journal []journal.Match
	format  matcher.Format
	source  *pipeline.Source
}

func newStream(j *pipeline.Jail) (*stream, error) {
	format, err := matcher.FormatNamed(j.Format, j.Time)
	if err != nil {
		return nil, fmt.Errorf("jail %s: %w", j.Name, err)
	}
	s := &stream{framer: matcher.NewFramer(format), entries: source.NewEntries(format), format: format}
	for _, of := range j.Sources {
		if len(of.Journal) > 0 {
			m, err := journal.ParseMatch(of.Journal)
			if err != nil {
				return nil, fmt.Errorf("jail %s: source %s: %w", j.Name, of, err)
			}
			s.journal = append(s.journal, m)
		}
	}
	return s, nil
}

func streamsOf(p *pipeline.Pipeline) ([]*stream, error) {
	var streams []*stream
	known := make(map[string]*stream)
	for _, name := range p.Names() {
		j := p.Jails[name]
		s, err := newStream(j)
		if err != nil {
			return nil, err
		}
		key := fmt.Sprint(j.Format, j.Time, s.journal)
		if same, ok := known[key]; ok {
			s = same
		} else {
			known[key] = s
			if s.source, err = p.NewSource(key, source.ViaFile, s.format, time.Local); err != nil {
				return nil, err
			}
			streams = append(streams, s)
		}
		s.source.Watch(j, false)
	}
	return streams, nil
}

// records appends the records that a chunk completes to others; a log's last one
// ends with it. The chunk must not change any more.
func (s *stream) records(chunk []byte, last bool, others []matcher.Record) []matcher.Record {
	s.framer.Push(chunk)
	if last {
		return s.framer.Finish(others)
	}
	return s.framer.Drain(others)
}

// sees reports whether an entry is of the stream's journal sources.
func (s *stream) sees(e journal.Entry) bool {
	return len(s.journal) == 0 || slices.ContainsFunc(s.journal, func(m journal.Match) bool { return m.Matches(e) })
}

// A taker takes records of a stream, in order, and returns room for the next ones.
type taker func(s *stream, records []matcher.Record) []matcher.Record

// read reads log to its end.
func read(ctx context.Context, log io.Reader, streams []*stream, take taker) error {
	in := bufio.NewReaderSize(log, chunkSize)
	if head, _ := in.Peek(len("__CURSOR=")); journal.IsExport(head) { // an error comes again
		return readExport(ctx, in, streams, take)
	}
	var room []matcher.Record
	for {
		buf := make([]byte, chunkSize)
		n, err := in.Read(buf)
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return fmt.Errorf("read the log: %w", err)
		}
		for _, s := range streams {
			room = take(s, s.records(buf[:n], last, room))
		}
		if last {
			return nil
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
}

// atOnce is how many entries of the journal are taken at once.
const atOnce = 1000

// readExport reads an export of the journal to its end.
func readExport(ctx context.Context, log io.Reader, streams []*stream, take taker) error {
	in := journal.NewReader(log)
	waiting := make(map[*stream][]matcher.Record)
	for {
		e, err := in.Next()
		if errors.Is(err, io.EOF) {
			for _, s := range streams {
				take(s, append(waiting[s], s.entries.Finish()...))
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the journal's export: %w", err)
		}
		for _, s := range streams {
			if !s.sees(e) {
				continue
			}
			waiting[s] = append(waiting[s], s.entries.Take(e)...)
			if len(waiting[s]) >= atOnce {
				waiting[s] = take(s, waiting[s])
			}
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
}

// tally counts failures by host and window: the larger one is the number of
// attempts, because one attempt may write a record into each.
type tally map[string]map[netip.Addr]map[counter.Window]int

func (t tally) add(f *store.Failure) {
	hosts, ok := t[f.Jail]
	if !ok {
		hosts = make(map[netip.Addr]map[counter.Window]int)
		t[f.Jail] = hosts
	}
	windows, ok := hosts[f.Host]
	if !ok {
		windows = make(map[counter.Window]int)
		hosts[f.Host] = windows
	}
	windows[counter.Window{Kind: f.Kind, Via: f.Via}]++
}

func (t tally) of(jail string) map[netip.Addr]int {
	attempts := make(map[netip.Addr]int)
	for host, windows := range t[jail] {
		for _, n := range windows {
			attempts[host] = max(attempts[host], n)
		}
	}
	return attempts
}
