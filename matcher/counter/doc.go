// Package counter counts failures in an exact sliding window and says when a
// unit has reached its jail's threshold.
package counter
