package freeswitch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestBombs proves that no configuration takes more than its share of memory, and
// that it is told what was left out.
func TestBombs(t *testing.T) {
	const good = "<profile name=\"good\"><settings/></profile>\n"
	include := func(data string) string { return `<X-PRE-PROCESS cmd="include" data="` + data + `"/>` + "\n" }
	set := func(data string) string { return `<X-PRE-PROCESS cmd="set" data="` + data + `"/>` + "\n" }
	repeat := func(n int, text func(i int) string) string {
		var all strings.Builder
		for i := range n {
			all.WriteString(text(i))
		}
		return all.String()
	}
	doubled := set("v0=0123456789") + repeat(40, func(i int) string { return set(fmt.Sprintf("v%d=$${v%d}$${v%d}", i+1, i, i)) })
	chain := func() map[string]string {
		files := map[string]string{"sip_profiles/a.xml": good + include("1.inc")}
		for i := range 200 {
			files[fmt.Sprintf("sip_profiles/%d.inc", i)] = good + include(fmt.Sprintf("%d.inc", i+1))
		}
		return files
	}()
	tests := []struct {
		name     string
		files    map[string]string
		sizes    map[string]int64 // of files, which are empty apart from that
		profiles int
		problems []string // the first, and the last
	}{
		{"a file that includes itself", map[string]string{"sip_profiles/a.xml": good + include("a.xml")}, nil, 100,
			[]string{`sip_profiles/a.xml:2: "a.xml" is not included, since includes are nested deeper than 100`}},
		{"a chain of files", chain, nil, 100,
			[]string{`sip_profiles/99.inc:2: "100.inc" is not included, since includes are nested deeper than 100`}},
		{"a directory that includes itself", map[string]string{"sip_profiles/a.xml": good + include("*.xml") + include("*.xml")}, nil, 9_999, []string{
			`sip_profiles/a.xml:2: "*.xml" is not included, since includes are nested deeper than 100`,
			"more than 10000 files are included: the rest is not read"}},
		{"a file that is included 20,000 times", map[string]string{
			"sip_profiles/a.xml": strings.Repeat(include("a.inc"), 20_000), "sip_profiles/a.inc": good,
		}, nil, 10_000 - 2, []string{"more than 10000 files are included: the rest is not read"}},
		{"a huge file", map[string]string{"sip_profiles/b.xml": good}, map[string]int64{"sip_profiles/a.xml": 1 << 40}, 1,
			[]string{"freeswitch.xml:6: read sip_profiles/a.xml: it is larger than 16 MiB"}},
		{"many large files", map[string]string{"sip_profiles/a.xml": good, "sip_profiles/z.xml": good}, map[string]int64{
			"sip_profiles/b.xml": 15 << 20, "sip_profiles/c.xml": 15 << 20, "sip_profiles/d.xml": 15 << 20, "sip_profiles/e.xml": 15 << 20, "sip_profiles/f.xml": 15 << 20,
		}, 1, []string{"the files and what their variables stand for have more than 64 MiB: the rest is not read"}},
		{"variables of variables", map[string]string{"vars.xml": doubled, "sip_profiles/a.xml": good}, nil, 1, []string{
			"vars.xml:18: with its variables the line is too long", "vars.xml:36: with its variables the line is too long"}},
		{"large variables, often", map[string]string{
			"vars.xml":           set("v=" + strings.Repeat("x", 1<<19)),
			"sip_profiles/a.xml": good + strings.Repeat("$${v}\n", 1000),
		}, nil, 1, []string{"the files and what their variables stand for have more than 64 MiB: the rest is not read"}},
		{"variables that do not end", map[string]string{"sip_profiles/a.xml": good + strings.Repeat("$${", 1<<18)}, nil, 1, nil},
		{"many elements", map[string]string{"sip_profiles/a.xml": good + "<profile><settings>" + strings.Repeat("<x/>", 1<<20)}, nil, 1,
			[]string{"sip_profiles/a.xml:2: there are more than 250000 elements: the rest of the file is not read"}},
		{"many elements that do not matter", map[string]string{
			"directory/a.xml": "<domain>" + strings.Repeat("<user><params/></user>", 300_000) + "</domain>", "sip_profiles/a.xml": good,
		}, nil, 1, nil},
		{"many attributes", map[string]string{
			"sip_profiles/a.xml": "<profile" + strings.Repeat(" name", 3<<20) + " x=''><settings/></profile>"}, nil, 1, nil},
		{"deep elements", map[string]string{"sip_profiles/a.xml": good + strings.Repeat("<x>", 1<<20), "sip_profiles/b.xml": good}, nil, 2,
			[]string{"sip_profiles/a.xml:2: elements are nested deeper than 1000: the rest of the file is not read"}},
		{"many names", map[string]string{
			"sip_profiles/a.xml": good + repeat(100_000, func(i int) string { return include(fmt.Sprint(i)) }) + good,
		}, nil, 1, []string{"includes look at more than 100000 names: the rest is not read"}},
		{"a long pattern", map[string]string{"sip_profiles/a.xml": good + include(strings.Repeat("*/", 1<<20))}, nil, 1,
			[]string{fmt.Sprintf(`sip_profiles/a.xml:2: "%s..." is not included, since it is too long`, strings.Repeat("*/", 50))}},
		{"many bad names", map[string]string{
			"sip_profiles/a.xml": "<profile><gateways>\n" + strings.Repeat("<gateway name='!'/>\n", 200) + "</gateways><settings/></profile>",
		}, nil, 1, []string{`sip_profiles/a.xml:2: FreeSWITCH ignores the gateway "!" for its name`, "there are more problems; the rest may not be read"}},
		{"many broken files", func() map[string]string {
			files := map[string]string{"sip_profiles/a.xml": good}
			for i := range 200 {
				files[fmt.Sprintf("sip_profiles/b%03d.xml", i)] = "<!--"
			}
			return files
		}(), nil, 1, []string{"sip_profiles/b000.xml:1: <!-- without --: the rest of the file is not read", "there are more problems; the rest may not be read"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, tt.files)
			for path, size := range tt.sizes {
				add(t, dir, path, "")
				if err := os.Truncate(filepath.Join(dir, path), size); err != nil {
					t.Fatal(err)
				}
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := read(t, dir)
			runtime.ReadMemStats(&after)
			if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 512 {
				t.Errorf("it allocated %d MiB", used)
			}
			if len(got.Profiles) != tt.profiles {
				t.Errorf("%d profiles", len(got.Profiles))
			}
			if len(got.Problems) > 100 {
				t.Errorf("%d problems", len(got.Problems))
			}
			problems := got.Problems
			if n := len(problems); n > 2 {
				problems = []string{problems[0], problems[n-1]}
			}
			if len(problems) > 0 && len(problems[0]) > 1000 {
				t.Errorf("a problem has %d bytes", len(problems[0]))
			}
			if d := diff(tt.problems, problems); d != "" {
				t.Error(d)
			}
		})
	}
}
