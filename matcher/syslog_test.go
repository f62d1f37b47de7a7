package matcher_test

import (
	"slices"
	"testing"
	"time"

	"band/matcher"
)

func TestSyslog(t *testing.T) {
	const failed = "sshd[811]: Failed password for root from 198.51.100.7 port 4022 ssh2"
	tests := []struct {
		name, line             string
		message, session, time string // message "-": not seen; time in RFC 3339
	}{
		{"RFC 3164", "Nov 21 07:00:00 host " + failed, failed, "sshd[811]", "2026-11-21T07:00:00Z"},
		{"a day of one digit", "Nov  1 07:00:00 host " + failed, failed, "sshd[811]", "2026-11-01T07:00:00Z"},
		{"RFC 3339", "2026-11-21T07:00:00.123456+01:00 host " + failed, failed, "sshd[811]", "2026-11-21T06:00:00.123456Z"},
		{"RFC 3339 in UTC", "2026-11-21T07:00:00Z host " + failed, failed, "sshd[811]", "2026-11-21T07:00:00Z"},
		{"without a host", "Nov 21 07:00:00 " + failed, failed, "sshd[811]", "2026-11-21T07:00:00Z"},
		{"metalog", "Nov 21 07:00:00 [sshd] Failed", "[sshd] Failed", "", "2026-11-21T07:00:00Z"},
		{"no number", "Nov 21 07:00:00 host kernel: [ 1.5] x", "kernel: [ 1.5] x", "", "2026-11-21T07:00:00Z"},
		{"a tag with slashes", "Nov 21 07:00:00 host postfix/smtpd[7]: x", "postfix/smtpd[7]: x", "postfix/smtpd[7]", "2026-11-21T07:00:00Z"},
		{"a host that is an address", "Nov 21 07:00:00 2001:db8::1 " + failed, failed, "sshd[811]", "2026-11-21T07:00:00Z"},
		{"no text", "Nov 21 07:00:00 host sshd[811]: ", "sshd[811]: ", "sshd[811]", "2026-11-21T07:00:00Z"},
		{"no tag", "Nov 21 07:00:00 host last message repeated 3 times", "-", "", "2026-11-21T07:00:00Z"},
		{"a tag further on", "Nov 21 07:00:00 host x " + failed, "-", "", "2026-11-21T07:00:00Z"},
		{"a tag of a colon", "Nov 21 07:00:00 host : " + failed, "-", "", "2026-11-21T07:00:00Z"},
		{"a tab in the tag", "Nov 21 07:00:00 host ss\thd[811]: x", "-", "", "2026-11-21T07:00:00Z"},
		{"a host and nothing", "Nov 21 07:00:00 host", "-", "", "2026-11-21T07:00:00Z"},
		{"a time and nothing", "Nov 21 07:00:00", "-", "", ""},
		{"no header", failed, "-", "", ""},
		{"no such month", "Nov 31 07:00:00 host " + failed, failed, "sshd[811]", ""},
		{"no such time", "Nov 21 24:00:00 host " + failed, "-", "", ""},
		{"something before the header", " Nov 21 07:00:00 host " + failed, "-", "", ""},
		{"a number that is none", "Nov 21 07:00:00 host sshd[8x]: x", "sshd[8x]: x", "", "2026-11-21T07:00:00Z"},
		{"one that has no end", "Nov 21 07:00:00 host sshd[8: x", "sshd[8: x", "", "2026-11-21T07:00:00Z"},
		{"no digits", "Nov 21 07:00:00 host sshd[]: x", "sshd[]: x", "", "2026-11-21T07:00:00Z"},
		{"no program", "Nov 21 07:00:00 host [8]: x", "[8]: x", "", "2026-11-21T07:00:00Z"},
		{"nothing", "", "-", "", ""},
	}
	f := named(t, "syslog", "")
	clock := matcher.NewClock(f, time.UTC)
	clock.Today(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			records := frame(f, []byte(tt.line+"\n"))
			if got := messages(records); !slices.Equal(got, []string{tt.message}) {
				t.Fatalf("messages %q, want %q", got, tt.message)
			}
			if r := records[0]; string(r.Session) != tt.session || (r.Session == nil) != (tt.session == "") {
				t.Errorf("session %q, want %q", r.Session, tt.session)
			}
			at, ok := clock.Time(records[0].Stamp)
			if got := at.UTC().Format(time.RFC3339Nano); ok != (tt.time != "") || ok && got != tt.time {
				t.Errorf("time %s, %v; want %q", got, ok, tt.time)
			}
		})
	}
}

// A line is complete at its end: what follows is never a part of it.
func TestSyslogOneLineARecord(t *testing.T) {
	framer := matcher.NewFramer(named(t, "syslog", ""))
	framer.Push([]byte("Nov 21 07:00:00 host sshd[811]: a\n b\nNov 21 07:00:00 host sshd"))
	if got, want := messages(framer.Drain(nil)), []string{"sshd[811]: a", "-"}; !slices.Equal(got, want) {
		t.Errorf("messages %q, want %q", got, want)
	}
	if !framer.Torn() {
		t.Error("half a line is not torn")
	}
}
