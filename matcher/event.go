package matcher

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Event is what FreeSWITCH's event socket tells of something that happened.
type Event struct {
	Time time.Time // Event-Date-Timestamp, in µs; the zero Time where there is none
	// Text is the header lines as they came, values URL-encoded, without a newline
	// behind the last. A body that the event may have is not part of it: that is
	// text of its sender, not encoded.
	Text []byte
	// Clipped says that Text is not all: the ends of long lines are missing, or the
	// lines behind the first many.
	Clipped bool
}

// maxUsec is the latest time that is believed, in the year 9999: what
// time.Time can write as text.
const maxUsec = 253402300799_000000

// NewEvent returns the event with that text.
func NewEvent(text []byte, clipped bool) Event {
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

// Record returns the event as a record. Its text is what tells it from others: its
// name, and most of the fields that FreeSWITCH does not add to each event, each once, as
// name=value, encoded, with a space between.
func (e Event) Record() Record {
	text := []byte(url.PathEscape(e.Name()))
	told := make(map[string]bool)
	for line := range bytes.SplitSeq(e.Text, []byte("\n")) {
		name, value, _ := bytes.Cut(line, []byte(": "))
		if !isEventsOwn(name) && !told[string(name)] && !slices.Contains(chatter, string(name)) {
			told[string(name)] = true
			text = append(append(append(append(text, ' '), name...), '='), value...)
		}
	}
	return Record{Text: text, Message: e.Text, Time: e.Time, Sealed: true}
}

// chatter are fields of a registration that say nothing of a failure.
var chatter = []string{"from-host", "contact", "call-id", "rpid", "status", "expires"}

// isEventsOwn reports whether a field is of those that each event has
// (switch_event.c: switch_event_prep_for_delivery_detailed).
func isEventsOwn(field []byte) bool {
	return bytes.HasPrefix(field, []byte("Event-")) || bytes.HasPrefix(field, []byte("FreeSWITCH-")) || string(field) == "Core-UUID"
}

// Events is the format of the records of events. They are no text: a Framer finds
// none, and the journal has none.
func Events() Format { return events{} }

// AreEvents reports whether records of the format are events.
func AreEvents(f Format) bool { return f == Events() }

type events struct{}

func (events) singleLine() bool            { return true }
func (events) tellsIdle() bool             { return false }
func (events) sessions() bool              { return false }
func (events) start([]byte) (header, bool) { return header{}, false }
func (events) glued([]byte) int            { return 0 }
func (events) finish(r Record) Record      { return r }
func (events) entry(e Entry) Record        { return Record{Text: e.Message} }

// Conditions are what a pattern asks of an event.
type Conditions struct {
	Event string // its name, as Event.Name tells it
	Host  string // the field that holds the address of who is to blame
	User  string // the field that holds the user; "": there is none
	// Where are texts, one of which each field must be, whatever its case; a * in
	// them stands for any text. An event that lacks the field does not match.
	Where map[string][]string
}

// hostFields are the fields in which FreeSWITCH itself tells where a packet came
// from. In others a caller may write any address.
var hostFields = map[string]func(value string) (netip.Addr, error){
	"network-ip": netip.ParseAddr, // sofia_reg.c: sofia_reg_handle_register_token
	"network_ip": netip.ParseAddr, // mod_sofia.c: sofia_on_hangup
	// mod_verto.c: verto__login_func; of IPv6 the address stands in brackets (start_jsock).
	"verto_client_address": func(value string) (netip.Addr, error) {
		peer, err := netip.ParseAddrPort(value)
		return peer.Addr(), err
	},
}

// eventName is that of a subclass of CUSTOM, or of another event (switch_event.c:
// EVENT_NAMES).
var eventName = regexp.MustCompile(`^(?:[!-9;-~]+::[!-~]+|[A-Z][A-Z_]*)$`)

// registering are the fields that events of a registration have (sofia_reg.c:
// sofia_reg_handle_register_token).
var registering = []string{"profile-name", "from-user", "from-host", "contact", "call-id", "rpid", "status", "expires",
	"to-user", "to-host", "network-ip", "network-port", "user-agent"}

// eventFields are the fields of events that have always the same.
var eventFields = map[string][]string{
	"sofia::register_failure": {"profile-name", "to-user", "to-host", "network-ip", "network-port", "user-agent", "registration-type"},
	"sofia::register_attempt": append(slices.Clone(registering), "username", "realm", "auth-result"),
	"sofia::pre_register":     registering,
	"sofia::wrong_call_state": {"from_user", "network_ip", "network_port"}, // mod_sofia.c: sofia_on_hangup
	// mod_verto.c: verto__login_func
	"verto::login": {"verto_profile_name", "verto_client_address", "verto_login", "verto_success", "verto_result_txt"},
}

// CompileEvent makes a pattern of conditions. One whose host is told by a field that
// callers could fill is an error, unless unsafe is set.
func CompileEvent(name, kind string, c Conditions, unsafe bool) (*Pattern, error) {
	known := slices.Sorted(maps.Keys(hostFields))
	switch parse := hostFields[c.Host]; {
	case !eventName.MatchString(c.Event):
		return nil, fmt.Errorf(`no event has the name %q; write one such as "sofia::register_failure", or "HEARTBEAT"`, c.Event)
	case c.Host == "":
		return nil, fmt.Errorf("the pattern has no host: it cannot tell whom to ban; write one of %s", strings.Join(known, ", "))
	case parse == nil && !unsafe:
		return nil, fmt.Errorf("callers may be able to write any address into %q; write one of %s (or set unsafe = true if they cannot)", c.Host, strings.Join(known, ", "))
	}
	for _, field := range slices.Sorted(maps.Keys(c.Where)) {
		if len(c.Where[field]) == 0 {
			return nil, fmt.Errorf("where: no text is listed that %s may be", field)
		}
	}
	for _, field := range append(slices.Sorted(maps.Keys(c.Where)), c.Host, c.User) {
		if fields, ok := eventFields[c.Event]; ok && !unsafe && field != "" && !isEventsOwn([]byte(field)) && !slices.Contains(fields, strings.ToLower(field)) {
			return nil, fmt.Errorf("%s has no field %q; it has %s", c.Event, field, strings.Join(fields, ", "))
		}
	}
	return &Pattern{Name: name, Kind: kind, host: 1, prefixes: func() []prefix { return nil }, event: &c}, nil
}

// Event returns the name of the events that the pattern is for, and "" for one of
// text.
func (p *Pattern) Event() string {
	if p.event == nil {
		return ""
	}
	return p.event.Event
}

// match is Pattern.Match for the text of an event.
func (c *Conditions) match(text []byte) (m Match, ok bool) {
	e := Event{Text: text}
	if e.Name() != c.Event {
		return m, false
	}
	for field, texts := range c.Where {
		value, ok := e.Get(field)
		if !ok || !slices.ContainsFunc(texts, func(text string) bool { return like(value, text) }) {
			return m, false
		}
	}
	parse := hostFields[c.Host]
	if parse == nil {
		parse = netip.ParseAddr
	}
	value, _ := e.Get(c.Host)
	host, err := parse(value)
	if err != nil {
		return m, false
	}
	m.Host = host.Unmap().WithZone("")
	if c.User != "" {
		m.User, _ = e.Get(c.User)
	}
	return m, true
}

// like reports whether a text is what a pattern says, in which a * stands for any
// text, whatever the case of letters.
func like(text, pattern string) bool {
	text = strings.ToLower(text)
	parts := strings.Split(strings.ToLower(pattern), "*")
	last := len(parts) - 1
	if last == 0 {
		return text == parts[0]
	}
	text, ok := strings.CutPrefix(text, parts[0])
	for _, part := range parts[1:last] {
		if !ok {
			return false
		}
		_, text, ok = strings.Cut(text, part)
	}
	return ok && strings.HasSuffix(text, parts[last])
}
