package eventsocket

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"

	"band/matcher"
)

const (
	// MaxMessage is how many bytes the body of a message may have, 16 MiB. It must
	// be more than a client of FreeSWITCH can bring about, or one packet would end
	// the connection: SIP messages have at most 2 MiB (sofia-sip, nta.c:
	// sa_maxsize), those of mod_verto 1 MB (mod_verto.c: client_run), and encoded a
	// byte becomes three. A message costs no memory: it is read line by line.
	MaxMessage = 16 << 20
	// MaxLine is how many bytes of a line of an event are kept, 16 KiB. What
	// FreeSWITCH itself writes is shorter; a longer value is that of a client that
	// wants it to be long, and of it the beginning is enough.
	MaxLine = 16 << 10
	// MaxText is how many bytes the lines of an event may have together, 256 KiB;
	// the lines behind are left out. That is more than ten of MaxLine, and the
	// events of registrations have fewer fields that a client writes.
	MaxText = 256 << 10
	// MaxMemory is more than a Conn ever holds, in bytes, but for the events that
	// it returned.
	MaxMemory = 1 << 20

	// maxHead is how many bytes the head of a message may have. FreeSWITCH makes
	// it in a buffer of 1024 (mod_event_socket.c: listener_run).
	maxHead = 4 << 10
	// bufferSize is how many bytes are read at once.
	bufferSize = 32 << 10
)

// The types of messages that mean something here. Others are skipped.
const (
	authRequest = "auth/request"
	reply       = "command/reply"
	plainEvent  = "text/event-plain"
	rejection   = "text/rude-rejection"
	notice      = "text/disconnect-notice"
)

// A message is what the socket sends in one piece.
type message struct {
	kind  string
	ok    bool          // the command of which it is the reply was accepted
	event matcher.Event // of a plainEvent
}

// A reader reads messages.
type reader struct {
	in   *bufio.Reader
	text []byte // of the event being read
}

func newReader(r io.Reader) *reader { return &reader{in: bufio.NewReaderSize(r, bufferSize)} }

// broken is the error of a stream that is none of an event socket. It quotes
// nothing of it: a peer might repeat the password.
func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// next reads the next message. Errors are those of the stream, and ErrACL,
// ErrEnded and ErrProtocol, behind which there is nothing to be read.
func (r *reader) next() (message, error) {
	m, length, err := r.head()
	switch {
	case err != nil:
		return message{}, err
	case m.kind == rejection:
		return message{}, ErrACL
	case m.kind == notice:
		return message{}, ErrEnded
	case m.kind == plainEvent && length < 0:
		return message{}, broken("an event without a length")
	case m.kind == plainEvent:
		m.event, err = r.event(length)
	default:
		_, err = r.in.Discard(max(0, length))
	}
	return m, err
}

// head reads the lines before a body, and how long that is, -1 where they do
// not say.
func (r *reader) head() (m message, length int, err error) {
	length = -1
	for size := 0; ; {
		line, err := r.in.ReadSlice('\n')
		size += len(line)
		switch {
		case size > maxHead:
			return m, 0, broken("a head of over %d bytes", maxHead)
		case err != nil:
			return m, 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case !ok:
			return m, 0, broken("a line in a head that is no field")
		case bytes.EqualFold(name, []byte("Content-Type")):
			if m.kind != "" {
				return m, 0, broken("a head with two types")
			}
			m.kind = string(value)
		case bytes.EqualFold(name, []byte("Content-Length")):
			n, err := strconv.ParseUint(string(value), 10, 63)
			switch {
			case length >= 0:
				return m, 0, broken("a head with two lengths")
			case err != nil:
				return m, 0, broken("a length that is no number")
			case n > MaxMessage:
				return m, 0, broken("a message of over %d bytes", MaxMessage)
			}
			length = int(n)
		case bytes.EqualFold(name, []byte("Reply-Text")):
			m.ok = bytes.HasPrefix(value, []byte("+OK"))
		}
	}
	if m.kind == "" {
		return m, 0, broken("a head without a type")
	}
	return m, length, nil
}

// event reads an event of so many bytes: lines up to an empty one, which
// switch_event_serialize always writes, and a body. The length of that is not
// asked for: it is the rest.
func (r *reader) event(left int) (matcher.Event, error) {
	r.text = r.text[:0]
	begin, size, clipped, full := 0, 0, false, false // begin and size are of the line
	for left > 0 {
		if _, err := r.in.Peek(1); err != nil {
			return matcher.Event{}, err
		}
		part, _ := r.in.Peek(min(left, r.in.Buffered()))
		line, _, ended := bytes.Cut(part, []byte("\n"))
		n := len(line)
		if ended {
			n++
		}
		left -= n
		r.text = append(r.text, line[:min(len(line), max(0, MaxLine-size))]...)
		size += len(line)
		_, _ = r.in.Discard(n)
		switch {
		case ended && size == 0:
			_, err := r.in.Discard(left)
			return matcher.NewEvent(bytes.Clone(bytes.TrimSuffix(r.text, []byte("\n"))), clipped), err
		case ended:
			if size > MaxLine {
				r.text, clipped = wholeBytes(r.text), true
			}
			r.text = append(r.text, '\n')
			// A part of a line might be a part of an address, which is another one. And
			// what comes behind one that is left out might have its name.
			if full = full || len(r.text) > MaxText; full {
				r.text, clipped = r.text[:begin], true
			}
			begin, size = len(r.text), 0
		}
	}
	return matcher.Event{}, broken("an event that does not end where it should")
}

// wholeBytes returns text without the first part of an encoded byte at its end.
func wholeBytes(text []byte) []byte {
	if i := bytes.LastIndexByte(text, '%'); i >= 0 && i > len(text)-3 {
		return text[:i]
	}
	return text
}
