// Package control is how banctl talks to the daemon: HTTP and JSON on a Unix
// socket.
package control
