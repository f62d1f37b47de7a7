// Package journaltest gives a test a journald of its own.
package journaltest
