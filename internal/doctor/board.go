package doctor

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// A Finding is something that weakens the protection, or did so lately.
type Finding struct {
	Kind     Kind     `json:"kind"`
	Severity Severity `json:"severity"`
	Jail     string   `json:"jail"`   // "" where it is not about one jail
	Source   string   `json:"source"` // "" where it is not about one source
	Text     string   `json:"text"`   // what is wrong
	Remedy   string   `json:"remedy"` // what to do about it

	// For is how long the finding stands after it was last raised, where
	// nothing says that it is over: something happened, and is past. 0: until
	// it is cleared.
	For time.Duration `json:"-"`
}

// place is what makes two findings the same one.
type place struct {
	kind         Kind
	jail, source string
}

// A Board holds the findings that are true now. Each is logged once when it
// begins, or becomes better or worse, and once when it ends. One that comes and
// goes is logged a few times an hour, and then as what it is. It is safe for
// concurrent use.
type Board struct {
	// Changed, where it is set, is told of each finding that begins, or is over,
	// when the log is. It must not call the Board.
	Changed func(f Finding, over bool)

	log *slog.Logger
	now func() time.Time

	mu       sync.Mutex
	findings map[place]raised
	said     map[place]said
}

type raised struct {
	Finding
	at time.Time
}

// said is what the log says of a place.
type said struct {
	Finding // that stands, if on, or is over
	on      bool
	times   int       // that it began
	since   time.Time // when the first of these was
}

// A finding may begin so often within a while; then it is said that it comes and
// goes, and nothing more until the while is over.
const (
	often = 5
	while = time.Hour
)

// NewBoard returns a Board without findings.
func NewBoard(log *slog.Logger, now func() time.Time) *Board {
	return &Board{log: log, now: now, findings: make(map[place]raised), said: make(map[place]said)}
}

// Raise says that f is true from now on. A finding of the same kind, jail and
// source is replaced by it.
func (b *Board) Raise(f Finding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := place{f.Kind, f.Jail, f.Source}
	b.findings[at] = raised{f, b.now()}
	b.say(at)
}

// Past says that what a finding tells is past: it stands for so long from now on,
// if there is one.
func (b *Board) Past(kind Kind, jail, source string, stands time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := place{kind, jail, source}
	if f, known := b.findings[at]; known {
		f.For, f.at = stands, b.now()
		b.findings[at] = f
	}
}

// Clear says that the finding of that kind, jail and source is over, if there
// was one.
func (b *Board) Clear(kind Kind, jail, source string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end(place{kind, jail, source})
}

// ClearAll says that every finding of that kind is over but those that keep
// names.
func (b *Board) ClearAll(kind Kind, keep func(Finding) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for at, f := range b.findings {
		if at.kind == kind && (keep == nil || !keep(f.Finding)) {
			b.end(at)
		}
	}
}

// ClearSource says that every finding about a source is over: it is not read any
// more.
func (b *Board) ClearSource(source string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for at := range b.findings {
		if at.source == source {
			b.end(at)
		}
	}
}

// Expire ends the findings whose time is over, and says what was left unsaid of
// those that came and went. It is to be called every now and then.
func (b *Board) Expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for at, f := range b.findings {
		if f.For > 0 && b.now().Sub(f.at) >= f.For {
			b.end(at)
		}
	}
	for at := range b.said {
		b.say(at)
	}
}

func (b *Board) end(at place) {
	if _, known := b.findings[at]; known {
		delete(b.findings, at)
		b.say(at)
	}
}

// say says what is true of a place, where something else was said.
func (b *Board) say(at place) {
	f, on := b.findings[at]
	s := b.said[at]
	if b.now().Sub(s.since) >= while {
		s.times, s.since = 0, b.now()
		if !on && !s.on {
			delete(b.said, at)
			return
		}
	}
	switch {
	case s.times == often, on == s.on && (!on || f.Severity == s.Severity):
		return
	case on:
		s.Finding, s.on = f.Finding, true
		s.times++
		attrs := append(at.attrs(), "text", f.Text, "remedy", f.Remedy)
		if s.times == often {
			attrs = append(attrs, "often", "it comes and goes; that is not said again within the hour")
		}
		b.log.Log(context.Background(), f.Severity.level(), "finding", attrs...)
	default:
		s.on = false
		b.log.Info("finding is over", at.attrs()...)
	}
	b.said[at] = s
	if b.Changed != nil {
		b.Changed(s.Finding, !on)
	}
}

// Findings returns what is true now, the worst first.
func (b *Board) Findings() []Finding {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]Finding, 0, len(b.findings))
	for _, f := range b.findings {
		all = append(all, f.Finding)
	}
	slices.SortFunc(all, func(x, y Finding) int {
		return cmp.Or(
			cmp.Compare(y.Severity.level(), x.Severity.level()),
			cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Jail, y.Jail), cmp.Compare(x.Source, y.Source))
	})
	return all
}

func (p place) attrs() []any {
	attrs := []any{"kind", string(p.kind)}
	if p.jail != "" {
		attrs = append(attrs, "jail", p.jail)
	}
	if p.source != "" {
		attrs = append(attrs, "source", p.source)
	}
	return attrs
}
