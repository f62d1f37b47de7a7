package services

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A socket is one that takes what comes from others.
type socket struct {
	Port
	device uint32 // 0 where it takes from every interface
	inode  uint32
	uid    uint32 // of the process that made it
	cgroup uint64 // in which it was made; 0 where the kernel does not tell
}

// local reports whether only this machine reaches the socket.
func (s socket) local() bool {
	const loopback = 1 // LOOPBACK_IFINDEX of linux/net.h
	return s.Addr.IsLoopback() || s.device == loopback
}

// The messages of sock_diag(7), of linux/inet_diag.h.
type (
	socketID struct {
		SourcePort, DestinationPort [2]byte // big endian
		Source, Destination         [16]byte
		Device                      uint32
		Cookie                      [2]uint32
	}
	socketRequest struct {
		Family, Protocol, Extensions, _ uint8
		States                          uint32
		ID                              socketID
	}
	socketMessage struct {
		Family, State, Timer, Retransmits uint8
		ID                                socketID
		Expires, ReceiveQueue, SendQueue  uint32
		UID, Inode                        uint32
	}
)

// inetDiagCgroupID is the attribute INET_DIAG_CGROUP_ID.
const inetDiagCgroupID = 21

// sockets asks the kernel for those of our network namespace.
func sockets() ([]socket, error) {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	defer conn.Close()
	var all []socket
	for _, protocol := range []struct {
		name   string
		number uint8
		state  uint8
	}{
		{"tcp", unix.IPPROTO_TCP, unix.BPF_TCP_LISTEN},
		{"udp", unix.IPPROTO_UDP, unix.BPF_TCP_CLOSE}, // bound and not connected
	} {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			request, err := binary.Append(nil, binary.NativeEndian, socketRequest{
				Family: family, Protocol: protocol.number, States: 1 << protocol.state,
			})
			if err != nil {
				return nil, fmt.Errorf("list sockets: %w", err)
			}
			answers, err := conn.Execute(netlink.Message{
				Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request | netlink.Dump},
				Data:   request,
			})
			if err != nil {
				return nil, fmt.Errorf("list %s sockets: %w", protocol.name, err)
			}
			for _, answer := range answers {
				s, err := parseSocket(answer.Data)
				if err != nil {
					return nil, fmt.Errorf("list %s sockets: %w", protocol.name, err)
				}
				s.Protocol = protocol.name
				all = append(all, s)
			}
		}
	}
	return all, nil
}

// parseSocket reads an answer of the kernel, which does not repeat the protocol.
func parseSocket(data []byte) (socket, error) {
	var m socketMessage
	n, err := binary.Decode(data, binary.NativeEndian, &m)
	if err != nil {
		return socket{}, fmt.Errorf("parse a socket of %d bytes: %w", len(data), err)
	}
	s := socket{device: m.ID.Device, inode: m.Inode, uid: m.UID}
	s.Port.Port = binary.BigEndian.Uint16(m.ID.SourcePort[:])
	switch m.Family {
	case unix.AF_INET:
		s.Addr = netip.AddrFrom4([4]byte(m.ID.Source[:4]))
	case unix.AF_INET6:
		s.Addr = netip.AddrFrom16(m.ID.Source).Unmap()
	default:
		return socket{}, fmt.Errorf("parse a socket: address family %d", m.Family)
	}
	attributes, err := netlink.NewAttributeDecoder(data[n:])
	if err != nil {
		return socket{}, fmt.Errorf("parse a socket: %w", err)
	}
	for attributes.Next() {
		if attributes.Type() == inetDiagCgroupID {
			s.cgroup = attributes.Uint64()
		}
	}
	if err := attributes.Err(); err != nil {
		return socket{}, fmt.Errorf("parse a socket: %w", err)
	}
	return s, nil
}
