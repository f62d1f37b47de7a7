package jails_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"band/jails"
)

// directory writes a configuration directory; a name that ends in / is a directory.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(dir string) (cfg *jails.Config, names, problems []string) {
	cfg = jails.Load(dir, checker{})
	for _, j := range cfg.Jails {
		names = append(names, j.Name)
	}
	for _, p := range cfg.Problems {
		problems = append(problems, strings.TrimPrefix(p.Error(), dir+"/"))
	}
	return cfg, names, problems
}

func TestLoad(t *testing.T) {
	const notRead = ": is not read: the name of a jail file ends in .toml"
	form := func(name string) string {
		return "jails.d/" + name + `.toml: "` + name + `" cannot be the name of a jail: up to 32 of a-z, 0-9, - and _, and the first a letter`
	}
	reserved := func(name string) string {
		return "jails.d/" + name + `.toml: "` + name + `" cannot be the name of a jail: it is reserved`
	}
	tests := []struct {
		name     string
		files    map[string]string
		jails    []string // besides freeswitch
		problems []string
	}{
		{"OK: an empty directory", nil, nil, nil},
		{"OK: no jail files", map[string]string{"band.toml": "maxretry = 3\n", "jails.d/": ""}, nil, nil},
		{"OK: sorted by name", map[string]string{"jails.d/zzz.toml": sshd, "jails.d/a0-a_b.toml": sshd}, []string{"a0-a_b", "zzz"}, nil},
		{"OK: the longest name", map[string]string{"jails.d/" + strings.Repeat("a", 32) + ".toml": sshd}, []string{strings.Repeat("a", 32)}, nil},
		{"OK: leftovers", map[string]string{
			"jails.d/ownjail.toml~": "x", "jails.d/ownjail.toml.bak": "x", "jails.d/ownjail.toml.dpkg-dist": "x", "jails.d/ownjail.toml.dpkg-old": "x",
			"jails.d/ownjail.toml.rpmnew": "x", "jails.d/ownjail.toml.rpmsave": "x", "jails.d/.ownjail.toml.swp": "x", "jails.d/.#ownjail.toml": "x", "jails.d/.git/": "",
		}, nil, nil},
		{"bad: names", map[string]string{
			"jails.d/Sshd.toml": sshd, "jails.d/-a.toml": sshd, "jails.d/a.b.toml": sshd, "jails.d/a.rpm.toml": sshd, "jails.d/" + strings.Repeat("a", 33) + ".toml": sshd,
			"jails.d/all.toml": sshd, "jails.d/manual.toml": sshd, "jails.d/allow4.toml": sshd, "jails.d/allow6.toml": sshd,
		}, nil, []string{
			form("-a"), form("Sshd"), form("a.b"), form("a.rpm"), form(strings.Repeat("a", 33)),
			reserved("all"), reserved("allow4"), reserved("allow6"), reserved("manual"),
		}},
		{"bad: suffixes", map[string]string{
			"jails.d/own": sshd, "jails.d/own.conf": sshd, "jails.d/own.TOML": sshd, "jails.d/own.toml.txt": sshd, "jails.d/more/": "",
		}, nil, []string{
			"jails.d/more" + notRead, "jails.d/own" + notRead, "jails.d/own.TOML" + notRead, "jails.d/own.conf" + notRead, "jails.d/own.toml.txt" + notRead,
		}},
		{"bad: one file does not stop the others", map[string]string{
			"band.toml": "maxretry = 'x'\n", "jails.d/a.toml": "x", "jails.d/ownjail.toml": sshd, "jails.d/freeswitch.toml": "maxretry = 0\n",
		}, []string{"ownjail"}, []string{
			"band.toml:1: maxretry: must be a whole number such as 5, not a string",
			"jails.d/a.toml:1: not valid TOML: unexpected EOF; expected key separator '='",
			"jails.d/freeswitch.toml:1: maxretry: 0 is out of range: 1 to 10000",
		}},
		{"bad: directories", map[string]string{"band.toml/": "", "jails.d/ownjail.toml/": ""}, nil, []string{
			"band.toml: cannot be read: it is not a regular file",
			"jails.d/ownjail.toml: cannot be read: it is not a regular file",
		}},
		{"bad: jails.d is a file", map[string]string{"jails.d": "x"}, nil, []string{
			"jails.d: cannot be read: not a directory",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, names, problems := load(directory(t, tt.files))
			want := withShipped(tt.jails...)
			if diff := cmp.Diff(want, names); diff != "" {
				t.Errorf("jails: -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tt.problems, problems); diff != "" {
				t.Errorf("problems: -want +got:\n%s", diff)
			}
		})
	}
}

// withShipped returns the names of the shipped jails and of others, sorted.
func withShipped(others ...string) []string {
	files, _ := fs.Glob(jails.Shipped(), "*.toml")
	for _, file := range files {
		others = append(others, strings.TrimSuffix(file, ".toml"))
	}
	slices.Sort(others)
	return others
}

func TestLoadMissingDirectory(t *testing.T) {
	_, names, problems := load(filepath.Join(t.TempDir(), "missing"))
	if !slices.Equal(names, withShipped()) || len(problems) > 0 {
		t.Errorf("jails %v, problems %v", names, problems)
	}
}

func TestLoadDirectoryIsAFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "band")
	if err := os.WriteFile(dir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, names, problems := load(dir)
	want := []string{"band.toml: cannot be read: not a directory", "jails.d: cannot be read: not a directory"}
	if diff := cmp.Diff(want, problems); diff != "" || !slices.Equal(names, withShipped()) {
		t.Errorf("jails %v; problems: -want +got:\n%s", names, diff)
	}
}

func TestLoadLinksAndPipes(t *testing.T) {
	dir := directory(t, map[string]string{"elsewhere": sshd, "jails.d/": ""})
	for name, make := range map[string]func(string) error{
		"linked.toml":   func(p string) error { return os.Symlink(filepath.Join(dir, "elsewhere"), p) },
		"dangling.toml": func(p string) error { return os.Symlink("/nonexistent", p) },
		"pipe.toml":     func(p string) error { return unix.Mkfifo(p, 0o644) },
		"null.toml":     func(p string) error { return os.Symlink("/dev/null", p) },
	} {
		if err := make(filepath.Join(dir, "jails.d", name)); err != nil {
			t.Fatal(err)
		}
	}
	_, names, problems := load(dir)
	want := []string{
		"jails.d/dangling.toml: cannot be read: no such file or directory",
		"jails.d/null.toml: cannot be read: it is not a regular file",
		"jails.d/pipe.toml: cannot be read: it is not a regular file",
	}
	if diff := cmp.Diff(want, problems); diff != "" || !slices.Equal(names, withShipped("linked")) {
		t.Errorf("jails %v; problems: -want +got:\n%s", names, diff)
	}
}

func TestLoadWithoutPermission(t *testing.T) {
	dir := directory(t, map[string]string{"band.toml": "maxretry = 3\n", "jails.d/freeswitch.toml": "enabled = false\n", "jails.d/ownjail.toml": sshd})
	for _, name := range []string{"band.toml", "jails.d/freeswitch.toml"} {
		if err := os.Chmod(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	withoutPrivileges(t, func() {
		_, names, problems := load(dir)
		want := []string{"band.toml: cannot be read: permission denied", "jails.d/freeswitch.toml: cannot be read: permission denied"}
		if diff := cmp.Diff(want, problems); diff != "" || !slices.Equal(names, withShipped("ownjail")) {
			t.Errorf("jails %v; problems: -want +got:\n%s", names, diff)
		}
	})
	if err := os.Chmod(filepath.Join(dir, "jails.d"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "jails.d"), 0o755) }) // so that it can be removed
	withoutPrivileges(t, func() {
		_, names, problems := load(dir)
		want := []string{"band.toml: cannot be read: permission denied", "jails.d: cannot be read: permission denied"}
		if diff := cmp.Diff(want, problems); diff != "" || !slices.Equal(names, withShipped()) {
			t.Errorf("jails %v; problems: -want +got:\n%s", names, diff)
		}
	})
}

// withoutPrivileges runs f on a thread that has lost root's right to read
// everything.
func withoutPrivileges(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		err := unix.Capset(&header, &none[0])
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("drop capabilities: %v", err)
	}
}
