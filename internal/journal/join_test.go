package journal

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Wherever reading ends, another reading that begins at its position delivers
// the rest, and nothing twice.
func TestJoinerResumes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var all []Entry
		now := time.UnixMicro(1795247190684060)
		for i := range rapid.IntRange(0, 30).Draw(t, "entries") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "seconds")) * time.Second)
			e := Entry{
				Cursor: Cursor(fmt.Sprintf("s=1;i=%x;t=%x", i+1, now.UnixMicro())), Time: now, Pieces: 1,
				Message: fmt.Appendf(nil, "<%d>", i),
			}
			switch stream := rapid.SampledFrom([]string{"", "gap", "a", "b", "c"}).Draw(t, "stream"); stream {
			case "":
			case "gap":
				e.Fields = []Field{{"_TRANSPORT", "driver"}, {"MESSAGE_ID", suppressionID}}
			default:
				e.Fields = append(e.Fields, Field{"_STREAM_ID", stream})
				if how := rapid.SampledFrom([]string{"", "line-max", "nul", "eof"}).Draw(t, "break"); how != "" {
					e.Fields = append(e.Fields, Field{"_LINE_BREAK", how})
				}
			}
			all = append(all, e)
		}
		want, _ := join(&joiner{}, all)
		end := rapid.IntRange(0, len(all)).Draw(t, "read before")
		got, p := join(&joiner{}, all[:end])

		rest, resumed := all[end:], &joiner{}
		if end > 0 {
			resumed.note(all[end-1])
		}
		if p.Begun != "" {
			for i, e := range all {
				if e.Cursor == p.Begun {
					rest, resumed = all[i:], &joiner{}
				}
			}
		}
		again, _ := join(resumed, rest)
		for _, e := range again {
			if p.Begun == "" || e.Cursor.After(p.Cursor) {
				got = append(got, e)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("resumed at %+v: %s", p, diff)
		}
	})
}

// join returns what the joiner makes of entries, and the position behind them.
func join(j *joiner, entries []Entry) (lines []Entry, p Position) {
	for _, e := range entries {
		if line, ok := j.add(e); ok {
			lines = append(lines, line)
		}
		p = Position{e.Cursor, j.begun(e.Time)}
	}
	return lines, p
}

// A service that died within a line does not hold the position back for ever.
func TestDeadStream(t *testing.T) {
	t.Parallel()
	now := time.UnixMicro(1795247190684060)
	begin := Entry{Cursor: "s=1;i=1", Time: now, Message: []byte("half"), Fields: []Field{{"_STREAM_ID", "a"}, {"_LINE_BREAK", "line-max"}}}
	j := &joiner{}
	if _, p := join(j, []Entry{begin}); p.Begun != begin.Cursor {
		t.Errorf("position %+v", p)
	}
	if _, p := join(j, []Entry{{Cursor: "s=1;i=2", Time: now.Add(2 * time.Hour)}}); p.Begun != "" {
		t.Errorf("position %+v", p)
	}
	// Its line is still whole, should it have slept.
	lines, _ := join(j, []Entry{{Cursor: "s=1;i=3", Time: now.Add(3 * time.Hour), Message: []byte(" a line"), Fields: []Field{{"_STREAM_ID", "a"}}}})
	if len(lines) != 1 || string(lines[0].Message) != "half a line" {
		t.Errorf("lines %+v", lines)
	}
}
