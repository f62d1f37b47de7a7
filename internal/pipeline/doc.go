// Package pipeline decides: records go in, failures are counted, bans come out.
// It touches neither disk nor kernel, so the daemon and a replay decide alike.
package pipeline
