package jails

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// The names of the layers, as in Origin.
const (
	layerBuiltIn = "built-in"
	layerBand    = "band.toml"
	layerShipped = "shipped"
	layerOverlay = "overlay"
)

// A layer is what one file sets: one of the layers of which a jail is made.
// What it does not set is nil.
type layer struct {
	name string // as Origin.Layer
	file string

	enabled, dryRun                             *setting[bool]
	format, time, distinct, sourcesOf           *setting[string]
	findTime, banTime, trust                    *setting[time.Duration]
	maxRetry, ipv4Prefix, ipv6Prefix, aggregate *setting[int]
	ports                                       *setting[Ports]
	services, clearOn                           *setting[[]string]
	sources                                     *setting[[]Source]
	patterns                                    []patternLayer
	escalate                                    escalateLayer

	allow      []Entry                  // band.toml only
	freeSWITCH *setting[string]         // band.toml only
	metrics    *setting[netip.AddrPort] // band.toml only

	damaged  bool // not TOML: only what stands above the first table could be read
	problems []Problem
}

// A patternLayer is what one [[pattern]] table sets.
type patternLayer struct {
	label   string // its name; #N for the Nth table when that is missing or taken
	origin  Origin
	regex   *setting[string]
	event   *setting[string]
	host    *setting[string]
	user    *setting[string]
	where   *setting[map[string][]string]
	kind    *setting[string]
	counts  *setting[string]
	enabled *setting[bool]
	unsafe  *setting[bool]
}

// A setting is a value and where it is set.
type setting[T any] struct {
	value  T
	origin Origin
}

// set sets a value that s may change.
func set[T any](to *T, s *setting[T]) {
	if s != nil {
		*to = s.value
	}
}

// builtIn is the first layer of every jail.
func builtIn() *layer {
	origin := Origin{Layer: layerBuiltIn}
	return &layer{
		name:       layerBuiltIn,
		enabled:    &setting[bool]{true, origin},
		dryRun:     &setting[bool]{false, origin},
		findTime:   &setting[time.Duration]{10 * time.Minute, origin},
		banTime:    &setting[time.Duration]{time.Hour, origin},
		maxRetry:   &setting[int]{5, origin},
		ipv4Prefix: &setting[int]{32, origin},
		ipv6Prefix: &setting[int]{64, origin},
		aggregate:  &setting[int]{0, origin},
		ports:      &setting[Ports]{Ports{}, origin},
		escalate: escalateLayer{
			factor:   &setting[float64]{1, origin},
			max:      &setting[time.Duration]{4 * 7 * day, origin},
			forget:   &setting[time.Duration]{30 * day, origin},
			allJails: &setting[bool]{false, origin},
		},
	}
}

// readBand reads band.toml.
func readBand(file string, r io.Reader) *layer {
	l := &layer{name: layerBand, file: file}
	t := open(l, "", r)
	t.root = BandTable
	t.only(BandTable)
	l.allow = list(t, "allow", `a list such as ["192.0.2.7", "2001:db8::/32", "trunk.example.com"]`, asEntry)
	l.freeSWITCH = read(t, "freeswitch", orNone(asDirectory))
	l.metrics = read(t, "metrics", asAddress)
	t.shared()
	return l
}

// readJail reads a jail file.
func readJail(name, file, jail string, r io.Reader) *layer {
	l := &layer{name: name, file: file}
	t := open(l, jail, r)
	t.root = JailTable
	t.only(JailTable)
	l.enabled = read(t, "enabled", asBool)
	l.format = read(t, "format", asText)
	l.time = read(t, "time", orNone(asText))
	t.shared()
	l.distinct = read(t, "distinct", asDistinct)
	l.ports = t.ports()
	l.services = t.names("services", `a list of names such as ["freeswitch"]`, asProcess)
	l.clearOn = t.names("clear_on", `a list of names of patterns such as ["authenticated"]`, asText)
	l.trust = read(t, "trust", asDuration(0, 365*day, false))
	t.sources()
	l.sourcesOf = read(t, "sources_of", orNone(asText))
	if _, ok := t.values["source"]; ok && l.sourcesOf != nil && l.sourcesOf.value != "" {
		t.report(t.line("sources_of"), t.key("sources_of"), "a jail has either [[source]] tables or sources_of; leave out the one or the other")
	}
	t.patterns()
	return l
}

// A table is one table of a TOML file while it is read.
type table struct {
	layer  *layer
	jail   string
	root   string // BandTable or JailTable, as the file is
	lines  map[string]int
	path   string // as the locator writes it
	label  string // as the operator reads it
	values map[string]any
}

// maxSize of a file; a band.toml of this size holds some 50,000 allow entries.
const maxSize = 1 << 20

// open parses the whole file. A file that is no TOML is damaged, and gives what
// can still be read.
func open(l *layer, jail string, r io.Reader) *table {
	t := &table{layer: l, jail: jail}
	data, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err == nil && len(data) > maxSize {
		err = fmt.Errorf("it is longer than %d bytes", maxSize)
	}
	if err != nil {
		l.damaged = true
		t.report(0, "", "cannot be read: %v", cause(err))
		return t
	}

	text := strings.TrimPrefix(string(data), "\ufeff")
	t.values, err = decode(text)
	if err != nil {
		l.damaged = true
		line, said := syntaxError(text, err)
		t.report(line, "", "%s", said)
		text, t.values = salvage(text)
	}
	t.lines = locate(text)
	return t
}

func decode(text string) (map[string]any, error) {
	var values map[string]any
	_, err := toml.Decode(text, &values)
	return values, err
}

// cause drops the path that a file error repeats.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// syntaxError returns the line and the text of a decoding error.
func syntaxError(text string, err error) (int, string) {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return 0, err.Error()
	}
	// Its Line is wrong for some errors, its Start is not.
	line := 1 + strings.Count(text[:min(max(parse.Position.Start, 0), len(text))], "\n")
	said := "not valid TOML: " + parse.Message
	switch {
	case strings.HasPrefix(parse.Message, "unexpected EOF"):
		// Not the end of the file is to blame but the last value, which does not end.
		line = 1
		for _, l := range locate(text) {
			line = max(line, l)
		}
	case strings.HasPrefix(parse.Message, "invalid escape"):
		said += "; write a regex between ''' and '''"
	}
	return line, said
}

// salvage returns what can be read of a text that is not valid TOML: the part
// above the first table, without the lines that do not parse. Below a header
// that is itself broken, a key could be taken for one of another table.
func salvage(text string) (string, map[string]any) {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), "[") {
			lines = lines[:i]
			break
		}
	}
	for range 100 { // a broken line a try; a text with more of them is lost
		text = strings.Join(lines, "\n")
		values, err := decode(text)
		if err == nil {
			return text, values
		}
		line, _ := syntaxError(text, err)
		for line = min(line, len(lines)); line > 0 && lines[line-1] == ""; line-- {
		}
		if line == 0 {
			break
		}
		lines[line-1] = ""
	}
	return "", nil
}

// report notes a problem at the line and key given.
func (t *table) report(line int, key, format string, args ...any) {
	t.layer.problems = append(t.layer.problems, Problem{
		File: t.layer.file, Line: line, Key: key, Jail: t.jail,
		Text: fmt.Sprintf(format, args...),
	})
}

// only reports every key that a table of this sort does not know.
func (t *table) only(sort string) {
	known := keysOf(sort)
	for key := range t.values {
		if !slices.Contains(known, key) {
			t.report(t.line(key), t.key(key), "%s", unknownKey(t.root, sort, key))
		}
	}
}

func (t *table) line(key string) int      { return t.lines[member(t.path, key)] }
func (t *table) key(key string) string    { return member(t.label, key) }
func (t *table) origin(key string) Origin { return Origin{t.layer.name, t.layer.file, t.line(key)} }

// inner opens a table inside t.
func (t *table) inner(path, label string, values map[string]any) *table {
	return &table{t.layer, t.jail, t.root, t.lines, path, label, values}
}

// read returns the value of a key: nil when it is not set, or reported to be bad.
func read[T any](t *table, key string, convert func(any) (T, error)) *setting[T] {
	v, ok := t.values[key]
	if !ok {
		return nil
	}
	value, err := convert(v)
	if err != nil {
		t.report(t.line(key), t.key(key), "%v", err)
		return nil
	}
	return &setting[T]{value, t.origin(key)}
}

// shared reads the keys that band.toml and a jail file share.
func (t *table) shared() {
	l := t.layer
	l.dryRun = read(t, "dry_run", asBool)
	l.findTime = read(t, "findtime", asDuration(time.Second, 365*day, false))
	l.banTime = read(t, "bantime", asDuration(time.Second, math.MaxInt64, true))
	l.maxRetry = read(t, "maxretry", asInt(1, 10000, 5))
	l.ipv4Prefix = read(t, "ipv4_prefix", asInt(8, 32, 32))
	l.ipv6Prefix = read(t, "ipv6_prefix", asInt(16, 128, 64))
	l.aggregate = read(t, "aggregate", asAggregate)
	l.escalate = t.escalate()
}

func (t *table) ports() *setting[Ports] {
	v, ok := t.values["ports"]
	if !ok || v == "all" {
		return read(t, "ports", func(any) (Ports, error) { return Ports{}, nil })
	}
	const forms = `"all" or a table such as { udp = [5060], tcp = [5060, 5061] }`
	values, ok := v.(map[string]any)
	switch word, isWord := v.(string); {
	case isWord:
		t.report(t.line("ports"), t.key("ports"), "%q is not a set of ports; write %s", word, forms)
		return nil
	case !ok:
		t.report(t.line("ports"), t.key("ports"), "%v", wrongType(forms, v))
		return nil
	}
	before := len(t.layer.problems)
	inner := t.inner(member(t.path, "ports"), t.key("ports"), values)
	inner.only(PortsTable)
	const want = "a list of ports such as [5060, 5080]"
	ports := Ports{
		UDP: list(inner, "udp", want, asPort),
		TCP: list(inner, "tcp", want, asPort),
	}
	if ports.All() && len(t.layer.problems) == before {
		t.report(t.line("ports"), t.key("ports"), `names no port; for every port write "all"`)
	}
	for _, p := range []*[]uint16{&ports.UDP, &ports.TCP} {
		slices.Sort(*p)
		*p = slices.Compact(*p)
	}
	return &setting[Ports]{ports, t.origin("ports")}
}

// names reads a list of names.
func (t *table) names(key, want string, convert func(any) (string, error)) *setting[[]string] {
	if _, ok := t.values[key]; !ok {
		return nil
	}
	return &setting[[]string]{list(t, key, want, convert), t.origin(key)}
}

// where reads what the fields of an event must be.
func (t *table) where() *setting[map[string][]string] {
	v, ok := t.values["where"]
	if !ok {
		return nil
	}
	const forms = `a table such as { user-agent = ["friendly-scanner", "sipcli*"] }`
	fields, ok := v.(map[string]any)
	switch {
	case !ok:
		t.report(t.line("where"), t.key("where"), "%v", wrongType(forms, v))
		return nil
	case len(fields) == 0:
		return &setting[map[string][]string]{nil, t.origin("where")}
	}
	inner := t.inner(member(t.path, "where"), t.key("where"), fields)
	texts := make(map[string][]string)
	for field, v := range fields {
		if text, ok := v.(string); ok {
			texts[field] = []string{text}
		} else {
			texts[field] = list(inner, field, `a text, or a list such as ["friendly-scanner", "sipcli*"]`, asText)
		}
	}
	return &setting[map[string][]string]{texts, t.origin("where")}
}

func (t *table) patterns() {
	tables, _ := t.array("pattern")
	taken := map[string]int{}
	for i, p := range tables {
		line := t.lines[p.path]
		label := fmt.Sprintf("#%d", i+1)
		p.label = "pattern." + label
		name := read(p, "name", asText)
		switch _, ok := p.values["name"]; {
		case !ok:
			p.report(line, p.key("name"), "is missing: a pattern needs a name")
		case name == nil: // reported
		case taken[name.value] > 0:
			p.report(name.origin.Line, p.key("name"), "the name %q is taken by the pattern on line %d", name.value, taken[name.value])
		default:
			taken[name.value] = line
			label = name.value
			p.label = "pattern." + label
		}
		p.only(PatternTable)
		t.layer.patterns = append(t.layer.patterns, patternLayer{
			label:   label,
			origin:  Origin{t.layer.name, t.layer.file, line},
			regex:   read(p, "regex", asRegex),
			event:   read(p, "event", asText),
			host:    read(p, "host", asText),
			user:    read(p, "user", orNone(asText)),
			where:   p.where(),
			kind:    read(p, "kind", asText),
			counts:  read(p, "counts", asOneOf("always", "never", "another-user")),
			enabled: read(p, "enabled", asBool),
			unsafe:  read(p, "unsafe", asBool),
		})
	}
}

// array returns the tables of an array of tables, written as [[key]] or inline;
// false when it is not set or reported to be something else.
func (t *table) array(key string) ([]*table, bool) {
	v, ok := t.values[key]
	if !ok {
		return nil, false
	}
	var all []map[string]any
	switch v := v.(type) {
	case []map[string]any:
		all = v
	case []any:
		for _, e := range v {
			if m, isTable := e.(map[string]any); isTable {
				all = append(all, m)
			}
		}
		ok = len(all) == len(v)
	default:
		ok = false
	}
	if !ok {
		t.report(t.line(key), t.key(key), "must be written as [[%s]] above its keys", key)
		return nil, false
	}
	tables := make([]*table, len(all))
	for i, values := range all {
		tables[i] = t.inner(element(member(t.path, key), i), t.key(key), values)
	}
	return tables, true
}

// list returns the elements of a list and reports each bad one at its own line.
func list[T any](t *table, key, want string, convert func(any) (T, error)) []T {
	v, ok := t.values[key]
	if !ok {
		return nil
	}
	elements, ok := v.([]any)
	if !ok {
		t.report(t.line(key), t.key(key), "%v", wrongType(want, v))
		return nil
	}
	var out []T
	for i, e := range elements {
		value, err := convert(e)
		if err != nil {
			t.report(t.lines[element(member(t.path, key), i)], t.key(key), "%v", err)
			continue
		}
		out = append(out, value)
	}
	return out
}
