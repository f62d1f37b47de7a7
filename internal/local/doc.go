// Package local knows which addresses belong to this machine and to its
// gateways: they are never banned.
package local
