package jails

// Locate lets the tests hold the locator against the decoder on any text.
var (
	Locate  = locate
	Member  = member
	Element = element
)

// ParseShipped is Parse with other shipped jails.
var ParseShipped = parse
