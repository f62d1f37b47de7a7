package matcher

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A layout finds the time that lines begin with and writes it as [Clock.Time]
// reads it.
type layout struct {
	regex *regexp.Regexp // a group of each part, named by its directive
}

// directives are what a layout may hold, and what each matches.
var directives = map[byte]string{
	'Y': `[0-9]{4}`,
	'y': `[0-9]{2}`,
	'm': `[0-9]{2}`,
	'b': `[A-Za-z]{3}`,
	'B': `[A-Za-z]{3,9}`,
	'd': `[0-9]{2}`,
	'e': `[ 0-9][0-9]`,
	'a': `[A-Za-z]{3}`,
	'A': `[A-Za-z]{6,9}`,
	'H': `[0-9]{2}`,
	'I': `[0-9]{2}`,
	'p': `[AaPp][Mm]`,
	'M': `[0-9]{2}`,
	'S': `[0-9]{2}`,
	'f': `[0-9]{1,9}`,
	's': `[0-9]{1,11}`,
	'z': `Z|[+-][0-9]{2}:?[0-9]{2}`,
}

// abbreviations are the directives that stand for several.
var abbreviations = strings.NewReplacer("%%", "%%",
	"%F", "%Y-%m-%d", "%D", "%m/%d/%y", "%T", "%H:%M:%S", "%R", "%H:%M", "%h", "%b")

// newLayout reads a layout as strftime(3) has it; %f is a fraction of a second.
func newLayout(text string) (*layout, error) {
	var regex strings.Builder
	told := make(map[byte]bool)
	rest := abbreviations.Replace(text)
	for rest != "" {
		literal, behind, more := strings.Cut(rest, "%")
		regex.WriteString(regexp.QuoteMeta(literal))
		if !more {
			break
		}
		if behind == "" {
			return nil, fmt.Errorf("%q ends with a lone %%; write %%%% for the sign itself", text)
		}
		directive := behind[0]
		rest = behind[1:]
		if directive == '%' {
			regex.WriteByte('%')
			continue
		}
		matches, known := directives[directive]
		switch {
		case !known:
			return nil, fmt.Errorf("%%%c is not known; a layout may hold %%Y %%y %%m %%b %%B %%d %%e %%a %%A %%H %%I %%p %%M %%S %%f %%s %%z, %%F %%D %%T %%R %%h, and %%%%", directive)
		case told[directive]:
			return nil, fmt.Errorf("%%%c stands twice in %q", directive, text)
		}
		told[directive] = true
		fmt.Fprintf(&regex, "(?P<%c>%s)", directive, matches)
	}
	if missing := missingFrom(told); len(missing) > 0 {
		return nil, fmt.Errorf("%q tells no time of day on some day: it lacks %s", text, strings.Join(missing, " and "))
	}
	compiled, err := regexp.Compile("^" + regex.String())
	if err != nil {
		return nil, errors.New("the layout is not text") // not UTF-8
	}
	return &layout{compiled}, nil
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

// read returns the time that a line begins with, as [Clock.Time] reads it, and the
// length that it has in the line: 0 where the line does not begin with one. What
// only looks like a time is nil.
func (l *layout) read(line []byte) (stamp []byte, length int) {
	found := l.regex.FindSubmatch(line)
	if found == nil {
		return nil, 0
	}
	return l.stamp(found), len(found[0])
}

// stamp writes the parts that the layout's groups found.
func (l *layout) stamp(found [][]byte) []byte {
	// part returns what the first of the directives that the layout has told.
	part := func(directives ...string) []byte {
		for _, d := range directives {
			if i := l.regex.SubexpIndex(d); i >= 0 {
				return found[i]
			}
		}
		return nil
	}
	fraction := ""
	if f := part("f"); f != nil {
		fraction = "." + string(f)
	}
	if s := part("s"); s != nil {
		seconds := time.Unix(int64(number(s)), 0).UTC()
		return []byte(seconds.Format("2006-01-02T15:04:05") + fraction + "Z")
	}
	month, day := number(part("m")), number(part("d", "e"))
	if name := part("b", "B"); name != nil {
		month = monthNamed(string(name))
	}
	if month < 1 || month > 12 {
		return nil
	}
	date := fmt.Sprintf("%s %2d", months[3*month-3:3*month], day)
	if year := part("Y"); year != nil {
		date = fmt.Sprintf("%s-%02d-%02d", year, month, day)
	} else if year := part("y"); year != nil {
		date = fmt.Sprintf("20%s-%02d-%02d", year, month, day)
	}
	hour := number(part("H", "I"))
	if half := part("p"); half != nil && part("H") == nil {
		if hour < 1 || hour > 12 {
			return nil
		}
		hour %= 12
		if half[0] == 'p' || half[0] == 'P' {
			hour += 12
		}
	}
	return fmt.Appendf(nil, "%s %02d:%02d:%02d%s%s", date, hour, number(part("M")), number(part("S")), fraction, part("z"))
}

// monthNamed returns the number of a month by its name or its first three letters,
// 0 where there is none.
func monthNamed(name string) int {
	for month := time.January; month <= time.December; month++ {
		if strings.EqualFold(name, month.String()) || strings.EqualFold(name, month.String()[:3]) {
			return int(month)
		}
	}
	return 0
}
