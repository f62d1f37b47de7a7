package config_test

import (
	"testing"

	"band/internal/config"
)

// Every shipped jail is accepted by the matcher, and none is missing.
func TestShipped(t *testing.T) {
	c := config.Load("/nonexistent")
	for _, p := range c.Problems {
		t.Error(p)
	}
	enabled := map[string]bool{"freeswitch": true, "freeswitch-acl": true, "freeswitch-scan": false}
	for _, j := range c.Jails {
		if want, known := enabled[j.Name]; !known || j.Enabled != want {
			t.Errorf("jail %s: enabled %v, want %v", j.Name, j.Enabled, want)
		}
		delete(enabled, j.Name)
	}
	for name := range enabled {
		t.Errorf("jail %s is not shipped", name)
	}
}
