package cmd_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"band/internal/eventsocket/eventsockettest"
)

// eventSocket starts an event socket on the host and lets the jail freeswitch read
// it, and the log of the host.
func (h *host) eventSocket(config eventsockettest.Config, more string) (s *eventsockettest.Server) {
	h.t.Helper()
	h.inside(func() { s = eventsockettest.Start(h.t, config) })
	password := filepath.Join(h.dir, "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.jails = map[string]string{"freeswitch": fmt.Sprintf("%s\n[[source]]\nevent_socket = %q\npassword_file = %q\npreferred = true\n[[source]]\nfile = %q\n",
		more, s.Address, password, h.log())}
	return s
}

// recordedEvents returns those of a recording, as they came, but of now.
func recordedEvents(t *testing.T, name string) (events []string) {
	t.Helper()
	recording, err := os.ReadFile(filepath.Join("..", "testdata", "freeswitch", name))
	if err != nil {
		t.Fatal(err)
	}
	_, all, found := bytes.Cut(recording, []byte("\n\n")) // the answer to the subscription
	if !found {
		t.Fatalf("%s is no recording", name)
	}
	stamp := regexp.MustCompile(`Event-Date-Timestamp: \d{16}`)
	for event := range bytes.SplitSeq(all, []byte("Content-Length: ")) {
		if len(event) > 0 {
			now := fmt.Sprintf("Event-Date-Timestamp: %d", time.Now().UnixMicro())
			events = append(events, "Content-Length: "+stamp.ReplaceAllString(string(event), now))
		}
	}
	return events
}

// Whatever the event socket is cut into, and however often the connection is lost,
// those are banned who failed to log in too often, also by a profile that logs no
// failures, and nobody whom a caller names.
func TestEventSocket(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	random := rand.New(rand.NewPCG(setting(t, "SEED", 20261121), 0))
	socket := h.eventSocket(eventsockettest.Config{Password: "secret", Seed: random.Uint64()}, "maxretry = 3")
	openLog(t, h.log(), session)
	h.start()
	var events []string
	for _, name := range []string{"04_silent_and_acl", "05_inject_headers", "06_inject_default_file", "08_inject_uuid_esl_verto"} {
		events = append(events, recordedEvents(t, name+".esl_events.txt")...)
	}
	drops := []int{random.IntN(len(events)), random.IntN(len(events))}
	for i, event := range events {
		if slices.Contains(drops, i) {
			socket.Send([]byte(event[:random.IntN(len(event))]))
			socket.Drop()
		}
		socket.Send([]byte(event))
	}
	// Three times or more, .75 and .76 by Verto once; of .90 no log tells.
	want := []string{"198.51.100.75/32", "198.51.100.76/32", "198.51.100.87/32", "198.51.100.88/32", "198.51.100.90/32", "198.51.100.91/32"}
	socket.Send(eventsockettest.Event(time.Now(), "sofia::pre_register", "to-user", "x", "network-ip", "198.51.100.99", "user-agent", "friendly-scanner"))
	banned := func() (units []string) {
		have, _ := h.elements()
		for a := range have {
			units = append(units, a.unit.String())
		}
		slices.Sort(units)
		return units
	}
	want = append(want, "198.51.100.99/32") // a scanner, at once
	until(t, func() bool { return slices.Equal(banned(), want) }, func() string {
		return fmt.Sprintf("banned are %v, and %v should be\n%s", banned(), want, h.banctl("status"))
	})
	h.over("source-unreadable")

	// That it was there is not forgotten over a reload.
	socket.Stop()
	h.find("source-missing")
	h.banctl("reload")
	h.find("source-missing")
	for _, command := range socket.Commands() {
		if command != "auth secret" && !strings.HasPrefix(command, "event plain CUSTOM") {
			t.Errorf("it was sent %q", command)
		}
	}
	if shown := string(h.banctl("show", "198.51.100.88")); !strings.Contains(shown, "sofia::register_failure") || !strings.Contains(shown, "network-ip=198.51.100.88") {
		t.Errorf("banctl show does not show events:\n%s", shown)
	}
}

// An event socket that cannot be used is a finding and costs no memory, and the log
// goes on; and where it can be used again, it is.
func TestEventSocketFails(t *testing.T) {
	t.Parallel()
	answers := func(text string) func(string) (string, bool) {
		return func(string) (string, bool) { return text, true }
	}
	for _, test := range []struct {
		name, text string
		config     eventsockettest.Config
		then       func(*eventsockettest.Server)
	}{
		{"a wrong password", "does not accept the password", eventsockettest.Config{Password: "another"}, nil},
		{"an ACL", "does not admit this address", eventsockettest.Config{Refuse: true}, nil},
		{"another program", "no event socket of FreeSWITCH", eventsockettest.Config{Answer: answers("220 mail.example.com ESMTP\r\n\r\n")}, nil},
		{"a header without end", "no event socket of FreeSWITCH", eventsockettest.Config{Answer: answers(strings.Repeat("x", 64<<20))}, nil},
		{"a long message", "no event socket of FreeSWITCH", eventsockettest.Config{Password: "secret"}, func(s *eventsockettest.Server) {
			s.Send([]byte("Content-Length: 2147483648\nContent-Type: text/event-plain\n\n"))
		}},
		{"nothing at all", "stalls", eventsockettest.Config{Answer: answers("")}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			socket := h.eventSocket(test.config, "maxretry = 3")
			openLog(t, h.log(), session)
			daemon := h.start()
			if test.then != nil {
				test.then(socket)
			}
			h.find("source-unreadable")
			if status := string(h.banctl("status")); !strings.Contains(status, test.text) {
				t.Errorf("banctl status does not say %q:\n%s", test.text, status)
			}
			h.banned("198.51.100.70")
			bounded(t, daemon.Process)
			if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := daemon.Wait(); err != nil {
				t.Error(err)
			}
			if out := fmt.Sprint(daemon.Stderr); strings.Contains(out, "secret") {
				t.Errorf("the password is in the log:\n%s", out)
			}
		})
	}
}
