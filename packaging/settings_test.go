package packaging_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"band/internal/config"
	"band/jails"
)

// The installed band.toml changes nothing, shows every key, and shows the default
// of each.
func TestSettings(t *testing.T) {
	text, err := os.ReadFile("band.toml")
	if err != nil {
		t.Fatal(err)
	}
	load := func(text []byte) *jails.Config {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "band.toml"), text, 0o644); err != nil {
			t.Fatal(err)
		}
		return config.Load(dir)
	}
	none, comparable := config.Load("/nonexistent"), cmpopts.EquateComparable(netip.AddrPort{})
	if diff := cmp.Diff(none, load(text), comparable); diff != "" {
		t.Errorf("band.toml changes something: %s", diff)
	}
	// As an operator would, who takes the signs of a comment away.
	set := regexp.MustCompile(`(?m)^#([[a-z])`).ReplaceAll(text, []byte("$1"))
	origins := cmpopts.IgnoreFields(jails.Jail{}, "Origins")
	if diff := cmp.Diff(none, load(set), comparable, origins, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("band.toml shows other values than the defaults: %s", diff)
	}

	var shown, want []string
	for _, key := range regexp.MustCompile(`(?m)^#\[?([a-z0-9_]+)(?: = |\])`).FindAllSubmatch(text, -1) {
		shown = append(shown, string(key[1]))
	}
	for _, k := range jails.Keys() {
		if k.Table == jails.BandTable || k.Table == jails.EscalateTable {
			want = append(want, k.Name)
		}
	}
	slices.Sort(shown)
	slices.Sort(want)
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("the keys of band.toml are not those that there are: %s", diff)
	}
}
