package source

import (
	"encoding/json"

	"band/matcher"
)

// A Batch is what one source read, in order.
type Batch struct {
	Source  string           // its name: the path of a file
	Via     string           // its kind: "file"
	Records []matcher.Record // complete ones only
	// Cursor is the position behind the last of Records, to be handed back
	// when the source is opened again; nil where it did not move.
	Cursor json.RawMessage
	// CaughtUp says that everything that the source held when it was opened
	// has been read.
	CaughtUp bool
}

// Via of the kinds of sources.
const ViaFile = "file"
