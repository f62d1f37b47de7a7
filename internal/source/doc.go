// Package source reads where records come from, in order and without losing
// any, and says how far it has come.
package source
