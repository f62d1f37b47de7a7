package eventsockettest

import (
	"fmt"
	"strings"
	"time"
)

// Event returns an event as it comes over the socket: of the name that
// eventsocket.Event has, which is a subclass of CUSTOM where it holds "::", and of
// that time, with fields, name and value in turn.
func Event(at time.Time, name string, fields ...string) []byte {
	head := []string{"Event-Name", name}
	if strings.Contains(name, "::") {
		head = []string{"Event-Subclass", name, "Event-Name", "CUSTOM"}
	}
	head = append(head, "Event-Date-Timestamp", fmt.Sprint(at.UnixMicro()))
	fields = append(head, fields...)
	var text strings.Builder
	for i := 0; i+1 < len(fields); i += 2 {
		text.WriteString(fields[i] + ": " + Encode(fields[i+1]) + "\n")
	}
	return Message("text/event-plain", text.String()+"\n")
}

// Message returns a message of that type.
func Message(kind, body string) []byte {
	return fmt.Appendf(nil, "Content-Length: %d\nContent-Type: %s\n\n%s", len(body), kind, body)
}

// Encode encodes a value as FreeSWITCH does: what looks as if it were encoded
// stays as it is (switch_utils.c: switch_url_encode_opt).
func Encode(value string) string {
	const hex = "0123456789ABCDEF"
	isHex := func(i int) bool { return strings.IndexByte(hex, value[i]) >= 0 }
	var b strings.Builder
	for i := range len(value) {
		c := value[i]
		encoded := c == '%' && i+2 < len(value) && isHex(i+1) && isHex(i+2)
		if !encoded && (c < ' ' || c > '~' || strings.IndexByte("\r\n #%&+:;<=>?@[\\]^`{|}\"", c) >= 0) {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	if value == "" {
		return "_undef_"
	}
	return b.String()
}
