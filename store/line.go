package store

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// A line is the CRC-32C of its JSON in eight hex digits, a space, the JSON and
// a newline. JSON escapes control characters and quotes within strings, so
// neither a newline nor a beginning of a line can come from logged text.

const (
	version  = 1
	maxLine  = 64 << 20
	sumWidth = 9 // eight digits and the space
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	opening    = []byte(` {"`)
	markBegin  = []byte(`{"band":`)
)

// mark is the first line of both files and, with End set, the last line of a
// snapshot, which thereby can lose its first line and keep its meaning.
type mark struct {
	Band       string    `json:"band"` // always "state"
	Version    int       `json:"version"`
	Generation uint64    `json:"generation"`
	Covers     int64     `json:"covers,omitempty"` // a snapshot's: bytes of the log before it that it contains; 0: all
	Written    time.Time `json:"written,omitzero"`
	End        bool      `json:"end,omitempty"`
	Lines      int       `json:"lines,omitempty"` // of batches, in an end mark
}

// encoder gathers encoded lines.
type encoder struct {
	buf  bytes.Buffer
	json *json.Encoder
}

func newEncoder() *encoder {
	e := &encoder{}
	e.json = json.NewEncoder(&e.buf)
	e.json.SetEscapeHTML(false) // records are full of <sip:...>
	return e
}

// line adds one line; after an error the buffer is as before.
func (e *encoder) line(v any) error {
	begin := e.buf.Len()
	e.buf.WriteString("00000000 ")
	err := e.json.Encode(v) // ends with the newline
	if n := e.buf.Len() - begin; err == nil && n > maxLine {
		err = fmt.Errorf("%d bytes are more than a line holds", n)
	}
	if err != nil {
		e.buf.Truncate(begin)
		return err
	}
	text := e.buf.Bytes()[begin:]
	sum := crc32.Checksum(text[sumWidth:len(text)-1], castagnoli)
	hex.Encode(text, []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	return nil
}

// unseal returns the JSON of a line without its newline, if the checksum holds.
func unseal(text []byte) (body []byte, ok bool) {
	var sum [4]byte
	if len(text) <= sumWidth || text[sumWidth-1] != ' ' {
		return nil, false
	}
	if _, err := hex.Decode(sum[:], text[:sumWidth-1]); err != nil {
		return nil, false
	}
	body = text[sumWidth:]
	crc := crc32.Checksum(body, castagnoli)
	return body, sum == [4]byte{byte(crc >> 24), byte(crc >> 16), byte(crc >> 8), byte(crc)}
}

// place is where in a file something begins.
type place struct {
	line   int   // from 1
	offset int64 // from 0
}

// scanner reads the lines of one file. Every byte of it ends in one of the two
// callbacks: as part of an intact line or as damage.
type scanner struct {
	intact  func(place, []byte) error
	damaged func(at place, n int64, reason string)

	size    int64 // of the file, as far as read
	end     int64 // of the last intact line
	newline bool  // and whether it has its newline
}

// scan reads r to its end; its error is one of reading or of intact.
func (s *scanner) scan(r io.Reader) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var long []byte // a line that in could not hold
	at := place{line: 1}
	for {
		piece, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if len(long) > 0 || errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, piece...)
			piece = long
		}
		if errors.Is(err, bufio.ErrBufferFull) && len(long) < maxLine {
			continue
		}
		if len(piece) > 0 {
			s.size += int64(len(piece))
			if err := s.piece(at, piece); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		at.offset = s.size
		if err == nil {
			at.line++
		}
		long = long[:0]
	}
}

// piece takes one line as it is in the file. Where its checksum fails it may
// still hold intact lines, since a lost newline glues neighbours together.
func (s *scanner) piece(at place, piece []byte) error {
	text, newline := bytes.CutSuffix(piece, []byte("\n"))
	if body, ok := unseal(text); ok {
		s.end, s.newline = at.offset+int64(len(piece)), newline
		return s.intact(at, body)
	}
	done := 0 // what of piece is accounted for
	for from := 0; from < len(text); {
		i := bytes.Index(text[from:], opening)
		if i < 0 {
			break
		}
		begin := from + i - (sumWidth - 1)
		from += i + 1
		if begin < done {
			continue
		}
		var body json.RawMessage
		if json.NewDecoder(bytes.NewReader(text[begin+sumWidth:])).Decode(&body) != nil {
			continue
		}
		end := begin + sumWidth + len(body)
		if _, ok := unseal(text[begin:end]); !ok {
			continue
		}
		here := place{at.line, at.offset + int64(begin)}
		switch {
		case begin > done:
			s.damaged(place{at.line, at.offset + int64(done)}, int64(begin-done), "checksum mismatch")
		case begin > 0:
			s.damaged(here, 0, "newline lost")
		}
		if end == len(text) {
			end = len(piece)
		}
		s.end, s.newline = at.offset+int64(end), end == len(piece) && newline
		if err := s.intact(here, body); err != nil {
			return err
		}
		done, from = end, end
	}
	if done < len(piece) {
		reason := "checksum mismatch"
		if len(piece) >= maxLine {
			reason = "longer than a line may be"
		} else if !newline {
			reason = "cut short"
		}
		s.damaged(place{at.line, at.offset + int64(done)}, int64(len(piece)-done), reason)
	}
	return nil
}
