package freeswitch

import (
	"fmt"
	"slices"
	"strings"
)

// A parser makes nodes of the text of a reader.
type parser struct {
	*reader
	text string
	// lenient says that the text is not well-formed as a whole: each file must
	// be by itself, and one that is not harms no other.
	lenient bool

	open []element // from the one that holds the root to where we are
	kept int

	next    int   // of the marks
	depths  []int // of open where the inclusions began, up to the one of the mark before
	within  int   // the inclusion where we are
	at      Place
	counted int // in the text, where at is
}

// An element is one that is open.
type element struct {
	node *node // nil where it does not matter
	name string
	at   Place
}

// parse returns the root, nil where there is none.
func (r *reader) parse() *node {
	p := &parser{reader: r, text: r.text.String()}
	if !p.run() {
		p = &parser{reader: r, text: p.text, lenient: true}
		p.run()
	}
	if all := p.open[0].node.children; len(all) > 0 {
		return all[0]
	}
	r.problem(Place{r.inclusions[0].path, 1}, "it holds no element")
	return nil
}

// run parses the text, and reports whether it could. It gives up at the first
// thing that is wrong, unless it is lenient.
func (p *parser) run() bool {
	p.open = []element{{node: new(node)}}
	for at := 0; ; {
		next := strings.IndexByte(p.text[at:], '<')
		if next < 0 {
			break
		}
		at += next
		p.move(at)
		end := len(p.text)
		if p.lenient {
			end = p.inclusions[p.within].end
		}
		t, length, err := readTag(p.text[at:end])
		if err == nil {
			err = p.take(t)
		}
		switch {
		case err == nil:
			at += length
		case !p.lenient:
			return false
		default:
			p.problem(p.at, "%v: the rest of the file is not read", err)
			enough := len(p.problems) == maxProblems || p.kept > maxElements
			p.abandon(p.depths[p.within])
			if enough {
				return true
			}
			at = end
		}
	}
	p.move(len(p.text))
	p.leave(0)
	p.end()
	return len(p.open) == 1
}

// take opens and closes elements.
func (p *parser) take(t tag) error {
	if t.opens {
		switch {
		case len(p.open) > maxNesting:
			return fmt.Errorf("elements are nested deeper than %d", maxNesting)
		case len(p.open) == 1 && len(p.open[0].node.children) > 0:
			return fmt.Errorf("%s stands outside of the root element", shown("<"+t.name+">"))
		}
		n := &node{tag: t.name, attrs: t.attrs, at: p.at}
		if !matters(p.open, n) {
			n = nil
		} else if p.kept++; p.kept > maxElements {
			return fmt.Errorf("there are more than %d elements", maxElements)
		} else {
			n.tag = strings.Clone(n.tag) // lets go of the text
			parent := p.open[len(p.open)-1].node
			parent.children = append(parent.children, n)
		}
		p.open = append(p.open, element{n, t.name, p.at})
	}
	if t.closes {
		last := len(p.open) - 1
		if last == 0 || p.lenient && last < p.depths[p.within] || p.open[last].name != t.name {
			return fmt.Errorf("%s closes no element", shown("</"+t.name+">"))
		}
		p.cut(last)
	}
	return nil
}

// cut closes elements until depth are open. A user without gateways is
// forgotten.
func (p *parser) cut(depth int) {
	for last := len(p.open) - 1; last >= depth; last-- {
		n, parent := p.open[last].node, p.open[last-1].node
		if n != nil && len(n.children) == 0 && slices.Contains(ofUsers, n.tag) {
			parent.children = parent.children[:len(parent.children)-1]
			p.kept--
		}
		p.open = p.open[:last]
	}
}

// abandon cuts elements that are not closed.
func (p *parser) abandon(depth int) {
	for _, e := range p.open[depth:] {
		if e.node != nil {
			e.node.broken = true
		}
	}
	p.cut(depth)
}

// move goes on to a place in the text, through the beginnings and ends of files.
func (p *parser) move(to int) {
	for ; p.next < len(p.marks) && p.marks[p.next].at <= to; p.next++ {
		m := p.marks[p.next]
		file := p.inclusions[m.inclusion]
		if m.inclusion == len(p.depths) { // it begins
			p.leave(file.parent)
			p.depths = append(p.depths, len(p.open))
			p.within = m.inclusion
		} else {
			p.leave(m.inclusion)
		}
		p.at, p.counted = Place{file.path, m.line}, m.at
	}
	p.at.Line += strings.Count(p.text[p.counted:to], "\n")
	p.counted = to
}

// leave ends the files where we are, up to one that goes on.
func (p *parser) leave(to int) {
	for p.within != to {
		p.end()
		p.within = p.inclusions[p.within].parent
	}
}

// end closes what the file where we are left open.
func (p *parser) end() {
	depth := p.depths[p.within]
	if !p.lenient || len(p.open) <= depth {
		return
	}
	if !p.stopped { // else it may be closed in what was not read
		e := p.open[depth]
		p.problem(e.at, "%s is not closed in this file", shown("<"+e.name+">"))
	}
	p.abandon(depth)
}
