package follow_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"band/internal/source/follow"
)

// absent lets a file be missing for a while in many ways. Each takes the path of
// "1\n" that was read, waits, and says what must have come then.
var absent = []struct {
	name string
	stay func(t *testing.T, r *reader, path string, wait func()) (want string)
}{
	{"renamed", func(t *testing.T, r *reader, path string, wait func()) string {
		must(t, os.Rename(path, path+".1"))
		r.untilEvent("missing", 1)
		wait()
		add(t, path+".1", "1, still written\n")
		r.untilText("1\n1, still written\n")
		write(t, path, "2\n")
		return "1\n1, still written\n2\n"
	}},
	{"deleted", func(t *testing.T, r *reader, path string, wait func()) string {
		must(t, os.Remove(path))
		r.untilEvent("missing", 1)
		wait()
		write(t, path, "2\n")
		return "1\n2\n"
	}},
	{"deleted with its directory", func(t *testing.T, r *reader, path string, wait func()) string {
		must(t, os.RemoveAll(filepath.Dir(path)))
		r.untilEvent("missing", 1)
		wait()
		must(t, os.Mkdir(filepath.Dir(path), 0o755))
		write(t, path, "2\n")
		return "1\n2\n"
	}},
	{"back as it was", func(t *testing.T, r *reader, path string, wait func()) string {
		must(t, os.Rename(path, path+".away"))
		r.untilEvent("missing", 1)
		wait()
		add(t, path+".away", "2\n")
		must(t, os.Rename(path+".away", path))
		return "1\n2\n"
	}},
	{"a link to nothing", func(t *testing.T, r *reader, path string, wait func()) string {
		must(t, os.Remove(path))
		must(t, os.Symlink(path+".target", path))
		r.untilEvent("missing", 1)
		wait()
		write(t, path+".target", "2\n")
		return "1\n2\n"
	}},
}

func missing(t *testing.T, path string, wait func(r *reader), stay func(*testing.T, *reader, string, func()) string) {
	must(t, os.Mkdir(filepath.Dir(path), 0o755))
	write(t, path, "1\n")
	r := startIn(t, follow.Config{Path: path})
	defer r.stop()
	r.untilText("1\n")
	want := stay(t, r, path, func() { wait(r) })
	r.untilText(want)
	add(t, path, "more\n")
	r.untilText(want + "more\n")
	r.nothing()
	if r.obs.count("missing") != 1 || r.obs.count("lost") > 0 {
		t.Errorf("told %q", r.obs.events)
	}
}

// A file is missing for longer than each clock of a follower runs, which are those
// of the constants; with BAND_TEST_LONG for ten minutes.
func TestMissing(t *testing.T) {
	t.Parallel()
	long := 12 * time.Second
	if os.Getenv("BAND_TEST_LONG") != "" {
		long = 10 * time.Minute
	}
	for _, a := range absent {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			missing(t, filepath.Join(t.TempDir(), "dir", "log"), func(r *reader) { r.quietFor(long) }, a.stay)
		})
	}
}

// TestMissingForTenMinutes has ten minutes pass at once, which they do only where
// nothing waits for the kernel's events: it runs itself in a user namespace that
// has no inotify.
func TestMissingForTenMinutes(t *testing.T) {
	t.Parallel()
	if os.Getenv("BAND_TEST_FOLLOW_NO_INOTIFY") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestMissingForTenMinutes$", "-test.v")
		cmd.Env = append(os.Environ(), "BAND_TEST_FOLLOW_NO_INOTIFY="+t.TempDir())
		own := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: own}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
		return
	}
	must(t, os.WriteFile("/proc/sys/user/max_inotify_instances", []byte("0"), 0))
	for _, a := range absent {
		t.Run(a.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(os.Getenv("BAND_TEST_FOLLOW_NO_INOTIFY"), a.name, "log")
				missing(t, path, func(r *reader) { r.quietFor(10 * time.Minute) }, a.stay)
			})
		})
	}
}
