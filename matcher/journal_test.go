package matcher_test

import (
	"testing"
	"time"

	"band/matcher"
)

func TestFromJournal(t *testing.T) {
	const failed = "Failed password for root from 198.51.100.7 port 4022 ssh2"
	const lines = "[WARNING] sofia_reg.c:3210 Can't find user [1@pbx] from 198.51.100.7\nYou must\nand you must."
	tests := []struct {
		name, format, layout     string
		message, identifier, pid string
		want, session            string // want "-": not seen
	}{
		{"FreeSWITCH", "freeswitch", "", stamp + "81.60% " + fail, "freeswitch", "1", fail, ""},
		{"of several lines", "freeswitch", "", stamp + lines, "freeswitch", "1", lines, ""},
		{"without a time", "freeswitch", "", fail, "freeswitch", "1", fail, ""},
		{"with its line end", "freeswitch", "", stamp + fail + "\n", "freeswitch", "1", fail, ""},
		{"coloured", "freeswitch", "", "\x1b[m\x1b[35m" + stamp + fail + "\x1b[0m", "freeswitch", "1", fail, ""},
		{"coloured, without a time", "freeswitch", "", "\x1b[35m" + fail + "\n\x1b[m\x1b[0m", "freeswitch", "1", fail, ""},
		{"a session", "freeswitch", "", uuid + stamp + fail, "freeswitch", "1", "-", ""},
		{"a session without a time", "freeswitch", "", uuid + fail, "freeswitch", "1", "-", ""},
		{"a start further on", "freeswitch", "", "x\n" + stamp + fail, "freeswitch", "1", "-", ""},
		{"no FreeSWITCH", "freeswitch", "", "x", "freeswitch", "1", "-", ""},
		{"FreeSWITCH's objects", "freeswitch-json", "", object, "freeswitch", "1", fail, ""},
		{"text among them", "freeswitch-json", "", stamp + fail, "freeswitch", "1", "-", ""},
		{"syslog", "syslog", "", failed, "sshd", "811", "sshd[811]: " + failed, "sshd[811]"},
		{"without a number", "syslog", "", failed, "sshd", "", "sshd: " + failed, ""},
		{"a number that is none", "syslog", "", failed, "x", "1]: sshd[1", "x: " + failed, ""},
		{"without a name", "syslog", "", "sshd[1]: " + failed, "", "811", "-", ""},
		{"a name of words", "syslog", "", "x", "sshd[1]: " + failed, "811", "-", ""},
		{"a name that holds a number", "syslog", "", failed, "sshd[1]:", "811", "sshd[1]:[811]: " + failed, ""},
		{"Asterisk", "asterisk", "", rejected, "asterisk", "1", rejected, ""},
		{"with a time", "asterisk", "", asteriskStamp + rejected, "asterisk", "1", rejected, ""},
		{"several lines of it", "asterisk", "", rejected + "\n" + asteriskStamp + forged, "asterisk", "1", rejected + "\n" + asteriskStamp + forged, ""},
		{"no Asterisk", "asterisk", "", "x", "asterisk", "1", "-", ""},
		{"raw", "raw", "", failed, "sshd", "1", failed, ""},
		{"with a layout", "raw", "%F %T", "2026-11-21 07:51:48 " + failed, "sshd", "1", failed, ""},
		{"with a layout that it lacks", "raw", "%F %T", failed, "sshd", "1", failed, ""},
	}
	at := time.Date(2026, 11, 21, 7, 51, 48, 0, time.UTC)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := matcher.FromJournal(named(t, tt.format, tt.layout),
				matcher.Entry{Message: []byte(tt.message), Time: at, Identifier: tt.identifier, PID: tt.pid})
			if got := messages([]matcher.Record{r})[0]; got != tt.want {
				t.Errorf("message %q, want %q", got, tt.want)
			}
			if string(r.Session) != tt.session || (r.Session == nil) != (tt.session == "") {
				t.Errorf("session %q, want %q", r.Session, tt.session)
			}
			if !r.Sealed || !r.Time.Equal(at) || r.Line != 0 || r.End != 0 {
				t.Errorf("record %+v", r)
			}
		})
	}
}

// One pattern fits a record of a file and the same one of the journal.
func TestFromJournalAsInAFile(t *testing.T) {
	f := named(t, "syslog", "")
	const text = "Failed password for root from 198.51.100.7 port 4022 ssh2"
	file := frame(f, []byte("Nov 21 07:00:00 host sshd-session[811]: "+text+"\n"))[0]
	journal := matcher.FromJournal(f, matcher.Entry{Message: []byte(text), Identifier: "sshd-session", PID: "811"})
	if string(file.Message) != string(journal.Message) || string(file.Session) != string(journal.Session) {
		t.Errorf("%q, session %q in the file; %q, session %q in the journal", file.Message, file.Session, journal.Message, journal.Session)
	}
	message := []byte(text)
	if n := testing.AllocsPerRun(100, func() {
		matcher.FromJournal(f, matcher.Entry{Message: message, Identifier: "sshd-session", PID: "811"})
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
