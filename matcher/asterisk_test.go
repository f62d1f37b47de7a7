package matcher_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"band/matcher"
)

const (
	asteriskStamp = "[2026-11-21 07:51:48] "
	rejected      = "NOTICE[1638] chan_sip.c: Registration from '<sip:1@pbx>' failed for '198.51.100.7:5060' - Wrong password"
	forged        = "NOTICE[1] chan_sip.c: Registration from '<sip:1@pbx>' failed for '192.0.2.1:5060' - Wrong password"
)

func TestAsterisk(t *testing.T) {
	const inSyslog = "NOTICE[566]: chan_sip.c:28926 in handle_request_register: x"
	tests := []struct {
		name, input string
		messages    []string
		stamp       string // of the first record
	}{
		{"ISO date", asteriskStamp + rejected + "\n", []string{rejected}, "2026-11-21 07:51:48"},
		{"milliseconds", "[2026-11-21 07:51:48.123] " + rejected + "\n", []string{rejected}, "2026-11-21 07:51:48.123"},
		{"the date that is not set", "[Nov 21 07:51:48] " + rejected + "\n", []string{rejected}, "Nov 21 07:51:48"},
		{"and with milliseconds", "[Nov  1 07:51:48.123] " + rejected + "\n", []string{rejected}, "Nov  1 07:51:48.123"},
		{"a call", asteriskStamp + "NOTICE[436][C-00000fa9] chan_sip.c: x\n", []string{"NOTICE[436][C-00000fa9] chan_sip.c: x"}, "2026-11-21 07:51:48"},
		{"a place that is no file", asteriskStamp + "WARNING[6756][C-0000001d] Ext. s: x\n", []string{"WARNING[6756][C-0000001d] Ext. s: x"}, "2026-11-21 07:51:48"},
		{"the plain formatter", asteriskStamp + "NOTICE[1638]: chan_sip.c:1 f: x\n", []string{"NOTICE[1638]: chan_sip.c:1 f: x"}, "2026-11-21 07:51:48"},
		{"syslog", "Nov 21 07:00:00 pbx asterisk[123]: " + inSyslog + "\n", []string{inSyslog}, "Nov 21 07:00:00"},
		{"syslog with a zone", "2026-11-21T07:00:00.1+01:00 pbx asterisk[123]: " + inSyslog + "\n", []string{inSyslog}, "2026-11-21T07:00:00.1+01:00"},
		{"syslog and its own time", "Nov 21 07:00:00 pbx asterisk: " + asteriskStamp + inSyslog + "\n", []string{inSyslog}, "Nov 21 07:00:00"},
		{"two records", asteriskStamp + rejected + "\n" + asteriskStamp + "VERBOSE[1] pbx.c: x\n", []string{rejected, "VERBOSE[1] pbx.c: x"}, "2026-11-21 07:51:48"},
		{"a continuation", asteriskStamp + rejected + "\nx\n", []string{rejected + "\nx"}, "2026-11-21 07:51:48"},
		{"an empty one", asteriskStamp + rejected + "\n\n", []string{rejected + "\n"}, "2026-11-21 07:51:48"},
		{"another program of the same log", "Nov 21 07:00:00 pbx asterisk[123]: " + inSyslog + "\nNov 21 07:00:00 pbx cron[1]: " + rejected + "\n", []string{inSyslog, "-"}, "Nov 21 07:00:00"},
		{"a program that is called nearly so", "Nov 21 07:00:00 pbx asteriskx[123]: " + inSyslog + "\n", []string{"-"}, "Nov 21 07:00:00"},
		{"no level", asteriskStamp + "Asterisk 22 built by x\n", []string{"-"}, ""},
		{"no thread", asteriskStamp + "NOTICE chan_sip.c: x\n", []string{"-"}, ""},
		{"no time", "[now] " + rejected + "\n", []string{"-"}, ""},
		{"no space behind the time", "[2026-11-21 07:51:48]" + rejected + "\n", []string{"-"}, ""},
		{"not at column 0", " " + asteriskStamp + rejected + "\n", []string{"-"}, ""},
		{"no time at all", rejected + "\n", []string{"-"}, ""},
	}
	f := named(t, "asterisk", "")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			records := frame(f, []byte(tt.input))
			if got := messages(records); !slices.Equal(got, tt.messages) {
				t.Errorf("messages %q\nwant     %q", got, tt.messages)
			}
			if got := string(records[0].Stamp); got != tt.stamp {
				t.Errorf("stamp %q, want %q", got, tt.stamp)
			}
			if records[0].Session != nil {
				t.Errorf("session %q", records[0].Session)
			}
		})
	}
}

// Callers get text into the log as it is, with line ends. None of it names a
// victim.
func TestAsteriskForged(t *testing.T) {
	packet := strings.Repeat(asteriskStamp+forged+"\n", 5)
	dump := func(length int, text string) string {
		return fmt.Sprintf(asteriskStamp+"ERROR[77]: pjproject: <?>: \tsip_transport.c Error processing %d bytes packet from UDP 198.51.100.7:5060 : PJSIP syntax error exception when parsing 'x' header on line 1 col 1:\n%s\n-- end of packet.\n", length, text)
	}
	trace := func(length int, text string) string {
		return fmt.Sprintf(asteriskStamp+"VERBOSE[77] res_pjsip_logger.c: <--- Received SIP request (%d bytes) from UDP:198.51.100.7:5060 --->\n%s\n\n", length, text)
	}
	genuine := asteriskStamp + rejected + "\n"
	tests := []struct {
		name, input string
		genuine     int
	}{
		{"a packet that cannot be parsed", dump(len(packet), packet) + genuine, 1},
		{"one that ends in half a line", dump(len(packet)-1, packet[:len(packet)-1]) + genuine, 1},
		{"one that says that it ended", dump(len(packet)+20, "\n-- end of packet.\n\n"+packet) + genuine, 1},
		{"a packet that is shown", trace(len(packet), packet) + genuine, 1},
		{"two", dump(len(packet), packet) + trace(len(packet), packet) + genuine + genuine, 2},
		{"text behind a line end", asteriskStamp + "NOTICE[1638] chan_sip.c: Registration from '<sip:1@pbx>' failed for '192.0.2.1:5060' - Wrong password\nx' failed for '198.51.100.7:5060' - Wrong password\n" + genuine, 1},
		{"a length that is made up hides a little", dump(99999, "") + strings.Repeat(genuine, 200), 200 - 1 - 8<<10/len(genuine)},
	}
	f := named(t, "asterisk", "")
	p, err := matcher.Compile("p", "failure", `^NOTICE\[\d+\] chan_sip\.c: Registration from '[^']*' failed for '<HOST>:\d+' - Wrong password$`, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := map[string]int{}
			for _, r := range frame(f, []byte(tt.input)) {
				if m, ok := p.Match(r.Message); ok {
					found[m.Host.String()]++
				}
			}
			if len(found) != 1 || found["198.51.100.7"] != tt.genuine {
				t.Errorf("found %v, want %d of 198.51.100.7", found, tt.genuine)
			}
		})
	}
}

func FuzzAsteriskPacket(f *testing.F) {
	f.Fuzz(func(t *testing.T, packet []byte) {
		// Lines of a packet begin no record, whatever they are.
		packet = packet[:min(len(packet), 8<<10)]
		log := fmt.Appendf(nil, "%sERROR[7] pjproject: \tsip_transport.c Error processing %d bytes packet from UDP 192.0.2.1:5060 :\n%s\n-- end of packet.\n", asteriskStamp, len(packet), packet)
		records := frame(named(t, "asterisk", ""), append(log, asteriskStamp+rejected+"\n"...))
		if len(records) != 2 || string(records[1].Message) != rejected {
			t.Fatalf("%d records: %q", len(records), messages(records))
		}
	})
}
