package freeswitch_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"band/internal/freeswitch"
)

// root includes the files that tests write.
const root = `<document type="freeswitch/xml">
<X-PRE-PROCESS cmd="include" data="vars.xml"/>
<section name="configuration">
<X-PRE-PROCESS cmd="include" data="autoload_configs/*.xml"/>
<configuration name="sofia.conf"><profiles>
<X-PRE-PROCESS cmd="include" data="sip_profiles/*.xml"/>
</profiles></configuration>
</section>
<section name="directory">
<X-PRE-PROCESS cmd="include" data="directory/*.xml"/>
</section>
</document>
`

// write makes a configuration of files by their paths, with the root above
// where there is none among them.
func write(t testing.TB, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	add(t, dir, "freeswitch.xml", root)
	for path, text := range files {
		add(t, dir, path, text)
	}
	return dir
}

func add(t testing.TB, dir, path, text string) {
	t.Helper()
	path = filepath.Join(dir, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// read reads the configuration in dir, whose paths it shortens to those below
// dir.
func read(t testing.TB, dir string) *freeswitch.Config {
	t.Helper()
	c, err := freeswitch.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Problems {
		c.Problems[i] = strings.ReplaceAll(c.Problems[i], dir+"/", "")
	}
	for i := range c.Files {
		c.Files[i] = strings.TrimPrefix(c.Files[i], dir+"/")
	}
	short := func(at *freeswitch.Place) { at.File = strings.TrimPrefix(at.File, dir+"/") }
	for i := range c.Profiles {
		short(&c.Profiles[i].At)
		short(&c.Profiles[i].LogAuthFailures.At)
	}
	for i := range c.Gateways {
		short(&c.Gateways[i].At)
	}
	for i := range c.LogFiles {
		short(&c.LogFiles[i].At)
	}
	for i := range c.Bindings {
		short(&c.Bindings[i].At)
	}
	short(&c.EventSocket.At)
	return c
}

// diff compares, apart from what only the package sees.
func diff(want, got any) string {
	return cmp.Diff(want, got, cmpopts.IgnoreUnexported(freeswitch.Config{}), cmpopts.EquateEmpty())
}

func TestReadStock(t *testing.T) {
	dir, err := filepath.Abs("testdata/stock")
	if err != nil {
		t.Fatal(err)
	}
	type place = freeswitch.Place
	want := &freeswitch.Config{
		Profiles: []freeswitch.Profile{{
			Name: "external", SIPPort: 5080,
			At: place{File: "sip_profiles/external.xml", Line: 1},
		}, {
			Name: "internal", SIPPort: 5060, TLSPort: 5061, WSPort: 5066, WSSPort: 7443,
			LogAuthFailures: freeswitch.Setting{Value: "false", At: place{File: "sip_profiles/internal.xml", Line: 20}},
			At:              place{File: "sip_profiles/internal.xml", Line: 1},
		}},
		Gateways: []freeswitch.Gateway{{
			Name: "carrier", Profile: "external",
			Hosts: []string{"203.0.113.5", "edge.carrier.example", "sip.carrier.example"},
			At:    place{File: "sip_profiles/external/carrier.xml", Line: 2},
		}, {
			Name: "example.net", Profile: "external",
			Hosts: []string{"example.net"},
			At:    place{File: "directory/default/provider.xml", Line: 7},
		}},
		LogFiles: []freeswitch.LogFile{{
			Name: "default", UUID: true,
			Maps: []freeswitch.Map{{From: "all", Levels: []string{"console", "debug", "info", "notice", "warning", "err", "crit", "alert"}}},
			At:   place{File: "autoload_configs/logfile.conf.xml", Line: 6},
		}, {
			Name: "band", Path: "/var/log/freeswitch/band.log",
			Maps: []freeswitch.Map{
				{From: "sofia_reg.c", Levels: []string{"warning", "err"}},
				{From: "sofia_handle_sip_i_invite", Levels: []string{"warning"}},
				{From: "mod_event_socket.c", Levels: []string{"warning"}},
			},
			At: place{File: "autoload_configs/logfile.conf.xml", Line: 16},
		}},
		EventSocket: freeswitch.EventSocket{
			IP: "::", Port: 8021, Password: "ClueCon", ACLs: []string{"loopback.auto"},
			At: place{File: "autoload_configs/event_socket.conf.xml", Line: 1},
		},
		Files: []string{
			"freeswitch.xml", "vars.xml",
			"autoload_configs/event_socket.conf.xml", "autoload_configs/logfile.conf.xml",
			"autoload_configs/lua.conf.xml", "autoload_configs/sofia.conf.xml",
			"sip_profiles/external.xml", "sip_profiles/external/carrier.xml", "sip_profiles/internal.xml",
			"dialplan/default.xml",
			"directory/default.xml", "directory/default/1000.xml", "directory/default/provider.xml",
		},
	}
	got := read(t, dir)
	if d := diff(want, got); d != "" {
		t.Error(d)
	}
	var silent []string
	for _, p := range got.Silent() {
		silent = append(silent, p.Name)
	}
	if d := cmp.Diff([]string{"external", "internal"}, silent); d != "" {
		t.Error(d)
	}
}

func TestReadWithoutRoot(t *testing.T) {
	dir := t.TempDir()
	if _, err := freeswitch.Read(dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir+"/freeswitch.xml") {
		t.Errorf("missing: %v", err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "freeswitch.xml"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := freeswitch.Read(dir); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a named pipe: %v", err)
	}
	for _, text := range []string{"", "no XML", "<!-- nothing -->\n"} {
		got := read(t, write(t, map[string]string{"freeswitch.xml": text}))
		if d := cmp.Diff([]string{"freeswitch.xml:1: it holds no element"}, got.Problems); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

// unprivileged runs f as a user who owns nothing.
func unprivileged(t *testing.T, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const nobody = 65534
	if was, err := unix.SetfsuidRetUid(nobody); err != nil {
		t.Fatal(err)
	} else {
		defer unix.SetfsuidRetUid(was)
	}
	f()
}

func TestReadUnreadable(t *testing.T) {
	profile := `<profile name="%"><settings/></profile>`
	dir := write(t, map[string]string{
		"sip_profiles/a.xml":        strings.ReplaceAll(profile, "%", "a"),
		"sip_profiles/b.xml":        strings.ReplaceAll(profile, "%", "b"),
		"sip_profiles/c.xml":        strings.ReplaceAll(profile, "%", "c"),
		"directory/d.xml":           "",
		"autoload_configs/link.xml": "",
	})
	link := filepath.Join(dir, "autoload_configs/link.xml")
	if err := errors.Join(
		os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755),
		os.Chmod(filepath.Join(dir, "sip_profiles/b.xml"), 0),
		os.Chmod(filepath.Join(dir, "directory"), 0),
		os.Remove(link), os.Symlink("nowhere", link),
	); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(filepath.Join(dir, "directory"), 0o755)
	unprivileged(t, func() {
		got := read(t, dir)
		if d := cmp.Diff([]string{
			"freeswitch.xml:4: stat autoload_configs/link.xml: no such file or directory",
			"freeswitch.xml:6: open sip_profiles/b.xml: permission denied",
			"freeswitch.xml:10: open directory/: permission denied",
		}, got.Problems); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"a", "c"}, names(got)); d != "" {
			t.Error(d)
		}
	})

	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	unprivileged(t, func() {
		if _, err := freeswitch.Read(dir); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("an unreadable root: %v", err)
		}
		if got := freeswitch.Find([]string{dir}); got != dir {
			t.Errorf("an unreadable configuration is not found: %q", got)
		}
	})
}

// names returns those of the profiles.
func names(c *freeswitch.Config) []string {
	var all []string
	for _, p := range c.Profiles {
		all = append(all, p.Name)
	}
	return all
}

func TestFind(t *testing.T) {
	empty, first, second := t.TempDir(), write(t, nil), write(t, nil)
	tests := []struct {
		dirs []string
		want string
	}{
		{nil, ""},
		{[]string{empty, "/nowhere", empty + "/x/y"}, ""},
		{[]string{empty, first, second}, first},
		{[]string{second, first}, second},
	}
	for _, tt := range tests {
		if got := freeswitch.Find(tt.dirs); got != tt.want {
			t.Errorf("of %q: %q, want %q", tt.dirs, got, tt.want)
		}
	}
	if dirs := freeswitch.Dirs(); dirs[0] != "/etc/freeswitch" || !slices.Contains(dirs, "/usr/local/freeswitch/conf") ||
		slices.ContainsFunc(dirs, func(d string) bool { return !filepath.IsAbs(d) }) {
		t.Errorf("the directories are %q", dirs)
	}
}

func TestChanged(t *testing.T) {
	files := map[string]string{
		"vars.xml":           `<X-PRE-PROCESS cmd="include" data="local/vars.xml"/>`,
		"sip_profiles/a.xml": `<profile name="a"><settings/></profile>`,
	}
	changes := map[string]func(dir string) error{
		"a file is written": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "sip_profiles/a.xml"), nil, 0o644)
		},
		"a file is added": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "sip_profiles/b.xml"), nil, 0o644)
		},
		"a file is removed":   func(dir string) error { return os.Remove(filepath.Join(dir, "sip_profiles/a.xml")) },
		"a file is protected": func(dir string) error { return os.Chmod(filepath.Join(dir, "sip_profiles/a.xml"), 0) },
		"a file is replaced": func(dir string) error {
			path := filepath.Join(dir, "sip_profiles/a.xml")
			return errors.Join(os.WriteFile(path+".new", []byte(files["sip_profiles/a.xml"]), 0o644), os.Rename(path+".new", path))
		},
		"a directory that was missing": func(dir string) error { return os.Mkdir(filepath.Join(dir, "directory"), 0o755) },
		"a file that was missing": func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "local"), 0o755), os.WriteFile(filepath.Join(dir, "local/vars.xml"), nil, 0o644))
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			// The clock of the file system ticks slowly: a change at once may not show.
			for deadline := time.Now().Add(10 * time.Second); ; {
				dir := write(t, files)
				c := read(t, dir)
				if c.Changed() {
					t.Fatal("it changed by itself")
				}
				if err := change(dir); err != nil {
					t.Fatal(err)
				}
				if c.Changed() {
					return
				}
				if time.Now().After(deadline) {
					t.Fatal("it did not change")
				}
			}
		})
	}
}
