package freeswitch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// root is the file that all others are included from.
const root = "freeswitch.xml"

// Dirs returns the directories where packages and builds put the configuration
// (configure.ac of FreeSWITCH: confdir), the likeliest first.
func Dirs() []string {
	return []string{
		"/etc/freeswitch",
		"/usr/local/freeswitch/conf",
		"/usr/local/freeswitch/etc/freeswitch",
		"/usr/local/etc/freeswitch",
		"/opt/freeswitch/conf",
		"/opt/freeswitch/etc/freeswitch",
	}
}

// Find returns the first of dirs that holds a configuration, readable or not;
// "" where none does.
func Find(dirs []string) string {
	for _, dir := range dirs {
		_, err := os.Stat(filepath.Join(dir, root))
		if err == nil || errors.Is(err, fs.ErrPermission) {
			return dir
		}
	}
	return ""
}

// A Config is what the files say. Modules that answer for FreeSWITCH's
// configuration in the place of its files may say otherwise: see Bindings.
type Config struct {
	Profiles    []Profile
	Gateways    []Gateway // of the profiles, and of the users whose gateways a profile takes over
	LogFiles    []LogFile
	EventSocket EventSocket
	Bindings    []Binding

	// Problems are what could not be read or understood, each with its file
	// and line where it has one.
	Problems []string
	// Files are the paths of the files that were read, in that order, each
	// once.
	Files []string

	stamps map[string]stamp
}

// A Place is a line of a file. The zero Place is nowhere.
type Place struct {
	File string // its path
	Line int    // from 1
}

// String returns the place as file:line.
func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Read reads the configuration in dir: freeswitch.xml and what it includes, with
// the variables that it sets. No command that it names is run, and no other host
// is asked.
//
// Only a freeswitch.xml that cannot be read is an error, which wraps that of the
// file system. What is wrong with other files is told in Problems, and the rest
// is read.
func Read(dir string) (*Config, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("read the configuration of FreeSWITCH: %w", err)
	}
	r := newReader(dir)
	if err := r.file(filepath.Join(dir, root), 0); err != nil {
		return nil, fmt.Errorf("read the configuration of FreeSWITCH: %w", err)
	}
	document := r.parse()
	c := &Config{Files: r.files, stamps: r.stamps}
	configuration := document.named("section", "configuration")
	c.takeProfiles(r, configuration.named("configuration", "sofia.conf"), document.named("section", "directory"))
	c.takeLogFiles(r, configuration.named("configuration", "logfile.conf"))
	c.takeEventSocket(configuration.named("configuration", "event_socket.conf"))
	c.takeBindings(configuration)
	c.Problems = r.problems
	return c, nil
}

// Silent returns the profiles that do not log wrong passwords. Those of which
// that is not known are not among them.
func (c *Config) Silent() []Profile {
	var silent []Profile
	for _, p := range c.Profiles {
		if s := p.LogAuthFailures; !s.On() && !s.Unknown() {
			silent = append(silent, p)
		}
	}
	return silent
}

// Changed reports whether any file or directory that was read is another one now
// than it was then, so that reading again may find something else.
func (c *Config) Changed() bool {
	for path, was := range c.stamps {
		if stampOf(path) != was {
			return true
		}
	}
	return false
}

// isTrue is switch_true of FreeSWITCH (src/include/switch_utils.h).
func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "yes", "on", "true", "t", "enabled", "active", "allow":
		return true
	}
	if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	return strings.Trim(s, ".0123456789") == "" && atoi(s) != 0
}

// atoi is that of C: the number that s begins with, 0 where there is none. It
// stops at what no port can be.
func atoi(s string) int {
	n := 0
	for _, c := range strings.TrimLeft(s, " \t") {
		if c < '0' || c > '9' || n > 1<<16 {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n
}
