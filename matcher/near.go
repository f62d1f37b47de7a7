package matcher

import (
	"regexp"
	"regexp/syntax"
)

// A prefix is the beginning of a pattern.
type prefix struct {
	regex   *regexp.Regexp
	literal string // that follows, "" where no literal does
	next    string // what follows, in words
}

// prefixesOf returns the beginnings of an expression, the longest first, that do
// not end in what agrees with everything; the last one is empty.
func prefixesOf(tree *syntax.Regexp) []prefix {
	parts := []*syntax.Regexp{tree}
	if tree.Op == syntax.OpConcat {
		parts = tree.Sub
	}
	var prefixes []prefix
	for n := len(parts) - 1; n > 0; n-- {
		if swallows(parts[n-1]) {
			continue
		}
		begin := &syntax.Regexp{Op: syntax.OpConcat, Flags: tree.Flags, Sub: parts[:n]}
		regex, err := regexp.Compile(begin.String())
		if err != nil {
			continue
		}
		p := prefix{regex: regex, next: next(parts[n:])}
		if parts[n].Op == syntax.OpLiteral {
			p.literal = string(parts[n].Rune)
		}
		prefixes = append(prefixes, p)
	}
	return append(prefixes, prefix{regex: regexp.MustCompile(""), next: next(parts)})
}

// Near tells how far a message that the pattern does not match agrees with it:
// its first matched bytes do, and what is expected next is not there.
func (p *Pattern) Near(message []byte) (matched int, expected string) {
	for _, prefix := range p.prefixes() {
		if at := prefix.regex.FindIndex(message); at != nil && at[0] == 0 {
			agreed := common(prefix.literal, message[at[1]:])
			return at[1] + agreed, prefix.next[agreed:]
		}
	}
	return 0, "" // the empty prefix agrees with every message
}

// swallows reports whether a part agrees with any text.
func swallows(re *syntax.Regexp) bool { return room(re, []rune(" ")) >= endless }

// common returns how many bytes of a text a literal begins with.
func common(literal string, text []byte) int {
	n := 0
	for n < len(literal) && n < len(text) && literal[n] == text[n] {
		n++
	}
	return n
}

// next returns the first part that does not agree with everything.
func next(parts []*syntax.Regexp) string {
	for _, part := range parts {
		switch {
		case part.Op == syntax.OpBeginText:
		case part.Op == syntax.OpEndText:
			return "the end of the record"
		case part.Op == syntax.OpCapture && part.Name == "host":
			return "an address"
		case swallows(part):
		case part.Op == syntax.OpLiteral:
			return string(part.Rune)
		default:
			return part.String()
		}
	}
	return "the end of the record"
}
