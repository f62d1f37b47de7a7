package jails

import (
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// locate returns the line of every key and every array element of a valid TOML
// text, by the paths that member and element build. The decoder cannot: it
// knows one position per key, the last, so two [[pattern]] tables share one.
func locate(text string) map[string]int {
	l := &locator{text: text, line: 1, lines: map[string]int{}, tables: map[string]int{}}
	for l.blank(); l.more(); l.blank() {
		if l.peek() == '[' {
			l.header()
		} else {
			l.pair(l.table)
		}
	}
	return l.lines
}

// maxPath is where paths stop to grow. No key that is known lies that deep, and
// a text nested absurdly does not fill the memory.
const maxPath = 4096

// member is the path of a key in the table at path; "" is the whole file.
func member(path, key string) string {
	if len(path) > maxPath {
		return path
	}
	for _, c := range key {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", c) {
			key = strconv.Quote(key)
			break
		}
	}
	if key == "" {
		key = `""`
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// element is the path of an element of the array at path.
func element(path string, i int) string {
	if len(path) > maxPath {
		return path
	}
	return path + "[" + strconv.Itoa(i) + "]"
}

type locator struct {
	text   string
	pos    int
	line   int
	table  string         // the path that the header above opened
	tables map[string]int // path of an array of tables: how many so far
	lines  map[string]int
}

func (l *locator) more() bool { return l.pos < len(l.text) }

// peek returns the next byte, 0 at the end.
func (l *locator) peek() byte {
	if !l.more() {
		return 0
	}
	return l.text[l.pos]
}

// skip moves n bytes on, or to the end.
func (l *locator) skip(n int) {
	next := min(l.pos+n, len(l.text))
	l.line += strings.Count(l.text[l.pos:next], "\n")
	l.pos = next
}

// skipPast moves behind the next s, or to the end.
func (l *locator) skipPast(s string) {
	if i := strings.Index(l.text[l.pos:], s); i >= 0 {
		l.skip(i + len(s))
	} else {
		l.skip(len(l.text))
	}
}

// blank skips white space, line ends and comments.
func (l *locator) blank() {
	for l.more() {
		switch l.peek() {
		case ' ', '\t', '\r', '\n':
			l.skip(1)
		case '#':
			l.skipPast("\n")
		default:
			return
		}
	}
}

// mark notes that path begins on line; only its first appearance counts.
func (l *locator) mark(path string, line int) {
	if _, ok := l.lines[path]; !ok {
		l.lines[path] = line
	}
}

// header reads [a.b] or [[a.b]].
func (l *locator) header() {
	line := l.line
	l.skip(1)
	array := l.peek() == '['
	if array {
		l.skip(1)
	}
	parts := l.key()
	l.skipPast("]")
	if array {
		l.skip(1)
	}

	path := ""
	for i, part := range parts {
		path = member(path, part)
		l.mark(path, line)
		if array && i == len(parts)-1 {
			l.tables[path]++
		}
		if n := l.tables[path]; n > 0 {
			path = element(path, n-1)
			l.mark(path, line)
		}
	}
	l.table = path
}

// pair reads key = value within the table at path.
func (l *locator) pair(path string) {
	line := l.line
	for _, part := range l.key() {
		path = member(path, part)
		l.mark(path, line)
	}
	if l.peek() == '=' {
		l.skip(1)
	}
	l.value(path)
}

// key reads a bare, quoted or dotted key and stops before what ends it.
func (l *locator) key() []string {
	var parts []string
	for {
		l.blank()
		start := l.pos
		switch l.peek() {
		case '"', '\'':
			l.str()
			parts = append(parts, unquote(l.text[start:l.pos]))
		default:
			for l.more() && !strings.ContainsRune(" \t\r\n.=]#", rune(l.peek())) {
				l.skip(1)
			}
			parts = append(parts, l.text[start:l.pos])
		}
		l.blank()
		if l.peek() != '.' {
			return parts
		}
		l.skip(1)
	}
}

// unquote leaves the escapes of a quoted key to the decoder.
func unquote(quoted string) string {
	var v struct{ K string }
	if _, err := toml.Decode("K = "+quoted, &v); err != nil {
		return quoted
	}
	return v.K
}

// value reads the value of path and marks what is inside it.
func (l *locator) value(path string) {
	l.blank()
	switch l.peek() {
	case '"', '\'':
		l.str()
	case '[':
		l.skip(1)
		i := 0
		for l.blank(); l.more() && l.peek() != ']'; l.blank() {
			if l.peek() == ',' {
				l.skip(1)
				continue
			}
			l.mark(element(path, i), l.line)
			l.value(element(path, i))
			i++
		}
		l.skip(1)
	case '{':
		l.skip(1)
		for l.blank(); l.more() && l.peek() != '}'; l.blank() {
			if l.peek() == ',' {
				l.skip(1)
				continue
			}
			l.pair(path)
		}
		l.skip(1)
	default:
		l.skip(1) // always move on, whatever the text
		for l.more() && !strings.ContainsRune(",]}#\n", rune(l.peek())) {
			l.skip(1)
		}
	}
}

// str reads a string of any of the four kinds.
func (l *locator) str() {
	quote := l.text[l.pos : l.pos+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(l.text[l.pos:], triple) {
		l.skip(3)
		l.until(triple, quote == `"`)
		// Up to two quotes may stand before the closing three.
		for range 2 {
			if strings.HasPrefix(l.text[l.pos:], quote) {
				l.skip(1)
			}
		}
		return
	}
	l.skip(1)
	l.until(quote, quote == `"`)
}

// until moves behind the next end that no backslash escapes.
func (l *locator) until(end string, escapes bool) {
	for l.more() {
		switch {
		case escapes && l.peek() == '\\':
			l.skip(2)
		case strings.HasPrefix(l.text[l.pos:], end):
			l.skip(len(end))
			return
		default:
			l.skip(1)
		}
	}
}
