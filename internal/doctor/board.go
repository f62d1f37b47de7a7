package doctor

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Severity says how much of the protection a finding costs.
type Severity string

// The severities, worst first.
const (
	Error   Severity = "error"   // something is not protected
	Warning Severity = "warning" // something may be lost or is weaker than it seems
)

// Kind names a finding for programs. Kinds are stable.
type Kind string

// The kinds of findings.
const (
	ConfigRefused        Kind = "config-refused"        // a part of the configuration is not in force
	JailRefused          Kind = "jail-refused"          // a jail file is not in force
	NoJail               Kind = "no-jail"               // nothing is enabled
	SourceMissing        Kind = "source-missing"        // a source does not exist
	SourceUnreadable     Kind = "source-unreadable"     // a source cannot be read
	SourceTruncated      Kind = "source-truncated"      // records may have been lost
	ClockDisagrees       Kind = "clock-disagrees"       // a source tells another time than ours
	LogForged            Kind = "log-forged"            // callers write lines that look like failures of others
	PreferredSilent      Kind = "preferred-silent"      // a log that should tell of failures does not
	StateDamaged         Kind = "state-damaged"         // a part of the state was lost
	StateFailing         Kind = "state-failing"         // the state cannot be written
	StateSlow            Kind = "state-slow"            // the disk takes long
	KernelFailing        Kind = "kernel-failing"        // bans do not reach the kernel
	TableRepaired        Kind = "table-repaired"        // somebody else changed our table
	UnitsEvicted         Kind = "units-evicted"         // more hosts fail than can be tracked
	AllowUnresolved      Kind = "allow-unresolved"      // a host name of the allowlist has no addresses, or not all
	AllowFile            Kind = "allow-file"            // a file of the allowlist is not in force, or not all of it
	ReloadRefused        Kind = "reload-refused"        // the configuration on the disk is not the one in force
	ExemptFailing        Kind = "exempt-failing"        // failures of an address that is never counted
	FailuresUnlogged     Kind = "failures-unlogged"     // a service was told not to log failures
	FreeSWITCHUnreadable Kind = "freeswitch-unreadable" // its configuration cannot be read
	JailUnmatched        Kind = "jail-unmatched"        // a jail sees records and never a failure
	SourceNotUnderstood  Kind = "source-not-understood" // its records have another format
	JournalFailing       Kind = "journal-failing"       // the journal cannot be read
	JournalGap           Kind = "journal-gap"           // entries of the journal may have been lost
	JournalCut           Kind = "journal-cut"           // journald cuts lines, which can hide the next
	JournalSuppressed    Kind = "journal-suppressed"    // journald dropped messages of a unit
	SourceSilent         Kind = "source-silent"         // nobody writes to a source, while others are written
	PortUncovered        Kind = "port-uncovered"        // a service listens where its jail does not ban
	RivalRunning         Kind = "rival-running"         // another program bans beside us
	DryRun               Kind = "dry-run"               // bans are not enforced, as was asked for
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
// begins and once when it ends. It is safe for concurrent use.
type Board struct {
	// Changed, where it is set, is told of each finding that begins, or is over.
	// It must not call the Board.
	Changed func(f Finding, over bool)

	log *slog.Logger
	now func() time.Time

	mu       sync.Mutex
	findings map[place]raised
}

type raised struct {
	Finding
	at time.Time
}

// NewBoard returns a Board without findings.
func NewBoard(log *slog.Logger, now func() time.Time) *Board {
	return &Board{log: log, now: now, findings: make(map[place]raised)}
}

// Raise says that f is true from now on. A finding of the same kind, jail and
// source is replaced by it.
func (b *Board) Raise(f Finding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := place{f.Kind, f.Jail, f.Source}
	if _, known := b.findings[at]; !known {
		level := slog.LevelWarn
		if f.Severity == Error {
			level = slog.LevelError
		}
		b.log.Log(context.Background(), level, "finding", append(at.attrs(), "text", f.Text, "remedy", f.Remedy)...)
		b.tell(f, false)
	}
	b.findings[at] = raised{f, b.now()}
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

// Expire ends the findings whose time is over.
func (b *Board) Expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for at, f := range b.findings {
		if f.For > 0 && b.now().Sub(f.at) >= f.For {
			b.end(at)
		}
	}
}

func (b *Board) end(at place) {
	if f, known := b.findings[at]; known {
		delete(b.findings, at)
		b.log.Info("finding is over", at.attrs()...)
		b.tell(f.Finding, true)
	}
}

func (b *Board) tell(f Finding, over bool) {
	if b.Changed != nil {
		b.Changed(f, over)
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
			cmp.Compare(x.Severity, y.Severity), // "error" sorts before "warning"
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
