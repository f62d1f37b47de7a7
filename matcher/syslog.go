package matcher

import (
	"bytes"
	"strings"
	"unicode"
)

// syslog is the format of the files that a syslog daemon writes: rsyslog and
// syslog-ng with the time of RFC 3164, `Nov 21 07:00:00 host tag[pid]: text`, or
// of RFC 3339, `2026-11-21T07:00:00.123456+01:00 host tag[pid]: text`; others
// without a host, and metalog with `[tag] text`.
//
// Every line is a record, whose message begins with the tag: what stands before
// it was written by the daemon, which writes #012 for the line ends of others
// (rsyslog's $EscapeControlCharactersOnReceive, on by default). A line without a
// header or without a tag is not seen: its text may be anybody's from its start on.
type syslog struct{ lines }

func (syslog) sessions() bool { return true }

func (syslog) start(line []byte) (header, bool) {
	s, ok := readSyslog(line)
	if !ok {
		return header{message: -1}, true
	}
	h := header{stampEnd: s.stampEnd, message: -1}
	if s.tagEnd > 0 {
		h.message = s.tag
		if hasNumber(line[s.tag:s.tagEnd]) {
			h.session, h.sessionEnd = s.tag, s.tagEnd
		}
	}
	return h, true
}

// entry composes the message as a file has it, so that one pattern serves both.
func (syslog) entry(e Entry) Record {
	if !isWord(e.Identifier) {
		return Record{Text: e.Message} // as a line without a tag
	}
	text := make([]byte, 0, len(e.Identifier)+len(e.PID)+len(e.Message)+len("[]: "))
	text = append(text, e.Identifier...)
	if e.PID != "" && strings.Trim(e.PID, "0123456789") == "" {
		text = append(append(append(text, '['), e.PID...), ']')
	}
	var h header
	if hasNumber(text) {
		h.sessionEnd = len(text)
	}
	return h.record(append(append(text, ": "...), e.Message...))
}

// syslogHeader is where the parts of a line are; tagEnd is 0 where it has no tag,
// which ends before its colon.
type syslogHeader struct{ stampEnd, tag, tagEnd, text int }

// readSyslog finds the parts of a line, and reports whether it begins with a time.
func readSyslog(line []byte) (h syslogHeader, ok bool) {
	h.stampEnd = stampLength(line)
	if h.stampEnd == 0 || !bytes.HasPrefix(line[h.stampEnd:], []byte(" ")) {
		return syslogHeader{}, false
	}
	at := h.stampEnd + 1
	word, rest, _ := bytes.Cut(line[at:], []byte(" "))
	tag, ok := bytes.CutSuffix(word, []byte(":"))
	if !ok && !(len(word) > 2 && word[0] == '[' && word[len(word)-1] == ']') {
		at += len(word) + 1 // the host
		word, rest, _ = bytes.Cut(rest, []byte(" "))
		if tag, ok = bytes.CutSuffix(word, []byte(":")); !ok {
			return h, true
		}
	}
	if isWord(string(tag)) {
		h.tag, h.tagEnd, h.text = at, at+len(tag), len(line)-len(rest)
	}
	return h, true
}

// isWord reports whether text may stand in a header: nothing in it ends a word.
func isWord(text string) bool {
	for _, r := range text {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			return false
		}
	}
	return text != ""
}

// hasNumber reports whether a tag names one process, as `sshd[811]` does.
func hasNumber(tag []byte) bool {
	name, number, _ := bytes.Cut(tag, []byte("["))
	number, closed := bytes.CutSuffix(number, []byte("]"))
	return closed && len(name) > 0 && len(number) > 0 && len(bytes.Trim(number, "0123456789")) == 0
}
