package source

import (
	"encoding/json"

	"band/matcher"
)

// A Batch is what one source read, in order.
type Batch struct {
	Source string // its name
	// Records are complete ones only. They are the receiver's until it receives the
	// next batch of the source: then their slice is used again, what they point to is
	// not.
	Records []matcher.Record
	// Cursor is the position behind the last of Records, to be handed back
	// when the source is opened again; nil where it did not move.
	Cursor json.RawMessage
	// CaughtUp says that everything that the source held when it was opened
	// has been read.
	CaughtUp bool
}

// The kinds of sources, by which failures are counted apart: the same attempt
// may show up in each.
const (
	ViaFile      = "file"
	ViaPreferred = "preferred file"
	ViaJournal   = "journal"
	ViaEvents    = "event socket"
)

// State tells whether a source can be read.
type State int

// The states of a source.
const (
	Opening State = iota
	Open
	Missing
	Unreadable
)
