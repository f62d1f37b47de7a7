package freeswitch

import "strings"

// variables returns those of FreeSWITCH's own that the place of its
// configuration tells, as far as it was installed like its build lays it out
// (configure.ac) and not moved by the flags -base and -log. All others, such as
// local_ip_v4, are unknown to us.
func variables(dir string) map[string]string {
	vars := map[string]string{"conf_dir": dir}
	if prefix, ok := strings.CutSuffix(dir, "/conf"); ok {
		vars["base_dir"], vars["log_dir"] = prefix, prefix+"/log"
	}
	if prefix, ok := strings.CutSuffix(dir, "/etc/freeswitch"); ok {
		vars["log_dir"] = prefix + "/var/log/freeswitch"
	}
	return vars
}

// unknown reports whether s holds a variable whose value is not known: it is
// left as it stands.
func unknown(s string) bool { return strings.Contains(s, "$${") }

// set obeys an instruction that gives a variable a value. The value that a
// command, another host or the environment would give is not known.
func (r *reader) set(command, assignment string) {
	name, value, assigns := strings.Cut(assignment, "=")
	name = strings.ToLower(strings.TrimRight(name, " "))
	switch {
	case !assigns:
	case command == "set":
		r.vars[name] = strings.TrimLeft(value, " ")
	default:
		delete(r.vars, name)
	}
}

// expand returns line with the variables that are known in their places. The
// others stay, where FreeSWITCH puts what it knows, or nothing.
func (r *reader) expand(at Place, line string) string {
	if !unknown(line) {
		return line
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(line, "$${")
		out.WriteString(before)
		if !found {
			break
		}
		end := closing(rest)
		if value, known := r.vars[strings.ToLower(rest[:max(end, 0)])]; known && end > 0 {
			out.WriteString(value)
		} else {
			out.WriteString("$${" + rest[:end+1])
		}
		if line = rest[end+1:]; out.Len() > maxLine {
			r.problem(at, "with its variables the line is too long")
			return ""
		}
	}
	if !r.spend(out.Len()) {
		return ""
	}
	return out.String()
}

// untilVariable returns line up to the brace that closes the first variable.
// FreeSWITCH looks no further for what is to be ignored, since expand_vars ends
// the string there.
func untilVariable(line string) string {
	for i := 0; ; {
		dollar := strings.Index(line[i:], "$${")
		if dollar < 0 {
			return line
		}
		i += dollar + len("$${")
		if end := closing(line[i:]); end >= 0 {
			return line[:i+end]
		}
	}
}

// closing returns where the brace is that closes a variable's name, which may
// hold pairs of its own; -1 where there is none.
func closing(s string) int {
	open := 1
	for i := range min(len(s), maxVariable) {
		switch s[i] {
		case '{':
			open++
		case '}':
			open--
		}
		if open == 0 {
			return i
		}
	}
	return -1
}
