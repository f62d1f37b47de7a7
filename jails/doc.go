// Package jails reads the configuration: band.toml and the jail files, laid over the jails that band ships.
package jails
