package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

const (
	// MaxMessage is how many bytes of a message are kept, 8 MiB, as of a record
	// of a file. Of a longer one the middle is left out.
	MaxMessage = 8 << 20
	// slack is how many bytes over MaxMessage a message may have before its
	// middle goes, so that it seldom has to.
	slack = 1 << 20
	// maxValue is how many bytes another field may have; longer ones are left
	// out. No match term is that long, nor is anything that journald adds.
	maxValue = 64 << 10
	// maxFields is how many fields journald takes of an entry
	// (ENTRY_FIELD_COUNT_MAX); more are left out.
	maxFields = 1024
	// maxEntry is how many bytes the fields of an entry may have together;
	// more are left out.
	maxEntry = 1 << 20
	// maxName is how long the name of a field may be (journal_field_valid).
	maxName = 64
)

// cursorField begins every entry.
const cursorField = "__CURSOR="

// IsExport reports whether head, the first bytes of a stream, begins what
// journalctl -o export writes.
func IsExport(head []byte) bool { return bytes.HasPrefix(head, []byte(cursorField)) }

// ErrFormat is the error of a stream that is not in the export format, or is
// damaged.
var ErrFormat = errors.New("not in the export format of the journal")

// A decoder reads the entries of a stream in the export format
// (https://systemd.io/JOURNAL_EXPORT_FORMATS), each as it stands in the journal.
type decoder struct {
	in     *bufio.Reader
	offset int64            // of what is read next
	begun  bool             // a field of the entry was read
	entry  Entry            // the one being read
	size   int              // of its fields
	last   map[string]Field // by name: what repeats is not allocated again
}

func newDecoder(r io.Reader) *decoder {
	return &decoder{in: bufio.NewReaderSize(r, 64<<10), last: make(map[string]Field)}
}

// next returns the next entry that is complete. The error is io.EOF behind the
// last one, and io.ErrUnexpectedEOF where the stream ends within one.
func (d *decoder) next() (Entry, error) {
	for {
		done, err := d.line()
		switch {
		case errors.Is(err, io.EOF) && d.begun:
			return Entry{}, io.ErrUnexpectedEOF
		case err != nil:
			return Entry{}, err
		case done && d.begun:
			e := d.entry
			d.start()
			d.begun = false
			return e, nil
		}
	}
}

// start begins an entry that has as many fields as the one before.
func (d *decoder) start() {
	d.entry = Entry{Fields: make([]Field, 0, len(d.entry.Fields)), Pieces: 1}
	d.size = 0
	d.begun = true
}

// line reads one field, or the empty line behind an entry.
func (d *decoder) line() (done bool, err error) {
	line, err := d.in.ReadSlice('\n')
	d.offset += int64(len(line))
	whole := err == nil
	if !whole && err != bufio.ErrBufferFull {
		if len(line) > 0 && err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return false, err
	}
	if whole {
		line = line[:len(line)-1]
		if len(line) == 0 {
			return true, nil
		}
	}
	// journalctl leaves an entry where it stands when it meets a damaged part of
	// a file, and goes on with the next one.
	if IsExport(line) || !d.begun {
		d.start()
	}
	name, value, text := bytes.Cut(line, []byte("="))
	switch {
	case !isName(name):
		return false, fmt.Errorf("byte %d: no field: %w", d.offset-int64(len(line)), ErrFormat)
	case text && whole:
		d.field(name, value)
		return false, nil
	case text:
		return false, d.long(string(name), bytes.Clone(value))
	case whole:
		return false, d.binary(string(name))
	}
	return false, fmt.Errorf("byte %d: no field: %w", d.offset, ErrFormat)
}

// isName reports whether name can be that of a field.
func isName(name []byte) bool {
	if len(name) == 0 || len(name) > maxName {
		return false
	}
	for _, c := range name {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// long reads the rest of a line of which value is the beginning.
func (d *decoder) long(name string, value []byte) error {
	limit := limitOf(name)
	for {
		part, err := d.in.ReadSlice('\n')
		d.offset += int64(len(part))
		value = keep(value, bytes.TrimSuffix(part, []byte("\n")), limit)
		switch {
		case err == nil:
			d.field([]byte(name), value)
			return nil
		case err != bufio.ErrBufferFull:
			return unexpected(err)
		}
	}
}

// binary reads a value that stands behind its length in 8 bytes.
func (d *decoder) binary(name string) error {
	var prefix [8]byte
	if _, err := io.ReadFull(d.in, prefix[:]); err != nil {
		return unexpected(err)
	}
	d.offset += 8
	left := binary.LittleEndian.Uint64(prefix[:])
	limit := limitOf(name)
	value := make([]byte, 0, min(left, 4096)) // the length may be a lie
	for left > 0 {
		if _, err := d.in.Peek(1); err != nil {
			return unexpected(err)
		}
		part, _ := d.in.Peek(int(min(left, uint64(d.in.Buffered()))))
		value = keep(value, part, limit)
		left -= uint64(len(part))
		d.offset += int64(len(part))
		_, _ = d.in.Discard(len(part))
	}
	end, err := d.in.ReadByte()
	if err != nil {
		return unexpected(err)
	}
	d.offset++
	if end != '\n' {
		return fmt.Errorf("byte %d: the value of %s does not end where it should: %w", d.offset-1, name, ErrFormat)
	}
	d.field([]byte(name), value)
	return nil
}

// unexpected says that the stream must not end here.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// limitOf is how long a value may become.
func limitOf(name string) int {
	if name == "MESSAGE" {
		return MaxMessage
	}
	return maxValue
}

// keep appends part to value. Of a message that becomes too long the middle is
// left out; of another value it is kept that it is too long.
func keep(value, part []byte, limit int) []byte {
	if limit < MaxMessage {
		return append(value, part[:min(len(part), limit+1-min(len(value), limit+1))]...)
	}
	return clip(append(value, part...), slack)
}

// clip leaves out the middle of a message that has more than so many bytes over
// MaxMessage.
func clip(message []byte, over int) []byte {
	if len(message) <= MaxMessage+over {
		return message
	}
	return append(message[:MaxMessage/2], message[len(message)-MaxMessage/2:]...)
}

// field adds a field to the entry. It keeps neither of the two.
func (d *decoder) field(name, value []byte) {
	switch {
	case string(name) == "MESSAGE":
		value = clip(value, 0)
		d.entry.Message = append(make([]byte, 0, len(value)), value...)
	case string(name) == "__CURSOR":
		d.entry.Cursor = Cursor(value)
	case string(name) == "__REALTIME_TIMESTAMP":
		if usec, err := strconv.ParseUint(string(value), 10, 64); err == nil && usec <= maxUsec {
			d.entry.Time = time.UnixMicro(int64(usec))
		}
	case bytes.HasPrefix(name, []byte("__")): // addresses, which nothing can match
	case len(value) > maxValue, len(d.entry.Fields) >= maxFields, d.size > maxEntry:
	default:
		f := d.last[string(name)]
		if f.Name == "" || f.Value != string(value) {
			f = Field{string(name), string(value)}
			if len(value) <= 1<<10 && len(d.last) < maxFields {
				d.last[f.Name] = f
			}
		}
		d.size += len(value)
		d.entry.Fields = append(d.entry.Fields, f)
	}
}
