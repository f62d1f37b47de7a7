package matcher

import (
	"regexp"
	"regexp/syntax"
)

// Near tells how far a message that the pattern does not match agrees with it:
// its first matched bytes do, and what is expected next is not there. It
// compiles expressions and is meant for people who look for a mistake.
func (p *Pattern) Near(message []byte) (matched int, expected string) {
	tree, err := syntax.Parse(p.regex.String(), syntax.Perl)
	if err != nil || tree.Op != syntax.OpConcat {
		return 0, p.regex.String()
	}
	parts := tree.Sub
	for n := len(parts) - 1; n > 0; n-- {
		if swallows(parts[n-1]) {
			continue // it agrees with everything
		}
		prefix := &syntax.Regexp{Op: syntax.OpConcat, Flags: tree.Flags, Sub: parts[:n]}
		begin, err := regexp.Compile(prefix.String())
		if err != nil {
			continue
		}
		if at := begin.FindIndex(message); at != nil && at[0] == 0 {
			agreed := common(parts[n], message[at[1]:])
			return at[1] + agreed, next(parts[n:])[agreed:]
		}
	}
	return 0, next(parts)
}

// swallows reports whether a part agrees with any text.
func swallows(re *syntax.Regexp) bool { return room(re, []rune(" ")) >= endless }

// common returns how many bytes of a text a literal begins with.
func common(re *syntax.Regexp, text []byte) int {
	if re.Op != syntax.OpLiteral {
		return 0
	}
	literal := string(re.Rune)
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
