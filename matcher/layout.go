package matcher

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A layout reads the time that lines begin with.
type layout []part

// A part of a layout is a directive, or text that stands between them.
type part struct {
	directive byte // 0: none
	text      string
	numeral   numeral  // where the directive is a number
	names     []string // where it is a name
}

// A numeral is the number of digits that a directive has.
type numeral struct{ least, most int }

// numerals are the directives that are numbers; of %e the first digit may be a space.
var numerals = map[byte]numeral{
	'Y': {4, 4}, 'y': {2, 2}, 'm': {2, 2}, 'd': {2, 2}, 'e': {2, 2}, 'H': {2, 2}, 'I': {2, 2},
	'M': {2, 2}, 'S': {2, 2}, 'f': {1, 9}, 's': {1, 11},
}

// names are those that stand for directives, whole or by their first three letters.
var names = map[byte][]string{
	'b': monthNames, 'B': monthNames, 'a': weekdays, 'A': weekdays, 'p': {"AM", "PM"},
}

var monthNames, weekdays = func() (months, days []string) {
	for m := time.January; m <= time.December; m++ {
		months = append(months, m.String())
	}
	for d := time.Sunday; d <= time.Saturday; d++ {
		days = append(days, d.String())
	}
	return months, days
}()

// abbreviations are the directives that stand for several.
var abbreviations = strings.NewReplacer("%%", "%%",
	"%F", "%Y-%m-%d", "%D", "%m/%d/%y", "%T", "%H:%M:%S", "%R", "%H:%M", "%h", "%b")

// newLayout reads a layout as strftime(3) has it; %f is a fraction of a second.
func newLayout(text string) (layout, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("the layout is not text")
	}
	var l layout
	told := make(map[byte]bool)
	rest := abbreviations.Replace(text)
	for rest != "" {
		literal, behind, more := strings.Cut(rest, "%")
		l = append(l, part{text: literal})
		if !more {
			break
		}
		if behind == "" {
			return nil, fmt.Errorf("%q ends with a lone %%; write %%%% for the sign itself", text)
		}
		directive := behind[0]
		rest = behind[1:]
		if directive == '%' {
			l = append(l, part{text: "%"})
			continue
		}
		p := part{directive: directive, numeral: numerals[directive], names: names[directive]}
		switch {
		case p.numeral.most == 0 && p.names == nil && directive != 'z':
			return nil, fmt.Errorf("%%%c is not known; a layout may hold %%Y %%y %%m %%b %%B %%d %%e %%a %%A %%H %%I %%p %%M %%S %%f %%s %%z, %%F %%D %%T %%R %%h, and %%%%", directive)
		case told[directive]:
			return nil, fmt.Errorf("%%%c stands twice in %q", directive, text)
		}
		told[directive] = true
		l = append(l, p)
	}
	if missing := missingFrom(told); len(missing) > 0 {
		return nil, fmt.Errorf("%q tells no time of day on some day: it lacks %s", text, strings.Join(missing, " and "))
	}
	return l, nil
}

// missingFrom returns what directives lack to tell a time.
func missingFrom(told map[byte]bool) (missing []string) {
	lacks := func(what string, any ...byte) {
		if !slices.ContainsFunc(any, func(d byte) bool { return told[d] }) {
			missing = append(missing, what)
		}
	}
	if told['s'] {
		return nil
	}
	lacks("the month (%m or %b)", 'm', 'b', 'B')
	lacks("the day (%d or %e)", 'd', 'e')
	lacks("the hour (%H, or %I with %p)", 'H', 'I')
	if told['I'] && !told['H'] {
		lacks("%p to its %I", 'p')
	}
	lacks("the minute (%M)", 'M')
	return missing
}

// A reading is what a layout reads of a line.
type reading struct {
	of             [128]int // the numbers of directives, of names the place among them
	has            [128]bool
	fraction, zone []byte
}

// read reads the time that a line begins with, and returns its length: 0 where the
// line does not begin with one.
func (l layout) read(line []byte, r *reading) (length int) {
	at := 0
	for _, p := range l {
		rest := line[at:]
		n := len(p.text)
		switch d := p.directive; {
		case d == 0:
			if len(rest) < n || string(rest[:n]) != p.text {
				return 0
			}
		case d == 'z':
			if _, n = readZone(rest); n == 0 {
				return 0
			}
			r.zone = rest[:n]
		case p.names != nil:
			if r.of[d], n = named(rest, p.names); n == 0 {
				n = word(rest, d)
			}
			if n == 0 {
				return 0
			}
		default:
			if n = p.numeral.length(rest, d == 'e'); n == 0 {
				return 0
			}
			r.of[d] = number(rest[:n])
			if d == 'f' {
				r.fraction = rest[:n]
			}
		}
		r.has[p.directive] = true
		at += n
	}
	return at
}

// length returns how many digits text begins with, up to most; 0 for less than least.
func (n numeral) length(text []byte, space bool) (length int) {
	for length < min(n.most, len(text)) && ('0' <= text[length] && text[length] <= '9' || space && length == 0 && text[0] == ' ') {
		length++
	}
	if length < n.least {
		return 0
	}
	return length
}

// word returns the length of a name of another language, which tells nothing.
func word(text []byte, directive byte) (length int) {
	most := 0
	switch directive {
	case 'a', 'b':
		most = 3
	case 'A', 'B':
		most = 9
	}
	for length < min(most, len(text)) && 'a' <= text[length]|0x20 && text[length]|0x20 <= 'z' {
		length++
	}
	if length < 3 {
		return 0
	}
	return length
}

// named returns which name text begins with, the longest there is, and its length: 0
// for none, of which the place is behind the last one.
func named(text []byte, names []string) (i, length int) {
	i = len(names)
	for at, name := range names {
		for _, name := range []string{name, name[:min(3, len(name))]} {
			if len(name) > length && len(text) >= len(name) && bytes.EqualFold(text[:len(name)], []byte(name)) {
				i, length = at, len(name)
			}
		}
	}
	return i, length
}

// appendStamp appends the time as stamps are written to a stamp; nothing where it is
// none.
func (r *reading) appendStamp(stamp []byte) []byte {
	if r.has['s'] {
		stamp = time.Unix(int64(r.of['s']), 0).UTC().AppendFormat(stamp, "2006-01-02T15:04:05")
		return append(r.appendFraction(stamp), 'Z')
	}
	month := r.of['m']
	for _, d := range "bB" {
		if r.has[d] {
			month = r.of[d] + 1
		}
	}
	if month < 1 || month > 12 {
		return nil
	}
	day := r.of['d']
	if !r.has['d'] {
		day = r.of['e']
	}
	switch {
	case r.has['Y']:
		stamp = appendDate(stamp, r.of['Y'], month, day)
	case r.has['y']:
		stamp = appendDate(stamp, 2000+r.of['y'], month, day)
	default:
		stamp = append(append(stamp, months[3*month-3:3*month]...), ' ')
		stamp = appendPadded(stamp, day, 2, ' ')
	}
	hour := r.of['H']
	if !r.has['H'] {
		if r.of['I'] < 1 || r.of['I'] > 12 {
			return nil
		}
		hour = r.of['I']%12 + 12*r.of['p']
	}
	stamp = appendPadded(append(stamp, ' '), hour, 2, '0')
	stamp = appendPadded(append(stamp, ':'), r.of['M'], 2, '0')
	stamp = appendPadded(append(stamp, ':'), r.of['S'], 2, '0')
	return append(r.appendFraction(stamp), r.zone...)
}

func appendDate(stamp []byte, year, month, day int) []byte {
	stamp = append(appendPadded(stamp, year, 4, '0'), '-')
	stamp = append(appendPadded(stamp, month, 2, '0'), '-')
	return appendPadded(stamp, day, 2, '0')
}

// appendPadded appends a number of at least so many digits.
func appendPadded(stamp []byte, n, width int, pad byte) []byte {
	for least := 10; width > 1; least, width = least*10, width-1 {
		if n < least {
			stamp = append(stamp, pad)
		}
	}
	return strconv.AppendInt(stamp, int64(n), 10)
}

func (r *reading) appendFraction(stamp []byte) []byte {
	if len(r.fraction) == 0 {
		return stamp
	}
	return append(append(stamp, '.'), r.fraction...)
}
