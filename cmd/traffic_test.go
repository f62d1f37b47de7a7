package cmd_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"
)

// What is written during a soak. Each function writes one attempt, or something that
// is none, and tells the oracle.

// attempts leave records of one kind, of the other, or of both.
type attempt []string

var (
	wrong   = attempt{"failure"}
	unknown = attempt{"unknown-user"}
	both    = attempt{"unknown-user", "failure"}
)

func (a attempt) records(from netip.Addr) (messages []string) {
	for _, kind := range a {
		if kind == "failure" {
			messages = append(messages, wrongPassword(from))
		} else {
			messages = append(messages, unknownUser(from))
		}
	}
	return messages
}

func anyAttempt(random *rand.Rand) attempt {
	return []attempt{wrong, wrong, wrong, unknown, both, both}[random.IntN(6)]
}

// anybody is one of those who fail, of few enough that they do it often.
func (s *soak) anybody(random *rand.Rand) netip.Addr {
	switch n := random.IntN(300); {
	case n == 0:
		return s.trunk
	case n < 50:
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::%x", n, random.IntN(1<<16)))
	default:
		return netip.AddrFrom4([4]byte{198, 18, 0, byte(n - 50)})
	}
}

// anyVictim is somebody who never does anything, and is named by those who forge.
func anyVictim(random *rand.Rand) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(5))})
}

func (s *soak) jailOf(log *logFile) string {
	if log == s.drill {
		return "drill"
	}
	return "freeswitch"
}

func (s *soak) byFile(log *logFile, from netip.Addr, a attempt) {
	s.texts.add("attempts in " + s.jailOf(log) + "'s file")
	s.oracle.fail(s.jailOf(log), from, "file", log.put(a.records(from)...), a...)
}

func (s *soak) bySyslog(from netip.Addr, a attempt) {
	s.texts.add("attempts in the journal, by mod_syslog")
	at := now()
	for _, message := range a.records(from) {
		s.syslog(at, message)
	}
	s.oracle.fail("freeswitch", from, "journal", at, a...)
}

func (s *soak) byConsole(from netip.Addr, a attempt) {
	s.texts.add("attempts in the journal, by the console")
	at := now()
	for _, message := range a.records(from) {
		s.toConsole(at, message)
	}
	s.oracle.fail("freeswitch", from, "journal", at, a...)
}

func (s *soak) syslog(at time.Time, message string) {
	s.journal.Syslog("<12>Nov 21 07:47:57 freeswitch[869]: " + header(at, 8160) + strings.TrimSuffix(message, "\n"))
}

// toConsole writes a record as freeswitch -c does, in colours, of which each line
// becomes an entry.
func (s *soak) toConsole(at time.Time, message string) {
	if _, err := fmt.Fprintf(s.console, "\x1b[m\x1b[35m%s%s", header(at, 8160), message); err != nil {
		s.t.Error(err)
	}
}

// endRecord lets another record begin on the console, so that the last one is
// complete.
func (s *soak) endRecord() { s.toConsole(now(), session("another record")) }

func (s *soak) intoFiles(random *rand.Rand) {
	log, from, a := s.log, s.anybody(random), anyAttempt(random)
	if random.IntN(5) == 0 {
		log, a = s.drill, wrong
		from = netip.AddrFrom4([4]byte{198, 19, 0, byte(random.IntN(150))})
	}
	switch n := random.IntN(100); {
	case n < 55:
		s.byFile(log, from, a)
	case n < 65 && log == s.log:
		s.byFile(log, from, a)
		s.bySyslog(from, a)
	case n < 80:
		s.texts.add("records of no attempt")
		log.put(log.noise(strings.Repeat("x", random.IntN(300))))
	case n < 82:
		log.sample(1000 + random.IntN(9000))
	case n < 88:
		s.texts.add("records torn where a page ends")
		message := wrongPassword(from)
		at := log.tear(message, 1+random.IntN(len(message)), time.Duration(random.IntN(20))*time.Millisecond)
		s.oracle.fail(s.jailOf(log), from, "file", at, "failure")
	case n < 91:
		s.texts.add("records that end where a page does")
		message := wrongPassword(from)
		at := log.atPage(message, len(header(now(), log.idle))+len(message))
		s.oracle.fail(s.jailOf(log), from, "file", at, "failure")
	case n < 95:
		s.texts.add("folded headers, a page ending where they fold")
		message := folded(anyVictim(random), from)
		at := log.atPage(message, len(header(now(), log.idle))+strings.Index(message, "\n")+1)
		s.oracle.fail(s.jailOf(log), from, "file", at, "failure")
	case log == s.log:
		s.forge(random)
	}
}

// forge writes what callers can make FreeSWITCH write into its own log.
func (s *soak) forge(random *rand.Rand) {
	s.texts.add("forgeries in the file")
	victim := anyVictim(random)
	switch random.IntN(4) {
	case 0: // whole lines, with a made-up idle CPU
		idle := 1000 + (s.log.idle-1000+1+random.IntN(8999))%9000
		forged := header(now(), idle) + wrongPassword(victim)
		s.log.put(session("sdp\n"+strings.TrimSuffix(strings.Repeat(forged, 6), "\n")), session("behind it"))
	case 1: // in a record of a session
		s.log.raw("5a3bd0a8-a5f2-4a4c-9a2e-1d2d6a2cb0a1 " + header(now(), s.log.idle) + wrongPassword(victim))
	case 2: // within a line
		s.log.put(session("from " + strings.TrimSuffix(wrongPassword(victim), "\n") + "\x00\x1b[31m\xff\r"))
	case 3: // behind a long line
		s.log.put(session(strings.Repeat("y", 70_000) + " " + wrongPassword(victim)))
	}
}

func (s *soak) intoJournal(random *rand.Rand) {
	from, a := s.anybody(random), anyAttempt(random)
	switch n := random.IntN(100); {
	case n < 45:
		s.bySyslog(from, a)
	case n < 85:
		s.byConsole(from, a)
	case n < 92:
		s.texts.add("records of no attempt")
		s.syslog(now(), session("x"))
		s.endRecord()
	case n < 96: // one entry is one record
		s.texts.add("forgeries in the journal")
		at := now()
		s.syslog(at, session("sdp\n"+header(at, 8160)+wrongPassword(anyVictim(random))))
	default: // journald cuts lines of more than 48 KiB (LineMax)
		s.texts.add("forgeries in the journal")
		at := now()
		cut := 48<<10 - len("\x1b[m\x1b[35m"+header(at, 8160)+"[INFO] mod_sofia.c:1 ")
		s.toConsole(at, "[INFO] mod_sofia.c:1 "+strings.Repeat("z", cut)+header(at, 8160)+wrongPassword(anyVictim(random)))
	}
}
