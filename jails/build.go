package jails

import (
	"fmt"
	"maps"
	"slices"
)

// A builder makes jails of the layers that were read.
type builder struct {
	checker  Checker
	band     *layer
	shipped  map[string]*layer // by the name of the jail
	own      map[string]*layer
	jails    map[string]*built
	problems []Problem
}

// built is a jail, and whether it is refused: of such a one, what could be read
// is there.
type built struct {
	Jail
	refused bool
}

// names returns those of all jails, sorted.
func (b *builder) names() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(b.shipped)), maps.Keys(b.own))
	slices.Sort(names)
	return slices.Compact(names)
}

// layers returns those of a jail, with top, which may be nil, as the last.
func (b *builder) layers(name string, top *layer) []*layer {
	layers := []*layer{builtIn(), b.band, b.shipped[name], top}
	return slices.DeleteFunc(layers, func(l *layer) bool { return l == nil })
}

// jail builds a jail, once.
func (b *builder) jail(name string) *built {
	if known := b.jails[name]; known != nil {
		return known
	}
	// Who asks for it while it is being built is told what it is as shipped.
	jail := &built{Jail: Jail{Origins: map[string]Origin{}}, refused: true}
	b.jails[name] = jail
	if s := b.shipped[name]; s != nil {
		jail.lay(s)
	}
	*jail = b.build(name, b.own[name])
	if jail.refused && b.shipped[name] != nil && b.own[name] != nil {
		*jail = b.build(name, b.own[name].off())
	}
	return jail
}

// build lays the layers of a jail over each other and checks the whole.
func (b *builder) build(name string, top *layer) built {
	c := &check{jail: Jail{Name: name, Origins: map[string]Origin{}}}
	layers := b.layers(name, top)
	for _, l := range layers {
		c.jail.lay(l)
		if l != b.band {
			c.problems = append(c.problems, l.problems...)
		}
	}
	last := layers[len(layers)-1]
	c.file = last.file
	if !last.damaged { // else what is missing may stand in the part that could not be read
		b.takeSources(c)
		c.all(b.checker)
	}
	b.problems = append(b.problems, c.problems...)
	return built{c.jail, slices.ContainsFunc(c.problems, func(p Problem) bool { return p.Jail == name })}
}

// takeSources gives a jail with sources_of the sources of the other.
func (b *builder) takeSources(c *check) {
	j := &c.jail
	other := j.SourcesOf
	switch names := b.names(); {
	case other == "":
		return
	case !slices.Contains(names, other):
		text := fmt.Sprintf("there is no jail %q", other)
		if best := nearest(other, names); best != "" {
			text += fmt.Sprintf("; did you mean %q?", best)
		}
		c.report("sources_of", text)
		return
	// A shipped jail is not to blame for a circle that a file of jails.d closes.
	case j.Origins["sources_of"].Layer == layerOverlay && b.circular(j.Name):
		c.report("sources_of", "leads back to this jail; one of them needs [[source]] tables")
		return
	}
	from := b.jail(other)
	if len(from.Sources) == 0 {
		c.report("sources_of", fmt.Sprintf("the jail %q has no source that could be read", other))
		return
	}
	j.Sources, j.Origins["source"] = slices.Clone(from.Sources), from.Origins["source"]
}

// circular reports whether the jails that sources_of names lead from a jail back
// to it.
func (b *builder) circular(name string) bool {
	next := name
	for range len(b.shipped) + len(b.own) {
		j := Jail{Origins: map[string]Origin{}}
		for _, l := range b.layers(next, b.own[next]) {
			j.lay(l)
		}
		if next = j.SourcesOf; next == name || next == "" {
			return next == name
		}
	}
	return false // into a circle of others
}

// lay sets what the layer sets and leaves the rest as it is.
func (j *Jail) lay(l *layer) {
	lay(j, "enabled", &j.Enabled, l.enabled)
	lay(j, "dry_run", &j.DryRun, l.dryRun)
	lay(j, "format", &j.Format, l.format)
	lay(j, "time", &j.Time, l.time)
	lay(j, "findtime", &j.FindTime, l.findTime)
	lay(j, "maxretry", &j.MaxRetry, l.maxRetry)
	lay(j, "bantime", &j.BanTime, l.banTime)
	lay(j, "distinct", &j.Distinct, l.distinct)
	lay(j, "ports", &j.Ports, l.ports)
	lay(j, "services", &j.Services, l.services)
	lay(j, "clear_on", &j.ClearOn, l.clearOn)
	lay(j, "trust", &j.Trust, l.trust)
	lay(j, "ipv4_prefix", &j.IPv4Prefix, l.ipv4Prefix)
	lay(j, "ipv6_prefix", &j.IPv6Prefix, l.ipv6Prefix)
	lay(j, "aggregate", &j.Aggregate, l.aggregate)
	lay(j, "escalate.factor", &j.Escalate.Factor, l.escalate.factor)
	lay(j, "escalate.max", &j.Escalate.Max, l.escalate.max)
	lay(j, "escalate.forget", &j.Escalate.Forget, l.escalate.forget)
	lay(j, "escalate.all_jails", &j.Escalate.AllJails, l.escalate.allJails)

	// Sources replace sources_of, and sources_of will replace sources.
	if l.sources != nil {
		j.SourcesOf = ""
		delete(j.Origins, "sources_of")
	}
	lay(j, "source", &j.Sources, l.sources)
	lay(j, "sources_of", &j.SourcesOf, l.sourcesOf)

	for _, p := range l.patterns {
		key := "pattern." + p.label
		i := slices.IndexFunc(j.Patterns, func(old Pattern) bool { return old.Name == p.label })
		if i < 0 {
			i = len(j.Patterns)
			j.Patterns = append(j.Patterns, Pattern{Name: p.label})
			j.Origins[key] = p.origin
			builtIn := Origin{Layer: layerBuiltIn}
			lay(j, key+".kind", &j.Patterns[i].Kind, &setting[string]{"failure", builtIn})
			lay(j, key+".counts", &j.Patterns[i].Counts, &setting[string]{"always", builtIn})
			lay(j, key+".enabled", &j.Patterns[i].Enabled, &setting[bool]{true, builtIn})
			lay(j, key+".unsafe", &j.Patterns[i].Unsafe, &setting[bool]{false, builtIn})
		}
		lay(j, key+".regex", &j.Patterns[i].Regex, p.regex)
		lay(j, key+".event", &j.Patterns[i].Event, p.event)
		lay(j, key+".host", &j.Patterns[i].Host, p.host)
		lay(j, key+".user", &j.Patterns[i].User, p.user)
		lay(j, key+".where", &j.Patterns[i].Where, p.where)
		lay(j, key+".kind", &j.Patterns[i].Kind, p.kind)
		lay(j, key+".counts", &j.Patterns[i].Counts, p.counts)
		lay(j, key+".enabled", &j.Patterns[i].Enabled, p.enabled)
		lay(j, key+".unsafe", &j.Patterns[i].Unsafe, p.unsafe)
	}
}

func lay[T any](j *Jail, key string, to *T, s *setting[T]) {
	if s != nil {
		*to = s.value
		j.Origins[key] = s.origin
	}
}

// off is all that a refused overlay still says: not to ban.
func (l *layer) off() *layer {
	off := &layer{name: l.name, file: l.file}
	if l.enabled != nil && !l.enabled.value {
		off.enabled = l.enabled
	}
	if l.dryRun != nil && l.dryRun.value {
		off.dryRun = l.dryRun
	}
	return off
}
