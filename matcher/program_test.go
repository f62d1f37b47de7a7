package matcher

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A program finds what package regexp finds.
func FuzzProgram(f *testing.F) {
	for _, seed := range []struct{ regex, message string }{
		{`^a <HOST>$`, "a 192.0.2.1"},
		{`^x '.*?' for \[<F-USER>.*</F-USER>\] from ip <HOST>$`, "x 'i' for [a] from ip 192.0.2.1] from ip 198.51.100.7"},
		{`^(\w+\(\) )?f(?:ail|ailed|ailure)+ (?i:Kind|user) <USER> <ADDR>\.?$`, "g() failfailure kINd \xe2\x82a\u212a 2001:db8::1."},
		{`^[^ ]*é*.<HOST>`, "ééé\xc3192.0.2.1"},
		{`^.*?.(<HOST>)?.*é$`, "\xff\xffé192.0.2.1é"},
		{`^(a*)*(a|b)*?<HOST>`, "aaaab192.0.2.1"},
		{`^\d{2,5}?[^a-z\d]*<HOST>(?:\n|$)`, "12345\u00e9\u212a192.0.2.1\n"},
	} {
		f.Add(seed.regex, []byte(seed.message))
	}
	f.Fuzz(func(t *testing.T, regex string, message []byte) {
		p, err := Compile("fuzz", "", regex, true)
		if err != nil || p.program() == nil {
			return // regexp does what no program can
		}
		compare(t, p, regex, message)
	})
}

func TestProgram(t *testing.T) {
	atom := rapid.SampledFrom([]string{"a", "b", "' ", "é", ".", `\d`, `[ab]`, `[^a]`, `[^é]`, `(?i:K)`, `\[`, "(a|b|)", "(?:ab|a)", `(<HOST>|x)`, `<F-USER>.*</F-USER>`, `$`, `^`, `\b`})
	times := rapid.SampledFrom([]string{"", "", "", "*", "+", "?", "*?", "+?", "??", "{1,3}", "{2}?"})
	text := rapid.SampledFrom([]string{"a", "b", "ab", "' ", "é", "\xc3", "\xa9", "k", "\u212a", "1", ".", "[", "x", "\n", "192.0.2.1", "2001:db8::1"})
	programs := 0
	rapid.Check(t, func(t *rapid.T) {
		var regex strings.Builder
		for range rapid.IntRange(1, 6).Draw(t, "atoms") {
			regex.WriteString("(?:" + atom.Draw(t, "atom") + ")" + times.Draw(t, "times"))
		}
		p, err := compile("drawn", "", "^"+regex.String(), true, false)
		if err != nil || p.program() == nil {
			return
		}
		programs++
		for range 10 {
			compare(t, p, regex.String(), []byte(strings.Join(rapid.SliceOfN(text, 0, 10).Draw(t, "message"), "")))
		}
	})
	if programs == 0 {
		t.Error("no expression was one for a program")
	}
}

func compare(t interface{ Errorf(string, ...any) }, p *Pattern, regex string, message []byte) {
	slow := *p
	slow.program = func() *program { return nil }
	want, wanted := slow.find(message)
	if got, found := p.find(message); got != want && wanted || found != wanted {
		t.Errorf("%q in %q: %v, %v; regexp finds %v, %v", regex, message, got, found, want, wanted)
	}
}

// Nobody can write a message that takes a program longer than its length allows.
func TestProgramGivesUp(t *testing.T) {
	p, err := Compile("all", "", `^.*? a.*? a.*? a.*?b <HOST>$`, false)
	if err != nil {
		t.Fatal(err)
	}
	var message []byte
	for range 10_000 {
		message = fmt.Append(message, "x a")
	}
	if _, _, tried := p.program().find(append(message, "b 192.0.2.1x"...)); tried {
		t.Error("it tried all ways")
	}
	message = append(message, "b 192.0.2.1"...)
	if m, ok := p.Match(message); !ok || m.Host.String() != "192.0.2.1" {
		t.Errorf("then it is %v, %v", m, ok)
	}
}
