// Package store keeps the daemon's durable state, one checksummed line of a log for every decision, so that any prefix of it is a valid state.
package store
