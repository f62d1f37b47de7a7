package services

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// firstUDP is the first UDP port that is not taken for one of a service. UDP
// knows no listening: above are the sockets of media (FreeSWITCH has them from
// 16384, Asterisk from 10000) and of clients, of DNS for example (the kernel
// gives them ports from 32768).
const firstUDP = 10000

// A Port is one on which a process listens.
type Port struct {
	Protocol string     // "tcp" or "udp"
	Addr     netip.Addr // unspecified where it listens on every address; [::] may take IPv4 too
	Port     uint16
}

// String returns the port as in "udp 203.0.113.10:5090".
func (p Port) String() string {
	return p.Protocol + " " + netip.AddrPortFrom(p.Addr, p.Port).String()
}

// Listening returns the ports on which a service listens, whose processes have
// the names, sorted and each once: the TCP sockets that listen and the UDP
// sockets below port 10000 that are bound and not connected, without those that
// only this machine reaches. It sees the PID namespace and the network namespace
// of the caller.
//
// The name of a process is that of its program's file, of which the kernel
// keeps 15 bytes. The processes that a service starts are named too, such as
// sshd-session and sshd-auth beside sshd: one that is not named is a stranger.
//
// Nothing and no error means that no process of the names runs here, or that
// those that do listen nowhere. An error means that it cannot be told, and says
// why. What is told rests on the first of these that applies to a process:
//
//   - Its open files may be read: always by root with CAP_SYS_PTRACE. Nothing is
//     missed.
//   - It shares its cgroup with no stranger, as in a unit of systemd's: the
//     sockets that were made in this cgroup, or in that of the socket unit of
//     the same name, are its own. The kernel tells the cgroup of a socket since
//     5.9. Sockets that others made and handed over are missed.
//   - It shares its user, not root, with no stranger: so are the sockets of this
//     user.
//
// A process to which the latter two give no socket at all is one of which it
// cannot be told: its socket may have been handed over. Where it can be told of
// one process of the names, those of which it cannot, such as the logins that
// sshd serves, add nothing and are no error.
func Listening(names []string) ([]Port, error) {
	about := "tell the ports of " + strings.Join(names, ", ")
	all, err := processes()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", about, err)
	}
	service := slices.DeleteFunc(slices.Clone(all), func(p process) bool { return !p.named(names) })
	if len(service) == 0 {
		return nil, nil
	}
	open, err := sockets()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", about, err)
	}
	m := machine{names: names, processes: all, sockets: open}
	var ports []Port
	var why error
	told := false
	for _, p := range service {
		held, err := m.heldBy(p)
		if err != nil {
			why = cmp.Or(why, fmt.Errorf("%s: process %d: %w", about, p.pid, err))
			continue
		}
		told = true
		for _, s := range held {
			if s.local() || s.Protocol == "udp" && s.Port.Port >= firstUDP {
				continue
			}
			ports = append(ports, s.Port)
		}
	}
	if !told {
		return nil, why
	}
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), a.Addr.Compare(b.Addr))
	})
	return slices.Compact(ports), nil
}

// A machine is what was seen of this one, in search of the processes of names.
type machine struct {
	names     []string
	processes []process
	sockets   []socket
}

// heldBy returns the sockets of a process, or why they cannot be told.
func (m machine) heldBy(p process) ([]socket, error) {
	inodes, err := p.sockets()
	switch {
	case err == nil:
		return m.which(func(s socket) bool { return inodes[s.inode] }), nil
	case gone(err):
		return nil, nil
	case !errors.Is(err, fs.ErrPermission):
		return nil, err
	}
	if elsewhere, err := p.elsewhere(); elsewhere || err != nil {
		return nil, err
	}
	ids, err := m.ownCgroup(p)
	if err != nil {
		return nil, err
	}
	if held := m.which(func(s socket) bool { return slices.Contains(ids, s.cgroup) }); len(held) > 0 {
		return held, nil
	}
	alone, err := m.ownUser(p)
	if err != nil {
		return nil, err
	}
	if held := m.which(func(s socket) bool { return alone && s.uid == p.uid() }); len(held) > 0 {
		return held, nil
	}
	return nil, fmt.Errorf("its open files may not be read, and no socket is known by a cgroup or a user of its own")
}

func (m machine) which(is func(socket) bool) []socket {
	var held []socket
	for _, s := range m.sockets {
		if is(s) {
			held = append(held, s)
		}
	}
	return held
}

// ownCgroup returns the identifiers of the cgroups that a process shares with
// none but those of the names.
func (m machine) ownCgroup(p process) ([]uint64, error) {
	c, err := p.cgroup()
	if c == "" || err != nil {
		return nil, err
	}
	members, err := c.members()
	if gone(err) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // not below our mount, or one of threads
	} else if err != nil {
		return nil, err
	}
	if stranger, err := m.stranger(members); stranger || err != nil {
		return nil, err
	}
	return c.ids()
}

// ownUser reports whether none but the processes of the names have the user of
// one of them.
func (m machine) ownUser(p process) (bool, error) {
	if p.uid() == 0 {
		return false, nil // the kernel's sockets are root's too
	}
	var same []process
	for _, other := range m.processes {
		if slices.Contains(other.uids[:], p.uid()) {
			same = append(same, other)
		}
	}
	stranger, err := m.stranger(same)
	return !stranger, err
}

// stranger reports whether one of the processes could hold a socket of ours and
// has none of the names.
func (m machine) stranger(of []process) (bool, error) {
	for _, p := range of {
		if p.named(m.names) {
			continue
		}
		if elsewhere, err := p.elsewhere(); !elsewhere || err != nil {
			return true, err
		}
	}
	return false, nil
}
