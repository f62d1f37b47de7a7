package pipeline_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"band/internal/pipeline"
	"band/internal/source"
	"band/matcher"
)

// event is one of FreeSWITCH's event socket, of fields, name and value in turn.
func event(at time.Time, name string, fields ...string) matcher.Record {
	var text strings.Builder
	for i, f := range append([]string{"Event-Subclass", name, "Event-Name", "CUSTOM", "Event-Date-Timestamp", fmt.Sprint(at.UnixMicro())}, fields...) {
		if i%2 == 0 {
			text.WriteString(f + ": ")
		} else {
			text.WriteString(url.PathEscape(f) + "\n")
		}
	}
	return matcher.NewEvent([]byte(strings.TrimSuffix(text.String(), "\n")), false).Record()
}

// What FreeSWITCH tells of a wrong password, a right one, and a challenge.
func refusedEvent(at time.Time, host string) matcher.Record {
	return event(at, "sofia::register_failure", "to-user", "1000", "network-ip", host, "user-agent", "sipraw", "registration-type", "REGISTER")
}

func admittedEvent(at time.Time, host string) matcher.Record {
	return event(at, "sofia::register_attempt", "network-ip", host, "username", "1000", "auth-result", "SUCCESS")
}

func challengedEvent(at time.Time, user, host, agent string) matcher.Record {
	return event(at, "sofia::pre_register", "from-user", user, "to-user", "the same", "network-ip", host, "user-agent", agent)
}

// events adds the event socket to a rig, connected since the start.
func (r *rig) events() *pipeline.Source {
	r.t.Helper()
	s, err := r.NewSource("event socket 127.0.0.1:8021", source.ViaEvents, matcher.Events(), time.UTC)
	if err != nil {
		r.t.Fatal(err)
	}
	s.Readable, s.ReadableSince = true, start
	for _, name := range r.Names() {
		if j := r.Jails[name]; len(j.Events()) > 0 {
			s.Watch(j, true)
		}
	}
	return s
}

func (r *rig) tell(s *pipeline.Source, now time.Time, events ...matcher.Record) pipeline.Decision {
	return r.keep(r.Take(s, events, nil, now))
}

func TestEventsBan(t *testing.T) {
	r := newRig(t, nil)
	s := r.events()
	for i := range 4 {
		r.tell(s, after(float64(i)), refusedEvent(after(float64(i)), attacker))
	}
	r.tell(s, after(4), event(after(4), "sofia::register_attempt", "network-ip", attacker, "auth-result", "FORBIDDEN"))
	equal(t, "in force after four", r.inForce(after(4)), "")
	d := r.tell(s, after(5), refusedEvent(after(5), attacker))
	equal(t, "in force after five", r.inForce(after(5)), "freeswitch "+unit)
	equal(t, "evidence", d.Bans[0].Evidence[0].Record,
		"sofia::register_failure to-user=1000 network-ip="+attacker+" user-agent=sipraw registration-type=REGISTER")

	for i := range 5 {
		at := after(float64(10 + i))
		r.tell(s, at, event(at, "verto::login", "verto_client_address", "[2001:db8:bad::66]:60815", "verto_login", "x@y", "verto_success", "0"))
		r.tell(s, at, event(at, "verto::login", "verto_client_address", "198.51.100.9:60815", "verto_login", "x@y", "verto_success", "1"))
		r.tell(s, at, event(at, "sofia::wrong_call_state", "network_ip", "198.51.100.9"))
		// What a caller writes is no address of his choice.
		r.tell(s, at, event(at, "sofia::register_failure", "to-user", "x\nnetwork-ip: 192.0.2.1", "network-ip", "198.51.100.10 ", "network-ip", "192.0.2.2"))
	}
	equal(t, "in force in the end", r.inForce(after(20)), "freeswitch "+unit+", freeswitch 2001:db8:bad::/64")
}

// An attempt that the event socket and a log tell counts once, and what the
// event socket is there for, no log tells into which callers write.
func TestEventsAndLogs(t *testing.T) {
	r := newRig(t, nil)
	s := r.events()
	for i := range 4 {
		at := after(float64(i))
		r.tell(s, at, refusedEvent(at, attacker))
		r.take(r.preferred, at, line(at, steady, wrong("1000", attacker)))
	}
	equal(t, "attempts", r.counts(), "freeswitch "+unit+" 4")

	const victim = "192.0.2.1"
	r.preferred.Last = time.Time{} // nobody writes the dedicated log any more
	r.take(r.vanilla, after(9), repeat(9, after(5), wrong("x", victim)))
	equal(t, "in force by the log of the packages", r.inForce(after(9)), "")
	r.take(r.vanilla, after(9), repeat(5, after(-9), wrong("x", "198.51.100.8")))
	equal(t, "in force by what happened before it was connected", r.inForce(after(9)), "freeswitch 198.51.100.8/32")
	// What a caller dates back is no older for that, where the log is read live.
	r.vanilla.Live = true
	r.take(r.vanilla, after(60), repeat(9, after(-9), wrong("x", victim)))
	equal(t, "in force by lines that are dated back", r.inForce(after(60)), "freeswitch 198.51.100.8/32")
	equal(t, "passed in a row", r.Jails["freeswitch"].Stats.Unheard, 18)
	r.vanilla.Live = false
	s.Readable, s.ReadableSince = false, time.Time{}
	r.take(r.vanilla, after(80), repeat(5, after(75), wrong("x", "198.51.100.9")))
	equal(t, "in force when it is lost", r.inForce(after(80)), "freeswitch 198.51.100.8/32, freeswitch 198.51.100.9/32")
}

// A jail that no event tells a failure believes the logs, however preferred the event
// socket is.
func TestEventsOfSuccessesAlone(t *testing.T) {
	r := newRig(t, overlays{"freeswitch": "[[pattern]]\nname = 'failure-event'\nenabled = false\n[[pattern]]\nname = 'verto-failure-event'\nenabled = false"})
	r.events()
	r.take(r.vanilla, after(9), repeat(5, after(5), wrong("x", attacker)))
	equal(t, "in force", r.inForce(after(9)), "freeswitch "+unit)
}

func TestSuccess(t *testing.T) {
	for _, test := range []struct {
		name, trust string
		before      int // failures
		behind      int // and behind the success
		later       float64
		banned      bool
	}{
		{"OK: mistyped, and then again", "0s", 4, 4, 10, false},
		{"bad: as often as is too much", "0s", 4, 5, 10, true},
		{"OK: trusted", "8h", 4, 45, 10, false},
		{"bad: trusted, and too often", "8h", 4, 46, 10, true},
		{"OK: trusted for long", "8h", 0, 49, 8*3600 - 100, false},
		{"bad: not so long", "8h", 0, 5, 8*3600 + 100, true},
	} {
		for _, how := range []string{"", ", after a restart", ", after a restart from a snapshot"} {
			t.Run(test.name+how, func(t *testing.T) {
				files := overlays{"freeswitch": fmt.Sprintf("trust = %q", test.trust)}
				r := newRig(t, files)
				s := r.events()
				for i := range test.before {
					r.tell(s, after(1), refusedEvent(after(float64(i)/10), attacker))
				}
				r.tell(s, after(2), admittedEvent(after(2), attacker))
				if how != "" {
					r.restart(load(t, files), strings.HasSuffix(how, "snapshot"))
					s = r.events()
				}
				now := after(test.later)
				for i := range test.behind {
					equal(t, fmt.Sprintf("in force after %d", i), r.inForce(now), "")
					now = after(test.later + float64(i))
					r.tell(s, now, refusedEvent(now, attacker))
				}
				want := ""
				if test.banned {
					want = "freeswitch " + unit
				}
				equal(t, "in force", r.inForce(now), want)
			})
		}
	}
}

// Phones register every minute: not each success is written.
func TestSuccessIsKeptSeldom(t *testing.T) {
	r := newRig(t, nil)
	s := r.events()
	written := 0
	for minute := range 8 * 60 {
		at := after(float64(60 * minute))
		written += len(r.tell(s, at, admittedEvent(at, attacker)).Batch.Events)
	}
	if jails := 3; written > 33*jails {
		t.Errorf("%d successes were written of one phone in eight hours", written)
	}
	equal(t, "counts", r.counts(), "freeswitch "+unit+" 0, freeswitch-scan "+unit+" 0, freeswitch-scanner "+unit+" 0")
}

func TestScans(t *testing.T) {
	r := newRig(t, nil)
	s := r.events()
	challenged := func(from string, users int, agent string) {
		for i := range users {
			at := after(float64(i))
			r.tell(s, at, challengedEvent(at, fmt.Sprint(from, i), from, agent))
		}
	}
	challenged("198.51.100.1", 19, "Yealink")
	challenged("198.51.100.2", 20, "Yealink")
	r.tell(s, after(0), admittedEvent(after(0), "198.51.100.3")) // an office, whose power comes back
	challenged("198.51.100.3", 1000, "Yealink")
	challenged("198.51.100.5", 1, "friendly-scanner")
	challenged("198.51.100.6", 1, "SIPCLI/v1.8")
	challenged("198.51.100.7", 1, "not friendly-scanner")
	r.tell(s, after(0), admittedEvent(after(0), "198.51.100.8")) // a packet with the address of a phone
	challenged("198.51.100.8", 9, "friendly-scanner")
	equal(t, "in force", r.inForce(after(300)),
		"freeswitch-scan 198.51.100.2/32, freeswitch-scanner 198.51.100.5/32, freeswitch-scanner 198.51.100.6/32")
}
