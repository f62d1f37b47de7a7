// Package cmd holds the end-to-end tests of the commands below it.
package cmd
