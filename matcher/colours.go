package matcher

import "bytes"

// skipColours returns where the text begins behind console colours at offset
// at: mod_console writes `ESC [ m ESC [ 35 m` before each line.
func skipColours(line []byte, at int) int {
	for bytes.HasPrefix(line[at:], []byte("\x1b[")) {
		end := at + 2
		for end < len(line) && (line[end] >= '0' && line[end] <= '9' || line[end] == ';') {
			end++
		}
		if end == len(line) || line[end] != 'm' {
			break
		}
		at = end + 1
	}
	return at
}

// trimColours returns text without the console colours at its end.
func trimColours(text []byte) []byte {
	for len(text) > 0 && text[len(text)-1] == 'm' {
		at := bytes.LastIndex(text, []byte("\x1b["))
		if at < 0 || skipColours(text, at) < len(text) {
			break
		}
		text = text[:at]
	}
	return text
}
