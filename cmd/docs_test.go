package cmd_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every promise of docs/reliability.md names a test, and every test that it names is
// there: "`package` TestOne, TestTwo, TestScripts (script, script)".
func TestReliabilityNamesTests(t *testing.T) {
	text, err := os.ReadFile("../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("`([^`]+)`|\\b(?:Test|Fuzz)[A-Z]\\w*|\\(([^)]*)\\)")
	named := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || strings.Contains(cells[1], "--") || strings.Contains(cells[1], "promise") {
			continue
		}
		dir, before := "", named
		for _, m := range name.FindAllStringSubmatch(cells[2], -1) {
			switch {
			case m[1] != "":
				dir = m[1]
			case m[2] != "":
				for script := range strings.SplitSeq(m[2], ", ") {
					if _, err := os.Stat("testdata/script/" + script + ".txtar"); err != nil && !strings.HasSuffix(script, ".md") {
						t.Error(err)
					}
				}
			default:
				named++
				if !slices.Contains(tests(t, dir), m[0]) {
					t.Errorf("%s has no %s", dir, m[0])
				}
			}
		}
		if named == before {
			t.Errorf("no test of: %s", cells[1])
		}
	}
	if named < 50 {
		t.Errorf("only %d tests are named", named)
	}
}

// tests returns the names of the tests of a package.
func tests(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(source, -1) {
			names = append(names, string(m[1]))
		}
	}
	return names
}
