// Package allowlist keeps what is never banned, resolving its host names and reading its files again as they change.
package allowlist
