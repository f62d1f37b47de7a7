package freeswitch

import (
	"path/filepath"
	"slices"
	"strings"
)

// A LogFile is a profile of mod_logfile.
type LogFile struct {
	Name string
	// Path is that of the file, "" where it is not known.
	Path string
	// UUID says that the records of a call begin with its id, split by the line
	// breaks that callers write. Where that is not known, it does.
	UUID bool
	Maps []Map
	At   Place
}

// A Map says which records a log file holds.
type Map struct {
	From   string   // a source file, a function, both as file:function, or "all"
	Levels []string // in lower case
}

// harmless are the records of refused logins that callers cannot forge lines of,
// by where they come from: docs/freeswitch.md.
var harmless = map[string][]string{
	"sofia_reg.c":               {"warning", "err"},
	"sofia_handle_sip_i_invite": {"warning"},
	"mod_event_socket.c":        {"warning"},
}

// Dedicated reports whether the log tells of refused logins, and of nothing that
// callers can forge lines with.
func (l LogFile) Dedicated() bool {
	tells := false
	for _, m := range l.Maps {
		for _, level := range m.Levels {
			if !slices.Contains(harmless[m.From], level) {
				return false
			}
			tells = tells || m.From == "sofia_reg.c" && level == "warning"
		}
	}
	return tells && !l.UUID
}

// takeLogFiles takes the profiles of mod_logfile (mod_logfile.c: load_profile).
func (c *Config) takeLogFiles(r *reader, logfile *node) {
	for _, n := range logfile.child("profiles").all("profile") {
		if n.broken {
			continue
		}
		l := LogFile{Name: n.attr("name"), UUID: true, At: n.at}
		path := ""
		for _, param := range n.child("settings").all("param") {
			switch value := param.attr("value"); param.attr("name") {
			case "logfile":
				path = value
			case "uuid":
				l.UUID = isTrue(value) || unknown(value)
			}
		}
		if dir, known := r.vars["log_dir"]; known && path == "" {
			path = dir + "/freeswitch.log"
		}
		if !unknown(path) && filepath.IsAbs(path) {
			l.Path = filepath.Clean(path)
		}
		for _, m := range n.child("mappings").all("map") {
			levels := strings.SplitN(strings.ToLower(m.attr("value")), ",", 10) // as FreeSWITCH
			for i := range levels {
				levels[i] = strings.TrimSpace(levels[i])
			}
			l.Maps = append(l.Maps, Map{m.attr("name"), levels})
		}
		c.LogFiles = append(c.LogFiles, l)
	}
}
