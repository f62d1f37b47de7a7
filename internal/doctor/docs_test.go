package doctor_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// row is what docs/findings.md says of a kind.
type row struct{ severity, means, remedy, ends string }

func documented(t *testing.T) map[string]row {
	t.Helper()
	text, err := os.ReadFile("../../docs/findings.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]row)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (.+) \\| (.+) \\| (.+) \\| (.+) \\|$").FindAllStringSubmatch(string(text), -1) {
		if _, twice := rows[m[1]]; twice {
			t.Errorf("docs/findings.md has two rows of %s", m[1])
		}
		rows[m[1]] = row{m[2], m[3], m[4], m[5]}
	}
	return rows
}

// docs/findings.md has a row for each kind and for no other, which says what the
// constant says.
func TestDocumentedKinds(t *testing.T) {
	rows := documented(t)
	kinds, comments := constants(t)
	for name, kind := range kinds {
		if r, ok := rows[kind]; !ok {
			t.Errorf("docs/findings.md has no row of %s", kind)
		} else if !strings.HasPrefix(r.means, comments[name]) {
			t.Errorf("docs/findings.md says of %s: %s\nand not: %s", kind, r.means, comments[name])
		}
		delete(rows, kind)
	}
	for kind := range rows {
		t.Errorf("docs/findings.md has a row of %s, which is no kind", kind)
	}
}

// constants returns the kinds and what is said of them, by their names in Go.
func constants(t *testing.T) (kinds, comments map[string]string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "kinds.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	kinds, comments = make(map[string]string), make(map[string]string)
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) == 0 {
			return true
		}
		if of, ok := v.Type.(*ast.Ident); !ok || of.Name != "Kind" {
			return true
		}
		text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		kinds[v.Names[0].Name], comments[v.Names[0].Name] = text, strings.TrimSpace(v.Comment.Text())
		return true
	})
	return kinds, comments
}

// Each kind is raised somewhere, with a severity that docs/findings.md names; and
// what ends by itself ends as it says.
func TestDocumentedSeverity(t *testing.T) {
	rows := documented(t)
	kinds, _ := constants(t)
	raised := make(map[string]bool)
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt: // f.Kind = doctor.X
				if to, ok := n.Lhs[0].(*ast.SelectorExpr); ok && to.Sel.Name == "Kind" {
					raised[kinds[constant(n.Rhs[0])]] = true
				}
			case *ast.CompositeLit:
				values := make(map[string]ast.Expr)
				for _, e := range n.Elts {
					if pair, ok := e.(*ast.KeyValueExpr); ok {
						if key, ok := pair.Key.(*ast.Ident); ok {
							values[key.Name] = pair.Value
						}
					}
				}
				if constant(n.Type) != "Finding" || values["Kind"] == nil {
					break
				}
				kind := kinds[constant(values["Kind"])]
				raised[kind] = true
				r := rows[kind]
				if severity := strings.ToLower(constant(values["Severity"])); !strings.Contains(r.severity, severity) {
					t.Errorf("%s raises %s as %q, and docs/findings.md says %q", path, kind, severity, r.severity)
				}
				if byItself := strings.HasPrefix(r.ends, "after "); byItself != (values["For"] != nil) {
					t.Errorf("%s raises %s, which ends by itself: %v; docs/findings.md says %q", path, kind, !byItself, r.ends)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		if !raised[kind] {
			t.Errorf("nothing raises %s", kind)
		}
	}
}

// constant returns the name of what is written doctor.NAME.
func constant(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		return s.Sel.Name
	}
	return ""
}
