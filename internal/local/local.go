package local

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/jsimonetti/rtnetlink/v2"
)

// Addresses are those of this machine's network namespace at one moment.
type Addresses struct {
	Own      []netip.Addr
	Gateways []netip.Addr // next hops of any route
}

// Read asks the kernel for the addresses of all interfaces and for the next
// hops of all routes.
func Read() (Addresses, error) {
	var a Addresses
	own, err := net.InterfaceAddrs()
	if err != nil {
		return a, fmt.Errorf("read own addresses: %w", err)
	}
	for _, o := range own {
		if ipnet, ok := o.(*net.IPNet); ok {
			a.Own = add(a.Own, ipnet.IP)
		}
	}
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		return a, fmt.Errorf("read routes: %w", err)
	}
	defer conn.Close()
	routes, err := conn.Route.List()
	if err != nil {
		return a, fmt.Errorf("read routes: %w", err)
	}
	for _, r := range routes {
		a.Gateways = add(a.Gateways, r.Attributes.Gateway)
		for _, hop := range r.Attributes.Multipath {
			a.Gateways = add(a.Gateways, hop.Gateway)
		}
	}
	return a, nil
}

// Protects reports why addr must not be banned, "" when it may: it is one of
// ours, a gateway, or no address that a packet of another host can come from.
func (a Addresses) Protects(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	switch {
	case slices.Contains(a.Own, addr):
		return "an address of this machine"
	case slices.Contains(a.Gateways, addr):
		return "a gateway of this machine"
	case addr.IsLoopback():
		return "a loopback address"
	case addr.IsUnspecified():
		return "the unspecified address"
	case addr.IsMulticast(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "a multicast or broadcast address"
	case addr.IsLinkLocalUnicast():
		return "a link-local address"
	}
	return ""
}

// Inside returns the first own address or gateway that prefix contains.
func (a Addresses) Inside(prefix netip.Prefix) (netip.Addr, bool) {
	for _, addr := range slices.Concat(a.Own, a.Gateways) {
		if prefix.Contains(addr) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

func add(to []netip.Addr, ip net.IP) []netip.Addr {
	addr, ok := netip.AddrFromSlice(ip)
	if addr = addr.Unmap(); !ok || addr.IsUnspecified() || slices.Contains(to, addr) {
		return to
	}
	return append(to, addr)
}
