package journal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Match chooses entries, as the match terms of journalctl(1) do. The zero
// Match chooses every entry.
type Match struct {
	alternatives []alternative
}

// An alternative asks for one of some values in each of its fields, which are
// sorted by name.
type alternative []choice

type choice struct {
	field  string
	values []string
}

// ParseMatch reads match terms: FIELD=VALUE, of any bytes but NUL in the value.
// Different fields must all agree, of the same field one value suffices, and "+"
// stands between alternatives.
func ParseMatch(terms []string) (Match, error) {
	var m Match
	var next alternative
	for _, term := range terms {
		if term == "+" {
			if len(next) == 0 {
				return Match{}, errors.New(`"+" must stand between two terms`)
			}
			m.alternatives = append(m.alternatives, next)
			next = nil
			continue
		}
		field, value, found := strings.Cut(term, "=")
		switch {
		case !found:
			return Match{}, fmt.Errorf(`%q is no match term: write FIELD=VALUE, or "+" between alternatives`, term)
		case !isName([]byte(field)) || field[0] >= '0' && field[0] <= '9' || strings.HasPrefix(field, "__"):
			return Match{}, fmt.Errorf("%q cannot be a field that is matched", field)
		case strings.ContainsRune(value, 0):
			return Match{}, fmt.Errorf("%q holds a NUL", term)
		}
		next = next.with(field, value)
	}
	if len(next) == 0 {
		return Match{}, errors.New("match terms are missing")
	}
	m.alternatives = append(m.alternatives, next)
	return m, nil
}

// with returns a with one more value of a field.
func (a alternative) with(field, value string) alternative {
	i, found := slices.BinarySearchFunc(a, field, func(c choice, name string) int { return strings.Compare(c.field, name) })
	if !found {
		a = slices.Insert(a, i, choice{field: field})
	}
	if !slices.Contains(a[i].values, value) {
		a[i].values = append(a[i].values, value)
	}
	return a
}

// Matches reports whether m chooses e.
func (m Match) Matches(e Entry) bool {
	return len(m.alternatives) == 0 || slices.ContainsFunc(m.alternatives, func(a alternative) bool { return a.matches(e) })
}

func (a alternative) matches(e Entry) bool {
	for _, c := range a {
		if !slices.ContainsFunc(c.values, func(value string) bool { return e.has(c.field, value) }) {
			return false
		}
	}
	return true
}

func (e Entry) has(field, value string) bool {
	if field == "MESSAGE" {
		return e.Message != nil && string(e.Message) == value
	}
	return slices.Contains(e.Fields, Field{field, value})
}

// allows reports whether an entry in which field has that one value can match.
func (a alternative) allows(field, value string) bool {
	i := slices.IndexFunc(a, func(c choice) bool { return c.field == field })
	return i < 0 || slices.Contains(a[i].values, value)
}

// Fields returns the names of the fields that m looks at, sorted.
func (m Match) Fields() []string {
	var names []string
	for _, a := range m.alternatives {
		for _, c := range a {
			names = append(names, c.field)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Args returns arguments for journalctl that choose what m does, or more: no
// arguments at all choose every entry. The pieces of a line may differ in some
// fields, of which an attacker has a say: a service's line may carry its
// priority, "<3>", at its beginning, and so may a piece. If journalctl chose by
// them, a piece could come without the one before. So only Matches looks at them.
func (m Match) Args() []string { return union([]Match{m}) }

var pieceFields = []string{"MESSAGE", "PRIORITY", "SYSLOG_FACILITY", "_LINE_BREAK"}

// union returns arguments for journalctl that choose what one of matches does,
// or more.
func union(matches []Match) []string {
	var args []string
	seen := map[string]bool{}
	for _, m := range matches {
		if len(m.alternatives) == 0 {
			return nil
		}
		for _, a := range m.alternatives {
			a = slices.DeleteFunc(slices.Clone(a), func(c choice) bool { return slices.Contains(pieceFields, c.field) })
			if len(a) == 0 {
				return nil
			}
			terms := a.terms()
			key := strings.Join(terms, "\x00")
			if seen[key] {
				continue
			}
			seen[key] = true
			if len(args) > 0 {
				args = append(args, "+")
			}
			args = append(args, terms...)
		}
	}
	return args
}

// terms returns the terms, sorted by field.
func (a alternative) terms() []string {
	var terms []string
	for _, c := range a {
		for _, value := range c.values {
			terms = append(terms, c.field+"="+value)
		}
	}
	return terms
}

// String returns the terms, those of an alternative sorted by field.
func (m Match) String() string {
	var all []string
	for _, a := range m.alternatives {
		all = append(all, strings.Join(a.terms(), " "))
	}
	return strings.Join(all, " + ")
}
