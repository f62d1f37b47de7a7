package freeswitch

import (
	"path/filepath"
	"strings"
)

// A reader makes one text of all files, as FreeSWITCH's preprocessor does
// (src/switch_xml.c: preprocess): line by line, with the variables that were set
// in the lines before.
type reader struct {
	ledger
	vars       map[string]string // by their names in lower case
	text       strings.Builder
	inclusions []inclusion
	marks      []mark

	files  []string
	stamps map[string]stamp
}

// An inclusion is a file's part of the text.
type inclusion struct {
	path   string
	parent int // the inclusion that it stands in; 0, the first, stands in itself
	end    int // where it ends in the text
}

// A mark tells what the text is from there on, up to the next mark.
type mark struct {
	at        int
	inclusion int
	line      int
}

func newReader(dir string) *reader {
	return &reader{vars: variables(dir), stamps: make(map[string]stamp)}
}

// file appends what a file and those that it includes hold. Its error is that
// the file cannot be read.
func (r *reader) file(path string, parent int) error {
	text, err := r.read(path)
	if err != nil || !r.spend(len(text)) {
		return err
	}
	i := len(r.inclusions)
	r.inclusions = append(r.inclusions, inclusion{path: path, parent: parent})
	r.mark(i, 1)
	r.lines(i, text)
	r.inclusions[i].end = r.text.Len()
	return nil
}

func (r *reader) mark(inclusion, line int) {
	r.marks = append(r.marks, mark{r.text.Len(), inclusion, line})
}

// lines appends the lines of a file. What is left out of the text leaves its line
// breaks there, so that lines can be counted.
func (r *reader) lines(i int, text string) {
	closed := true // false behind a <!--# that began on a line before
	at := Place{File: r.inclusions[i].path, Line: 1}
	for text != "" && !r.stopped {
		n := strings.IndexAny(text, "\r\n") + 1
		if n == 0 {
			n = len(text)
		}
		raw := strings.TrimRight(text[:n], "\r\n")
		end := text[len(raw):n]
		text = text[n:]

		line, head := r.expand(at, raw), untilVariable(raw)
		switch {
		case strings.Contains(head, "<include>"), strings.Contains(head, "</include>"), strings.Contains(head, "<?"):
			line = "" // FreeSWITCH ignores all that stands there
		case !closed:
			_, line, closed = strings.Cut(head, "-->")
		}
		var command, arg string
		if tag := indexFold(line, "X-PRE-PROCESS"); tag >= 0 {
			if tag > 0 && line[tag-1] == '<' {
				command, arg = inTag(line[tag:])
			}
			line = "" // a comment around the tag goes too, and did not turn it off
		} else if before, comment, found := strings.Cut(line, "<!--#"); found {
			comment, line, closed = strings.Cut(comment, "-->")
			command, arg = inComment(comment)
			line = before + line
		}
		r.text.WriteString(line)
		r.text.WriteString(end)
		r.obey(at, i, strings.ToLower(command), arg)
		if end == "\n" {
			at.Line++
		}
		if last := r.marks[len(r.marks)-1]; last.inclusion != i {
			r.mark(i, at.Line)
		}
	}
}

// inTag reads an instruction from the name of its tag on. FreeSWITCH wants double
// quotes, and the command before the data.
func inTag(tag string) (command, arg string) {
	tag, _, _ = strings.Cut(tag, "/>")
	command, tag, ok := attribute(tag, "cmd")
	if !ok {
		return "", ""
	}
	if arg, _, ok = attribute(tag, "data"); !ok {
		return "", ""
	}
	return command, arg
}

// attribute returns the value of an attribute and what follows it.
func attribute(s, name string) (value, rest string, ok bool) {
	i := indexFold(s, name)
	if i < 0 {
		return "", "", false
	}
	if _, s, ok = strings.Cut(s[i+len(name):], "="); !ok {
		return "", "", false
	}
	if _, s, ok = strings.Cut(s, `"`); !ok {
		return "", "", false
	}
	value, rest, _ = strings.Cut(s, `"`)
	return value, rest, true
}

// inComment reads an instruction behind its <!--#. Quotes need not be.
func inComment(comment string) (command, arg string) {
	command, arg, _ = strings.Cut(comment, " ")
	if parts := strings.SplitN(arg, `"`, 3); len(parts) == 3 {
		arg = parts[1]
	}
	return command, arg
}

// obey does what an instruction says, but runs nothing.
func (r *reader) obey(at Place, inclusion int, command, arg string) {
	switch command {
	case "set", "exec-set", "stun-set", "env-set":
		r.set(command, arg)
	case "exec":
		r.problem(at, "what the command prints is a part of the configuration, but the command is not run here")
	case "include":
		r.include(at, inclusion, arg)
	}
}

// include appends the files that match pattern.
func (r *reader) include(at Place, within int, pattern string) {
	depth := 1
	for i := within; i != 0; i = r.inclusions[i].parent {
		depth++
	}
	switch {
	case depth > maxDepth:
		r.problem(at, "%s is not included, since includes are nested deeper than %d", shown(pattern), maxDepth)
		return
	case unknown(pattern):
		r.problem(at, "%s is not included, since its variable is not known", shown(pattern))
		return
	case len(pattern) >= maxPath:
		r.problem(at, "%s is not included, since it is too long", shown(pattern))
		return
	case !filepath.IsAbs(pattern):
		pattern = at.File[:strings.LastIndex(at.File, "/")+1] + pattern
	}
	paths, err := r.glob(pattern)
	if err != nil {
		r.problem(at, "%v", err)
	}
	for _, path := range paths {
		if len(r.inclusions) == maxFiles {
			r.stop("more than %d files are included", maxFiles)
		}
		if r.stopped {
			return
		}
		if err := r.file(path, within); err != nil {
			r.problem(at, "%v", err)
		}
	}
}

// indexFold is strings.Index for an ASCII substr in any case.
func indexFold(s, substr string) int {
	for i := range len(s) - len(substr) + 1 {
		if s[i]|' ' == substr[0]|' ' && strings.EqualFold(s[i:i+len(substr)], substr) {
			return i
		}
	}
	return -1
}
