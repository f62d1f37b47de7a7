package services

import "net/netip"

// What is parsed by hand, for the tests.
var (
	Bans        = bans
	ParseCgroup = parseCgroup
)

func ParseStatus(status []byte) (name string, uids [4]uint32, runs bool, err error) {
	p, runs, err := parseStatus(status)
	return p.name, p.uids, runs, err
}

func ParseSocket(data []byte) (at netip.AddrPort, device, inode, uid uint32, cgroup uint64, err error) {
	s, err := parseSocket(data)
	return netip.AddrPortFrom(s.Addr, s.Port.Port), s.device, s.inode, s.uid, s.cgroup, err
}
