package matcher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// freeswitchJSON is what FreeSWITCH's console writes since 1.10.0 when
// console.conf.xml says json=true: an object on each line (switch_log.c,
// switch_log_node_to_json; mod_console.c). JSON escapes line ends, so that nothing
// within an object begins another one.
//
// It is a format of its own because that only holds where FreeSWITCH writes all
// of the log so: in a log of text, callers can write lines that are such objects.
// The names of the fields must be those that FreeSWITCH gives them unless
// json-log-format in console.conf.xml says otherwise.
//
// The message is composed as the text form has it, `[LEVEL] file:line message`, so
// that the same patterns serve both.
type freeswitchJSON struct{ lines }

func (freeswitchJSON) start([]byte) (header, bool) { return header{message: -1}, true }

func (freeswitchJSON) finish(r Record) Record {
	n, err := readNode(r.Text)
	if err != nil {
		return r
	}
	r.Stamp = n.stamp
	if !n.session {
		r.Message = fmt.Appendf(nil, "[%s] %s:%d %s", n.level, n.file, n.line, strings.TrimSuffix(n.message, "\n"))
	}
	return r
}

func (f freeswitchJSON) entry(e Entry) Record { return f.finish(Record{Text: e.Message}) }

// node is one record as FreeSWITCH's loggers get it.
type node struct {
	stamp   []byte
	level   string
	file    string
	line    int
	message string
	session bool // it belongs to a call, and holds what callers wrote
}

// freeswitchLevels are the names of the levels by number (switch_types.h,
// switch_log_level_t); those above are more of DEBUG.
var freeswitchLevels = []string{"CONSOLE", "ALERT", "CRIT", "ERR", "WARNING", "NOTICE", "INFO", "DEBUG"}

var errNoNode = errors.New("not a record of FreeSWITCH")

// readNode reads an object. One in which a field stands twice is refused: a
// message that begins with LOG_FIELDS adds fields of its own.
//
// Where an operator took the level out of the objects, it is taken for WARNING:
// file and line tell what was written.
func readNode(text []byte) (n node, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return node{}, errNoNode
	}
	n.level, n.line = "WARNING", -1
	known, hasMessage := make(map[string]bool), false
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return node{}, errNoNode
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return node{}, errNoNode
		}
		name, ok := key.(string) // always, in an object
		if known[name] {
			return node{}, errNoNode
		}
		known[name] = true
		switch name {
		case "file":
			n.file, ok = value.(string)
			ok = ok && isWord(n.file)
		case "line":
			n.line, ok = whole(value)
		case "level":
			var level int
			if level, ok = whole(value); ok {
				n.level = freeswitchLevels[min(level, len(freeswitchLevels)-1)]
			}
		case "timestamp":
			n.stamp, ok = epoch(value)
		case "session":
			n.session = true
		case "message":
			n.message, hasMessage = value.(string)
		}
		if !ok {
			return node{}, errNoNode
		}
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return node{}, errNoNode
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return node{}, errNoNode
	}
	if n.file == "" || n.line < 0 || !hasMessage {
		return node{}, errNoNode
	}
	return n, nil
}

// whole returns a number that counts something.
func whole(value any) (int, bool) {
	f, ok := value.(float64)
	n := int(f)
	return n, ok && f >= 0 && f < 1<<31 && float64(n) == f
}

// epoch returns the stamp of a number of microseconds since 1970, or of the
// milliseconds or seconds that timestamp-divisor may make of them: the three do
// not overlap from 1973 on.
func epoch(value any) ([]byte, bool) {
	f, ok := value.(float64)
	if !ok || f < 1 || f > 1e17 {
		return nil, false
	}
	for f < 1e14 {
		f *= 1000
	}
	return time.UnixMicro(int64(f)).UTC().AppendFormat(nil, time.RFC3339Nano), true
}
