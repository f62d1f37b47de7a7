package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"band/internal/control"
)

const bandName = "band"

// band is the built daemon, with its shipped jails for FreeSWITCH.
type band struct{ bin string }

func (band) name() string { return bandName }

// configure lets the shipped jails read the room's log and nothing else.
func (band) configure(r *room, retries int) error {
	files := map[string]string{
		"jails.d/freeswitch.toml": fmt.Sprintf("maxretry = %d\nbantime = \"1d\"\n\n[[source]]\nfile = %q\n", retries, r.log()),
		"jails.d/sshd.toml":       "enabled = false\n",
	}
	return write(r.path("etc"), files)
}

func (p band) command(r *room) []string {
	return []string{filepath.Join(p.bin, "band"), "--config", r.path("etc"), "--state", r.path("lib"), "--socket", r.path("band.sock")}
}

func (p band) ready(ctx context.Context, r *room) bool {
	s, err := p.status(ctx, r)
	if err != nil {
		return false
	}
	for _, source := range s.Sources {
		if source.State != "following" {
			return false
		}
	}
	return len(s.Sources) > 0
}

func (band) status(ctx context.Context, r *room) (control.Status, error) {
	return control.NewClient(r.path("band.sock")).Status(ctx)
}

func (band) holds(table, set string) bool {
	return table == "band" && (strings.Contains(set, "-ip4") || strings.Contains(set, "-ip6"))
}

// write writes files below a directory.
func write(dir string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("write the configuration: %w", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return fmt.Errorf("write the configuration: %w", err)
		}
	}
	return nil
}
