package config_test

import (
	"os"
	"strings"
	"testing"

	"band/jails"
)

// docs/jails.md lists every key with its real default.
func TestDocumentedKeys(t *testing.T) {
	text, err := os.ReadFile("../../docs/jails.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range jails.Keys() {
		name := "`" + k.Name + "`"
		switch k.Table {
		case jails.SourceTable, jails.PatternTable, jails.EscalateTable:
			name = "`" + k.Table + "` " + name
		case jails.PortsTable:
			continue // shown with the key ports
		}
		if k.Name == "source" || k.Name == "pattern" || k.Name == "escalate" || k.Table == jails.BandTable && k.Doc == "Default of all jails." {
			continue // shown with their own keys, and with those of a jail
		}
		row := "| " + name + " | required |"
		if k.Default != "" {
			row = "| " + name + " | `" + k.Default + "` |"
		}
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/jails.md has no row that begins with %s", row)
		}
	}
}
