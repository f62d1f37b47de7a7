package eventsocket_test

import (
	"bytes"
	"testing"

	"band/internal/eventsocket"
	"band/internal/eventsocket/eventsockettest"
	"band/matcher"
)

// TestEncode decodes what FreeSWITCH encoded, and has the stand-in encode it as
// FreeSWITCH did.
func TestEncode(t *testing.T) {
	t.Parallel()
	n := 0
	for _, rec := range recordings {
		events, _, err := eventsocket.ReadAll(bytes.NewReader(recording(t, rec.name)))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			for line := range bytes.SplitSeq(e.Text, []byte("\n")) {
				name, _, _ := bytes.Cut(line, []byte(":"))
				value, _ := matcher.Event{Text: line}.Get(string(name))
				if got := string(name) + ": " + eventsockettest.Encode(value); got != string(line) {
					t.Errorf("%s is encoded as %s", line, got)
				}
				n++
			}
		}
	}
	if n < 4000 {
		t.Errorf("%d lines", n)
	}
}
