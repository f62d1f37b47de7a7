package matcher

import (
	"bytes"
	"regexp/syntax"
	"slices"
)

// A prefilter holds texts of which a pattern needs at least one of each set:
// looking for them is far cheaper than the regular expression. It never
// refuses a message that the expression matches.
type prefilter []literals

// literals is a set of texts; a message must hold one of them.
type literals [][]byte

func newPrefilter(re *syntax.Regexp) prefilter {
	sets := required(re)
	// Long texts are rarer than short ones, and one is found faster than several.
	slices.SortStableFunc(sets, func(a, b literals) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return b.shortest() - a.shortest()
	})
	return sets
}

func (p prefilter) pass(message []byte) bool {
	for _, set := range p {
		if !slices.ContainsFunc(set, func(text []byte) bool { return bytes.Contains(message, text) }) {
			return false
		}
	}
	return true
}

func (l literals) shortest() int {
	return len(slices.MinFunc(l, func(a, b []byte) int { return len(a) - len(b) }))
}

// required returns the sets of texts without which the expression cannot match.
func required(re *syntax.Regexp) prefilter {
	switch re.Op {
	case syntax.OpLiteral:
		if text, ok := literal(re); ok {
			return prefilter{{text}}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return required(re.Sub[0])
		}
	case syntax.OpConcat:
		return requiredOfAll(re.Sub)
	case syntax.OpAlternate:
		// One set of each branch, together: whichever branch matches, one of
		// them is there. A branch that needs nothing leaves nothing to look for.
		var union literals
		for _, sub := range re.Sub {
			sets := newPrefilter(sub)
			if len(sets) == 0 {
				return nil
			}
			union = append(union, sets[0]...)
		}
		return prefilter{union}
	}
	return nil
}

// requiredOfAll joins neighbouring literals into longer ones.
func requiredOfAll(subs []*syntax.Regexp) (sets prefilter) {
	var run []byte
	flush := func() {
		if len(run) > 0 {
			sets = append(sets, literals{run})
			run = nil
		}
	}
	for _, sub := range subs {
		switch sub.Op {
		case syntax.OpEmptyMatch, syntax.OpBeginText, syntax.OpEndText, syntax.OpBeginLine, syntax.OpEndLine,
			syntax.OpWordBoundary, syntax.OpNoWordBoundary:
			continue // of zero width
		case syntax.OpLiteral:
			if text, ok := literal(sub); ok {
				run = append(run, text...)
				continue
			}
		}
		flush()
		sets = append(sets, required(sub)...)
	}
	flush()
	return sets
}

// literal returns the bytes of a literal that stands for itself alone. One
// that ignores case does not, nor does U+FFFD, which matches any invalid byte.
func literal(re *syntax.Regexp) ([]byte, bool) {
	if re.Flags&syntax.FoldCase != 0 || slices.Contains(re.Rune, '\uFFFD') {
		return nil, false
	}
	return []byte(string(re.Rune)), true
}
