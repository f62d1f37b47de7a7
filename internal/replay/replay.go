package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

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
// enabled jails of c, and decides on their records.
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
	for _, log := range logs {
		err := chunks(ctx, log, func(chunk []byte, last bool) {
			for _, s := range streams {
				decision := p.Take(s.source, s.records(chunk, last), nil, longAfter)
				r.Bans = append(r.Bans, decision.Bans...)
				r.Doubtful += decision.Doubtful
				r.Understood = r.Understood || !s.source.Last.IsZero()
			}
		})
		if err != nil {
			return nil, err
		}
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

// stream is the logs framed in one format, for the jails that read that.
type stream struct {
	framer *matcher.Framer
	source *pipeline.Source
}

func streamsOf(p *pipeline.Pipeline) ([]*stream, error) {
	var streams []*stream
	byFormat := make(map[string]*stream)
	for _, name := range p.Names() {
		j := p.Jails[name]
		s, known := byFormat[j.Format]
		if !known {
			format, err := matcher.FormatNamed(j.Format)
			if err != nil {
				return nil, fmt.Errorf("jail %s: %w", name, err)
			}
			log, err := p.NewSource(j.Format, source.ViaFile, time.Local)
			if err != nil {
				return nil, err
			}
			s = &stream{matcher.NewFramer(format), log}
			byFormat[j.Format] = s
			streams = append(streams, s)
		}
		s.source.Watch(j, false)
	}
	return streams, nil
}

// records returns the records that a chunk completes; a log's last one ends
// with it.
func (s *stream) records(chunk []byte, last bool) []matcher.Record {
	s.framer.Push(bytes.Clone(chunk)) // the framer owns it, and there may be other framers
	if last {
		return s.framer.Finish(nil)
	}
	return s.framer.Drain(nil)
}

// chunks reads log to its end.
func chunks(ctx context.Context, log io.Reader, take func(chunk []byte, last bool)) error {
	buf := make([]byte, chunkSize)
	for {
		n, err := log.Read(buf)
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return fmt.Errorf("read the log: %w", err)
		}
		take(buf[:n], last)
		if last {
			return nil
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
