package journal

import "time"

// An Entry is an entry of the journal, or several that are the pieces of one
// line.
type Entry struct {
	Cursor Cursor    // of its last piece
	Time   time.Time // when journald took its last piece
	// Message is the field MESSAGE, of any bytes; nil where there is none, or where
	// a part of the line may be missing. Of one of over MaxMessage the middle is
	// left out.
	Message []byte
	Fields  []Field // the other fields, of the first piece; a name may stand several times
	Pieces  int     // how many entries of the journal it was made of, 1 or more
}

// A Field is one of an entry's fields. The value may hold any bytes.
type Field struct{ Name, Value string }

// Get returns the first value of a field other than MESSAGE, "" where there is
// none.
func (e Entry) Get(name string) string {
	for _, f := range e.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// size is about how many bytes of memory the entry holds.
func (e Entry) size() int {
	n := 200 + len(e.Message)
	for _, f := range e.Fields {
		n += 32 + len(f.Value)
	}
	return n
}
