// Package replay runs logs through the pipeline to tell who would have been
// banned, and when, by the logs' own time.
package replay
