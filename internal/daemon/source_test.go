package daemon_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A log that a glob matched, and that has been gone for long, is forgotten, also
// over a restart; one that was written lately is waited for.
func TestGoneLogsAreForgotten(t *testing.T) {
	m := &machine{t: t, dir: t.TempDir()}
	m.write("door-old.log", m.now().AddDate(0, 0, -8), "door: opened")
	m.write("door-new.log", m.now(), "door: opened")
	known := func() (names []string) {
		s, err := m.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, source := range s.Sources {
			names = append(names, filepath.Base(source.Name))
		}
		return names
	}
	until := func(what string, want ...string) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for !slices.Equal(known(), want) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the sources are %q, want %q", what, known(), want)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	stop := m.run()
	until("at the start", "door-new.log (syslog)", "door-old.log (syslog)")
	for _, log := range []string{"door-old.log", "door-new.log"} {
		if err := os.Remove(filepath.Join(m.dir, log)); err != nil {
			t.Fatal(err)
		}
	}
	until("when both are gone", "door-new.log (syslog)")
	stop()
	stop = m.run()
	until("after a restart", "door-new.log (syslog)")
	stop()
}
