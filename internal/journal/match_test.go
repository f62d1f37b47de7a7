package journal_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"band/internal/journal"
	"band/internal/journaltest"
)

func TestParseMatch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, terms, want, args, err string
	}{
		{"OK: one", "_UID=0", "_UID=0", "_UID=0", ""},
		{"OK: sorted by field", "_UID=0 A=b A=a A=b", "A=b A=a _UID=0", "A=b A=a _UID=0", ""},
		{"OK: alternatives", "_UID=0 A=a + B=", "A=a _UID=0 + B=", "A=a _UID=0 + B=", ""},
		{"OK: alternatives that are the same", "A=a + A=a", "A=a + A=a", "A=a", ""},
		{"OK: an equals sign in the value", "A=a=b", "A=a=b", "A=a=b", ""},
		{"OK: a field in which pieces of a line differ", "_UID=0 PRIORITY=3", "PRIORITY=3 _UID=0", "_UID=0", ""},
		{"OK: nothing else", "_UID=0 + PRIORITY=3 MESSAGE=a", "_UID=0 + MESSAGE=a PRIORITY=3", "", ""},
		{"bad: no terms", "", "", "", "match terms are missing"},
		{"bad: no value", "_UID", "", "", `"_UID" is no match term: write FIELD=VALUE, or "+" between alternatives`},
		{"bad: a path", "/usr/bin/freeswitch", "", "", `"/usr/bin/freeswitch" is no match term: write FIELD=VALUE, or "+" between alternatives`},
		{"bad: an option", "--file=x", "", "", `"--file" cannot be a field that is matched`},
		{"bad: lower case", "uid=0", "", "", `"uid" cannot be a field that is matched`},
		{"bad: a digit first", "0A=0", "", "", `"0A" cannot be a field that is matched`},
		{"bad: no name", "=0", "", "", `"" cannot be a field that is matched`},
		{"bad: a name that is too long", strings.Repeat("A", 65) + "=0", "", "", fmt.Sprintf("%q cannot be a field that is matched", strings.Repeat("A", 65))},
		{"bad: an address", "__CURSOR=0", "", "", `"__CURSOR" cannot be a field that is matched`},
		{"bad: NUL", "A=\x00", "", "", `"A=\x00" holds a NUL`},
		{"bad: + first", "+ A=a", "", "", `"+" must stand between two terms`},
		{"bad: + last", "A=a +", "", "", "match terms are missing"},
		{"bad: + twice", "A=a + + A=b", "", "", `"+" must stand between two terms`},
	} {
		m, err := journal.ParseMatch(strings.Fields(test.terms))
		if err != nil {
			if err.Error() != test.err {
				t.Errorf("%s: error %q, want %q", test.name, err, test.err)
			}
			continue
		}
		if test.err != "" || m.String() != test.want || strings.Join(m.Args(), " ") != test.args {
			t.Errorf("%s: %q, arguments %q, want %q, %q, error %q", test.name, m, m.Args(), test.want, test.args, test.err)
		}
	}
	if got, want := parse(t, "B=b", "+", "A=a", "B=c").Fields(), []string{"A", "B"}; !slices.Equal(got, want) {
		t.Errorf("fields %q, want %q", got, want)
	}
}

// A Match chooses what journalctl chooses.
func TestMatchesAsJournalctl(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	values := []string{"", "A=a\x00", "A=b\x00", "A=a\x00A=b\x00"}
	var n int
	for _, a := range values {
		for _, b := range values {
			n++
			fields := strings.Split(strings.TrimSuffix(a+strings.ReplaceAll(b, "A=", "B="), "\x00"), "\x00")
			d.Send(slices.DeleteFunc(append(fields, fmt.Sprintf("MESSAGE=n%d", n), "ALL=1"), func(f string) bool { return f == "" })...)
		}
	}
	wait := follow(t, config(t, d, "ALL=1"))
	wait.count(n)
	entries, err := readAll(strings.NewReader(string(d.Journalctl("--output=export", "--quiet", "ALL=1"))))
	if err != nil || len(entries) != n {
		t.Fatalf("%d entries, error %v", len(entries), err)
	}
	for _, terms := range [][]string{
		{"A=a"}, {"A=a", "A=b"}, {"A=a", "B=b"}, {"A=a", "A=b", "B=b"}, {"A=a", "+", "B=b"},
		{"A=a", "B=a", "+", "A=b", "B=b"}, {"A=c"}, {"MESSAGE=n7"}, {"A=a", "MESSAGE=n7", "+", "MESSAGE=n3"},
	} {
		want := strings.Fields(string(d.Journalctl(append([]string{"--output=cat", "--quiet"}, terms...)...)))
		m, got := parse(t, terms...), []string{}
		for _, e := range entries {
			if m.Matches(e) {
				got = append(got, string(e.Message))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", terms, diff)
		}
	}
}

// In which fields pieces of a line may differ is not for journalctl to choose
// by: of a line that begins with another priority no rest is delivered as one.
func TestMatchOfPieces(t *testing.T) {
	t.Parallel()
	d := journaltest.Start(t)
	out := d.Levels("freeswitch", unit)
	f := follow(t, config(t, d, "_SYSTEMD_UNIT="+unit, "PRIORITY=3"))
	begin := "<6>" + long(48<<10-3)
	fmt.Fprintf(out, "<3>genuine\n%s<3>forged\n<6>other\n<3>last\n", begin)
	f.count(2)
	if got := f.messages(); !slices.Equal(got, []string{"genuine", "last"}) {
		t.Errorf("messages %.100q", got)
	}
}

// What ParseMatch takes chooses an entry that has one alternative's fields, and
// means the same when it is read again.
func FuzzParseMatch(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		terms := strings.Split(text, "\n")
		m, err := journal.ParseMatch(terms)
		if err != nil {
			return
		}
		var e journal.Entry
		for _, term := range terms {
			if term == "+" {
				break
			}
			name, value, _ := strings.Cut(term, "=")
			if name == "MESSAGE" {
				e.Message = []byte(value)
			} else {
				e.Fields = append(e.Fields, journal.Field{Name: name, Value: value})
			}
		}
		if !m.Matches(e) {
			t.Errorf("%q does not match %+v", m, e)
		}
		if slices.ContainsFunc(m.Args(), func(arg string) bool { return strings.HasPrefix(arg, "-") }) {
			t.Errorf("an option among the arguments %q", m.Args())
		}
		if len(m.Args()) == 0 {
			return
		}
		again, err := journal.ParseMatch(m.Args())
		if err != nil || !slices.Equal(again.Args(), m.Args()) {
			t.Errorf("arguments %q, read again %q, error %v", m.Args(), again.Args(), err)
		}
	})
}
