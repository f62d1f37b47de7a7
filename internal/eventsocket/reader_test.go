package eventsocket_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"band/internal/eventsocket"
	"band/internal/eventsocket/eventsockettest"
	"band/matcher"
)

// chunks reads so many bytes at once at most, or a random number of them.
type chunks struct {
	r      io.Reader
	size   int
	random *rand.Rand
}

func (c chunks) Read(p []byte) (int, error) {
	n := c.size
	if c.random != nil {
		n = 1 + c.random.IntN(c.size)
	}
	return c.r.Read(p[:min(n, len(p))])
}

func same(a, b []matcher.Event) bool {
	return slices.EqualFunc(a, b, func(x, y matcher.Event) bool {
		return x.Time.Equal(y.Time) && x.Clipped == y.Clipped && bytes.Equal(x.Text, y.Text)
	})
}

// TestRecordings reads what FreeSWITCH sent in chunks of all sizes up to 50 bytes, and
// of some beyond.
func TestRecordings(t *testing.T) {
	t.Parallel()
	for _, rec := range recordings {
		text := recording(t, rec.name)
		whole, messages, err := eventsocket.ReadAll(bytes.NewReader(text))
		if err != nil || messages != rec.messages || len(whole) != rec.events {
			t.Fatalf("%s: %d messages, %d events, error %v; want %d and %d", rec.name, messages, len(whole), err, rec.messages, rec.events)
		}
		failures := 0
		for i, e := range whole {
			if i == 0 && e.Name() != rec.first {
				t.Errorf("%s begins with %q, want %q", rec.name, e.Name(), rec.first)
			}
			if e.Time.Year() != 2026 || e.Clipped != (rec.name == recordings[0].name && i == 114) { // whose username has 20,000 bytes
				t.Errorf("%s: event %d is of %v, clipped: %v", rec.name, i, e.Time, e.Clipped)
			}
			if e.Name() == "sofia::register_failure" {
				failures++
				// What an attacker wrote begins no line.
				if ip := get(e, "network-ip"); strings.HasPrefix(ip, "192.0.2.") || bytes.Count(e.Text, []byte("\nnetwork-ip: ")) != 1 {
					t.Errorf("%s: event %d is of %s:\n%s", rec.name, i, ip, e.Text)
				}
			}
		}
		if failures != rec.failures {
			t.Errorf("%s: %d failures, want %d", rec.name, failures, rec.failures)
		}
		for size := 1; size < 1500; size += 1 + size/50 {
			for _, random := range []*rand.Rand{nil, rand.New(rand.NewPCG(1, uint64(size)))} {
				got, messages, err := eventsocket.ReadAll(chunks{bytes.NewReader(text), size, random})
				if err != nil || messages != rec.messages || !same(got, whole) {
					t.Fatalf("%s in chunks of %d: %d events in %d messages, error %v", rec.name, size, len(got), messages, err)
				}
			}
		}
	}
}

func TestReader(t *testing.T) {
	t.Parallel()
	const head = "Content-Type: text/event-plain\n"
	for _, test := range []struct {
		name, stream string
		want         []string // the texts of the events, "+" before those that are clipped
		err          error
		says         string // the error
	}{
		{"OK: nothing", "", nil, nil, ""},
		{"OK: one", "Content-Length: 8\n" + head + "\na: b%0A\n\nContent-Length: 4\n" + head + "\nc:\n\n", nil, eventsocket.ErrProtocol, "end"},
		{"OK: two", "Content-Length: 9\n" + head + "\na: b%0A\n\nContent-Length: 4\n" + head + "\nc:\n\n", []string{"a: b%0A", "c:"}, nil, ""},
		{"OK: the head in another order and case, with CR", "content-type:text/event-plain\r\nX: y\r\nCONTENT-LENGTH:  4 \r\n\r\nc:\n\n", []string{"c:"}, nil, ""},
		{"OK: a body is not taken for fields", string(eventsockettest.Message("text/event-plain", "a: b\nContent-Length: 13\n\nnetwork-ip: x")) + "Content-Length: 4\n" + head + "\nc:\n\n", []string{"a: b\nContent-Length: 13", "c:"}, nil, ""},
		{"OK: an event without fields", "Content-Length: 1\n" + head + "\n\n", []string{""}, nil, ""},
		{"OK: other messages are skipped", "Content-Type: log/data\nContent-Length: 5\n\n\n\nabcContent-Type: api/response\nContent-Length: 0\n\nContent-Type: command/reply\nReply-Text: x\n\nContent-Length: 4\n" + head + "\nc:\n\n", []string{"c:"}, nil, ""},
		{"OK: a line as long as may be", string(eventsockettest.Message("text/event-plain", "a:"+strings.Repeat("b", eventsocket.MaxLine-2)+"\n\n")), []string{"a:" + strings.Repeat("b", eventsocket.MaxLine-2)}, nil, ""},
		{"OK: of a longer one the beginning", string(eventsockettest.Message("text/event-plain", "a:"+strings.Repeat("b", eventsocket.MaxLine-1)+"\nc: d\n\n")), []string{"+a:" + strings.Repeat("b", eventsocket.MaxLine-2) + "\nc: d"}, nil, ""},
		{"OK: of which no byte is torn", string(eventsockettest.Message("text/event-plain", "a:"+strings.Repeat("%0A", 10_000)+"\nc: d\n\n")), []string{"+a:" + strings.Repeat("%0A", (eventsocket.MaxLine-2)/3) + "\nc: d"}, nil, ""},
		{"OK: of a long event the beginning", string(eventsockettest.Message("text/event-plain", strings.Repeat("a: "+strings.Repeat("b", 15_996)+"\n", 16)+"c: "+strings.Repeat("d", 6_200)+"\nnetwork-ip: 198.51.100.123\ne: f\n\n")), []string{"+" + strings.Repeat("a: "+strings.Repeat("b", 15_996)+"\n", 15) + "a: " + strings.Repeat("b", 15_996)}, nil, ""},

		{"bad: no head", "\n", nil, eventsocket.ErrProtocol, "without a type"},
		{"bad: no type", "Content-Length: 1\n\n\n", nil, eventsocket.ErrProtocol, "without a type"},
		{"bad: HTTP", "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n", nil, eventsocket.ErrProtocol, "no field"},
		{"bad: SSH", "SSH-2.0-OpenSSH_9.2p1\r\n", nil, eventsocket.ErrProtocol, "no field"},
		{"bad: two types", head + head + "\n", nil, eventsocket.ErrProtocol, "two types"},
		{"bad: two lengths", "Content-Length: 4\nContent-Length: 5\n" + head + "\nc:\n\n", nil, eventsocket.ErrProtocol, "two lengths"},
		{"bad: no length", head + "\nc:\n\n", nil, eventsocket.ErrProtocol, "without a length"},
		{"bad: a negative length", "Content-Length: -4\n" + head + "\nc:\n\n", nil, eventsocket.ErrProtocol, "no number"},
		{"bad: a length with a sign", "Content-Length: +4\n" + head + "\nc:\n\n", nil, eventsocket.ErrProtocol, "no number"},
		{"bad: no number", "Content-Length: 4a\n" + head + "\nc:\n\n", nil, eventsocket.ErrProtocol, "no number"},
		{"bad: an empty length", "Content-Length:\n" + head + "\nc:\n\n", nil, eventsocket.ErrProtocol, "no number"},
		{"bad: a hexadecimal length", "Content-Length: 0x4\n" + head + "\nc:\n\n", nil, eventsocket.ErrProtocol, "no number"},
		{"bad: over the limit", "Content-Length: 16777217\n" + head + "\nc:\n\n", nil, eventsocket.ErrProtocol, "over 16777216 bytes"},
		{"bad: 2 GB", "Content-Length: 2147483648\n" + head + "\nc:\n\n", nil, eventsocket.ErrProtocol, "over 16777216 bytes"},
		{"bad: over 64 bits", "Content-Length: 99999999999999999999\n" + head + "\nc:\n\n", nil, eventsocket.ErrProtocol, "no number"},
		{"bad: 2 GB to be skipped", "Content-Length: 2147483648\nContent-Type: log/data\n\n", nil, eventsocket.ErrProtocol, "over 16777216 bytes"},
		{"bad: a long line in a head", "X: " + strings.Repeat("y", 5000) + "\n" + head + "\n", nil, eventsocket.ErrProtocol, "over 4096 bytes"},
		{"bad: many lines in a head", strings.Repeat("X: y\n", 1000) + head + "\n", nil, eventsocket.ErrProtocol, "over 4096 bytes"},
		{"bad: an event that does not end", "Content-Length: 5\n" + head + "\na: b\nContent-Length: 4\n" + head + "\nc:\n\n", nil, eventsocket.ErrProtocol, "end where it should"},
		{"bad: a rejection", "Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n", nil, eventsocket.ErrACL, ""},
		{"bad: a notice", eventsockettest.Notice, nil, eventsocket.ErrEnded, ""},
		{"bad: the end in a head", "Content-Length: 4\n", nil, io.EOF, ""},
		{"bad: the end in an event", "Content-Length: 4\n" + head + "\nc:\n", nil, io.EOF, ""},
		{"bad: the end in a body", "Content-Length: 9\n" + head + "\nc:\n\nabc", nil, io.EOF, ""},
	} {
		for _, size := range []int{1, 7, 1 << 20} {
			events, _, err := eventsocket.ReadAll(chunks{strings.NewReader(test.stream), size, nil})
			if !errors.Is(err, test.err) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s, in chunks of %d: error %v, want %v: %s", test.name, size, err, test.err, test.says)
			}
			var got []string
			for _, e := range events {
				got = append(got, map[bool]string{true: "+"}[e.Clipped]+string(e.Text))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s, in chunks of %d: %s", test.name, size, diff)
			}
		}
	}
}

// endless repeats text.
type endless struct {
	text string
	left int
}

func (e *endless) Read(p []byte) (n int, err error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	for n < len(p) {
		n += copy(p[n:], e.text)
	}
	e.left -= n
	return n, nil
}

// allocated returns what a function allocates in all: a buffer that grows is
// counted each time, and at most the last two of them are held at once.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestMemory is not parallel: it measures what is allocated.
func TestMemory(t *testing.T) {
	const event = "Content-Type: text/event-plain\nContent-Length: 16777216\n\n"
	for _, test := range []struct {
		name, begin, repeat string
		err                 error
	}{
		{"2 GB", "Content-Type: text/event-plain\nContent-Length: 2147483648\n\n", "a: b\n", eventsocket.ErrProtocol},
		{"an endless line in a head", "X: ", "y", eventsocket.ErrProtocol},
		{"an endless head", "", "X: y\n", eventsocket.ErrProtocol},
		{"a line of an event", event, "a", eventsocket.ErrProtocol},
		{"lines of an event", event, "a: b%0A\n", eventsocket.ErrProtocol},
		{"long lines of an event", event, strings.Repeat("b", 40_000) + "\n", eventsocket.ErrProtocol},
		{"the body of an event", event + "a: b\n\n", "c", io.EOF},
		{"a log line", "Content-Type: log/data\nContent-Length: 16777216\n\n", "c", nil},
	} {
		stream := io.MultiReader(strings.NewReader(test.begin), &endless{test.repeat, eventsocket.MaxMessage})
		var err error
		if got := allocated(func() { _, _, err = eventsocket.ReadAll(stream) }); got > 2*eventsocket.MaxMemory {
			t.Errorf("%s: %d bytes", test.name, got)
		}
		if test.err != nil && !errors.Is(err, test.err) {
			t.Errorf("%s: error %v, want %v", test.name, err, test.err)
		}
	}
}

// FuzzReader reads any bytes, at once and in chunks.
func FuzzReader(f *testing.F) {
	for _, rec := range recordings {
		text := recording(f, rec.name)
		f.Add(text[:min(len(text), 3000)], uint64(0))
		f.Add(text[len(text)/2:min(len(text), len(text)/2+2000)], uint64(1)) // begins within a message
	}
	for _, s := range []string{
		"Content-Type: auth/request\n\n", accepted, eventsockettest.Notice,
		"Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n",
		"Content-Length: 2147483648\nContent-Type: text/event-plain\n\n",
		string(eventsockettest.Event(at, "verto::login", "verto_login", "a\nb%0A", "_body", "")),
		string(eventsockettest.Message("text/event-plain", "a:"+strings.Repeat("%0A", 10_000)+"\n\nbody")),
	} {
		f.Add([]byte(s), uint64(2))
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		whole, messages, err := eventsocket.ReadAll(bytes.NewReader(stream))
		got, n, errChunks := eventsocket.ReadAll(chunks{bytes.NewReader(stream), 1 + int(seed%100), rand.New(rand.NewPCG(seed, 0))})
		if n != messages || (err == nil) != (errChunks == nil) || err != nil && err.Error() != errChunks.Error() || !same(got, whole) {
			t.Errorf("%d messages, %d events, error %v; in chunks %d, %d, %v", messages, len(whole), err, n, len(got), errChunks)
		}
		size := 0
		for _, e := range whole {
			size += len(e.Text)
			if len(e.Text) > eventsocket.MaxText || bytes.Contains(e.Text, []byte("\n\n")) || bytes.HasPrefix(e.Text, []byte("\n")) {
				t.Errorf("an event of %d bytes: %.100q", len(e.Text), e.Text)
			}
			for line := range bytes.SplitSeq(e.Text, []byte("\n")) {
				if len(line) > eventsocket.MaxLine {
					t.Errorf("a line of %d bytes", len(line))
				}
			}
			e.Name()
			if !e.Time.IsZero() && e.Time.Year() > 10_000 {
				t.Errorf("an event of %v", e.Time)
			}
		}
		if size > len(stream) {
			t.Errorf("%d bytes of events in %d", size, len(stream))
		}
	})
}
