package freeswitch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestVariables(t *testing.T) {
	set := func(data string) string { return `<X-PRE-PROCESS cmd="set" data="` + data + `"/>` + "\n" }
	tests := []struct {
		name, vars, value, want string
	}{
		{"a tag", set("a=1"), "$${a}", "1"},
		{"a comment", "<!--#set a=1-->", "$${a}", "1"},
		{"a comment with quotes", `<!--#set "a=1 2" x-->`, "$${a}", "1 2"},
		{"among text", set("a=1"), "x$${a}y$${a}", "x1y1"},
		{"names in any case", set("Aa=1"), "$${aA}", "1"},
		{"the instruction in any case", `<x-pre-process CMD="SET" DATA="a=1">`, "$${a}", "1"},
		{"spaces", set("a  =  1 "), "$${a}", "1 "},
		{"nothing", set("a="), "x$${a}y", "xy"},
		{"an equals sign", set("a=b=c"), "$${a}", "b=c"},
		{"the last one wins", set("a=1") + set("a=2"), "$${a}", "2"},
		{"out of another", set("a=1") + set("b=$${a}2"), "$${b}", "12"},
		{"in a comment that is no obstacle", "<!-- " + strings.TrimSpace(set("a=1")) + " -->", "$${a}", "1"},
		{"in a comment of several lines", "<!--\n" + set("a=1") + "-->", "$${a}", "1"},
		{"the first of a line alone", strings.TrimSpace(set("a=1")) + set("a=2"), "$${a}", "1"},

		{"never set", "", "$${a}", "$${a}"},
		{"not set yet", "", "$${later}", "$${later}"},
		{"FreeSWITCH's own", set("domain=$${local_ip_v4}"), "x$${domain}", "x$${local_ip_v4}"},
		{"no equals sign", set("a"), "$${a}", "$${a}"},
		{"without its end", set("a=1"), "$${a", "$${a"},
		{"in another's name", set("a=1") + set("b=2"), "$${a$${b}}", "$${a$${b}}"},
		{"of a call", set("a=1"), "${a}", "${a}"},
		{"single quotes", `<X-PRE-PROCESS cmd='set' data='a=1'/>`, "$${a}", "$${a}"},
		{"the data first", `<X-PRE-PROCESS data="a=1" cmd="set"/>`, "$${a}", "$${a}"},
		{"over two lines", "<X-PRE-PROCESS cmd=\"set\"\n data=\"a=1\"/>", "$${a}", "$${a}"},
		{"turned off", `<X-NO-PRE-PROCESS cmd="set" data="a=1"/>`, "$${a}", "$${a}"},
		{"turned off by another letter", `<!--<Z-PRE-PROCESS cmd="set" data="a=1"/>-->`, "$${a}", "$${a}"},
		{"without its bracket", `<!--X-PRE-PROCESS cmd="set" data="a=1"/>`, "$${a}", "$${a}"},
		{"in a comment for the preprocessor", "<!--#comment\n" + set("a=1") + "-->", "$${a}", "$${a}"},
		{"in one that ends behind a variable, which FreeSWITCH does not see", "<!--#comment\n$${x} -->\n" + set("a=1") + "-->", "$${a}", "$${a}"},
		{"in one that ends before a variable", "<!--#comment\n--> $${x}\n" + set("a=1"), "$${a}", "1"},
		{"beside <include>", "<include>" + set("a=1"), "$${a}", "$${a}"},
		{"beside <?", "<?xml version=\"1.0\"?>" + set("a=1"), "$${a}", "$${a}"},
		{"from the environment", set("a=1") + `<X-PRE-PROCESS cmd="env-set" data="a=$HOME"/>`, "$${a}", "$${a}"},
		{"from a host", set("a=1") + `<X-PRE-PROCESS cmd="stun-set" data="a=stun:stun.example.org"/>`, "$${a}", "$${a}"},
		{"from a command", set("a=1") + `<X-PRE-PROCESS cmd="exec-set" data="a = echo 2"/>`, "$${a}", "$${a}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := read(t, write(t, map[string]string{
				"vars.xml": "<include>\n" + tt.vars + "\n</include>\n",
				"sip_profiles/p.xml": "<profile name=\"p\"><settings>\n" +
					"<param name=\"log-auth-failures\" value=\"" + tt.value + "\"/>\n" +
					"</settings></profile>\n" + set("later=1"),
			}))
			if len(got.Profiles) != 1 || len(got.Problems) > 0 {
				t.Fatalf("profiles %+v, problems %q", got.Profiles, got.Problems)
			}
			setting := got.Profiles[0].LogAuthFailures
			if setting.Value != tt.want || setting.Unknown() != strings.Contains(tt.want, "$$") {
				t.Errorf("%+v, unknown %v; want %q", setting, setting.Unknown(), tt.want)
			}
		})
	}
}

// TestDirectories proves which variables the place of the configuration tells.
func TestDirectories(t *testing.T) {
	for below, want := range map[string]string{
		"conf":           "%[1]s/log %[1]s/conf %[1]s",
		"etc/freeswitch": "%[1]s/var/log/freeswitch %[1]s/etc/freeswitch $${base_dir}",
		"elsewhere":      "$${log_dir} %[1]s/elsewhere $${base_dir}",
	} {
		prefix := t.TempDir()
		dir := filepath.Join(prefix, below)
		add(t, dir, "freeswitch.xml", root)
		add(t, dir, "sip_profiles/p.xml", `<profile name="$${log_dir} $${conf_dir} $${base_dir}"><settings/></profile>`)
		if d := cmp.Diff([]string{fmt.Sprintf(want, prefix)}, names(read(t, dir))); d != "" {
			t.Errorf("%s: %s", below, d)
		}
	}
}

// TestNothingRuns proves that commands are not run, and that it shows.
func TestNothingRuns(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	got := read(t, write(t, map[string]string{
		"vars.xml": `<X-PRE-PROCESS cmd="exec-set" data="a=touch ` + ran + `"/>` + "\n" +
			`<X-PRE-PROCESS cmd="exec" data="touch ` + ran + `"/>` + "\n" +
			"<!--#exec touch " + ran + "-->\n",
	}))
	const text = ": what the command prints is a part of the configuration, but the command is not run here"
	if d := cmp.Diff([]string{"vars.xml:2" + text, "vars.xml:3" + text}, got.Problems); d != "" {
		t.Error(d)
	}
	if _, err := os.Stat(ran); !os.IsNotExist(err) {
		t.Errorf("a command was run: %v", err)
	}
}

func TestIncludes(t *testing.T) {
	profile := func(name string) string { return `<profile name="` + name + `"><settings/></profile>` + "\n" }
	include := func(data string) string { return `<X-PRE-PROCESS cmd="include" data="` + data + `"/>` + "\n" }
	const profiles = "sip_profiles/profiles.xml" // the first file of the profiles
	tests := []struct {
		name     string
		files    map[string]string
		profiles []string
		problems []string
	}{
		{"in the order of bytes", map[string]string{
			"sip_profiles/b.xml": profile("b"), "sip_profiles/a.xml": profile("a"), "sip_profiles/B.xml": profile("B"),
		}, []string{"B", "a", "b"}, nil},
		{"neither hidden nor of another end", map[string]string{
			"sip_profiles/.a.xml": profile("a"), "sip_profiles/b.xml.noload": profile("b"), "sip_profiles/c.xml": profile("c"),
		}, []string{"c"}, nil},
		{"hidden, by name", map[string]string{
			profiles: include("x/.*.xml"), "sip_profiles/x/.a.xml": profile("a"), "sip_profiles/x/b.xml": profile("b"),
		}, []string{"a"}, nil},
		{"fragments of several elements", map[string]string{
			profiles: "<include>\n" + profile("a") + profile("b") + "</include>\n",
		}, []string{"a", "b"}, nil},
		{"all of the line of <include> is ignored", map[string]string{
			profiles: "<include>" + profile("a") + profile("b") + "</include>" + profile("c"),
		}, []string{"b"}, nil},
		{"relative to the file that includes", map[string]string{
			profiles: include("x/*.xml"), "sip_profiles/x/y.xml": include("y/*.xml") + include("../../z.xml"),
			"sip_profiles/x/y/a.xml": profile("a"), "z.xml": profile("z"), "y/a.xml": profile("wrong"),
		}, []string{"a", "z"}, nil},
		{"relative to the configuration", map[string]string{
			profiles: include("$${conf_dir}/x/*.xml"), "x/a.xml": profile("a"),
		}, []string{"a"}, nil},
		{"patterns", map[string]string{
			profiles:                include("x/[!ab]?.xml") + include("*/b*.xml") + include(`x/\*.xml`),
			"sip_profiles/x/a1.xml": profile("a1"), "sip_profiles/x/b1.xml": profile("b1"),
			"sip_profiles/x/c1.xml": profile("c1"), "sip_profiles/x/cc1.xml": profile("cc1"), "sip_profiles/x/*.xml": profile("*"),
		}, []string{"c1", "b1", "*"}, nil},
		{"nothing that matches", map[string]string{
			profiles: include("x.xml") + include("x/*.xml") + include("profiles.xml/*.xml") + include("*/*/*.xml") + profile("a"),
		}, []string{"a"}, nil},
		{"in the form of a comment", map[string]string{
			profiles: `<!--#include "x/*.xml"-->` + profile("b"), "sip_profiles/x/a.xml": profile("a"),
		}, []string{"b", "a"}, nil},
		{"twice", map[string]string{
			profiles: include("x.inc") + include("x.inc"), "sip_profiles/x.inc": profile("x"),
		}, []string{"x", "x"}, nil},
		{"in a comment of one line, which is none to FreeSWITCH", map[string]string{
			profiles: "<!-- " + include("x.inc") + profile("b"), "sip_profiles/x.inc": profile("x"),
		}, []string{"x", "b"}, nil},
		{"in a comment of several lines", map[string]string{
			profiles: "<!--\n" + include("x.inc") + "-->\n" + profile("b"), "sip_profiles/x.inc": profile("x"),
		}, []string{"b"}, nil},
		{"an element over two files", map[string]string{
			profiles: include("begin.inc") + "<settings/>\n" + include("end.inc"), "sip_profiles/begin.inc": `<profile name="a">`, "sip_profiles/end.inc": `</profile>`,
		}, []string{"a"}, nil},
		{"an unknown variable", map[string]string{
			profiles: include("$${sounds_dir}/x.xml") + profile("a"),
		}, []string{"a"}, []string{`sip_profiles/profiles.xml:1: "$${sounds_dir}/x.xml" is not included, since its variable is not known`}},
		{"no pattern", map[string]string{
			profiles: include("x/[") + profile("a"), "sip_profiles/x/a": "",
		}, []string{"a"}, []string{`sip_profiles/profiles.xml:1: search sip_profiles/x/ for "[": syntax error in pattern`}},
		{"a directory", map[string]string{
			profiles: include("x") + profile("a"), "sip_profiles/x/a": "",
		}, []string{"a"}, []string{"sip_profiles/profiles.xml:1: read sip_profiles/x: it is no regular file"}},
		{"a device", map[string]string{
			profiles: include("/dev/zero") + profile("a"),
		}, []string{"a"}, []string{"sip_profiles/profiles.xml:1: read /dev/zero: it is no regular file"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := read(t, write(t, tt.files))
			if d := cmp.Diff(tt.profiles, names(got)); d != "" {
				t.Error(d)
			}
			if d := diff(tt.problems, got.Problems); d != "" {
				t.Error(d)
			}
			slices.Sort(got.Files)
			if files := slices.Compact(slices.Clone(got.Files)); len(files) < len(got.Files) {
				t.Errorf("a file is named twice: %q", got.Files)
			}
		})
	}
}

// TestSymlinks proves that ".." leads where the system says, and that places are
// named as short as that allows.
func TestSymlinks(t *testing.T) {
	other := t.TempDir()
	add(t, other, "real/sofia.xml", `<X-PRE-PROCESS cmd="include" data="../x.inc"/>`)
	add(t, other, "x.inc", `<profile name="beside the real one"><settings/></profile>`)
	dir := write(t, map[string]string{
		"x.inc":              `<profile name="beside the link"><settings/></profile>`,
		"sip_profiles/a.xml": `<X-PRE-PROCESS cmd="include" data="../linked/*.xml"/>` + "\n" + `<X-PRE-PROCESS cmd="include" data="./../x.inc"/>`,
	})
	if err := os.Symlink(filepath.Join(other, "real"), filepath.Join(dir, "linked")); err != nil {
		t.Fatal(err)
	}
	got := read(t, dir)
	var places []string
	for _, p := range got.Profiles {
		places = append(places, p.Name+" "+p.At.String())
	}
	if d := cmp.Diff([]string{"beside the real one linked/../x.inc:1", "beside the link x.inc:1"}, places); d != "" {
		t.Error(d, got.Problems)
	}
}

// TestPlaces proves that places are right through whatever the preprocessor does
// to the lines: each profile is named for its own.
func TestPlaces(t *testing.T) {
	lines := rapid.SampledFrom([]string{
		"<!-- comment -->", "<!--", "-->", "<include>", "</include>", "<?xml?>", "", " text", "<!--#comment", "-->", "<!--#set a=1-->",
		`<X-PRE-PROCESS cmd="set" data="a=b c"/>`, `<X-PRE-PROCESS cmd="exec"`, "<profile\n name='x'><settings>\n</settings></profile>", "$${a} $${b}",
		`<X-PRE-PROCESS cmd="include" data="%d/*.xml"/>`, `<!--#include "%d/*.xml"-->`, "profile", "profile", "profile",
	})
	rapid.Check(t, func(rt *rapid.T) {
		files := make(map[string]string)
		dir := "sip_profiles"
		for depth := range 3 {
			for _, name := range []string{"a.xml", "b.xml"} {
				path := filepath.Join(dir, name)
				var text strings.Builder
				for _, line := range rapid.SliceOfN(lines, 0, 8).Draw(rt, path) {
					switch {
					case line == "profile":
						line = fmt.Sprintf(`<profile name="%s:%d"><settings/></profile>`, path, 1+strings.Count(text.String(), "\n"))
					case strings.Contains(line, "%d"):
						line = fmt.Sprintf(line, depth)
					}
					text.WriteString(line + rapid.SampledFrom([]string{"\n", "\r\n", "\n\n"}).Draw(rt, "end"))
				}
				files[path] = text.String()
			}
			dir = filepath.Join(dir, fmt.Sprint(depth))
		}
		for _, p := range read(t, write(t, files)).Profiles {
			if p.Name != "x" && p.Name != p.At.String() {
				rt.Fatalf("%s is at %v", p.Name, p.At)
			}
		}
	})
}

func TestBroken(t *testing.T) {
	const good = "<profile name=\"good\"><settings/></profile>\n"
	tests := []struct {
		name, text string
		problem    string // at a line of the file
		profiles   []string
	}{
		{"not closed", "<profile name=\"bad\">\n<settings>\n", `1: "<profile>" is not closed in this file`, []string{}},
		{"not closed behind others", good + "<profile name=\"bad\">\n<settings/>\n", `2: "<profile>" is not closed in this file`, []string{"good"}},
		{"closed wrongly", good + "<profile name=\"bad\">\n<settings>\n</profile>\n" + good, `4: "</profile>" closes no element: the rest of the file is not read`, []string{"good"}},
		{"closed, not opened", good + "</settings>\n" + good, `2: "</settings>" closes no element: the rest of the file is not read`, []string{"good"}},
		{"closes what is around it", good + "</profiles>\n", `2: "</profiles>" closes no element: the rest of the file is not read`, []string{"good"}},
		{"a quote", good + "<profile name=\"bad>\n<settings/>\n</profile>\n", `2: a quote without its end: the rest of the file is not read`, []string{"good"}},
		{"a bracket", good + "<profile name=\"bad\"\n", `2: missing >: the rest of the file is not read`, []string{"good"}},
		{"a bracket of an end", good + "<profile name=\"bad\"></profile", `2: missing >: the rest of the file is not read`, []string{"good"}},
		{"a lone bracket", good + "1 < 2\n", `2: unexpected <: the rest of the file is not read`, []string{"good"}},
		{"a comment", good + "\n<!-- from here on\n" + good, `3: <!-- without --: the rest of the file is not read`, []string{"good"}},
		{"a comment in a comment", good + "<!-- <!-- -->\n" + good, `2: -- within a comment, or a comment without an end: the rest of the file is not read`, []string{"good"}},
		{"CDATA", good + "<![CDATA[ ]] >\n" + good, `2: <![CDATA[ without ]]>: the rest of the file is not read`, []string{"good"}},
		{"no settings", good + "<profile name=\"bad\"/>\n", `2: FreeSWITCH does not start the profile "bad", since it has no <settings>`, []string{"good"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := read(t, write(t, map[string]string{
				"sip_profiles/a.xml": "<profile name=\"a\"><settings/></profile>\n",
				"sip_profiles/b.xml": tt.text,
				"sip_profiles/c.xml": "<profile name=\"c\"><settings/></profile>\n",
				// FreeSWITCH would take some of it as a whole, but not with this.
				"sip_profiles/d.xml": "</d>",
			}))
			want := []string{
				"sip_profiles/b.xml:" + tt.problem,
				`sip_profiles/d.xml:1: "</d>" closes no element: the rest of the file is not read`,
			}
			slices.Sort(want)
			slices.Sort(got.Problems)
			if d := cmp.Diff(want, got.Problems); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(slices.Concat([]string{"a"}, tt.profiles, []string{"c"}), names(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestLikeFreeSWITCH proves that what is no XML is read where FreeSWITCH reads it.
func TestLikeFreeSWITCH(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"entities", `<profile name="a&lt;&gt;&quot;&apos;&amp;lt;&#65;&#x42;">`, `a<>"'&lt;AB`},
		{"what is no entity", `<profile name="a&b &nbsp; &#0; &#x; &#1234567890123; &lt">`, `a&b &nbsp; &#0; &#x; &#1234567890123; &lt`},
		{"a bracket in a value", `<profile other="(?<x>y)" name="a<b">`, "a<b"},
		{"single quotes and spaces", `<profile  name = 'a "b"' >`, `a "b"`},
		{"white space", "<profile name=\"a\tb\">", "a b"},
		{"no quotes", `<profile other=x y name="a">`, "a"},
		{"twice", `<profile name="a" name="b">`, "a"},
		{"an ISO-8859-1 file", "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n<profile \xe9=\"\xe9\" name=\"caf\xe9\">", "caf\uFFFD"},
		{"control characters", "<!-- \x01 \x00 --><profile name=\"a\x02\">", "a\x02"},
		{"a byte order mark", "\uFEFF<profile name=\"a\">", "a"},
		{"Windows", "<profile\r\n\r\nname=\"a\">", "a"},
		{"a document type", "<!DOCTYPE profile [ <!ENTITY a \"b\"> ]>\n<profile name=\"a\">", "a"},
		{"CDATA", "<![CDATA[ <profile name=\"b\"> ]]><profile name=\"a\">", "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := read(t, write(t, map[string]string{"sip_profiles/a.xml": tt.text + "<settings/></profile >"}))
			if d := cmp.Diff([]string{tt.want}, names(got)); d != "" || len(got.Problems) > 0 {
				t.Error(d, got.Problems)
			}
		})
	}
}

// TestFirst proves that FreeSWITCH's own choice among several is taken, and that
// what stands elsewhere is not.
func TestFirst(t *testing.T) {
	profiles := func(name string) string {
		return `<configuration name="Sofia.Conf"><profiles><profile name="` + name + `"><settings/></profile></profiles></configuration>`
	}
	for name, text := range map[string]string{
		"sections":       `<x><section name="Configuration">` + profiles("a") + `</section><section name="configuration">` + profiles("b") + `</section></x>`,
		"configurations": `<x><section name="configuration"><configuration name="x"/>` + profiles("a") + profiles("b") + `</section></x>`,
		"another place": `<x>` + profiles("b") + `<section name="dialplan">` + profiles("b") + `</section>` +
			`<section name="configuration"><x>` + profiles("b") + `</x>` + profiles("a") + `</section></x>`,
		"lists": `<x><section name="configuration"><configuration name="sofia.conf"><profiles><profile name="a"><settings/></profile></profiles>` +
			`<profiles><profile name="b"><settings/></profile></profiles></configuration></section></x>`,
	} {
		got := read(t, write(t, map[string]string{"freeswitch.xml": text}))
		if d := cmp.Diff([]string{"a"}, names(got)); d != "" || len(got.Problems) > 0 {
			t.Errorf("%s: %s %q", name, d, got.Problems)
		}
	}
	got := read(t, write(t, map[string]string{"freeswitch.xml": "<x/>\n<y/>"}))
	if d := cmp.Diff([]string{`freeswitch.xml:2: "<y>" stands outside of the root element: the rest of the file is not read`}, got.Problems); d != "" {
		t.Error(d)
	}
}
