// Package config loads the configuration with every pattern judged.
package config

import (
	"io/fs"

	"band/jails"
	"band/matcher"
)

// Where things are unless a flag says otherwise.
const (
	Dir      = "/etc/band"
	StateDir = "/var/lib/band"
	Socket   = "/run/band/band.sock"
)

// Load reads the configuration in dir, which may be missing. What is wrong
// with it is listed in the result.
func Load(dir string) *jails.Config { return jails.Load(dir, checker{}) }

// LoadFS is Load for the configuration directory that is the root of fsys; dir
// only names it in what is wrong.
func LoadFS(fsys fs.FS, dir string) *jails.Config { return jails.Parse(fsys, dir, checker{}) }

// checker lets the matcher judge what the jail files say.
type checker struct{}

func (checker) Format(name string) error {
	_, err := matcher.FormatNamed(name)
	return err
}

func (checker) Pattern(_ string, p jails.Pattern) error {
	_, err := matcher.Compile(p.Name, p.Kind, p.Regex, p.Unsafe)
	return err
}
