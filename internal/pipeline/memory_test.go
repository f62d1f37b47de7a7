package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"band/internal/pipeline"
	"band/internal/source"
	"band/matcher"
)

// A record that no pattern matches takes no memory, however many jails look at it:
// what is taken is taken once for a chunk.
func TestUnmatchedTakesNoMemory(t *testing.T) {
	const lines, most = 1000, 4
	for _, tt := range []struct{ format, layout, line string }{
		{"freeswitch", "", line(start, steady, chatter)},
		{"freeswitch", "", "3cd3f4ac-e7e1-4e16-a8e1-0f5a4ed2a1c2 " + line(start, steady, chatter)},
		{"syslog", "", "Nov 21 07:51:48 host CRON[811]: pam_unix(cron:session): session opened for user root\n"},
		{"asterisk", "", "[Nov 21 07:51:48] NOTICE[811]: chan_sip.c:1 Peer '1000' is now reachable\n"},
		{"raw", "", "nothing happened\n"},
		{"raw", "%d/%b/%Y:%T.%f %z", "21/Nov/2026:07:51:48.117416 +0100 nothing happened\n"},
	} {
		t.Run(strings.TrimSpace(tt.format+" "+tt.layout), func(t *testing.T) {
			files := overlays{}
			for i := range 3 {
				text := strings.Replace(own(5*i, 5*i+5), "'freeswitch'", "'"+tt.format+"'", 1)
				if tt.layout != "" {
					text = fmt.Sprintf("time = %q\n", tt.layout) + text
				}
				files[jailName(i)] = text
			}
			p, err := pipeline.New(load(t, files))
			if err != nil {
				t.Fatal(err)
			}
			format, err := matcher.FormatNamed(tt.format, tt.layout)
			if err != nil {
				t.Fatal(err)
			}
			s, err := p.NewSource("/var/log/x.log", source.ViaFile, format, time.UTC)
			if err != nil {
				t.Fatal(err)
			}
			for name := range files {
				s.Watch(p.Jails[name], false)
			}
			framer, chunk := matcher.NewFramer(format), []byte(strings.Repeat(tt.line, lines))
			records := make([]matcher.Record, 0, 2*lines)
			n := testing.AllocsPerRun(10, func() {
				framer.Push(chunk)
				records = framer.Drain(records[:0])
				p.Take(s, records, nil, start)
			})
			if n > most {
				t.Errorf("%v allocations for %d records", n, lines)
			}
			if s.Records < 10*(lines-1) || s.Last.IsZero() != (tt.format == "raw" && tt.layout == "") {
				t.Errorf("%d records were read, the last of %v", s.Records, s.Last)
			}
		})
	}
}
