package freeswitch

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A tag is what stands between < and >. A comment, and all else that is no tag,
// neither opens nor closes an element; <name/> does both.
type tag struct {
	name          string
	attrs         []attr // those of attributes
	opens, closes bool
}

type attr struct{ name, value string }

// attributes are those that matter.
var attributes = []string{"name", "value", "parse", "bindings"}

const space = "\t\n\v\f\r "

var (
	errUnexpected = errors.New("unexpected <")
	errMissing    = errors.New("missing >")
)

// readTag reads the tag that s begins with, and tells how long it is. It takes
// what FreeSWITCH takes (src/switch_xml.c: switch_xml_parse_str), which is more
// than XML: any byte, and & and < in values. encoding/xml would be blind to files
// that work.
func readTag(s string) (t tag, length int, err error) {
	switch c := s[1:min(len(s), 2)]; {
	case strings.HasPrefix(s, "<!--"):
		length, err = until(s, 4, "--")
		if err == nil && (length == len(s) || s[length] != '>') {
			return t, 0, errors.New("-- within a comment, or a comment without an end")
		}
		return t, length + 1, err
	case strings.HasPrefix(s, "<![CDATA["):
		length, err = until(s, 9, "]]>")
		return t, length, err
	case strings.HasPrefix(s, "<!DOCTYPE"):
		end := ">"
		if open := strings.IndexAny(s, "[>"); open >= 0 && s[open] == '[' {
			end = "]>"
		}
		length, err = until(s, 9, end)
		return t, length, err
	case c == "?":
		length, err = until(s, 1, "?>")
		return t, length, err
	case c == "/":
		end := strings.IndexAny(s[2:], ">"+space)
		if end < 0 {
			return t, 0, errMissing
		}
		return tag{name: s[2 : 2+end], closes: true}, 2 + end + 1, nil
	case c == "", !strings.Contains("_:", c) && (c[0]|0x20 < 'a' || c[0]|0x20 > 'z') && c[0] < utf8.RuneSelf:
		return t, 0, errUnexpected
	}
	return readOpening(s)
}

// until returns where the first end in s from a place on ends.
func until(s string, from int, end string) (int, error) {
	i := strings.Index(s[from:], end)
	if i < 0 {
		return 0, fmt.Errorf("%s without %s", s[:from], end)
	}
	return from + i + len(end), nil
}

// readOpening reads a tag that opens an element.
func readOpening(s string) (t tag, length int, err error) {
	name, rest := cutAny(s[1:], "/>"+space)
	t = tag{name: name, opens: true}
	for {
		rest = strings.TrimLeft(rest, space)
		switch {
		case strings.HasPrefix(rest, ">"):
			return t, len(s) - len(rest) + 1, nil
		case strings.HasPrefix(rest, "/>"):
			t.closes = true
			return t, len(s) - len(rest) + 2, nil
		case rest == "" || rest[0] == '/':
			return t, 0, errMissing
		}
		var a attr
		a.name, rest = cutAny(rest, "=/>"+space)
		if rest = strings.TrimLeft(rest, "="+space); rest != "" && (rest[0] == '"' || rest[0] == '\'') {
			var closed bool
			if a.value, rest, closed = strings.Cut(rest[1:], rest[:1]); !closed {
				return t, 0, errors.New("a quote without its end")
			}
		}
		known := func(b attr) bool { return a.name == b.name }
		if slices.Contains(attributes, a.name) && !slices.ContainsFunc(t.attrs, known) {
			t.attrs = append(t.attrs, attr{strings.Clone(a.name), decode(a.value)})
		}
	}
}

// cutAny cuts s before the first of chars.
func cutAny(s, chars string) (before, after string) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// decode returns the value that an attribute is written as. What looks like an
// entity and is none stays.
func decode(s string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "&")
		out.WriteString(before)
		if !found {
			break
		}
		name, _, closed := strings.Cut(rest[:min(len(rest), 12)], ";")
		if value, known := entity(name); closed && known {
			out.WriteString(value)
			s = rest[len(name)+1:]
		} else {
			out.WriteString("&")
			s = rest
		}
	}
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(space, c) {
			return ' '
		}
		return c
	}, out.String())
}

// entity returns what an entity stands for. FreeSWITCH also reads those that a
// document type declares; nobody writes one.
func entity(name string) (string, bool) {
	number, is := strings.CutPrefix(name, "#")
	if !is {
		value, known := map[string]string{"lt": "<", "gt": ">", "quot": `"`, "apos": "'", "amp": "&"}[name]
		return value, known
	}
	base := 10
	if hex, is := strings.CutPrefix(number, "x"); is {
		number, base = hex, 16
	}
	n, err := strconv.ParseUint(number, base, 31)
	return string(rune(n)), err == nil && n > 0
}
