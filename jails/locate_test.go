package jails_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"

	"band/jails"
)

func TestLocate(t *testing.T) {
	tests := []struct {
		name, text string
		want       map[string]int
	}{
		{"nothing", "", map[string]int{}},
		{"comments and blank lines", "# a = 1\n\n  # [b]\na = 1 # b = 2\n", map[string]int{"a": 4}},
		{"no line end at the end", "a = 1", map[string]int{"a": 1}},
		{"CRLF", "a = 1\r\n\r\nb = '''\r\nx\r\n'''\r\nc = 3\r\n", map[string]int{"a": 1, "b": 3, "c": 6}},
		{
			"the second table of an array", "[[p]]\nname = 'a'\nregex = 'x'\n\n[[p]]\nname = 'b'\n\nregex = 'y'\n",
			map[string]int{"p": 1, "p[0]": 1, "p[0].name": 2, "p[0].regex": 3, "p[1]": 5, "p[1].name": 6, "p[1].regex": 8},
		},
		{
			"a table within the last of an array", "[[a]]\n[a.b]\nc = 1\n[[a]]\n[a.b]\nc = 1\n[[a.d]]\n[[a.d]]\ne = 1\n",
			map[string]int{
				"a": 1, "a[0]": 1, "a[0].b": 2, "a[0].b.c": 3,
				"a[1]": 4, "a[1].b": 5, "a[1].b.c": 6,
				"a[1].d": 7, "a[1].d[0]": 7, "a[1].d[1]": 8, "a[1].d[1].e": 9,
			},
		},
		{"a table that its child opened", "[a.b]\nc = 1\n[a]\nd = 1\n", map[string]int{"a": 1, "a.b": 1, "a.b.c": 2, "a.d": 4}},
		{"headers with blanks", "[ a . b ]\nc=1\n[[ d ]]\ne=1\n", map[string]int{"a": 1, "a.b": 1, "a.b.c": 2, "d": 3, "d[0]": 3, "d[0].e": 4}},
		{"dotted keys", "a.b = 1\na . c = 2\n", map[string]int{"a": 1, "a.b": 1, "a.c": 2}},
		{
			"quoted keys", "\"a.b\" = 1\n'c=d' = 2\n\"\\u0065\" = 3\n\"\" = 4\n[\"x]y\".'#']\nz = 5\n",
			map[string]int{`"a.b"`: 1, `"c=d"`: 2, "e": 3, `""`: 4, `"x]y"`: 5, `"x]y"."#"`: 5, `"x]y"."#".z`: 6},
		},
		{
			"inline tables", "p = { u = [1, 2], t.v = { w = '}' } } # { x = 1 }\nq = 1\n",
			map[string]int{"p": 1, "p.u": 1, "p.u[0]": 1, "p.u[1]": 1, "p.t": 1, "p.t.v": 1, "p.t.v.w": 1, "q": 2},
		},
		{
			"an inline table of several lines", "p = {\n u = 1, # }\n\n v = 2,\n}\nq = 1\n",
			map[string]int{"p": 1, "p.u": 2, "p.v": 4, "q": 6},
		},
		{
			"arrays of several lines", "a = [ # ]\n  'x', # ,\n\n  \"]\",\n  [1,\n  2],\n]\nb = 1\n",
			map[string]int{"a": 1, "a[0]": 2, "a[1]": 4, "a[2]": 5, "a[2][0]": 5, "a[2][1]": 6, "b": 8},
		},
		{
			"inline tables in an array", "p = [\n {n='a', r='x'},\n {n='b',\n  r='y'}]\n",
			map[string]int{"p": 1, "p[0]": 2, "p[0].n": 2, "p[0].r": 2, "p[1]": 3, "p[1].n": 3, "p[1].r": 4},
		},
		{"a string that looks like TOML", "a = '''\nb = 1\n[c]\n# '' \"\"\"\n'''\nd = 1\n", map[string]int{"a": 1, "d": 6}},
		{"a basic string that looks like TOML", "a = \"\"\"\nb = 1\n[c]\n''' \\\"\"\" \"\" \\\\\"\"\"\nd = 1\n", map[string]int{"a": 1, "d": 5}},
		{"a line that a backslash joins", "a = \"\"\"x \\\n\n  y\"\"\"\nb = 1\n", map[string]int{"a": 1, "b": 4}},
		{"quotes before the closing ones", "a = '''x'''''\nb = \"\"\"x\"\"\"\"\"\nc = \"\"\"\"\"\"\nd = ''\ne = \"\"\nf = 1\n", map[string]int{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}},
		{"escapes in a string", "a = \"\\\" # \\\\\"\nb = 'C:\\'\nc = 1\n", map[string]int{"a": 1, "b": 2, "c": 3}},
		{"a date with a blank", "a = 1979-05-27 07:32:00 # x\nb = -1.5e3\nc = true\n", map[string]int{"a": 1, "b": 2, "c": 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checkLocate(t, tt.text)
			if diff := cmp.Diff(tt.want, jails.Locate(tt.text)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A text that is nested absurdly must not fill the memory with paths.
func TestLocateDeep(t *testing.T) {
	const depth = 3000
	for path := range jails.Locate("a = " + strings.Repeat("[", depth) + strings.Repeat("]", depth)) {
		if len(path) > depth*2 {
			t.Fatalf("a path of %d bytes", len(path))
		}
	}
}

// FuzzLocate holds the locator against the decoder: both must find the same
// keys, and a key must stand on its line and not above it.
func FuzzLocate(f *testing.F) {
	for _, seed := range []string{
		"a = 1\n[b]\nc = 2\n[[d]]\ne = '''\nx'''\n[[d]]\n[d.f]\n\"g h\".i = [1, [2, {j = 3}]]\n",
		"allow = [\n  \"10.0.0.0/8\", # x\n]\n[[p]]\nregex = '''^a$'''\n[[p]]\nregex = \"\"\"\n\\\n b\"\"\"\n",
		"[a]\r\nb.c = 1979-05-27 07:32:00\r\n[a.\"\"]\r\n",
		"a = [{b = 1}, {b = 2}]\n[[c.d]]\n[c.d.e]\nf = \"\"\"\"\"\"\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { checkLocate(t, text) })
}

// twice reports whether path lies below a key that the decoder holds, but as one
// without anything below it.
func twice(got map[string]int, paths map[string]bool, path string) bool {
	for above := range got {
		below, ok := strings.CutPrefix(path, above)
		if !ok || !paths[above] || below == "" || below[0] != '.' && below[0] != '[' {
			continue
		}
		leaf := true
		for other := range paths {
			leaf = leaf && !strings.HasPrefix(other, above+".") && !strings.HasPrefix(other, above+"[")
		}
		if leaf {
			return true
		}
	}
	return false
}

func checkLocate(t *testing.T, text string) {
	t.Helper()
	got := jails.Locate(text) // must end, whatever the text
	decode := func(text string) (map[string]bool, bool) {
		var values map[string]any
		if _, err := toml.Decode(text, &values); err != nil {
			return nil, false
		}
		paths := map[string]bool{}
		walk(paths, "", values)
		return paths, true
	}
	paths, ok := decode(text)
	if !ok || len(text) > 1000 /* paths may have stopped to grow */ || strings.HasPrefix(text, "\ufeff") || strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
		return
	}
	for path := range paths {
		if strings.Contains(path, `""`) {
			return // the decoder flattens arrays of tables below an empty key
		}
	}
	// Of a key that is given twice, which is no TOML, the decoder may keep the
	// second in silence: what was below the first is then found by us alone.
	maps.DeleteFunc(got, func(path string, _ int) bool { return !paths[path] && twice(got, paths, path) })
	want := slices.Sorted(maps.Keys(paths))
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Fatalf("keys of %q: -decoder +locator:\n%s", text, diff)
	}
	// The lines up to any one of them are a text of their own, if they parse:
	// it must hold exactly the keys of those lines.
	lines := strings.SplitAfter(text, "\n")
	for n := range lines {
		above, ok := decode(strings.Join(lines[:n], ""))
		if !ok {
			continue
		}
		for path, line := range got {
			if (line <= n) != above[path] {
				t.Fatalf("%s is said to stand on line %d; it is among the first %d lines: %v; text %q", path, line, n, above[path], text)
			}
		}
	}
}

// walk collects the paths of all keys and elements.
func walk(paths map[string]bool, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			p := jails.Member(path, key)
			paths[p] = true
			walk(paths, p, inner)
		}
	case []any:
		for i, inner := range v {
			p := jails.Element(path, i)
			paths[p] = true
			walk(paths, p, inner)
		}
	case []map[string]any:
		for i, inner := range v {
			p := jails.Element(path, i)
			paths[p] = true
			walk(paths, p, inner)
		}
	}
}
