// Package daemon is the pipeline: it takes the records of all sources in turn,
// decides, and tells the store and the kernel.
package daemon
