package doctor

import "log/slog"

// Severity says how much of the protection a finding costs.
type Severity string

// The severities, worst first.
const (
	Error   Severity = "error"   // something is not protected
	Warning Severity = "warning" // something may be lost or is weaker than it seems
	Note    Severity = "note"    // nothing is known to be lost, but it could be better
)

// level is at which the log tells of a finding.
func (s Severity) level() slog.Level {
	switch s {
	case Error:
		return slog.LevelError
	case Warning:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// Kind names a finding for programs. Kinds are stable.
type Kind string

// The kinds of findings. What each means is also what docs/findings.md says, which
// tells what to do about it.
const (
	// The configuration.
	ConfigRefused Kind = "config-refused" // a part of the configuration is not in force
	JailRefused   Kind = "jail-refused"   // a jail file is not in force
	NoJail        Kind = "no-jail"        // nothing is enabled
	ReloadRefused Kind = "reload-refused" // the configuration on the disk is not the one in force
	DryRun        Kind = "dry-run"        // bans are not enforced, as was asked for

	// What is read.
	SourceMissing       Kind = "source-missing"        // a source does not exist
	SourceUnreadable    Kind = "source-unreadable"     // a source cannot be read
	SourceNotUnderstood Kind = "source-not-understood" // its records have another format
	SourceSilent        Kind = "source-silent"         // nobody writes to a source, while others are written
	SourceLagging       Kind = "source-lagging"        // a source is read long after it was written
	SourceTruncated     Kind = "source-truncated"      // records may have been lost
	PreferredSilent     Kind = "preferred-silent"      // a log that should tell of failures does not
	JailUnmatched       Kind = "jail-unmatched"        // a jail sees records and never a failure
	LogForged           Kind = "log-forged"            // callers write lines that look like failures of others
	LogForgeable        Kind = "log-forgeable"         // callers could do so
	InotifyExhausted    Kind = "inotify-exhausted"     // the kernel does not tell when a log is written
	JournalFailing      Kind = "journal-failing"       // the journal cannot be read
	JournalGap          Kind = "journal-gap"           // entries of the journal may have been lost
	JournalCut          Kind = "journal-cut"           // journald cuts lines, which can hide the next
	JournalSuppressed   Kind = "journal-suppressed"    // journald dropped messages of a unit

	// The clock.
	ClockDisagrees Kind = "clock-disagrees" // a source tells another time than ours
	ClockStepped   Kind = "clock-stepped"   // the clock was set

	// What is kept and enforced.
	StateDamaged     Kind = "state-damaged"     // a part of the state was lost
	StateFailing     Kind = "state-failing"     // the state cannot be written
	StateSlow        Kind = "state-slow"        // the disk takes long
	KernelFailing    Kind = "kernel-failing"    // bans do not reach the kernel
	PacketsUncounted Kind = "packets-uncounted" // the kernel does not count the packets of each ban
	TableRepaired    Kind = "table-repaired"    // somebody else changed our table
	UnitsEvicted     Kind = "units-evicted"     // more hosts fail than can be tracked

	// Who is never banned.
	AllowUnresolved  Kind = "allow-unresolved"  // a host name of the allowlist has no addresses, or not all
	AllowFile        Kind = "allow-file"        // a file of the allowlist is not in force, or not all of it
	ExemptFailing    Kind = "exempt-failing"    // failures of an address that is never counted
	AddressesUnknown Kind = "addresses-unknown" // own addresses cannot be read

	// What stands around.
	FailuresUnlogged     Kind = "failures-unlogged"     // a service was told not to log failures
	FreeSWITCHUnreadable Kind = "freeswitch-unreadable" // its configuration cannot be read
	EventSocketWeak      Kind = "event-socket-weak"     // others could use FreeSWITCH's event socket
	PortUncovered        Kind = "port-uncovered"        // a service listens where its jail does not ban
	RivalRunning         Kind = "rival-running"         // another program bans beside us
	MetricsFailing       Kind = "metrics-failing"       // metrics are not served over TCP as was asked for
)

// Kinds returns every kind, in their order above.
func Kinds() []Kind {
	return []Kind{
		ConfigRefused, JailRefused, NoJail, ReloadRefused, DryRun,
		SourceMissing, SourceUnreadable, SourceNotUnderstood, SourceSilent, SourceLagging, SourceTruncated,
		PreferredSilent, JailUnmatched, LogForged, LogForgeable, InotifyExhausted,
		JournalFailing, JournalGap, JournalCut, JournalSuppressed,
		ClockDisagrees, ClockStepped,
		StateDamaged, StateFailing, StateSlow, KernelFailing, PacketsUncounted, TableRepaired, UnitsEvicted,
		AllowUnresolved, AllowFile, ExemptFailing, AddressesUnknown,
		FailuresUnlogged, FreeSWITCHUnreadable, EventSocketWeak, PortUncovered, RivalRunning, MetricsFailing,
	}
}
