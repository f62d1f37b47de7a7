package metrics

import (
	"time"

	"band/internal/doctor"
	"band/internal/pipeline"
	"band/internal/source"
	"band/store"
)

// A Snapshot is what the daemon knows at one moment: all that a scrape tells.
type Snapshot struct {
	Version string
	Started time.Time

	Jails   []Jail
	Bans    []Bans            // that are in force; of each jail and of bans by hand
	Dropped map[string]uint64 // packets, by the group of the bans; nil where the kernel does not tell
	Sources []Source

	Units   int    // with failures that may still add up
	Evicted uint64 // units that were forgotten because there were too many
	Repairs uint64 // of the kernel table

	State    store.Stats
	Findings []doctor.Finding
}

// Jail is an enabled jail.
type Jail struct {
	Name string
	Open int // of its sources
	pipeline.JailStats
}

// Bans counts the bans in force under the name of a jail.
type Bans struct {
	Jail     string
	Enforced int
	DryRun   int // those that let packets pass
}

// Source is something that is read.
type Source struct {
	Name     string
	Journal  bool // else it is a file
	Open     bool // it can be read now
	CaughtUp bool // with what it held when it was opened first
	Records  uint64
	Doubtful uint64    // failures that were not counted because they look forged
	Last     time.Time // that a record told
	Backlog  source.Backlog
}
