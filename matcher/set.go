package matcher

import (
	"regexp/syntax"
	"slices"
	"strings"
)

// A Set finds out, in one pass over the beginning of a message, which of many
// patterns may match it: nearly every message begins as none of them does. It is
// safe for concurrent use.
type Set struct {
	root   beginning
	always []int // patterns that do not begin with a text
}

// beginning is a text and what goes on behind it.
type beginning struct {
	text     string
	patterns []int // that begin with all the text up to here
	next     []beginning
}

// NewSet returns the Set of patterns.
func NewSet(patterns []*Pattern) *Set {
	s := &Set{}
	for i, p := range patterns {
		if len(p.begins) == 0 {
			s.always = append(s.always, i)
		}
		for _, text := range p.begins {
			s.root.add(text, i)
		}
	}
	return s
}

// May appends to patterns the indices of those that may match the message, in
// ascending order, and returns them. No other matches it.
func (s *Set) May(message []byte, patterns []int) []int {
	n, at := &s.root, 0
	begin := len(patterns)
	patterns = append(patterns, s.always...)
	for n != nil {
		patterns = append(patterns, n.patterns...)
		n = n.behind(message[at:])
		if n != nil {
			at += len(n.text)
		}
	}
	if found := patterns[begin:]; len(found) > 1 {
		slices.Sort(found)
	}
	return patterns
}

// behind returns the beginning with which a message goes on, nil where there is none:
// no two begin with the same byte.
func (n *beginning) behind(message []byte) *beginning {
	for i := range n.next {
		if next := &n.next[i]; len(message) >= len(next.text) && string(message[:len(next.text)]) == next.text {
			return next
		}
	}
	return nil
}

func (n *beginning) add(text string, pattern int) {
	if text == "" {
		if !slices.Contains(n.patterns, pattern) {
			n.patterns = append(n.patterns, pattern)
		}
		return
	}
	for i := range n.next {
		next := &n.next[i]
		same := common(next.text, []byte(text))
		if same == 0 {
			continue
		}
		if same < len(next.text) {
			*next = beginning{text: next.text[:same], next: []beginning{{next.text[same:], next.patterns, next.next}}}
		}
		next.add(text[same:], pattern)
		return
	}
	n.next = append(n.next, beginning{text: text, patterns: []int{pattern}})
}

// maxBegins is how many texts may stand at the beginning of a pattern.
const maxBegins = 64

// begins returns texts with one of which every match of an anchored expression
// begins; none where there are too many, or anything may stand there.
func begins(tree *syntax.Regexp) []string {
	if !anchored(tree, syntax.OpBeginText) {
		return nil
	}
	texts, _ := extend([]string{""}, tree)
	if slices.Contains(texts, "") {
		return nil
	}
	slices.Sort(texts)
	shortest := texts[:1]
	for _, text := range texts[1:] {
		if !strings.HasPrefix(text, shortest[len(shortest)-1]) { // else it adds nothing
			shortest = append(shortest, text)
		}
	}
	return shortest
}

// extend puts what an expression matches behind texts. It reports false where
// that is not all that it matches: then nothing can be put behind it.
func extend(texts []string, re *syntax.Regexp) ([]string, bool) {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginText:
		return texts, true
	case syntax.OpLiteral:
		text, ok := literal(re)
		if !ok {
			return texts, false
		}
		longer := make([]string, len(texts))
		for i := range texts {
			longer[i] = texts[i] + string(text)
		}
		return longer, true
	case syntax.OpCapture:
		return extend(texts, re.Sub[0])
	case syntax.OpPlus:
		texts, _ = extend(texts, re.Sub[0])
		return texts, false
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			var whole bool
			if texts, whole = extend(texts, sub); !whole {
				return texts, false
			}
		}
		return texts, true
	case syntax.OpQuest, syntax.OpAlternate:
		var union []string
		all := true
		for _, sub := range re.Sub {
			branch, whole := extend(texts, sub)
			union, all = append(union, branch...), all && whole
		}
		if re.Op == syntax.OpQuest {
			union = append(union, texts...)
		}
		if len(union) > maxBegins {
			return texts, false
		}
		return union, all
	}
	return texts, false
}
