package jails

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
)

// An Entry of the allowlist is never counted and never banned. Exactly one of
// its fields is set.
type Entry struct {
	Prefix netip.Prefix // masked, never IPv4-mapped; a single address has all its bits
	Name   string       // a host name, in lower case, without a dot at its end
	File   string       // the absolute path of a file that holds an entry on each line, files excepted
}

// String returns the entry as an operator writes it.
func (e Entry) String() string {
	switch {
	case e.Name != "":
		return e.Name
	case e.File != "":
		return e.File
	case e.Prefix.IsSingleIP():
		return e.Prefix.Addr().String()
	}
	return e.Prefix.String()
}

// hostName is the form of RFC 1123, section 2.1, with the underscore that some
// use. The last label begins with a letter: what ends like an address is one, or
// a slip.
var hostName = regexp.MustCompile(`^(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// maxName is the length of a host name that DNS can carry: RFC 1035, section
// 3.1, without the length of the first label and the root.
const maxName = 253

// ParseEntry reads an address, a prefix, a host name or the absolute path of a
// file. Names are not looked up, and files not opened.
func ParseEntry(s string) (Entry, error) {
	if filepath.IsAbs(s) {
		_, err := asText(s)
		return Entry{File: filepath.Clean(s)}, err
	}
	if name := strings.TrimSuffix(s, "."); len(name) <= maxName && hostName.MatchString(name) {
		return Entry{Name: strings.ToLower(name)}, nil
	}
	prefix, err := parsePrefix(s)
	return Entry{Prefix: prefix}, err
}

// parsePrefix reads an address or a prefix, with IPv4-mapped ones as IPv4.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is no address, prefix, host name or absolute path of a file", s)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p.Bits() == 0 {
		return p, fmt.Errorf("%q would exempt everybody", s)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%q has host bits set; write %q", s, p.Masked())
	}
	return p, nil
}

// asEntry takes an entry of the allowlist.
func asEntry(v any) (Entry, error) {
	s, ok := v.(string)
	if !ok {
		return Entry{}, wrongType(`a string such as "192.0.2.7"`, v)
	}
	if s == "" {
		return Entry{}, errors.New("must not be empty")
	}
	return ParseEntry(s)
}
