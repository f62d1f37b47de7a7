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
	class set    // one, most, fewest
	may   set    // the bytes that a message may go on with, from this step on
	sure  bool   // most, fewest: what follows can only stand behind all of them
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

// A set is one of bytes and of the end of a message. Of a class of characters, either
// all bytes beyond ASCII are in it, or none.
type set [5]uint64

const ending = 256

func (s *set) has(c int) bool { return s[c/64]>>(c%64)&1 != 0 }
func (s *set) add(c int)      { s[c/64] |= 1 << (c % 64) }

func (s set) or(t set) set {
	for i := range s {
		s[i] |= t[i]
	}
	return s
}

// all is whatever there is.
var all = set{1<<64 - 1, 1<<64 - 1, 1<<64 - 1, 1<<64 - 1, 1}

// at returns what stands at a place of a message.
func at(message []byte, pos int) int {
	if pos == len(message) {
		return ending
	}
	return int(message[pos])
}

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
	p.look()
	for i := range p.steps {
		s := &p.steps[i]
		if s.kind != most && s.kind != fewest {
			continue
		}
		next := &p.steps[s.next].may
		// Where a character of several bytes begins is not looked at: what follows
		// many of them must tell.
		if s.class.has(utf8.RuneSelf) && next.has(utf8.RuneSelf) {
			return nil
		}
		s.sure = true
		for c := range ending {
			s.sure = s.sure && !(s.class.has(c) && next.has(c))
		}
	}
	return p
}

// newStep returns the step of an instruction, and false where there is none.
func newStep(all []syntax.Inst, at int) (step, bool) {
	i := &all[at]
	s := step{next: int(i.Out)}
	switch i.Op {
	case syntax.InstAlt:
		s.kind, s.other = either, int(i.Arg)
		for _, loop := range []struct {
			kind           stepKind
			repeated, next uint32
		}{{most, i.Out, i.Arg}, {fewest, i.Arg, i.Out}} {
			if again := &all[loop.repeated]; int(again.Out) == at {
				if class, ok := newClass(again); ok {
					s.kind, s.next, s.class = loop.kind, int(loop.next), class
				}
			}
		}
	case syntax.InstCapture:
		s.kind, s.slot = note, int(i.Arg)
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
		s.kind = one
	default:
		if i.Op == syntax.InstRune1 && i.Rune[0] < utf8.RuneSelf {
			s.kind, s.text = exactly, []byte{byte(i.Rune[0])}
			return s, true
		}
		var ok bool
		s.kind = one
		s.class, ok = newClass(i)
		return s, ok
	}
	return s, true
}

// newClass returns the characters of an instruction, and false where it is for none,
// or for some of those beyond ASCII.
func newClass(i *syntax.Inst) (class set, ok bool) {
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
			return class, false
		}
	default:
		return class, false
	}
	for b := range ending {
		if b < utf8.RuneSelf && i.MatchRune(rune(b)) || b >= utf8.RuneSelf && beyond {
			class.add(b)
		}
	}
	return class, true
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

// look finds out what a message may go on with from each step on.
func (p *program) look() {
	for changed := true; changed; {
		changed = false
		for i := range p.steps {
			s := &p.steps[i]
			if may := p.begins(s); may != s.may {
				s.may, changed = may, true
			}
		}
	}
}

// begins returns what a message may go on with, by what is known of the steps behind.
func (p *program) begins(s *step) set {
	next, other := p.steps[s.next].may, p.steps[s.other].may
	switch s.kind {
	case exactly:
		var may set
		may.add(int(s.text[0]))
		return may
	case one:
		return s.class
	case most, fewest:
		return s.class.or(next)
	case either:
		return next.or(other)
	case end:
		var may set
		may.add(ending)
		return may
	case match:
		return all
	}
	return next
}

// A way is one that was not tried yet.
type way struct {
	step     int
	from, to int // where it may go on; of a note, to is what is restored
}

// find looks for the expression in a message. Not tried means that there are so many
// ways that package regexp is faster, which never takes one twice.
func (p *program) find(message []byte) (where notes, found, tried bool) {
	var room [32]way
	ways := room[:0]
	work := 4096 + 16*len(message)
	where = nowhere
	here, pos := p.start, 0
	for ; work > 0; work-- {
		s := &p.steps[here]
		ok := true
		switch s.kind {
		case exactly:
			if ok = bytes.HasPrefix(message[pos:], s.text); ok {
				pos += len(s.text)
			}
		case one:
			if ok = s.class.has(at(message, pos)); ok {
				size := 1
				if message[pos] >= utf8.RuneSelf {
					_, size = utf8.DecodeRune(message[pos:])
				}
				pos += size
			}
		case most, fewest:
			to := pos
			for s.class.has(at(message, to)) {
				to++
			}
			work -= to - pos
			if s.sure {
				pos = to
			} else {
				ways, ok = append(ways, way{here, pos, to}), false
			}
		case either:
			switch c := at(message, pos); {
			case !p.steps[s.next].may.has(c):
				here = s.other
				continue
			case p.steps[s.other].may.has(c):
				ways = append(ways, way{here, pos, pos})
			}
		case note:
			ways = append(ways, way{here, pos, where[s.slot]})
			where[s.slot] = pos
		case begin:
			ok = pos == 0
		case end:
			ok = pos == len(message)
		case match:
			return where, true, true
		}
		if ok {
			here = s.next
		} else if here, pos, ok = p.back(message, &ways, &where, &work); !ok {
			return where, false, true
		}
	}
	return where, false, false
}

// back takes the newest of the ways and returns the step with which it goes on, and
// where; false where none is left.
func (p *program) back(message []byte, ways *[]way, where *notes, work *int) (here, pos int, ok bool) {
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
			where[s.slot] = w.to
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
