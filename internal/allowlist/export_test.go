package allowlist

import "net/netip"

// Parse reads the content of a file.
func Parse(path string, data []byte) (prefixes []netip.Prefix, names, problems []string, more int) {
	c := parse(path, data)
	return c.prefixes, c.names, c.problems, c.more
}
