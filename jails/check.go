package jails

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A check looks for what is wrong with a jail as a whole, once each file that it
// is made of was read.
type check struct {
	jail     Jail
	file     string // the last of them
	problems []Problem
}

// report blames a value where it is set.
func (c *check) report(key, text string) {
	o := c.jail.Origins[key]
	c.problems = append(c.problems, Problem{o.File, o.Line, key, c.jail.Name, text})
}

// missing blames the last file, or the pattern that lacks something, unless the
// key is there and was found to be bad.
func (c *check) missing(key string, line int, text string) {
	for _, p := range c.problems {
		if strings.HasPrefix(p.Key, key) {
			return
		}
	}
	c.problems = append(c.problems, Problem{c.file, line, key, c.jail.Name, "is missing: " + text})
}

// yields reports a value that contradicts other values of the jail and gives way
// to them: a default does so in silence, one of band.toml refuses no jail.
func (c *check) yields(key, text string) {
	switch o := c.jail.Origins[key]; o.Layer {
	case layerOverlay:
		c.report(key, text)
	case layerBand:
		c.problems = append(c.problems, Problem{o.File, o.Line, key, "", text})
	}
}

// first returns the first of the keys that a file of jails.d sets: who wrote
// that is told of what does not fit together. Where there is none it is the
// first of all.
func (c *check) first(keys ...string) string {
	i := slices.IndexFunc(keys, func(key string) bool { return c.jail.Origins[key].Layer == layerOverlay })
	return keys[max(i, 0)]
}

// all checks everything.
func (c *check) all(with Checker) {
	if len(c.jail.Sources) == 0 {
		c.missing("source", 0, "a jail needs at least one [[source]], or sources_of")
	}
	known := c.format(with)
	c.successes()
	c.patterns()
	for _, p := range c.jail.Patterns {
		c.pattern(p, with, known)
	}
	c.escalate()
	c.aggregate()
}

// format reports whether the jail's records can be read.
func (c *check) format(with Checker) bool {
	j := &c.jail
	if j.Format == "" {
		c.missing("format", 0, `a jail needs a format such as "freeswitch"`)
		return false
	}
	err := with.Format(j.Format, j.Time)
	if err == nil {
		return true
	}
	key := "format"
	if with.Format(j.Format, "") == nil {
		key = "time"
	}
	c.report(key, err.Error())
	return false
}

// patterns checks that the jail can ban at all.
func (c *check) patterns() {
	j := &c.jail
	if len(j.Patterns) == 0 {
		c.missing("pattern", 0, "a jail needs at least one [[pattern]]")
	}
	if !j.Enabled || len(j.Patterns) == 0 {
		return
	}
	enabled := slices.DeleteFunc(slices.Clone(j.Patterns), func(p Pattern) bool { return !p.Enabled })
	blame, text := "", ""
	switch {
	case len(enabled) == 0:
		blame, text = "pattern."+j.Patterns[0].Name+".enabled", "no pattern is enabled, so nothing would ever match; to switch the jail off write enabled = false"
	case len(j.ClearOn) > 0 && !slices.ContainsFunc(enabled, func(p Pattern) bool {
		return p.Counts != "never" && !slices.Contains(j.ClearOn, p.Name)
	}):
		c.report("clear_on", "every pattern that is enabled and counts tells of a success, so nobody would ever be banned")
		return
	case !slices.ContainsFunc(enabled, func(p Pattern) bool { return p.Counts != "never" }):
		blame, text = "pattern."+enabled[0].Name+".counts", `every pattern that is enabled has counts = "never", so nobody would ever be banned`
	default:
		return
	}
	o := j.Origins[blame]
	c.problems = append(c.problems, Problem{o.File, o.Line, "pattern", j.Name, text})
}

// namesUser finds what captures the user in a regex.
var namesUser = regexp.MustCompile(`<USER>|<F-USER>|\(\?P?<user>`)

// pattern checks one pattern; known tells whether its format can be read.
func (c *check) pattern(p Pattern, with Checker, known bool) {
	key := "pattern." + p.Name
	what, user, named := ".regex", "<F-USER>...</F-USER>", namesUser.MatchString(p.Regex)
	if p.Event != "" {
		what, user, named = ".event", `user = "to-user" or the like`, p.User != ""
	}
	switch {
	case p.Regex == "" && p.Event == "":
		c.missing(key+".regex", c.jail.Origins[key].Line, "a pattern needs a regex in '''...''', or an event")
		return
	case p.Regex != "" && p.Event != "":
		c.report(c.first(key+".event", key+".regex"), "a pattern has either a regex, for lines, or an event; write a [[pattern]] for each")
		return
	case p.Event == "" && (p.Host != "" || p.User != "" || len(p.Where) > 0):
		for _, of := range []string{".host", ".user", ".where"} {
			if _, set := c.jail.Origins[key+of]; set {
				c.report(key+of, "is for a pattern with an event; a regex names the host with <HOST>, and the user with <F-USER>...</F-USER>")
			}
		}
		return
	case p.Event != "" && p.Counts != "always":
		c.report(key+".counts", "is for a regex: events have no sessions")
		return
	}
	if !named {
		text := fmt.Sprintf("the pattern %q must name the user with %s, because of ", p.Name, user)
		switch {
		case p.Counts == "another-user":
			c.report(c.first(key+what, key+".counts"), text+`counts = "another-user"`)
		case p.Counts != "never" && p.Enabled && c.jail.Distinct == "user" && !slices.Contains(c.jail.ClearOn, p.Name):
			c.report(c.first(key+what, "distinct"), text+`distinct = "user"`)
		}
	}
	if known {
		if err := with.Pattern(c.jail.Format, p); err != nil {
			c.report(c.first(key+what, key+".host", key+".where", key+".counts", key+".unsafe"), err.Error())
		}
	}
}

// successes checks what the jail says of them.
func (c *check) successes() {
	j := &c.jail
	for _, name := range j.ClearOn {
		if !slices.ContainsFunc(j.Patterns, func(p Pattern) bool { return p.Name == name }) {
			c.report("clear_on", fmt.Sprintf("the jail has no pattern %q", name))
		}
	}
	for _, p := range j.Patterns {
		if !slices.Contains(j.ClearOn, p.Name) {
			continue
		}
		switch {
		case p.Event == "sofia::register_failure", p.Event == "sofia::wrong_call_state", p.Event == "sofia::pre_register":
			c.report("clear_on", fmt.Sprintf("the pattern %q is for %s, which tells of no success: it would forgive all failures", p.Name, p.Event))
		case p.Event == "sofia::register_attempt" && len(p.Where["auth-result"]) == 0, p.Event == "verto::login" && len(p.Where["verto_success"]) == 0:
			c.report("clear_on", fmt.Sprintf("the pattern %q is for every %s, also for those that failed; say in its where which succeeded", p.Name, p.Event))
		}
	}
	if j.Trust > 0 && len(j.ClearOn) == 0 {
		if j.Origins["trust"].Layer == layerOverlay && !slices.ContainsFunc(c.problems, func(p Problem) bool { return p.Key == "clear_on" }) {
			c.report("trust", "nothing tells of a success; name patterns that do in clear_on")
		}
		j.Trust = 0 // a shipped one, where the successes were taken off
	}
}

// escalate sees to it that a ban that grows is not shorter than one that does not.
func (c *check) escalate() {
	j := &c.jail
	e := &j.Escalate
	if e.Factor <= 1 || e.Max == 0 || j.BanTime > 0 && j.BanTime <= e.Max {
		return
	}
	c.yields("escalate.max", fmt.Sprintf(`"%s" is less than bantime, "%s" (%s); write that or more, or "forever"`,
		FormatDuration(e.Max), FormatDuration(j.BanTime), j.Origins["bantime"]))
	e.Max = j.BanTime
}

// aggregate refuses a number of units that no network holds.
func (c *check) aggregate() {
	j := &c.jail
	units := func(bits int) int { return 1 << min(max(bits, 0), 8) } // up to as many as can be asked for
	units4, units6 := units(j.IPv4Prefix-24), units(j.IPv6Prefix-48)
	if j.Aggregate <= 1 || j.Aggregate <= max(units4, units6) {
		return
	}
	c.yields("aggregate", fmt.Sprintf("%d is never reached: the units of a /24 of IPv4 are %d by ipv4_prefix, %d (%s), and those of a /48 of IPv6 %d by ipv6_prefix, %d (%s)",
		j.Aggregate, units4, j.IPv4Prefix, j.Origins["ipv4_prefix"], units6, j.IPv6Prefix, j.Origins["ipv6_prefix"]))
	j.Aggregate = 0
}
