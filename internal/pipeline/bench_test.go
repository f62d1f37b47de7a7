package pipeline_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"band/internal/pipeline"
	"band/internal/source"
	"band/matcher"
	"band/store"

	"golang.org/x/sys/unix"
)

// BenchmarkRecord is what a record costs from the framer to the decision, in
// batches as a busy log gives them. A tenth of the records are failures, of hosts in
// turn, that are counted and ban nobody: they come too slowly for that.
func BenchmarkRecord(b *testing.B) {
	for _, n := range []int{1, 2, 5, 10, 20, 50} {
		b.Run(fmt.Sprintf("jails=%d", n), func(b *testing.B) {
			files := overlays{}
			for i := range n {
				files[jailName(i)] = own(i, i+1)
			}
			newStream(b, files, n).run(b)
		})
	}
	for _, n := range []int{1, 2, 5, 10, 20, 50, 100, 200} {
		b.Run(fmt.Sprintf("patterns=%d", n), func(b *testing.B) {
			newStream(b, overlays{jailName(0): own(0, n)}, n).run(b)
		})
	}
	for _, n := range upToAMillion(10) {
		b.Run(fmt.Sprintf("units=%d", n), func(b *testing.B) {
			s := newStream(b, overlays{jailName(0): own(0, 1)}, 1)
			s.hosts = n
			s.run(b)
		})
	}
	for _, n := range append([]int{0}, upToAMillion(1000)...) {
		b.Run(fmt.Sprintf("bans=%d", n), func(b *testing.B) {
			s := newStream(b, overlays{jailName(0): own(0, 1)}, 1)
			s.ban(n)
			s.run(b)
		})
	}
}

// BenchmarkSentence is what a ban costs beside others that are in force, with the
// look at all of them that every 10,000th takes. The bans are over at once, so that
// those in force stay as many.
func BenchmarkSentence(b *testing.B) {
	for _, n := range append([]int{0}, upToAMillion(1000)...) {
		b.Run(fmt.Sprintf("bans=%d", n), func(b *testing.B) {
			s := newStream(b, overlays{jailName(0): own(0, 1)}, 1)
			s.ban(n)
			const untilLook = 10_000
			banned := 0
			ban := func() {
				for range untilLook {
					s.at = s.at.Add(time.Second)
					s.Ban([]netip.Prefix{netip.PrefixFrom(address(banned), 32)}, time.Second, "", s.at)
					banned++
				}
			}
			for range 10 { // as many are remembered
				ban()
			}
			b.ReportAllocs()
			begin := used(b)
			for b.Loop() {
				ban()
			}
			b.ReportMetric(float64((used(b)-begin).Nanoseconds())/float64(b.N*untilLook), "ns/ban")
		})
	}
}

// used is the processor time of this process, the garbage collector's too: what
// else the machine does plays no part in it.
func used(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// upToAMillion returns powers of ten, not the largest where time is short.
func upToAMillion(from int) (all []int) {
	most := 1_000_000
	if testing.Short() {
		most = 100_000
	}
	for n := from; n <= most; n *= 10 {
		all = append(all, n)
	}
	return all
}

// BenchmarkMay is the prefilter alone, on a record that no pattern may match.
func BenchmarkMay(b *testing.B) {
	for _, n := range []int{1, 10, 200} {
		var patterns []*matcher.Pattern
		for i := range n {
			p, err := matcher.Compile("p", "failure", regexOf(i), false)
			if err != nil {
				b.Fatal(err)
			}
			patterns = append(patterns, p)
		}
		set := matcher.NewSet(patterns)
		b.Run(fmt.Sprintf("patterns=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			room := make([]int, 0, n)
			for b.Loop() {
				room = set.May([]byte(chatter), room[:0])
			}
		})
	}
}

// batchSize is how many records a chunk of a busy log has.
const batchSize = 500

// findtime is that of the jails here.
const findtime = 10 * time.Minute

// A stream is a source that jails watch, and the time that it tells.
type stream struct {
	*pipeline.Pipeline
	source   *pipeline.Source
	patterns int // that records match in turn
	hosts    int // that fail in turn
	failed   int // failures so far
	at       time.Time
}

// newStream has jails with so many patterns in all.
func newStream(b *testing.B, files overlays, patterns int) *stream {
	p, err := pipeline.New(load(b, files))
	if err != nil {
		b.Fatal(err)
	}
	s := &stream{Pipeline: p, patterns: patterns, hosts: 1000, at: start}
	if s.source, err = p.NewSource("/var/log/x.log", source.ViaFile, format(b), time.UTC); err != nil {
		b.Fatal(err)
	}
	for name := range files {
		s.source.Watch(p.Jails[name], false)
	}
	return s
}

func jailName(i int) string { return fmt.Sprintf("own%03d", i) }

// own is a jail with the patterns from number first to before end.
func own(first, end int) string {
	var text strings.Builder
	text.WriteString("format = 'freeswitch'\nsource = [{ file = '/var/log/x.log' }]\n")
	for i := first; i < end; i++ {
		fmt.Fprintf(&text, "[[pattern]]\nname = 'p%03d'\nregex = '''%s'''\n", i, regexOf(i))
	}
	return text.String()
}

// The patterns differ in the module that writes, as those of real jails do.
func regexOf(i int) string {
	return fmt.Sprintf(`^\[WARNING\] mod_own%03d\.c:\d+ login of \[<F-USER>.*</F-USER>\] failed from ip <HOST>$`, i)
}

// blank is as long as each of the addresses of hosts.
const blank = "100.100.100.100"

// records returns a batch in which one record in so many is a failure.
func records(b *testing.B, share int) []matcher.Record {
	var text strings.Builder
	for i := range batchSize {
		if i%share == 0 {
			text.WriteString(line(start, steady, "[WARNING] mod_own000.c:99 login of [1000@pbx] failed from ip "+blank))
		} else {
			text.WriteString(line(start, steady, chatter))
		}
	}
	return frame(b, text.String())
}

// take hands over a batch and returns how long the decision took. A third of a
// findtime passes until a host is next again, so that none has ever failed often
// enough.
func (s *stream) take(b *testing.B, records []matcher.Record) time.Duration {
	for i := range records {
		r := &records[i]
		if at := bytes.Index(r.Text, []byte("mod_own")); at >= 0 {
			s.at = s.at.Add(findtime / 3 / time.Duration(s.hosts))
			copy(r.Text[at+len("mod_own"):], fmt.Sprintf("%03d", s.failed%s.patterns))
			write(r.Text[len(r.Text)-len(blank):], s.failed%s.hosts)
			s.failed++
		}
		r.Stamp = s.at.AppendFormat(nil, "2006-01-02 15:04:05.000000")
	}
	begin := used(b)
	d := s.Take(s.source, records, nil, s.at)
	took := used(b) - begin
	if len(d.Bans) > 0 || d.Doubtful > 0 {
		b.Fatalf("%d bans, %d doubtful", len(d.Bans), d.Doubtful)
	}
	return took
}

// write writes the address of a host over blank.
func write(text []byte, host int) {
	for octet := 3; octet >= 0; octet-- {
		text[4*octet+1], text[4*octet+2] = byte('0'+host/10%10), byte('0'+host%10)
		host /= 100
	}
}

// address is what write writes.
func address(host int) netip.Addr {
	text := []byte(blank)
	write(text, host)
	return netip.MustParseAddr(string(text))
}

// run measures batches once all hosts have failed as often as they ever have within
// a findtime.
func (s *stream) run(b *testing.B) {
	for many := records(b, 2); s.failed < 3*s.hosts; {
		s.take(b, many)
	}
	mixed := records(b, 10)
	b.ReportAllocs()
	var took time.Duration
	for b.Loop() {
		took += s.take(b, mixed)
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N*batchSize), "ns/record")
}

// ban bans so many hosts for ever.
func (s *stream) ban(n int) {
	for i := range n {
		unit := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		s.Apply(store.Batch{Events: []store.Event{{Ban: &store.Ban{Jail: jailName(0), Unit: unit, Since: start, Origin: "jail"}}}})
	}
}
