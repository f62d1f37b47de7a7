// Package matcher turns the bytes of a log into records and finds the failures
// among them: which pattern matched, and which host it names.
package matcher
