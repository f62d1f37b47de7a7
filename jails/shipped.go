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
func readShipped() map[string]*layer {
	layers := map[string]*layer{}
	files, _ := embedded.ReadDir("shipped") // embedded: it is there
	for _, f := range files {
		file := path.Join("shipped", f.Name())
		text, _ := embedded.ReadFile(file)
		jail := strings.TrimSuffix(f.Name(), ".toml")
		layers[jail] = readJail(layerShipped, file, jail, strings.NewReader(string(text)))
	}
	return layers
}
