package eventsocket

import (
	"bytes"
	"net/url"
	"strconv"
	"time"
)

// An Event is what FreeSWITCH tells of something that happened.
type Event struct {
	Time time.Time // Event-Date-Timestamp, in µs; the zero Time where there is none
	// Text is the header lines as they came, values URL-encoded, without a newline
	// behind the last. A body that the event may have is not part of it: that is
	// text of its sender, not encoded.
	Text []byte
	// Clipped says that Text is not all: of lines of over MaxLine bytes the end is
	// missing, or the lines that MaxText does not hold.
	Clipped bool
}

// maxUsec is the latest time that is believed, in the year 9999: what
// time.Time can write as text.
const maxUsec = 253402300799_000000

// newEvent returns the event with that text.
func newEvent(text []byte, clipped bool) Event {
	e := Event{Text: text, Clipped: clipped}
	stamp, _ := e.Get("Event-Date-Timestamp")
	if usec, err := strconv.ParseUint(stamp, 10, 64); err == nil && usec <= maxUsec {
		e.Time = time.UnixMicro(int64(usec))
	}
	return e
}

// Name returns the event's name, such as "HEARTBEAT", or the subclass of a
// CUSTOM one, such as "sofia::register_failure"; "" where it has none.
func (e Event) Name() string {
	name, _ := e.Get("Event-Name")
	if subclass, ok := e.Get("Event-Subclass"); ok && name == "CUSTOM" {
		return subclass
	}
	return name
}

// Get returns the value of a field, decoded; as it is where it is not validly
// encoded. Names are compared as FreeSWITCH does, without regard to the case of
// ASCII letters, and of fields with one name the first counts (switch_event.c:
// switch_event_get_header_ptr). What FreeSWITCH itself says of an event it adds
// first, and behind it some modules add fields under names that a client chose
// (mod_verto.c: verto__info_func). switch_event_serialize encodes values, of
// which no byte below 0x20 or above 0x7e is left, but not names: such a name may
// hold a newline and whole lines behind it. So the last one would be whose a
// client likes.
//
// The encoding is not exact: what looks encoded already is left as it is
// (switch_utils.c: switch_url_encode_opt), so that a client that sends %0A has a
// newline in the value. An empty value is "_undef_".
func (e Event) Get(field string) (value string, ok bool) {
	for line := range bytes.SplitSeq(e.Text, []byte("\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		// Of one length, what EqualFold finds to be equal differs in ASCII alone.
		if len(name) != len(field) || !bytes.EqualFold(name, []byte(field)) {
			continue
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		if decoded, err := url.PathUnescape(string(value)); err == nil {
			return decoded, true
		}
		return string(value), true
	}
	return "", false
}
