package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"band/internal/doctor"
)

// Status answers whether the daemon is protecting.
type Status struct {
	Version  string           `json:"version"`
	PID      int              `json:"pid"`
	Started  time.Time        `json:"started"`
	Jails    []JailStatus     `json:"jails"`
	Sources  []SourceStatus   `json:"sources"`
	Units    int              `json:"units"`    // units with failures that may still add up
	Bans     int              `json:"bans"`     // in force and enforced
	DryBans  int              `json:"dry_bans"` // in force and not enforced, because of a dry run
	Dropped  uint64           `json:"dropped"`  // packets, since the table was made
	Findings []doctor.Finding `json:"findings"`
}

// JailStatus is what one enabled jail has seen since the daemon started.
type JailStatus struct {
	Name      string     `json:"name"`
	Records   uint64     `json:"records"`
	Failures  uint64     `json:"failures"` // counted ones
	Exempt    uint64     `json:"exempt"`   // failures of allowlisted or own addresses
	Banned    uint64     `json:"banned"`   // bans decided
	Bans      int        `json:"bans"`     // in force
	Dropped   uint64     `json:"dropped"`  // packets
	LastMatch *time.Time `json:"last_match"`
	DryRun    bool       `json:"dry_run"` // its bans are not enforced
}

// SourceStatus is how far one source has been read.
type SourceStatus struct {
	Name       string     `json:"name"`
	Jails      []string   `json:"jails"`
	State      string     `json:"state"` // "opening", "catching up", "following", "missing" or "unreadable"
	Records    uint64     `json:"records"`
	LastRecord *time.Time `json:"last_record"` // the time that the last record tells
	// Unread is how many bytes were not decided on yet, 0 also of the journal, and
	// Lag for how many seconds the oldest of it has waited.
	Unread int64   `json:"unread_bytes"`
	Lag    float64 `json:"lag_seconds"`
}

// Ban is one ban in force, as `banctl list --json` prints it.
type Ban struct {
	Unit     Unit       `json:"unit"`
	Jail     string     `json:"jail"`
	Since    time.Time  `json:"since"`
	Until    *time.Time `json:"until"` // null: for ever
	Failures int        `json:"failures"`
	Packets  uint64     `json:"packets"`
	Origin   string     `json:"origin"` // "jail", "network" or "manual"
	// DryRun says that it was decided and is not enforced.
	DryRun bool `json:"dry_run,omitempty"`
	// Allowed is the entry of the allowlist that lets all of its packets pass.
	Allowed string `json:"allowed,omitempty"`
	// Reason is what was said when it was banned by hand; only an Explanation
	// tells it.
	Reason string `json:"reason,omitempty"`
}

// Unit prints a single address without its length.
type Unit struct{ netip.Prefix }

// String returns the address alone where the unit is one.
func (u Unit) String() string {
	if u.IsSingleIP() {
		return u.Addr().String()
	}
	return u.Prefix.String()
}

// MarshalText writes what [Unit.String] returns.
func (u Unit) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText accepts an address or a prefix, as [ParseUnit] does.
func (u *Unit) UnmarshalText(text []byte) (err error) {
	*u, err = ParseUnit(string(text))
	return err
}

// ParseUnit accepts an address or a prefix in any spelling and returns it
// unmapped. Its error names what was wrong with the text.
func ParseUnit(text string) (Unit, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		return Unit{netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return Unit{}, errors.New("not an address or prefix: " + text)
	}
	if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
	}
	if prefix != prefix.Masked() {
		return Unit{}, fmt.Errorf("%s has host bits set; write %s, or the address alone", text, prefix.Masked())
	}
	return Unit{prefix}, nil
}

// Explanation is all that is known of an address or prefix.
type Explanation struct {
	Unit     Unit       `json:"unit"`
	Allowed  string     `json:"allowed"`  // the allowlist entry, or the reason, that exempts it; "": nothing does
	Bans     []Ban      `json:"bans"`     // in force, that cover it or lie within it
	Past     []PastBan  `json:"past"`     // its bans that are over
	Counts   []Count    `json:"counts"`   // failures that are short of a ban
	Evidence []Evidence `json:"evidence"` // the records, newest last
	Users    []string   `json:"users"`    // the user names that were tried, of the evidence
}

// PastBan is a ban that is over.
type PastBan struct {
	Ban
	Lifted   bool `json:"lifted"`   // by hand, before its time
	Replaced bool `json:"replaced"` // by another ban of the same jail
	Idle     bool `json:"idle"`     // it is not over, but its jail is not at work
}

// Count is how many failures of a unit a jail has counted that are not forgiven, and
// how many lead to a ban.
type Count struct {
	Unit     Unit   `json:"unit"`
	Jail     string `json:"jail"`
	Failures int    `json:"failures"`
	MaxRetry int    `json:"maxretry"`
	// Succeeded is when the unit succeeded last. While it is Trusted for that, only
	// many failures lead to a ban.
	Succeeded *time.Time `json:"succeeded,omitempty"`
	Trusted   bool       `json:"trusted,omitempty"`
}

// Evidence is a record that a pattern matched.
type Evidence struct {
	Time    time.Time  `json:"time"`
	Jail    string     `json:"jail"`
	Pattern string     `json:"pattern"`
	Host    netip.Addr `json:"host"`
	User    string     `json:"user"`
	Record  string     `json:"record"`
}

// BanRequest asks for bans by hand.
type BanRequest struct {
	Units    []Unit        `json:"units"`
	For      time.Duration `json:"for"` // 0: for ever
	Reason   string        `json:"reason"`
	Force    bool          `json:"force"`    // even where it is refused for the operator's own good
	Operator netip.Addr    `json:"operator"` // where the operator is logged in from; zero: unknown
}

// UnbanRequest asks to lift bans: those that cover an address or lie within a
// prefix of Units, or All of them.
type UnbanRequest struct {
	Units []Unit `json:"units"`
	All   bool   `json:"all"`
	Jail  string `json:"jail"` // "": of any jail
}

// Changed lists what a BanRequest or UnbanRequest did.
type Changed struct {
	Bans []Ban `json:"bans"`
	// Warning says what the operator must know although it was done: that the
	// state could not be written, say.
	Warning string `json:"warning"`
}

// Allowed is an entry of the allowlist.
type Allowed struct {
	Entry    string     `json:"entry"`  // an address, a prefix, a host name or the path of a file
	Origin   string     `json:"origin"` // "band.toml", "banctl" or "freeswitch"
	Note     string     `json:"note"`   // why it is there, where that was said
	Until    *time.Time `json:"until"`  // null: for ever
	Prefixes []Unit     `json:"prefixes"`
	Error    string     `json:"error"` // why a host name or file could not be read the last time
}

// AllowRequest asks to put entries on the allowlist.
type AllowRequest struct {
	Entries []string      `json:"entries"` // addresses, prefixes and host names
	For     time.Duration `json:"for"`     // 0: for ever
	Reason  string        `json:"reason"`
}

// DisallowRequest asks to take entries off the allowlist that were put on it at
// run time.
type DisallowRequest struct {
	Entries []string `json:"entries"`
}

// AllowChanged lists the entries that an AllowRequest or DisallowRequest changed.
type AllowChanged struct {
	Entries []string `json:"entries"`
	Warning string   `json:"warning"` // what the operator must know although it was done
}

// Reloaded says what a reload changed. Where there are problems it changed
// nothing.
type Reloaded struct {
	Problems []string `json:"problems"`
	Jails    []string `json:"jails"` // the enabled jails now
	Added    []string `json:"added"`
	Removed  []string `json:"removed"`
	Changed  []string `json:"changed"`
}

// The kinds of events.
const (
	EventFailure     = "failure"
	EventBan         = "ban"
	EventUnban       = "unban"
	EventAllow       = "allow"
	EventDisallow    = "disallow"
	EventFinding     = "finding"
	EventFindingOver = "finding over"
	EventReload      = "reload"
	EventMissed      = "missed" // events were left out, because they were not read fast enough
)

// Event is something that happened.
type Event struct {
	Time   time.Time  `json:"time"`
	Event  string     `json:"event"`
	Jail   string     `json:"jail,omitempty"`
	Unit   *Unit      `json:"unit,omitempty"`
	Host   netip.Addr `json:"host,omitzero"`
	User   string     `json:"user,omitempty"`
	Until  *time.Time `json:"until,omitempty"` // of a ban; none: for ever
	DryRun bool       `json:"dry_run,omitempty"`
	Source string     `json:"source,omitempty"` // what a finding is about
	Text   string     `json:"text,omitempty"`
}

// ErrRefused is what a Backend wraps when it refuses to do what it could do.
var ErrRefused = errors.New("refused")

// A Backend does what is asked over the socket. Its methods are called
// concurrently.
type Backend interface {
	Status(ctx context.Context) (Status, error)
	Bans(ctx context.Context) ([]Ban, error)
	Explain(ctx context.Context, unit Unit) (Explanation, error)
	Ban(ctx context.Context, r BanRequest) (Changed, error)
	Unban(ctx context.Context, r UnbanRequest) (Changed, error)
	Allowlist(ctx context.Context) ([]Allowed, error)
	Allow(ctx context.Context, r AllowRequest) (AllowChanged, error)
	Disallow(ctx context.Context, r DisallowRequest) (AllowChanged, error)
	Reload(ctx context.Context) (Reloaded, error)
	// Metrics answers a scrape of Prometheus.
	Metrics(w http.ResponseWriter, r *http.Request)
	// Watch calls begun, and see with what happens from then on, until ctx ends
	// or one of them returns an error, and returns that.
	Watch(ctx context.Context, begun func() error, see func(Event) error) error
}
