package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"
)

// table prints aligned columns; the first row is the heading. No cell can break
// out of its place.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		var cells []string
		for _, cell := range row {
			cells = append(cells, visible(cell))
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// terminal reports whether w is one: colours and progress are for people.
func terminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// printable escapes what an attacker wrote, so that it cannot move the cursor,
// start a new line or hide text, nor look escaped when it is not.
func printable(text string) string { return visible(strings.ReplaceAll(text, `\`, `\\`)) }

// visible escapes the same, and leaves alone what was escaped before.
func visible(text string) string {
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == unicode.ReplacementChar && !strings.HasPrefix(text[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case !unicode.IsGraphic(r):
			quoted := fmt.Sprintf("%+q", r)
			b.WriteString(quoted[1 : len(quoted)-1])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// printJSON prints v with everything escaped that could do something to a
// terminal: what an attacker wrote may be in it.
func printJSON(w io.Writer, v any) error {
	var raw bytes.Buffer
	e := json.NewEncoder(&raw)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, escapeJSON(raw.String()))
	return err
}

// escapeJSON escapes what encoding/json leaves as it is and a terminal does not.
func escapeJSON(text string) string {
	var safe strings.Builder
	for _, r := range text {
		if r == '\n' || unicode.IsGraphic(r) {
			safe.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&safe, `\u%04x`, unit)
		}
	}
	return safe.String()
}

// ago and left print spans of time as coarsely as a person reads them.
func ago(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return span(time.Since(*t)) + " ago"
}

func left(until *time.Time) string {
	if until == nil {
		return "forever"
	}
	return span(time.Until(*until))
}

func span(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	switch day := 24 * time.Hour; {
	case d >= 2*day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
