package matcher

import (
	"bytes"
	"regexp/syntax"
	"unicode/utf8"
)

// A program runs the regular expression of a pattern. It tries one way after the
// other, as package regexp does and with the same result, but takes literals and
// repeated characters at once, and notes only where the host and the user are.
type program struct {
	steps []step
	start int
}

// A step is what a message must go on with.
type step struct {
	kind  stepKind
	next  int
	other int    // either
	slot  int    // note
	text  []byte // exactly
	class class  // one, most, fewest
}

type stepKind byte

const (
	pass    stepKind = iota // nothing: taken out
	exactly                 // a text
	one                     // a character of a class
	most                    // as many of them as there are, or fewer
	fewest                  // none of them, or more
	either                  // what is next, or what the other step says
	note                    // here the host or the user begins or ends
	begin                   // nothing before
	end                     // nothing behind
	match                   // whatever there is
)

// A class tells of each byte whether it is a character of the class, or a part of
// one: either all bytes beyond ASCII are, or none.
type class *[256]bool

// Notes are where the host and the user begin and end in a message, below 0 what is
// not there.
type notes [4]int

const (
	hostSlot = 0
	userSlot = 2
)

var nowhere = notes{-1, -1, -1, -1}

// newProgram returns the program of an expression in which host and user are the
// numbers of groups, below 1 where there is none. It returns nil for an expression
// that is not anchored at its beginning, or asks for more than programs can: then
// package regexp has to do.
func newProgram(tree *syntax.Regexp, host, user int) *program {
	compiled, err := syntax.Compile(tree.Simplify())
	if err != nil || compiled.StartCond()&syntax.EmptyBeginText == 0 {
		return nil
	}
	p := &program{start: compiled.Start, steps: make([]step, len(compiled.Inst))}
	for i := range p.steps {
		var ok bool
		if p.steps[i], ok = newStep(compiled.Inst, i); !ok {
			return nil
		}
		if s := &p.steps[i]; s.kind == note {
			switch s.slot / 2 {
			case host:
				s.slot = hostSlot + s.slot%2
			case user:
				s.slot = userSlot + s.slot%2
			default:
				s.kind = pass
			}
		}
	}
	p.join()
	for _, s := range p.steps {
		if (s.kind == most || s.kind == fewest) && s.class[utf8.RuneSelf] && !p.narrow(s.next, make([]bool, len(p.steps))) {
			return nil
		}
	}
	return p
}

// newStep returns the step of an instruction, and false where there is none.
func newStep(all []syntax.Inst, at int) (step, bool) {
	i := &all[at]
	s := step{next: int(i.Out), other: int(i.Arg), slot: int(i.Arg)}
	switch i.Op {
	case syntax.InstAlt:
		s.kind = either
		for _, loop := range []struct {
			kind           stepKind
			repeated, next uint32
		}{{most, i.Out, i.Arg}, {fewest, i.Arg, i.Out}} {
			if again := &all[loop.repeated]; int(again.Out) == at {
				if c := newClass(again); c != nil {
					s.kind, s.next, s.class = loop.kind, int(loop.next), c
				}
			}
		}
	case syntax.InstCapture:
		s.kind = note
	case syntax.InstEmptyWidth:
		switch syntax.EmptyOp(i.Arg) {
		case syntax.EmptyBeginText:
			s.kind = begin
		case syntax.EmptyEndText:
			s.kind = end
		default:
			return s, false
		}
	case syntax.InstMatch:
		s.kind = match
	case syntax.InstNop:
		s.kind = pass
	case syntax.InstFail: // package syntax puts one at the beginning of each program
		s.kind, s.class = one, new([256]bool)
	default:
		if i.Op == syntax.InstRune1 && i.Rune[0] < utf8.RuneSelf {
			s.kind, s.text = exactly, []byte{byte(i.Rune[0])}
			return s, true
		}
		s.kind, s.class = one, newClass(i)
		return s, s.class != nil
	}
	return s, true
}

// newClass returns the class of an instruction, and nil where it is for no
// character, or for some of those beyond ASCII.
func newClass(i *syntax.Inst) class {
	beyond := false
	switch i.Op {
	case syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		beyond = true
	case syntax.InstRune, syntax.InstRune1:
		last := len(i.Rune) - 1
		if last > 0 {
			beyond = i.Rune[last] == utf8.MaxRune && i.Rune[last-1] <= utf8.RuneSelf
		}
		// K also stands for the sign of the Kelvin, where case is folded.
		folded := syntax.Flags(i.Arg)&syntax.FoldCase != 0 && (i.MatchRune('k') || i.MatchRune('s'))
		if last < 0 || folded || !beyond && i.Rune[last] >= utf8.RuneSelf {
			return nil
		}
	default:
		return nil
	}
	c := new([256]bool)
	for b := range c {
		c[b] = beyond
		if b < utf8.RuneSelf {
			c[b] = i.MatchRune(rune(b))
		}
	}
	return c
}

// join takes out steps that are nothing and makes one of literals in a row.
func (p *program) join() {
	behind := func(at int) int {
		for p.steps[at].kind == pass {
			at = p.steps[at].next
		}
		return at
	}
	p.start = behind(p.start)
	for i := range p.steps {
		s := &p.steps[i]
		s.next = behind(s.next)
		if s.kind == either {
			s.other = behind(s.other)
		}
	}
	for i := range p.steps {
		if s := &p.steps[i]; s.kind == exactly {
			for next := &p.steps[s.next]; next.kind == exactly; next = &p.steps[s.next] {
				s.text, s.next = append(s.text, next.text...), next.next
			}
		}
	}
}

// narrow reports whether what a step goes on with begins with a character of ASCII.
// Then it cannot be found within a character of several bytes, and nobody has to
// look where those begin.
func (p *program) narrow(at int, seen []bool) bool {
	if seen[at] {
		return true
	}
	seen[at] = true
	switch s := &p.steps[at]; s.kind {
	case one:
		return !s.class[utf8.RuneSelf]
	case most, fewest:
		return !s.class[utf8.RuneSelf] && p.narrow(s.next, seen)
	case either:
		return p.narrow(s.next, seen) && p.narrow(s.other, seen)
	case note:
		return p.narrow(s.next, seen)
	}
	return true
}

// A way is one that was not tried yet.
type way struct {
	step     int
	from, to int // where it may go on; of a note, to is what is restored
}

// find looks for the expression in a message. Not tried means that there are so many
// ways that package regexp is faster, which never takes one twice.
func (p *program) find(message []byte) (at notes, found, tried bool) {
	var room [32]way
	ways := room[:0]
	work := 4096 + 16*len(message)
	at = nowhere
	here, pos := p.start, 0
	for {
		s := &p.steps[here]
		ok := true
		switch s.kind {
		case exactly:
			if ok = bytes.HasPrefix(message[pos:], s.text); ok {
				pos += len(s.text)
			}
		case one:
			if ok = pos < len(message) && s.class[message[pos]]; ok {
				size := 1
				if message[pos] >= utf8.RuneSelf {
					_, size = utf8.DecodeRune(message[pos:])
				}
				pos += size
			}
		case most, fewest:
			to := pos
			for to < len(message) && s.class[message[to]] {
				to++
			}
			work -= to - pos
			ways, ok = append(ways, way{here, pos, to}), false
		case either:
			ways = append(ways, way{here, pos, pos})
		case note:
			ways = append(ways, way{here, pos, at[s.slot]})
			at[s.slot] = pos
		case begin:
			ok = pos == 0
		case end:
			ok = pos == len(message)
		case match:
			return at, true, true
		}
		if ok {
			here = s.next
		} else if here, pos, ok = p.back(message, &ways, &at, &work); !ok {
			return at, false, true
		}
		if work--; work < 0 {
			return at, false, false
		}
	}
}

// back takes the newest of the ways and returns the step with which it goes on, and
// where; false where none is left.
func (p *program) back(message []byte, ways *[]way, at *notes, work *int) (here, pos int, ok bool) {
	for len(*ways) > 0 {
		last := len(*ways) - 1
		w := &(*ways)[last]
		s := &p.steps[w.step]
		next := &p.steps[s.next]
		more := false
		switch s.kind {
		case either:
			here, pos, ok = s.other, w.from, true
		case note:
			at[s.slot] = w.to
		case most:
			here, pos, ok = s.next, w.to, true
			if next.kind == exactly {
				found := bytes.LastIndex(message[w.from:min(w.to+len(next.text), len(message))], next.text)
				pos, ok = w.from+found, found >= 0
			}
			*work -= w.to - pos
			w.to, more = pos-1, ok && pos > w.from
		case fewest:
			here, pos, ok = s.next, w.from, true
			if next.kind == exactly {
				found := bytes.Index(message[w.from:min(w.to+len(next.text), len(message))], next.text)
				pos, ok = w.from+found, found >= 0
			}
			*work -= pos - w.from
			w.from, more = pos+1, ok && pos < w.to
		}
		if !more {
			*ways = (*ways)[:last]
		}
		if ok {
			return here, pos, true
		}
	}
	return 0, 0, false
}
