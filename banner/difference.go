package banner

import (
	"fmt"
	"maps"
	"slices"
)

// A difference is what makes the kernel's structure equal to a layout.
type difference struct {
	found        []string // in words, empty when there is no difference
	uncounted    bool     // sets count no packets, which nothing can mend
	anew         bool     // the table is made from nothing
	deleteTable  bool
	addTable     bool
	deleteRules  []rulePlace
	deleteSets   []string
	deleteChains []string
	addSets      []set
	addChains    []chain
	addRules     []placedRule
}

type rulePlace struct {
	chain  string
	handle uint64
}

// A placedRule is to be added before the rule with a handle, or with none at
// the end of its chain.
type placedRule struct {
	rule
	chain  string
	before uint64
}

// differ compares the structure with the layout and keeps all that fits: rules
// with their handles and counters, sets with their elements. When a set or a
// chain is of another kind, or when there is a difference and rebuild says so,
// the table is made anew.
func differ(have ruleset, want layout, rebuild bool) difference {
	d := difference{}
	if !have.present {
		d = create(want)
		d.found = []string{"table missing"}
		return d
	}
	if have.flags != 0 {
		d.note("table flags changed")
		d.addTable = true
	}
	d.sets(have, want)
	d.chains(have, want)
	if rebuild = rebuild && len(d.found) > 0; rebuild || d.deleteTable {
		found := d.found
		d = create(want)
		d.found, d.deleteTable = found, true
	}
	return d
}

// create is the difference from nothing.
func create(want layout) difference {
	d := difference{anew: true, addTable: true, addSets: want.sets, addChains: want.chains}
	for _, c := range want.chains {
		for _, r := range c.rules {
			d.addRules = append(d.addRules, placedRule{rule: r, chain: c.name})
		}
	}
	return d
}

func (d *difference) note(format string, args ...any) {
	d.found = append(d.found, fmt.Sprintf(format, args...))
}

func (d *difference) sets(have ruleset, want layout) {
	wanted := map[string]bool{}
	for _, s := range want.sets {
		wanted[s.name] = true
		shape, ok := have.sets[s.name]
		// Before Linux 5.7 the kernel leaves out the counter and says nothing
		// (NFTA_SET_EXPR is newer). Such a set bans as well as any.
		uncounted := s.shape
		uncounted.counter = false
		switch {
		case !ok:
			d.note("set %s missing", s.name)
			d.addSets = append(d.addSets, s)
		case shape == uncounted && s.shape.counter:
			d.uncounted = true
		case shape != s.shape:
			d.note("set %s of another kind", s.name)
			d.deleteTable = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.sets)) {
		if !wanted[name] {
			d.note("set %s not ours", name)
			d.deleteSets = append(d.deleteSets, name)
		}
	}
}

func (d *difference) chains(have ruleset, want layout) {
	wanted := map[string]bool{}
	for _, c := range want.chains {
		wanted[c.name] = true
		kept := have.chains[c.name]
		switch {
		case kept == nil:
			d.note("chain %s missing", c.name)
			d.addChains = append(d.addChains, c)
			kept = &keptChain{}
		case kept.kind != c.kind:
			d.note("chain %s of another kind", c.name)
			d.deleteTable = true
		}
		d.rules(c, kept.rules)
	}
	for _, name := range slices.Sorted(maps.Keys(have.chains)) {
		if !wanted[name] {
			d.note("chain %s not ours", name)
			d.rules(chain{name: name}, have.chains[name].rules)
			d.deleteChains = append(d.deleteChains, name)
		}
	}
}

// rules keeps the rules that come in the wanted order, deletes the others and
// adds what is missing between them.
func (d *difference) rules(want chain, have []keptRule) {
	var added, deleted int
	add := func(rules []rule, before uint64) {
		for _, r := range rules {
			d.addRules = append(d.addRules, placedRule{r, want.name, before})
			added++
		}
	}
	rest := want.rules
	for _, r := range have {
		at := slices.IndexFunc(rest, func(w rule) bool { return w.comment == r.comment })
		if at < 0 {
			d.deleteRules = append(d.deleteRules, rulePlace{want.name, r.handle})
			deleted++
			continue
		}
		add(rest[:at], r.handle)
		rest = rest[at+1:]
	}
	add(rest, 0)
	if added > 0 {
		d.note("%s missing in chain %s", count(added, "rule"), want.name)
	}
	if deleted > 0 {
		d.note("%s not ours in chain %s", count(deleted, "rule"), want.name)
	}
}
