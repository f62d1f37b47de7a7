package store_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"band/store"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// file is a state file in lines, so that a test can say what it hits.
type file struct {
	data  []byte
	start []int // of line i, from 0, and the end
}

func parse(data []byte) file {
	f := file{data: data}
	at := 0
	for _, l := range bytes.SplitAfter(data, []byte("\n")) {
		f.start = append(f.start, at)
		at += len(l)
	}
	return f // the last start is that of the empty rest
}

// without is 1..n but some.
func without(n int, lost ...int) []int {
	return slices.DeleteFunc(upTo(n), func(i int) bool { return slices.Contains(lost, i) })
}

// logOf returns a log that holds 1..n; line i holds number i, line 0 the mark.
func logOf(t testing.TB, n int) file {
	t.Helper()
	dir := t.TempDir()
	o := mustOpen(t, dir, store.Options{})
	o.add(n)
	mustStop(t, o)
	return parse(read(t, dir, "state.log"))
}

func TestDamagedLog(t *testing.T) {
	const n = 40
	intact := logOf(t, n)
	at := func(line int) int { return intact.start[line] }
	size := len(intact.data)
	splice := func(from, to int, with string) []byte {
		return slices.Concat(intact.data[:from], []byte(with), intact.data[to:])
	}
	flip := func(at int) []byte {
		data := bytes.Clone(intact.data)
		data[at] ^= 1
		return data
	}
	damage := func(line, offset, bytes int, reason string) []store.Damage {
		return []store.Damage{{File: "state.log", Line: line, Offset: int64(offset), Bytes: int64(bytes), Reason: reason}}
	}
	sum := "checksum mismatch"
	headless := store.Damage{File: "state.log", Line: 1, Reason: "first line unreadable"}
	nuls := strings.Repeat("\x00", 4096)
	// The block of 4096 bytes from 1000 on hits these lines.
	var zeroed []int
	for i := 1; i <= n; i++ {
		if at(i) < 1000+4096 && at(i+1) > 1000 {
			zeroed = append(zeroed, i)
		}
	}
	first, last := zeroed[0], zeroed[len(zeroed)-1]
	huge := strings.Repeat("x", 65<<20)

	tests := []struct {
		name   string
		data   []byte
		want   []int
		damage []store.Damage
	}{
		{"none", intact.data, upTo(n), nil},
		{"empty", nil, nil, []store.Damage{headless}},
		{"last line cut", intact.data[:size-20], upTo(n - 1), damage(n+1, at(n), size-20-at(n), "cut short")},
		{"last newline cut", intact.data[:size-1], upTo(n), nil},
		{"last line cut away", intact.data[:at(n)], upTo(n - 1), nil},
		{"bit flipped in JSON", flip(at(7) + 30), without(n, 7), damage(8, at(7), at(8)-at(7), sum)},
		{"bit flipped in checksum", flip(at(7)), without(n, 7), damage(8, at(7), at(8)-at(7), sum)},
		{"bit flipped in the space", flip(at(7) + 8), without(n, 7), damage(8, at(7), at(8)-at(7), sum)},
		{"two lines in a row", splice(at(9)+30, at(10)+30, "?"), without(n, 9, 10), damage(10, at(9), at(11)-at(10)+1, sum)},
		{"newline flipped", flip(at(8) - 1), upTo(n), damage(8, at(8)-1, 1, sum)},
		{"newline missing", splice(at(8)-1, at(8), ""), upTo(n), damage(8, at(8)-1, 0, "newline lost")},
		{"newline in a line", splice(at(7)+30, at(7)+31, "\n"), without(n, 7), damage(8, at(7), at(8)-at(7), sum)},
		{"line removed", splice(at(7), at(8), ""), without(n, 7), nil},
		{"CR before newline", splice(at(8)-1, at(8)-1, "\r"), upTo(n), damage(8, at(8)-1, 2, sum)},
		{"text between lines", splice(at(8), at(8), "hello\nworld\n"), upTo(n), damage(9, at(8), 12, sum)},
		{"block zeroed", splice(1000, 1000+4096, nuls), without(n, zeroed...), damage(first+1, at(first), at(last+1)-at(first), sum)},
		{"line zeroed with its newline", splice(at(7), at(8), nuls[:at(8)-at(7)]), without(n, 7), damage(8, at(7), at(8)-at(7), sum)},
		{"zeros behind", splice(size, size, nuls), upTo(n), damage(n+2, size, 4096, "cut short")},
		{"overlong line", splice(at(8), at(8), huge+"\n"), upTo(n), damage(9, at(8), len(huge)+1, "longer than a line may be")},
		{"overlong line glued to the next", splice(at(8), at(8), huge), upTo(n), damage(9, at(8), len(huge), "longer than a line may be")},
		{"no batch", splice(at(8), at(8), line(`{"events":7}`)), upTo(n), damage(9, at(8), len(line(`{"events":7}`)),
			"not a batch: json: cannot unmarshal number into Go struct field Batch.events of type []store.Event")},
		{"mark flipped", flip(20), upTo(n), append(damage(1, 0, at(1), sum), headless)},
		{"mark glued", splice(at(1)-1, at(1), ""), upTo(n), damage(1, at(1)-1, 0, "newline lost")},
		{"all but nothing", []byte(nuls), nil, append(damage(1, 0, 4096, "cut short"), headless)},
		{"snapshot missing", splice(0, at(1), line(`{"band":"state","version":1,"generation":3}`)), upTo(n),
			[]store.Damage{{File: "state.snap", Line: 1, Reason: "missing"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "state.log", test.data)
			o := mustOpen(t, dir, store.Options{})
			if diff := cmp.Diff(test.want, o.numbers, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.damage, o.report.Damage); diff != "" {
				t.Errorf("damage (-want +got):\n%s", diff)
			}
			select {
			case <-o.WantsSnapshot():
				if test.damage == nil {
					t.Error("wants a snapshot without need")
				}
			default:
				if test.damage != nil {
					t.Error("does not want a snapshot, so that the damage would be told for ever")
				}
			}
			// What follows is never appended to half a line.
			o.add(3)
			mustStop(t, o)
			for _, d := range expect(t, dir, store.Options{}, o.numbers).Damage {
				if d.Offset >= int64(len(test.data)) {
					t.Errorf("new damage: %v", d)
				}
			}
			// And a snapshot ends it.
			o = mustOpen(t, dir, store.Options{})
			if err := o.snapshot(); err != nil {
				t.Fatal(err)
			}
			mustStop(t, o)
			if report := expect(t, dir, store.Options{}, o.numbers); len(report.Damage) > 0 {
				t.Errorf("damage after a snapshot: %v", report.Damage)
			}
		})
	}
}

// TestDamagedSnapshot has 1..20 in the snapshot and 21..30 in the log.
func TestDamagedSnapshot(t *testing.T) {
	const n, all = 20, 30
	origin := t.TempDir()
	o := mustOpen(t, origin, store.Options{})
	o.add(n)
	if err := o.snapshot(); err != nil {
		t.Fatal(err)
	}
	mustStop(t, o)
	o = mustOpen(t, origin, store.Options{})
	o.add(all - n)
	mustStop(t, o)
	log, snap := read(t, origin, "state.log"), read(t, origin, "state.snap")
	intact := parse(snap)
	at := func(line int) int { return intact.start[line] }
	end, size := at(n+1), len(snap)
	flip := func(at int) []byte {
		data := bytes.Clone(snap)
		data[at] ^= 1
		return data
	}
	damage := func(line, offset, bytes int, reason string) store.Damage {
		return store.Damage{File: "state.snap", Line: line, Offset: int64(offset), Bytes: int64(bytes), Reason: reason}
	}
	headless := damage(1, 0, 0, "first line unreadable")
	mark := func(generation string) []byte {
		return []byte(line(`{"band":"state","version":1,"generation":` + generation + `}`))
	}
	tests := []struct {
		name      string
		snap, log []byte
		want      []int
		damage    []store.Damage
	}{
		{"none", snap, log, upTo(all), nil},
		{"bit flipped", flip(at(7) + 30), log, without(all, 7), []store.Damage{damage(8, at(7), at(8)-at(7), "checksum mismatch")}},
		{"cut", snap[:at(15)], log, without(all, 15, 16, 17, 18, 19, 20), []store.Damage{damage(1, at(15), 0, "cut short: no end mark")}},
		{"cut in a line", snap[:at(15)+30], log, without(all, 15, 16, 17, 18, 19, 20), []store.Damage{damage(16, at(15), 30, "cut short")}},
		{"line removed", slices.Concat(snap[:at(7)], snap[at(8):]), log, without(all, 7), []store.Damage{damage(1, 0, 0, "19 of 20 lines")}},
		{"mark flipped", flip(20), log, upTo(all), []store.Damage{damage(1, 0, at(1), "checksum mismatch"), headless}},
		{"end mark flipped", flip(end + 20), log, upTo(all), []store.Damage{damage(n+2, end, size-end, "checksum mismatch")}},
		{"mark flipped, old log there", flip(20), mark("1"), upTo(n), []store.Damage{damage(1, 0, at(1), "checksum mismatch"), headless}},
		{"empty", nil, log, upTo(all)[n:], []store.Damage{headless}},
		{"log missing", snap, nil, upTo(n), []store.Damage{{File: "state.log", Line: 1, Reason: "missing"}}},
		{"log of before", snap, slices.Concat(mark("1"), []byte("damage that nobody needs\n"+line(`{"cursors":{"n":5}}`))), upTo(n), nil},
		{"old mark within the log", snap, slices.Concat(log, mark("1"), []byte(line(`{"cursors":{"n":31}}`))), upTo(31), nil},
		{"log of later", snap, slices.Concat(mark("9"), bytes.SplitAfterN(log, []byte("\n"), 2)[1]), upTo(all),
			[]store.Damage{damage(1, 0, 0, "generation 2, too old for generation 9 of the log")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "state.snap", test.snap)
			if test.log != nil {
				write(t, dir, "state.log", test.log)
			}
			o := mustOpen(t, dir, store.Options{})
			if diff := cmp.Diff(test.want, o.numbers, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.damage, o.report.Damage); diff != "" {
				t.Errorf("damage (-want +got):\n%s", diff)
			}
			o.add(3)
			mustStop(t, o)
			expect(t, dir, store.Options{}, o.numbers)
		})
	}
}

// TestDamageIsBounded: a file that is damaged everywhere yields a short report
// that still accounts for all.
func TestDamageIsBounded(t *testing.T) {
	dir := t.TempDir()
	good, bad := line(`{"cursors":{"n":1}}`), "00000000"+line(`{"cursors":{"n":1}}`)[8:]
	write(t, dir, "state.log", []byte(line(`{"band":"state","version":1,"generation":1}`)+strings.Repeat(bad+good, 5000)))
	o, err := load(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o.Close()
	var total int64
	for _, d := range o.report.Damage {
		total += d.Bytes
	}
	if len(o.report.Damage) != 1000 || total != int64(5000*len(bad)) || o.report.Batches != 5000 {
		t.Errorf("%d entries, %d bytes, %d batches", len(o.report.Damage), total, o.report.Batches)
	}
}

// TestAnyDamage: damage anywhere in either file costs only the lines it hits,
// and a cut leaves a prefix.
func TestAnyDamage(t *testing.T) {
	origin := t.TempDir()
	o := mustOpen(t, origin, store.Options{})
	const n, all = 25, 50
	o.add(n)
	if err := o.snapshot(); err != nil {
		t.Fatal(err)
	}
	mustStop(t, o)
	o = mustOpen(t, origin, store.Options{})
	o.add(all - n)
	mustStop(t, o)
	files := map[string]file{"state.snap": parse(read(t, origin, "state.snap")), "state.log": parse(read(t, origin, "state.log"))}
	base := map[string]int{"state.snap": 0, "state.log": n} // the number before the first

	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"state.snap", "state.log"}).Draw(t, "file")
		f := files[name]
		data := bytes.Clone(f.data)
		from := rapid.IntRange(0, len(data)-1).Draw(t, "from")
		to := from + 1
		kind := rapid.SampledFrom([]string{"cut", "zero", "flip", "noise"}).Draw(t, "kind")
		switch kind {
		case "cut":
			to = len(data)
			data = data[:from]
		case "zero":
			to = min(from+rapid.IntRange(1, 4096).Draw(t, "length"), len(data))
			clear(data[from:to])
		case "flip":
			data[from] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		case "noise":
			noise := rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "noise")
			to = from + copy(data[from:], noise)
		}
		// The numbers whose lines were not hit must be there, in order, and
		// nothing else than those that were hit.
		var want []int
		for i := 1; i <= all; i++ {
			line := i - base[name]
			hit := line >= 1 && line <= all-n && f.start[line] < to && from < f.start[line+1]
			if !hit {
				want = append(want, i)
			}
		}
		for other, f := range files {
			if err := os.WriteFile(filepath.Join(dir, other), f.data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := open(dir, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := slices.Clone(o.numbers)
		o.add(2)
		if err := o.stop(); err != nil {
			t.Fatal(err)
		}
		for _, i := range want {
			if !slices.Contains(got, i) {
				t.Fatalf("%d was not hit and is lost; got %v, damage %v", i, got, o.report.Damage)
			}
		}
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) || got[0] < 1 || got[len(got)-1] > all {
			t.Fatalf("not an order of what was written: %v", got)
		}
		if kind == "cut" && name == "state.log" && !slices.Equal(got, upTo(len(got))) {
			t.Fatalf("not a prefix: %v", got)
		}
		if len(got) < all && len(o.report.Damage) == 0 && kind != "cut" {
			t.Fatalf("%d lost in silence", all-len(got))
		}
		again, err := load(dir, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
		if !slices.Equal(again.numbers, o.numbers) {
			t.Fatalf("then %v, now %v", o.numbers, again.numbers)
		}
	})
}

// FuzzOpen reads a log whose lines are arbitrary; those with their bit set in
// sealed get a right checksum.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte, sealed uint64) {
		var data []byte
		for i, l := range bytes.SplitAfter(raw, []byte("\n")) {
			if body, ok := bytes.CutSuffix(l, []byte("\n")); ok && sealed>>(i%64)&1 == 1 {
				l = []byte(line(string(body)))
			}
			data = append(data, l...)
		}
		// What a reader finds that knows nothing of damage.
		var must []string
		for _, l := range bytes.Split(data, []byte("\n")) {
			var b store.Batch
			if len(l) > 9 && line(string(l[9:])) == string(l)+"\n" && !bytes.HasPrefix(l[9:], []byte(`{"band":`)) && json.Unmarshal(l[9:], &b) == nil {
				must = append(must, text(b))
			}
		}
		write(t, dir, "state.log", data)
		first, report, err := texts(dir)
		if err != nil {
			if !bytes.Contains(data, []byte(`{"band":`)) {
				t.Fatal(err)
			}
			return // a newer version
		}
		if report.Batches != len(first) {
			t.Errorf("%d reported, %d applied", report.Batches, len(first))
		}
		for _, m := range must {
			i := slices.Index(first, m)
			if i < 0 {
				t.Fatalf("lost or out of order: %s", m)
			}
			first = first[i+1:]
		}
		for _, d := range report.Damage {
			if d.Offset < 0 || d.Bytes < 0 || d.Offset+d.Bytes > int64(len(data)) || d.Line < 1 {
				t.Errorf("damage outside of the file: %v", d)
			}
		}
		second, _, err := texts(dir)
		if err != nil {
			t.Fatal(err)
		}
		third, _, err := texts(dir)
		if err != nil || !slices.Equal(second, third) || len(second) != report.Batches {
			t.Errorf("%v: %d batches at first, then %d, then %d", err, report.Batches, len(second), len(third))
		}
	})
}

func texts(dir string) ([]string, store.Report, error) {
	var all []string
	s, report, err := store.Open(dir, store.Options{}, func(b store.Batch) { all = append(all, text(b)) })
	if err != nil {
		return nil, report, err
	}
	return all, report, s.Close()
}

// text is a batch without its events of no known kind.
func text(b store.Batch) string {
	b.Events = slices.DeleteFunc(b.Events, func(e store.Event) bool { return e == store.Event{} })
	data, err := json.Marshal(b)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
