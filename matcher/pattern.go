package matcher

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
)

// A Pattern finds one kind of failure in the message of a record. It is safe
// for concurrent use.
type Pattern struct {
	Name string
	Kind string // failures of different kinds are counted apart

	regex      *regexp.Regexp
	program    func() *program // of the same; nil where regex has to do
	host, user int             // groups; -1 and 0 where the pattern has none
	begins     []string        // see Set
	needs      prefilter
	prefixes   func() []prefix // see Near

	event *Conditions // in place of all that: it is for events
}

// A Match is what a pattern found in a record.
type Match struct {
	Host netip.Addr // unmapped, without zone; not valid where the pattern has none
	Bits int        // of the prefix that the record names; 0 where it names an address
	User string     // as the record spells it: hostile text

	// HostAt and UserAt are where they stand in the message: [start, end).
	HostAt, UserAt [2]int
}

// ip4 and ip6 are what may be an address; a port or a dot behind an IPv4 address
// is not a part of it.
const (
	ip4 = `[0-9]{1,3}(?:\.[0-9]{1,3}){3}`
	ip6 = `[0-9A-Fa-f]*:[0-9A-Fa-f:.]*`
)

// tokens are what a pattern may hold besides a Go regular expression. An
// address is recognised by its characters and then parsed: a host name, or
// text that only looks like an address, is no match and never resolved.
var tokens = strings.NewReplacer(
	"<HOST>", `\[?(?P<host>`+ip4+`|`+ip6+`)\]?`,
	"<ADDR>", `\[?(?P<host>`+ip4+`|`+ip6+`)\]?`,
	"<IP4>", `(?P<host>`+ip4+`)`,
	"<IP6>", `\[?(?P<host>`+ip6+`)\]?`,
	"<SUBNET>", `\[?(?P<host>(?:`+ip4+`|`+ip6+`)(?:/[0-9]{1,3})?)\]?`,
	"<USER>", `(?P<user>\S+)`,
	"<F-USER>", `(?P<user>`,
	"</F-USER>", `)`,
)

// namedTag is fail2ban's way to name any part of a record.
var namedTag = regexp.MustCompile(`<(/?)F-([A-Z][A-Z0-9_]*)>`)

// unknownTag is what looks like a token and is none.
var unknownTag = regexp.MustCompile(`</?[A-Z][A-Z0-9_-]*>`)

// expand replaces the tokens of a pattern.
func expand(regex string) string {
	return namedTag.ReplaceAllStringFunc(tokens.Replace(regex), func(tag string) string {
		parts := namedTag.FindStringSubmatch(tag)
		if parts[1] == "/" {
			return ")"
		}
		return "(?P<" + strings.ToLower(parts[2]) + ">"
	})
}

// Compile makes a pattern of a Go (RE2) regular expression that may hold
// <HOST>, <ADDR>, <IP4>, <IP6>, <SUBNET>, <USER>, <F-USER>...</F-USER> and
// other <F-NAME>...</F-NAME>, as fail2ban's failregex may. It is matched
// against the whole message: ^ and $ are its ends, and . matches a newline too.
//
// A pattern in which an attacker could choose what is taken for the host is an
// error unless unsafe is set: it must be anchored at its start, and at its end
// too where something of any length stands before the host.
func Compile(name, kind, regex string, unsafe bool) (*Pattern, error) {
	return compile(name, kind, regex, unsafe, true)
}

// CompileSession is Compile for a format that tells sessions, see [TellsSession]:
// the pattern need not have a host, as another record of the session may name it.
// It must be anchored at its start all the same.
func CompileSession(name, kind, regex string, unsafe bool) (*Pattern, error) {
	return compile(name, kind, regex, unsafe, false)
}

func compile(name, kind, regex string, unsafe, needHost bool) (*Pattern, error) {
	expanded := expand(regex)
	if tag := unknownTag.FindString(expanded); tag != "" {
		return nil, fmt.Errorf("%s is not known; write <HOST>, <ADDR>, <IP4>, <IP6> or <SUBNET> for the host, and <F-USER>...</F-USER> for the user", tag)
	}
	if strings.Contains(regex, "%(") {
		return nil, errors.New("%(...)s is an interpolation of fail2ban, which band does not have; leave it out: time, syslog header and the like are taken off before a pattern is matched")
	}
	tree, err := syntax.Parse(expanded, syntax.Perl|syntax.DotNL)
	if err != nil {
		return nil, explain(regex, expanded, err)
	}
	compiled, err := regexp.Compile("(?s)" + expanded)
	if err != nil {
		return nil, explain(regex, expanded, err)
	}
	p := &Pattern{Name: name, Kind: kind, regex: compiled,
		host: compiled.SubexpIndex("host"), user: max(compiled.SubexpIndex("user"), 0)}
	if hosts := slices.DeleteFunc(compiled.SubexpNames(), func(name string) bool { return name != "host" }); len(hosts) > 1 {
		return nil, errors.New("the pattern has more than one <HOST>; write one pattern for each")
	}
	if needHost && !p.HasHost() {
		return nil, errors.New("the pattern has no <HOST>: it cannot tell whom to ban")
	}
	if !unsafe {
		if err := lint(tree); err != nil {
			return nil, err
		}
	}
	p.program = sync.OnceValue(func() *program { return newProgram(tree, p.host, p.user) })
	p.begins = begins(tree)
	p.needs = newPrefilter(tree.Simplify())
	p.prefixes = sync.OnceValue(func() []prefix { return prefixesOf(tree) })
	return p, nil
}

// HasHost reports whether the pattern names the host. A match of one that does
// not has none.
func (p *Pattern) HasHost() bool { return p.host >= 0 }

// Match looks for the pattern in the message of a record: the text of an event, where
// it is for events.
func (p *Pattern) Match(message []byte) (Match, bool) {
	if p.event != nil {
		return p.event.match(message)
	}
	if !p.needs.pass(message) {
		return Match{}, false
	}
	at, ok := p.find(message)
	if !ok || p.HasHost() && at[hostSlot] < 0 {
		return Match{}, false
	}
	var m Match
	if p.HasHost() {
		m.HostAt = [2]int{at[hostSlot], at[hostSlot+1]}
		if m.Host, m.Bits, ok = parseHost(string(message[m.HostAt[0]:m.HostAt[1]])); !ok {
			return Match{}, false
		}
	}
	if at[userSlot] >= 0 {
		m.UserAt = [2]int{at[userSlot], at[userSlot+1]}
		m.User = string(message[m.UserAt[0]:m.UserAt[1]])
	}
	return m, true
}

// find looks for the expression in a message, and returns where the host and the
// user are.
func (p *Pattern) find(message []byte) (at notes, found bool) {
	if program := p.program(); program != nil {
		if at, found, tried := program.find(message); tried {
			return at, found
		}
	}
	at = nowhere
	groups := p.regex.FindSubmatchIndex(message)
	if groups == nil {
		return at, false
	}
	if p.HasHost() {
		copy(at[hostSlot:], groups[2*p.host:][:2])
	}
	if p.user > 0 {
		copy(at[userSlot:], groups[2*p.user:][:2])
	}
	return at, true
}

// parseHost reads an address, or a prefix with its length.
func parseHost(text string) (host netip.Addr, bits int, ok bool) {
	if !strings.Contains(text, "/") {
		host, err := netip.ParseAddr(text)
		return host.Unmap(), 0, err == nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil || prefix.Bits() == 0 || prefix.Addr().Is4In6() {
		return netip.Addr{}, 0, false
	}
	return prefix.Masked().Addr(), prefix.Bits(), true
}

// explain says in an operator's words what is wrong with a regular expression.
func explain(regex, expanded string, err error) error {
	for _, python := range []struct{ text, name string }{
		{"(?=", "look-ahead"}, {"(?!", "look-ahead"}, {"(?<=", "look-behind"}, {"(?<!", "look-behind"},
		{"(?P=", "a back reference"}, {"(?(", "a conditional"}, {"(?#", "a comment group"},
	} {
		if strings.Contains(regex, python.text) {
			return fmt.Errorf("%s (%s...) is not supported by Go's regular expressions; rewrite the pattern without it", python.name, python.text)
		}
	}
	switch {
	case regexp.MustCompile(`\\[1-9]`).MatchString(regex):
		return errors.New("a back reference (\\1) is not supported by Go's regular expressions; rewrite the pattern without it")
	case strings.Contains(regex, `\Z`):
		return errors.New("\\Z does not exist in Go's regular expressions; write $")
	case regexp.MustCompile(`[*+?}]\+`).MatchString(regex):
		return errors.New("a possessive quantifier (++ or *+) is not supported by Go's regular expressions; leave out the second +")
	}
	var syntaxErr *syntax.Error
	if errors.As(err, &syntaxErr) {
		if syntaxErr.Expr == expanded {
			syntaxErr.Expr = regex
		}
		return fmt.Errorf("bad regular expression: %s: `%s`", syntaxErr.Code, syntaxErr.Expr)
	}
	return fmt.Errorf("bad regular expression: %w", err)
}

// lint refuses patterns whose host an attacker could choose.
func lint(tree *syntax.Regexp) error {
	const orUnsafe = " (or set unsafe = true if nobody outside can write into this log)"
	if !anchored(tree, syntax.OpBeginText) {
		return errors.New("the pattern must begin with ^: unanchored, it would match text that an attacker puts into the record" + orUnsafe)
	}
	before, after, cut := around(tree)
	switch {
	case cut:
		return errors.New("what stands directly before <HOST> may take a part of the address; put something between that no address holds" + orUnsafe)
	case before && !anchored(tree, syntax.OpEndText):
		return errors.New("the pattern must end with $: something of any length stands before <HOST>, so an attacker could write an address of his choice behind it" + orUnsafe)
	case before && after:
		return errors.New("something of any length stands before <HOST> and behind it, so an attacker could write an address of his choice into either; say more exactly what may stand behind it" + orUnsafe)
	}
	return nil
}

// anchored reports whether every match of the expression touches that end of
// the text.
func anchored(re *syntax.Regexp, end syntax.Op) bool {
	switch re.Op {
	case end:
		return true
	case syntax.OpCapture, syntax.OpPlus:
		return anchored(re.Sub[0], end)
	case syntax.OpConcat:
		if end == syntax.OpBeginText {
			return anchored(re.Sub[0], end)
		}
		return anchored(re.Sub[len(re.Sub)-1], end)
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if !anchored(sub, end) {
				return false
			}
		}
		return true
	}
	return false
}

// shortest is the length of the shortest address, 0.0.0.0 or longer; what is
// shorter cannot hold another one.
const shortest = len("0.0.0.0")

// around looks at what stands around the host. before and after report whether
// text may stand there in which a caller could write another address, together
// with the text by which the pattern finds the host. A line that does not begin
// with a space or a tab ends what callers can write behind the host. cut reports
// whether what stands directly before the host may take its first digits.
func around(tree *syntax.Regexp) (before, after, cut bool) {
	var parts []*syntax.Regexp
	flatten(tree, &parts)
	host := slices.IndexFunc(parts, func(re *syntax.Regexp) bool { return re.Op == syntax.OpCapture && re.Name == "host" })
	if host < 0 {
		return false, false, false // within a repeat or an alternative: Compile found it there
	}
	left := host - 1
	if left >= 0 && parts[left].Op == syntax.OpQuest && parts[left].Sub[0].Op == syntax.OpLiteral {
		left-- // the bracket of the token
	}
	var needed []rune
	if left >= 0 && parts[left].Op == syntax.OpLiteral {
		needed = parts[left].Rune
	} else if left >= 0 {
		cut = holds(parts[left], '1')
	}
	length := 0
	for _, part := range parts[:host] {
		length += room(part, needed)
	}
	before = length >= shortest
	length = 0
	for _, part := range parts[host+1:] {
		if part.Op == syntax.OpLiteral && fence(part.Rune) {
			break
		}
		length += room(part, needed)
	}
	return before, length >= shortest, cut
}

// flatten lists the parts that follow each other in the expression.
func flatten(re *syntax.Regexp, parts *[]*syntax.Regexp) {
	if re.Op == syntax.OpConcat || re.Op == syntax.OpCapture && re.Name != "host" {
		for _, sub := range re.Sub {
			flatten(sub, parts)
		}
		return
	}
	*parts = append(*parts, re)
}

// fence reports whether a literal begins a line that no caller can begin.
func fence(literal []rune) bool {
	i := slices.Index(literal, '\n')
	return i >= 0 && i+1 < len(literal) && literal[i+1] != ' ' && literal[i+1] != '\t'
}

// endless is more room than matters.
const endless = 1 << 16

// room returns how many characters an expression may match, when an address and
// all of needed may be among them, and 0 when not.
func room(re *syntax.Regexp, needed []rune) int {
	address := holds(re, '1') && (holds(re, '.') || holds(re, ':'))
	if !address || slices.ContainsFunc(needed, func(r rune) bool { return !holds(re, r) }) {
		return 0
	}
	return width(re)
}

// width returns the greatest length that an expression matches, up to endless.
func width(re *syntax.Regexp) int {
	n := 0
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL, syntax.OpCharClass:
		n = 1
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpStar, syntax.OpPlus:
		n = endless
	case syntax.OpRepeat:
		n = endless
		if re.Max >= 0 {
			n = re.Max * width(re.Sub[0])
		}
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			n = max(n, width(sub))
		}
	default:
		for _, sub := range re.Sub {
			n += width(sub)
		}
	}
	return min(n, endless)
}

// holds reports whether a match of the expression may hold the character.
func holds(re *syntax.Regexp, r rune) bool {
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return true
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune); i += 2 {
			if re.Rune[i] <= r && r <= re.Rune[i+1] {
				return true
			}
		}
		return false
	case syntax.OpLiteral:
		return slices.Contains(re.Rune, r)
	}
	return slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return holds(sub, r) })
}
