package eventsocket_test

import (
	"cmp"
	"context"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"band/internal/eventsocket"
	"band/internal/eventsocket/eventsockettest"
	"band/matcher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	subscribe = "event plain CUSTOM sofia::register_failure verto::login"
	ask       = "event plain CUSTOM"
	accepted  = "Content-Type: command/reply\nReply-Text: +OK accepted\n\n"
)

// at is when an event of these tests happened.
var at = time.UnixMicro(1795247578_977406)

// to says how to connect to a Server.
func to(s *eventsockettest.Server) eventsocket.Config {
	c := eventsocket.Config{
		Address:  s.Address,
		Password: func() (string, error) { return "ClueCon", nil },
		Events:   []string{"sofia::register_failure", "verto::login"},
	}
	if s.Address == "" {
		c.Dial = s.Dial
	}
	return c
}

func dial(t testing.TB, s *eventsockettest.Server) *eventsocket.Conn {
	t.Helper()
	c, err := eventsocket.Dial(context.Background(), to(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// recordings are streams of a real FreeSWITCH, behind the password.
var recordings = []struct {
	name             string
	messages, events int
	first            string // its first event
	failures         int    // events of sofia::register_failure
}{
	{"04_silent_and_acl.esl_events.txt", 128, 127, "sofia::pre_register", 38},
	{"05_inject_headers.esl_events.txt", 46, 45, "sofia::pre_register", 19},
	{"05_inject_headers.esl_log.txt", 65, 0, "", 0},
	{"06_inject_default_file.esl_events.txt", 13, 12, "sofia::pre_register", 4},
	{"08_inject_uuid_esl_verto.esl_events.txt", 10, 9, "sofia::pre_register", 2},
}

func recording(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("../../testdata/freeswitch/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func get(e matcher.Event, field string) string {
	value, ok := e.Get(field)
	return cmp.Or(value, map[bool]string{true: "", false: "(none)"}[ok])
}
