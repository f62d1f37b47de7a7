// Package daemon runs everything: it hands the records of all sources to the
// pipeline in turn, and what that decides to the store and the kernel.
package daemon
