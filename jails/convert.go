package jails

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// The conversions of a TOML value. Their errors say what was meant.

func wrongType(want string, v any) error {
	got := "a date"
	switch v.(type) {
	case string:
		got = "a string"
	case int64:
		got = "a number"
	case float64:
		got = "a number with a point"
	case bool:
		got = "a boolean"
	case []any, []map[string]any:
		got = "a list"
	case map[string]any:
		got = "a table"
	}
	return fmt.Errorf("must be %s, not %s", want, got)
}

func asBool(v any) (bool, error) {
	b, ok := v.(bool)
	if !ok {
		return false, wrongType("true or false", v)
	}
	return b, nil
}

func asInt(lo, hi, example int64) func(any) (int, error) {
	return func(v any) (int, error) {
		n, ok := v.(int64)
		if !ok {
			return 0, wrongType(fmt.Sprintf("a whole number such as %d", example), v)
		}
		if n < lo || n > hi {
			return 0, fmt.Errorf("%d is out of range: %d to %d", n, lo, hi)
		}
		return int(n), nil
	}
}

// asAggregate takes how many of the units of a network; 256 is all of a /24.
func asAggregate(v any) (int, error) {
	if v == int64(0) {
		return 0, nil
	}
	n, err := asInt(2, 256, 8)(v)
	if _, ok := v.(int64); ok && err != nil {
		err = fmt.Errorf("%w, or 0 for never", err)
	}
	return n, err
}

func asPort(v any) (uint16, error) {
	n, err := asInt(1, math.MaxUint16, 5060)(v)
	return uint16(n), err
}

// asText takes a string that can be shown on a terminal as it is.
func asText(v any) (string, error) {
	s, ok := v.(string)
	switch {
	case !ok:
		return "", wrongType("a string", v)
	case s == "":
		return "", errors.New("must not be empty")
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", fmt.Errorf("%q holds a character that cannot be printed", s)
	}
	return s, nil
}

// orNone takes "" for what is not set, and leaves all else to convert.
func orNone(convert func(any) (string, error)) func(any) (string, error) {
	return func(v any) (string, error) {
		if v == "" {
			return "", nil
		}
		return convert(v)
	}
}

func asOneOf(words ...string) func(any) (string, error) {
	forms := `"` + strings.Join(words, `", "`) + `"`
	if i := strings.LastIndex(forms, ", "); i >= 0 {
		forms = forms[:i] + " or " + forms[i+2:]
	}
	return func(v any) (string, error) {
		s, ok := v.(string)
		switch {
		case !ok:
			return "", wrongType(forms, v)
		case !slices.Contains(words, s):
			return "", fmt.Errorf("%q is not known; write %s", s, forms)
		}
		return s, nil
	}
}

func asDistinct(v any) (string, error) {
	s, ok := v.(string)
	switch {
	case !ok:
		return "", wrongType(`"user" or ""`, v)
	case s != "user" && s != "":
		return "", fmt.Errorf(`%q is not known; write "user", or "" for none`, s)
	}
	return s, nil
}

// maxProcess is how many bytes Linux keeps of a process's name: TASK_COMM_LEN of
// linux/sched.h, without the zero at its end.
const maxProcess = 15

// asProcess takes the name of a process as /proc/PID/comm tells it.
func asProcess(v any) (string, error) {
	s, err := asText(v)
	switch {
	case err != nil:
		return "", err
	case strings.Contains(s, "/"):
		return "", fmt.Errorf("%q is a path; write the name of the process alone", s)
	case len(s) > maxProcess:
		return "", fmt.Errorf("%q is too long: Linux keeps %d bytes of a process's name; write %q", s, maxProcess, s[:maxProcess])
	}
	return s, nil
}

func asPath(v any) (string, error) {
	s, err := asText(v)
	if err == nil && !filepath.IsAbs(s) {
		err = fmt.Errorf("%q must be an absolute path", s)
	}
	return s, err
}

func asDirectory(v any) (string, error) {
	s, err := asPath(v)
	return filepath.Clean(s), err
}

func asGlob(v any) (string, error) {
	s, err := asPath(v)
	if err != nil {
		return "", err
	}
	if _, err := filepath.Match(s, ""); err != nil {
		return "", fmt.Errorf("%q is not a valid glob", s)
	}
	return s, nil
}

// asRegex leaves the judgement to the Checker.
func asRegex(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", wrongType("a string in '''...'''", v)
	}
	// A closing ''' on a line of its own adds a line end that no record has.
	s = strings.TrimRight(s, "\r\n")
	if s == "" {
		return "", errors.New("must not be empty")
	}
	return s, nil
}
