// Package config loads the configuration with every pattern judged.
package config

import (
	"fmt"
	"io/fs"
	"slices"

	"band/internal/pipeline"
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

// Only returns the configuration with the named jails alone, enabled, sorted and
// each once. A jail that does not exist, or whose file is refused, is an error.
func Only(c *jails.Config, names ...string) (*jails.Config, error) {
	only := &jails.Config{Allow: c.Allow, FreeSWITCH: c.FreeSWITCH}
	names = slices.Sorted(slices.Values(names))
	for _, name := range slices.Compact(names) {
		for _, p := range c.Problems {
			if p.Jail == name {
				return nil, p
			}
		}
		i := slices.IndexFunc(c.Jails, func(j jails.Jail) bool { return j.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no jail %q; banctl jails lists them", name)
		}
		jail := c.Jails[i]
		jail.Enabled = true
		only.Jails = append(only.Jails, jail)
	}
	return only, nil
}

// checker lets the matcher judge what the jail files say.
type checker struct{}

func (checker) Format(name, layout string) error {
	_, err := matcher.FormatNamed(name, layout)
	return err
}

func (checker) Pattern(format string, p jails.Pattern) error {
	f, err := matcher.FormatNamed(format, "")
	if err != nil {
		return err
	}
	if p.Counts == "another-user" && !matcher.TellsSession(f) {
		return fmt.Errorf("counts = \"another-user\" is for records that tell their session; those of the format %q do not", format)
	}
	_, err = pipeline.Compile(f, p)
	return err
}
