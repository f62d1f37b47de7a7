package journaltest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func (j *Journald) socket(name string) string {
	return filepath.Join(j.Root, "run/systemd/journal", name)
}

// Syslog sends one datagram to /dev/log, as syslog(3) does:
// "<12>Nov 21 07:47:57 freeswitch[869]: text".
func (j *Journald) Syslog(datagram string) {
	j.t.Helper()
	j.datagram("dev-log", []byte(datagram))
}

// Send sends one entry with the given fields, each "NAME=value" of any bytes,
// by journald's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL).
func (j *Journald) Send(fields ...string) {
	j.t.Helper()
	var b bytes.Buffer
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		b.WriteString(name + "\n")
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(value))))
		b.WriteString(value + "\n")
	}
	j.datagram("socket", b.Bytes())
}

// datagram sends, and tries again while journald is being started.
func (j *Journald) datagram(socket string, data []byte) {
	j.t.Helper()
	err := poll("send to "+socket, func() error {
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: j.socket(socket), Net: "unixgram"})
		if err != nil {
			return err
		}
		_, err = conn.Write(data)
		return errors.Join(err, conn.Close())
	})
	if err != nil {
		j.t.Error(err)
	}
}

// A Stream is the standard output of a service.
type Stream struct {
	conn        *net.UnixConn
	credentials []byte
}

// Stdout opens a stream, as systemd does for the standard output of a unit.
// Lines come from a process that stands in for the service, so that journald
// takes them to be the unit's; "" is no unit. The stream ends with journald.
func (j *Journald) Stdout(identifier, unit string) *Stream {
	j.t.Helper()
	return j.stream(identifier, unit, 0)
}

// Levels is like Stdout, for a unit that has SyslogLevelPrefix, as all do by
// default: a line may begin with its priority, "<3>".
func (j *Journald) Levels(identifier, unit string) *Stream {
	j.t.Helper()
	return j.stream(identifier, unit, 1)
}

func (j *Journald) stream(identifier, unit string, levels int) *Stream {
	j.t.Helper()
	s, err := j.open(identifier, unit, levels)
	if err != nil {
		j.t.Errorf("open a stream: %v", err)
		return &Stream{}
	}
	j.t.Cleanup(func() { _ = s.Close() })
	return s
}

func (j *Journald) open(identifier, unit string, levels int) (*Stream, error) {
	pid, err := j.service(unit)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: j.socket("stdout"), Net: "unix"})
	if err != nil {
		return nil, err
	}
	s := &Stream{conn: conn, credentials: unix.UnixCredentials(&unix.Ucred{Pid: int32(pid)})}
	// Identifier, unit, priority, whether lines begin with a priority, and
	// whether to forward to syslog, to the kernel's log and to the console.
	_, err = fmt.Fprintf(s, "%s\n%s\n6\n%d\n0\n0\n0\n", identifier, unit, levels)
	return s, err
}

// service returns the id of the process that stands in for a unit's.
func (j *Journald) service(unit string) (int, error) {
	if unit == "" {
		return os.Getpid(), nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.services[unit] == nil {
		p, err := run("sleep", "infinity")
		if err != nil {
			return 0, err
		}
		j.services[unit] = p
	}
	return j.services[unit].pid, nil
}

// Write writes bytes, of which journald makes an entry a line.
func (s *Stream) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var part int
		part, _, err = s.conn.WriteMsgUnix(p[n:], s.credentials, nil)
		n += part
	}
	return n, err
}

// Close closes the stream. An unfinished line becomes an entry then.
func (s *Stream) Close() error { return s.conn.Close() }
