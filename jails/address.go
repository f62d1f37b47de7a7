package jails

import (
	"fmt"
	"math"
	"net"
	"net/netip"
)

// anAddress is how to write where to listen.
const anAddress = `"127.0.0.1:9719"`

// asAddress takes an address and a port to listen on; "" is none. A name is not
// looked up: what it stands for might change, and where others listen too.
func asAddress(v any) (netip.AddrPort, error) {
	s, ok := v.(string)
	switch {
	case !ok:
		return netip.AddrPort{}, wrongType("an address and a port such as "+anAddress, v)
	case s == "":
		return netip.AddrPort{}, nil
	}
	at, err := netip.ParseAddrPort(s)
	if err == nil && at.Port() > 0 {
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), nil
	}
	host, port, err := net.SplitHostPort(s)
	addr, noAddr := netip.ParseAddr(host)
	lone, notLone := netip.ParseAddr(s)
	switch {
	case notLone == nil && lone.Is4():
		err = fmt.Errorf("%q has no port; write %q", s, netip.AddrPortFrom(lone, 9719))
	case notLone == nil:
		err = fmt.Errorf(`%q has no port, or lacks the brackets around an IPv6 address; write one such as "[::1]:9719"`, s)
	case err != nil:
		err = fmt.Errorf("%q is no address and port; write one such as %s", s, anAddress)
	case host == "":
		err = fmt.Errorf("%q names no address; write %q, or %q for all addresses of this host",
			s, net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("0.0.0.0", port))
	case noAddr != nil:
		err = fmt.Errorf("%q is no address, and a name is not looked up; write one such as %s", host, anAddress)
	default:
		err = fmt.Errorf("%q is no port: %d to %d, as in %q", port, 1, math.MaxUint16, netip.AddrPortFrom(addr, 9719))
	}
	return netip.AddrPort{}, err
}
