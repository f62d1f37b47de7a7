// Package metrics tells Prometheus what the daemon does.
package metrics
