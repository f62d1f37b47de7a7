package source

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The age of a backlog is never more than that of its oldest byte, and there is
// none where there is no backlog.
func TestProgress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p progress
		var there []time.Time // when each byte was written that was not taken
		taken, now := 0, time.Unix(1_800_000_000, 0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2, 3:
				for range rapid.IntRange(0, 9).Draw(t, "written") {
					there = append(there, now)
				}
			case 4, 5, 6:
				n := rapid.IntRange(0, len(there)).Draw(t, "taken")
				there, taken = there[n:], taken+n
				p.take(n)
			case 7:
				there = there[:rapid.IntRange(0, len(there)).Draw(t, "left")] // truncated
			default:
				now = now.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "seconds")) * time.Second)
			}
			p.reaches(int64(taken+len(there)), now)
			got, oldest := p.backlog(now), time.Duration(0)
			if len(there) > 0 {
				oldest = now.Sub(there[0])
			}
			if got.Bytes != int64(len(there)) || got.Age > oldest || got.Age < 0 {
				t.Fatalf("%d bytes, %v old; want %d, of which the oldest is %v", got.Bytes, got.Age, len(there), oldest)
			}
		}
	})
}

// Of a log that is written faster than it is read, the age is known however long
// that lasts, and so is not much memory.
func TestProgressOverload(t *testing.T) {
	var p progress
	begin := time.Unix(1_800_000_000, 0)
	for second := range int64(10_000) {
		now := begin.Add(time.Duration(second) * time.Second)
		p.reaches(2*(second+1), now) // two bytes a second are written, one is read
		oldest := now.Sub(begin.Add(time.Duration(second/2) * time.Second))
		if got := p.backlog(now); got.Age > oldest || got.Age < oldest*3/4-time.Second {
			t.Fatalf("after %d seconds it is %v old, want %v or little less", second, got.Age, oldest)
		}
		p.take(1)
	}
	if n := len(p.marks); n > 100 {
		t.Errorf("%d marks are kept", n)
	}
}
