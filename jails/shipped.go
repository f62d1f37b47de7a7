package jails

import (
	"embed"
	"io/fs"
	"path"
	"strings"
)

//go:embed shipped/*.toml
var embedded embed.FS

// Shipped returns the jail files that band ships, each named as its jail with
// the suffix .toml. They are written to be read, and to be copied from.
func Shipped() fs.FS {
	files, err := fs.Sub(embedded, "shipped")
	if err != nil {
		panic(err) // only for a path that is not valid
	}
	return files
}

// readShipped reads the shipped jails by name.
func readShipped(shipped fs.FS) map[string]*layer {
	layers := map[string]*layer{}
	files, _ := fs.Glob(shipped, "*.toml")
	for _, file := range files {
		text, _ := fs.ReadFile(shipped, file) // embedded: it is there
		jail := strings.TrimSuffix(file, ".toml")
		layers[jail] = readJail(layerShipped, path.Join("shipped", file), jail, strings.NewReader(string(text)))
	}
	return layers
}
