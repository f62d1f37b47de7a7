// Package follow reads one growing, rotating file as bytes and loses nothing.
package follow
