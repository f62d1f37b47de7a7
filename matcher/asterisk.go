package matcher

import (
	"bytes"
	"regexp"
	"strconv"
)

// asterisk is the format of Asterisk's logger (main/logger.c): in its own
// files `[2026-11-21 07:51:48] NOTICE[1638][C-00000fa9] chan_sip.c: text`, with the
// time that dateformat in logger.conf asks for, `Nov 21 07:51:48` where it does
// not; behind a syslog header `NOTICE[1638]: chan_sip.c:28926 in function: text`.
// The message begins with the level.
//
// A record begins at a line with that start at column 0, whatever its time and
// level are; all other lines continue the record before. Asterisk writes what
// callers sent as it came, line ends and all: a packet that pjproject cannot parse
// at ERROR, every packet at VERBOSE when it is asked to, a name that chan_iax2 does
// not know at NOTICE. So
//   - a pattern sees whole records: text of a caller that is broken in two, the
//     first half of which names a victim, does not end where the pattern ends;
//   - of a packet, whose length stands before it, no line begins a record. A caller
//     may write that length to hide what follows, but only as much as a message of
//     Asterisk can hold;
//   - what is left, above all chan_iax2, can be told from records of Asterisk by
//     nothing: whoever writes a line end there writes the start of a record, too.
//     A log of the level "security" alone holds the least of that. What goes
//     through syslog or the journal, where a message is one record, holds none.
type asterisk struct{}

func (asterisk) singleLine() bool       { return false }
func (asterisk) glued([]byte) int       { return 0 }
func (asterisk) finish(r Record) Record { return r }
func (asterisk) tellsIdle() bool        { return false }
func (asterisk) sessions() bool         { return false } // a process serves all callers

func (asterisk) start(line []byte) (header, bool) {
	if at, stamp, stampEnd := asteriskMessage(line, 0); at > 0 && stampEnd > 0 {
		return header{stamp: stamp, stampEnd: stampEnd, message: at, carried: carriedBy(line[at:])}, true
	}
	s, ok := readSyslog(line)
	if !ok {
		return header{}, false
	}
	h := header{stampEnd: s.stampEnd, message: -1}
	if tag := line[s.tag:s.tagEnd]; bytes.Equal(tag, []byte("asterisk")) || bytes.HasPrefix(tag, []byte("asterisk[")) {
		h.message, _, _ = asteriskMessage(line, s.text)
	}
	return h, true
}

func (asterisk) entry(e Entry) Record {
	at, stamp, stampEnd := asteriskMessage(e.Message, 0)
	return header{stamp: stamp, stampEnd: stampEnd, message: at}.record(e.Message)
}

// levelled reports whether a text begins as a message of Asterisk does: with the
// level, the thread, and the call where there is one, `NOTICE[1638][C-00000fa9]: `.
func levelled(text []byte) bool {
	const digits, letters = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	behind := bytes.TrimLeft(text, digits+letters+"_")
	if len(behind) == len(text) || bytes.IndexByte([]byte(letters), text[0]) < 0 {
		return false
	}
	behind, ok := bracketed(behind, "[", digits)
	if !ok {
		return false
	}
	if call, ok := bracketed(behind, "[C-", digits+"abcdef"); ok {
		behind = call
	}
	return bytes.HasPrefix(bytes.TrimPrefix(behind, []byte(":")), []byte(" "))
}

// bracketed returns what stands behind brackets that open so and hold some of the
// characters alone.
func bracketed(text []byte, open, chars string) (behind []byte, ok bool) {
	inside, ok := bytes.CutPrefix(text, []byte(open))
	behind = bytes.TrimLeft(inside, chars)
	if !ok || len(behind) == len(inside) || !bytes.HasPrefix(behind, []byte("]")) {
		return nil, false
	}
	return behind[1:], true
}

// asteriskMessage returns where the message begins that stands at offset at,
// behind a time in brackets or without, and -1 where there is none.
func asteriskMessage(line []byte, at int) (message, stamp, stampEnd int) {
	message = at
	if bytes.HasPrefix(line[at:], []byte("[")) {
		stamp = at + 1
		length := stampLength(line[stamp:])
		stampEnd = stamp + length
		if length == 0 || !bytes.HasPrefix(line[stampEnd:], []byte("] ")) {
			return -1, 0, 0
		}
		message = stampEnd + len("] ")
	}
	if !levelled(line[message:]) {
		return -1, 0, 0
	}
	return message, stamp, stampEnd
}

// asteriskPacket is the first line of a message that holds a packet: what
// pjproject could not parse (its sip_transport.c), or what res_pjsip_logger.c shows.
var asteriskPacket = regexp.MustCompile(`^(?:pjproject:.{0,100}? Error processing |res_pjsip_logger\.c:.{0,100}? \()([0-9]{1,5}) bytes`)

// asteriskLongest is how long a message of Asterisk is at most: LOGMSG_SIZE, 8 KiB.
const asteriskLongest = 8 << 10

// carriedBy returns the length of the packet that follows the first line of a
// message.
func carriedBy(message []byte) int {
	_, location, _ := bytes.Cut(message, []byte(" "))
	if !bytes.HasPrefix(location, []byte("pjproject:")) && !bytes.HasPrefix(location, []byte("res_pjsip_logger.c:")) {
		return 0
	}
	found := asteriskPacket.FindSubmatch(location)
	if found == nil {
		return 0
	}
	length, err := strconv.Atoi(string(found[1]))
	if err != nil {
		return 0
	}
	return min(length, asteriskLongest)
}
