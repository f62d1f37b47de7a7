package freeswitch_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"band/internal/freeswitch"
)

// FuzzRead puts the same text wherever a file may stand. Whatever it holds, what
// stands before it is read, places exist, and hosts are such.
func FuzzRead(f *testing.F) {
	stock, err := filepath.Glob("testdata/stock/*/*.xml")
	if err != nil || len(stock) == 0 {
		f.Fatalf("the seeds %q: %v", stock, err)
	}
	for _, path := range stock {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	// FreeSWITCH reads the text where variables, configurations, profiles and
	// domains stand.
	include := `<X-PRE-PROCESS cmd="include" data="../text.inc"/>` + "\n"
	dir := write(f, map[string]string{
		"vars.xml":               strings.ReplaceAll(include, "../", ""),
		"autoload_configs/a.xml": include,
		"sip_profiles/a.xml":     `<profile name="first"><settings/></profile>` + "\n" + include,
		"directory/a.xml":        include,
	})
	f.Fuzz(func(t *testing.T, text string) {
		// Keep the reader within its directory.
		text = strings.NewReplacer("</", "</", "/>", "/>", "/", "|").Replace(text)
		add(t, dir, "text.inc", text)
		c := read(t, dir)
		// What the text may hide, in FreeSWITCH too: it closes what is around it,
		// comes first, or does not end.
		hides := func(s string) bool { return strings.Contains(strings.ToLower(text), s) }
		if !slices.ContainsFunc([]string{"-->", "</", "section", "sofia.conf", "include"}, hides) && !slices.Contains(names(c), "first") {
			t.Errorf("what is good is not read: %q %q", names(c), c.Problems)
		}
		if len(c.Problems) > 100 {
			t.Errorf("there are %d problems", len(c.Problems))
		}
		exists := func(at freeswitch.Place) {
			t.Helper()
			all, err := os.ReadFile(filepath.Join(dir, at.File))
			if err != nil || at.Line < 1 || at.Line > 1+strings.Count(string(all), "\n") {
				t.Errorf("there is no line %v: %v", at, err)
			}
		}
		for _, p := range c.Profiles {
			exists(p.At)
			if s := p.LogAuthFailures; s != (freeswitch.Setting{}) {
				exists(s.At)
			}
			for _, port := range []int{p.SIPPort, p.TLSPort, p.WSPort, p.WSSPort} {
				if port < 0 || port > 65535 {
					t.Errorf("%+v has the port %d", p, port)
				}
			}
		}
		for _, g := range c.Gateways {
			exists(g.At)
			for _, host := range g.Hosts {
				addr, err := netip.ParseAddr(host)
				if err == nil && addr.Is4In6() || err != nil && strings.ContainsAny(host, ":/%@;$[] ") || host == "" {
					t.Errorf("%q is no host", host)
				}
			}
		}
		for _, l := range c.LogFiles {
			exists(l.At)
			if l.Path != "" && !filepath.IsAbs(l.Path) {
				t.Errorf("the path of %+v", l)
			}
		}
		for _, b := range c.Bindings {
			exists(b.At)
		}
	})
}
