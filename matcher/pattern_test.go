package matcher_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"band/matcher"
)

const authFailure = `^\[WARNING\] sofia_reg\.c:\d+ SIP auth failure \((?:REGISTER|INVITE)\) on sofia profile '.*' for \[<F-USER>.*</F-USER>\] from ip <HOST>$`

func TestMatch(t *testing.T) {
	const before = "[WARNING] sofia_reg.c:1787 SIP auth failure (REGISTER) on sofia profile 'internal' for ["
	tests := []struct {
		name, message, host, user string // host "": no match
	}{
		{"IPv4", before + "1000@pbx] from ip 198.51.100.70", "198.51.100.70", "1000@pbx"},
		{"IPv6", before + "1000@pbx] from ip 2001:db8:bad::66", "2001:db8:bad::66", "1000@pbx"},
		{"mapped", before + "1000@pbx] from ip ::ffff:198.51.100.70", "198.51.100.70", "1000@pbx"},
		{"brackets in the user", before + "1000@[2001:db8::10]] from ip 198.51.100.70", "198.51.100.70", "1000@[2001:db8::10]"},
		{"a forged address in the user", before + "x] from ip 192.0.2.1] from ip 198.51.100.70", "198.51.100.70", "x] from ip 192.0.2.1"},
		{"a folded header", before + "a] from ip 192.0.2.60\n b@host] from ip 198.51.100.75", "198.51.100.75", "a] from ip 192.0.2.60\n b@host"},
		{"the first half of one", before + "a] from ip 192.0.2.60\r", "", ""},
		{"text behind the address", before + "a] from ip 192.0.2.60 b", "", ""},
		{"a name", before + "a] from ip 192.0.2.99.evil.example", "", ""},
		{"no address", before + "a] from ip 1.2.3", "", ""},
		{"leading zeros", before + "a] from ip 010.1.2.3", "", ""},
		{"a newline at the end", before + "a] from ip 198.51.100.70\n", "", ""},
		{"in the middle of another record", "[INFO] sofia.c:1 x " + before + "a] from ip 192.0.2.1", "", ""},
		{"bytes that are not UTF-8", before + "\xff\xfe@pbx] from ip 198.51.100.73", "198.51.100.73", "\xff\xfe@pbx"},
	}
	p, err := matcher.Compile("auth-failure", "failure", authFailure, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, ok := p.Match([]byte(tt.message))
			host := ""
			if ok {
				host = m.Host.String()
			}
			if host != tt.host || m.User != tt.user {
				t.Errorf("host %q, user %q; want %q, %q", host, m.User, tt.host, tt.user)
			}
		})
	}
}

func TestCompile(t *testing.T) {
	tests := []struct {
		name, regex string
		err         string // "": none
	}{
		{"OK: anchored", `^fail from <HOST>$`, ""},
		{"OK: nothing greedy before the host", `^fail from <HOST> `, ""},
		{"OK: bounded repeats", `^fail \w{1,20} from <HOST> `, ""},
		{"OK: Go's words for the anchors", `\Afail .* from <HOST>\z`, ""},
		{"OK: each branch anchored", `^a .* <HOST>$|^b$`, ""},
		{"OK: IPv4 only", `^fail from <IP4>$`, ""},
		{"bad: no host", `^fail$`, "the pattern has no <HOST>: it cannot tell whom to ban"},
		{"bad: unanchored", `fail from <HOST>$`, "must begin with ^"},
		{"bad: one branch unanchored", `^a <HOST>|b`, "must begin with ^"},
		{"bad: greedy before the host", `^fail for .* from <HOST>`, "must end with $"},
		{"OK: a word before the host, which cannot hold what stands between", `^fail for [^ ]+ from <HOST> `, ""},
		{"OK: a bracket between", `^warning: [-._\w]+\[<HOST>\]: SASL login failed`, ""},
		{"OK: a port behind", `^fail from <HOST>(?::\d+)?$`, ""},
		{"bad: any text before the host", `^fail for .+ from <HOST> `, "must end with $"},
		{"bad: repeats of repeats before the host", `^(?:.{4}){4} from <HOST> `, "must end with $"},
		{"bad: a comma that the text may hold too", `^user=\S*,ip=<HOST>,agent=.*$`, "before <HOST> and behind it"},
		{"bad: a line that a caller may begin", `^user .* from <HOST>\n.*$`, "before <HOST> and behind it"},
		{"bad: what takes the first digit", `^failed from .?<HOST>$`, "may take a part of the address"},
		{"bad: digits before the host", `^failed from \d*<HOST>$`, "may take a part of the address"},
		{"bad: a long bounded repeat before the host", `^login of .{0,200} failed from <HOST>`, "must end with $"},
		{"bad: a lazy one", `^login of .{0,200}? failed from <HOST>`, "must end with $"},
		{"bad: a tail that swallows", `^.* failed from <HOST> user=.*$`, "before <HOST> and behind it"},
		{"OK: digits and colons before, words behind", `^\d+:\d+ <HOST> .*$`, ""},
		{"OK: a tail of words, which hold no address", `^.* failed from <HOST>(?: \w+)*$`, ""},
		{"bad: a tail of anything but dots", `^.* failed from <HOST>[^.]*$`, "before <HOST> and behind it"},
		{"OK: a tail that cannot hold an address", `^Failed \S+ for .* from <HOST> port \d+ ssh2$`, ""},
		{"OK: digits before, text behind", `^\w+:\d+ IP <HOST> Rejected by acl "[^"]*"$`, ""},
		{"OK: further lines", `^user .* from <HOST>\nYou must .*$`, ""},
		{"bad: two hosts", `^<HOST> <ADDR>$`, "more than one <HOST>"},
		{"bad: look-ahead", `^a(?=b) <HOST>$`, "look-ahead ((?=...) is not supported"},
		{"bad: look-behind", `^(?<!a)b <HOST>$`, "look-behind ((?<!...) is not supported"},
		{"bad: a back reference", `^(?P<x>a)(?P=x) <HOST>$`, "a back reference ((?P=...) is not supported"},
		{"bad: a numbered back reference", `^(a)\1 <HOST>$`, "a back reference (\\1) is not supported"},
		{"bad: a possessive quantifier", `^a++ <HOST>$`, "a possessive quantifier"},
		{"bad: Python's end", `^a <HOST>\Z`, "write $"},
		{"bad: an interpolation", `^%(__prefix_line)sa <HOST>$`, "leave it out"},
		{"bad: a token of fail2ban that names no address", `^a <DNS>$`, "<DNS> is not known"},
		{"bad: a misspelt token", `^a <HSOT>$`, "<HSOT> is not known"},
		{"bad: parentheses", `^(a <HOST>$`, "bad regular expression: missing closing )"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := matcher.Compile("p", "failure", tt.regex, false)
			switch {
			case tt.err == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
	if _, err := matcher.Compile("p", "failure", `.* <HOST>`, true); err != nil {
		t.Errorf("unsafe, and refused all the same: %v", err)
	}
}

// Where a session may name the host, a pattern need not: it has none then, and is
// held to the other rules.
func TestCompileSession(t *testing.T) {
	const regex = `^sshd\[\d+\]: Too many authentication failures for (?:invalid user )?<F-USER>.*</F-USER>$`
	if _, err := matcher.Compile("p", "failure", regex, true); err == nil || !strings.Contains(err.Error(), "no <HOST>") {
		t.Errorf("Compile: %v", err)
	}
	p, err := matcher.CompileSession("p", "failure", regex, false)
	if err != nil {
		t.Fatal(err)
	}
	m, ok := p.Match([]byte("sshd[811]: Too many authentication failures for root"))
	if !ok || p.HasHost() || m.Host.IsValid() || m.HostAt != [2]int{} || m.User != "root" {
		t.Errorf("%+v, %v", m, ok)
	}
	if m, ok := p.Match([]byte("sshd[811]: Accepted password for root")); ok {
		t.Errorf("%+v", m)
	}
	if n, next := p.Near([]byte("sshd[811]: Too few")); n != len("sshd[811]: Too ") || next != "many authentication failures for " {
		t.Errorf("agrees with %d bytes, then %q", n, next)
	}
	p, err = matcher.CompileSession("p", "failure", `^sshd\[\d+\]: Connection closed by <HOST>$`, false)
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := p.Match([]byte("sshd[811]: Connection closed by 198.51.100.7")); !ok || !p.HasHost() || m.Host.String() != "198.51.100.7" {
		t.Errorf("%+v, %v", m, ok)
	}
	if m, ok := p.Match([]byte("sshd[811]: Connection closed by 198.51.100.777")); ok {
		t.Errorf("%+v", m)
	}
	for _, regex := range []string{`Too many$`, `^.* from <HOST>`, `^<HSOT>$`} {
		if _, err := matcher.CompileSession("p", "failure", regex, false); err == nil {
			t.Errorf("%s is accepted", regex)
		}
	}
}

// regexes draws regular expressions over a small alphabet.
func regexes(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		kinds := 4
		if depth > 0 {
			kinds = 10
		}
		sub := func() string { return regexes(depth-1).Draw(t, "sub") }
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0, 1:
			return rapid.SampledFrom([]string{"a", "b", "ab", "ba", "k", "s", "é", `\x{FFFD}`, `\.`}).Draw(t, "literal")
		case 2:
			return rapid.SampledFrom([]string{".", `\w`, "[ab]", "[^a]", `\b`, ""}).Draw(t, "class")
		case 3:
			return rapid.SampledFrom([]string{"(?i:ks)", "(?i:ab)", "a{2}", "b{1,3}"}).Draw(t, "special")
		case 4:
			return "(?:" + sub() + "|" + sub() + ")"
		case 5:
			return "(" + sub() + ")"
		case 6:
			return "(?:" + sub() + ")" + rapid.SampledFrom([]string{"*", "+", "?", "{0,2}", "{1,2}", "{2}"}).Draw(t, "repeat")
		default:
			return sub() + sub()
		}
	})
}

// The prefilter's no is the expression's no.
func TestPrefilterIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		regex := "^" + regexes(3).Draw(t, "regex") + ` <HOST>$`
		p, err := matcher.Compile("p", "failure", regex, true)
		if err != nil {
			t.Skip(err)
		}
		text := rapid.StringOfN(rapid.SampledFrom([]rune("abksKSſK é.\uFFFD")), 0, 8, -1).Draw(t, "text")
		if rapid.Bool().Draw(t, "invalid") {
			text += "\xff"
		}
		message := []byte(text + " 198.51.100.7")
		plain := regexp.MustCompile("(?s)" + strings.ReplaceAll(regex, "<HOST>", `[0-9.]+`))
		if _, got := p.Match(message); got != plain.Match(message) {
			t.Fatalf("%s on %q: %v with the prefilter, %v without", regex, message, got, !got)
		}
	})
}

// A Set leaves out no pattern that matches.
func TestSetIsSound(t *testing.T) {
	met := 0
	rapid.Check(t, func(t *rapid.T) {
		var patterns []*matcher.Pattern
		for i := range rapid.IntRange(1, 6).Draw(t, "patterns") {
			regex := rapid.SampledFrom([]string{"^", "^", "^", ""}).Draw(t, "anchor") + regexes(3).Draw(t, "regex") + ` <HOST>$`
			p, err := matcher.Compile(fmt.Sprint(i), "failure", regex, true)
			if err != nil {
				t.Skip(err)
			}
			patterns = append(patterns, p)
		}
		text := rapid.StringOfN(rapid.SampledFrom([]rune("abksKSſK é.\uFFFD")), 0, 8, -1).Draw(t, "text")
		message := []byte(text + " 198.51.100.7")
		may := matcher.NewSet(patterns).May(message, nil)
		if !slices.IsSorted(may) || len(slices.Compact(slices.Clone(may))) != len(may) {
			t.Fatalf("%v is not in order", may)
		}
		for i, p := range patterns {
			if _, ok := p.Match(message); ok {
				if met++; !slices.Contains(may, i) {
					t.Fatalf("%d matches %q and is not among %v", i, message, may)
				}
			}
		}
	})
	if met == 0 {
		t.Error("nothing matched")
	}
}

func TestSet(t *testing.T) {
	var patterns []*matcher.Pattern
	for i, regex := range []string{
		`^\[WARNING\] sofia_reg\.c:\d+ IP <HOST>$`, `^\[WARNING\] sofia\.c:\d+ IP <HOST>$`, `^\[?sshd[^ ]* from <HOST>$`,
		`^\[(?:ERR|WARNING)\] mod_event_socket\.c:\d+ IP <HOST>$`, `^[a-z] <HOST>$`, `^(?i)x <HOST>$`,
	} {
		p, err := matcher.Compile(fmt.Sprint(i), "failure", regex, true)
		if err != nil {
			t.Fatal(err)
		}
		patterns = append(patterns, p)
	}
	set := matcher.NewSet(patterns)
	for message, want := range map[string][]int{
		"":                              {4, 5},
		"[DEBUG] sofia_reg.c:1 IP":      {4, 5},
		"[WARNING] sofia_reg.c:1":       {0, 4, 5},
		"[WARNING] sofia.c:1":           {1, 4, 5},
		"[sshd[7]: from":                {2, 4, 5},
		"sshd[7]: from":                 {2, 4, 5},
		"[ERR] mod_event_socket.c:1":    {3, 4, 5},
		"[WARNING] mod_event_socket.c:": {3, 4, 5},
		"[WARNING] mod_event":           {4, 5},
	} {
		if got := set.May([]byte(message), nil); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", message, got, want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add(authFailure, "[WARNING] sofia_reg.c:1787 SIP auth failure (REGISTER) on sofia profile 'internal' for [1000@pbx] from ip 198.51.100.70")
	f.Add(`^(?i)fail (?:a|b|)+ from <ADDR>$`, "FAIL ab from ::1")
	f.Add(`^x{2,3}[^y]* <F-USER>\w*</F-USER> <IP6>$`, "xx  u ::1")
	f.Fuzz(func(t *testing.T, regex, message string) {
		p, err := matcher.Compile("p", "failure", regex, true)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without text")
			}
			return
		}
		m, ok := p.Match([]byte(message))
		if ok && (!m.Host.IsValid() || m.Host.Is4In6()) {
			t.Errorf("matched host %v", m.Host)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	p, err := matcher.Compile("auth-failure", "failure", authFailure, false)
	if err != nil {
		b.Fatal(err)
	}
	for name, message := range map[string]string{
		"failure": "[WARNING] sofia_reg.c:1787 SIP auth failure (REGISTER) on sofia profile 'internal' for [1000@pbx] from ip 198.51.100.70",
		"other":   "[DEBUG] switch_core_state_machine.c:581 (sofia/internal/1000@pbx) Running State Change CS_NEW (Cur 1 Tot 2)",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Match([]byte(message))
			}
		})
	}
}
