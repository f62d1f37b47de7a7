package jailtest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"band/internal/config"
	"band/internal/jailtest"
)

func TestJails(t *testing.T) {
	dir := os.DirFS("../../testdata/jails")
	names, err := filepath.Glob("../../testdata/jails/*" + jailtest.Suffix)
	if err != nil || len(names) == 0 {
		t.Fatalf("no jail tests: %v", err)
	}
	base := config.Load("/nonexistent")
	for _, name := range names {
		name = filepath.Base(name)
		t.Run(strings.TrimSuffix(name, jailtest.Suffix), func(t *testing.T) {
			diff, err := jailtest.Run(t.Context(), dir, name, base)
			if err != nil {
				t.Fatal(err)
			}
			if diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A test that expects the wrong thing fails, and says what differs.
func TestFailures(t *testing.T) {
	const log = "2026-11-21 07:51:48.117416 81.60% [WARNING] sofia_reg.c:1787 SIP auth failure (REGISTER) on sofia profile 'internal' for [1000@pbx] from ip 198.51.100.70\n"
	tests := []struct{ name, text, diff, err string }{
		{"freeswitch.ok", "----------\n" + log + "----------\n198.51.100.70 1\n", "", ""},
		{"freeswitch.other", "----------\n" + log + "----------\n198.51.100.71 1\n",
			"expected, and not found: 198.51.100.71 1\nfound, and not expected: 198.51.100.70 1", ""},
		{"freeswitch.banned", "maxretry = 1\n----------\n" + log + "----------\n198.51.100.70 1\n", "found, and not expected: 198.51.100.70 1 banned", ""},
		{"freeswitch.refused", "colour = 1\n----------\n" + log + "----------\n198.51.100.70 1\n", "", "unknown key"},
		{"freeswitch.accepted", "----------\n" + log + "----------\nerror: unknown key\n", "should be refused", ""},
		{"freeswitch.parts", log, "", "parted by two lines"},
		{"nosuch.jail", "----------\n" + log + "----------\n", "", `there is no jail "nosuch"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fsys := fstest.MapFS{tt.name + jailtest.Suffix: {Data: []byte(tt.text)}}
			diff, err := jailtest.Run(t.Context(), fsys, tt.name+jailtest.Suffix, config.Load("/nonexistent"))
			if (tt.diff == "") != (diff == "") || !strings.Contains(diff, tt.diff) {
				t.Errorf("diff %q, want %q", diff, tt.diff)
			}
			if (tt.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}
