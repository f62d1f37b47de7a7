// Package journal reads the systemd journal through a child process, joins what journald cut, and loses nothing that the journal has kept.
package journal
