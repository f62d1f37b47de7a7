//go:build sdjournal

package journal

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/sdjournal"
)

// ReaderName returns what reads the journal: "journalctl", looked up in PATH, or
// with the build tag sdjournal "sdjournal", this program itself.
func ReaderName() string { return "sdjournal" }

// command runs this program again, also when its file was replaced meanwhile.
func command() []string { return []string{"/proc/self/exe", "journal-reader"} }

// ReadTo does what journalctl does with args, as far as a Journal asks for it,
// and writes to w until ctx ends; with less CPU time, by libsystemd. Of a field
// that an entry has several times it writes the first only, all that
// sd_journal_get_data(3) tells. A journal file that is truncated while it is
// being read ends the process by SIGBUS: it must have no other task.
func ReadTo(ctx context.Context, w io.Writer, args []string) error {
	q, err := parseQuery(args)
	if err != nil {
		return err
	}
	j, err := sdjournal.NewJournal()
	if err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	defer func() { _ = j.Close() }()
	// Else values are cut after 64 KiB.
	if err := j.SetDataThreshold(0); err != nil {
		return err
	}
	for _, term := range q.terms {
		if term == "+" {
			err = j.AddDisjunction()
		} else {
			err = j.AddMatch(term)
		}
		if err != nil {
			return fmt.Errorf("match %q: %w", term, err)
		}
	}
	// The first wait only begins to watch, and returns at once.
	j.Wait(0)
	more, err := q.seek(j)
	out := bufio.NewWriterSize(w, 64<<10)
	for n := 0; err == nil && ctx.Err() == nil; more, err = j.Next() {
		if more == 0 {
			if !q.follow {
				break
			}
			if err := out.Flush(); err != nil {
				return fmt.Errorf("write entries: %w", err)
			}
			j.Wait(lookEvery)
			continue
		}
		// As journalctl does, an entry that cannot be read is left where it stands.
		if err := q.write(out, j); err != nil && !errors.Is(err, syscall.EBADMSG) {
			return err
		}
		if n++; n == q.lines && !q.follow {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("iterate through the journal: %w", err)
	}
	return out.Flush()
}

// lookEvery is how often it is looked for entries of which journald did not tell
// yet: it does so a quarter to half a second after it has written them
// (POST_CHANGE_TIMER_INTERVAL_USEC in journald-server.c).
const lookEvery = 100 * time.Millisecond

// query is what the arguments of journalctl ask for.
type query struct {
	fields []string
	follow bool
	lines  int // 0: all
	cursor string
	since  time.Time
	terms  []string
}

func parseQuery(args []string) (q query, err error) {
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "--quiet", "--no-pager", "--output":
		case "--output-fields":
			q.fields = strings.Split(value, ",")
		case "--follow":
			q.follow = true
		case "--lines":
			if value == "1" {
				q.lines = 1
			}
		case "--cursor":
			q.cursor = value
		case "--since":
			var sec, usec int64
			if _, err := fmt.Sscanf(value, "@%d.%d", &sec, &usec); err != nil {
				return q, fmt.Errorf("read %s: %w", arg, err)
			}
			q.since = time.UnixMicro(sec*1e6 + usec)
		default:
			if strings.HasPrefix(arg, "-") {
				return q, fmt.Errorf("unexpected argument %q", arg)
			}
			q.terms = append(q.terms, arg)
		}
	}
	return q, nil
}

// seek moves to the first entry; 0 where there is none yet.
func (q query) seek(j *sdjournal.Journal) (uint64, error) {
	switch {
	case q.cursor != "":
		if err := j.SeekCursor(q.cursor); err != nil {
			return 0, fmt.Errorf("seek to cursor: %w", err)
		}
		return j.NextSkip(1)
	case !q.since.IsZero():
		if err := j.SeekRealtimeUsec(uint64(q.since.UnixMicro())); err != nil {
			return 0, err
		}
	case q.lines > 0:
		if err := j.SeekTail(); err != nil {
			return 0, err
		}
		return j.PreviousSkip(uint64(q.lines))
	default:
		if err := j.SeekHead(); err != nil {
			return 0, err
		}
	}
	return j.Next()
}

// write writes the present entry.
func (q query) write(w *bufio.Writer, j *sdjournal.Journal) error {
	cursor, err := j.GetCursor()
	if err != nil {
		return err
	}
	usec, err := j.GetRealtimeUsec()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "__CURSOR=%s\n__REALTIME_TIMESTAMP=%d\n", cursor, usec)
	for _, name := range q.fields {
		data, err := j.GetDataBytes(name)
		if errors.Is(err, syscall.ENOENT) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s of %s: %w", name, cursor, err)
		}
		if printable(data) {
			w.Write(data)
		} else {
			value := data[min(len(name)+1, len(data)):]
			w.WriteString(name + "\n")
			w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(value))))
			w.Write(value)
		}
		w.WriteByte('\n')
	}
	w.WriteByte('\n')
	return nil
}

// printable reports whether data can stand on a line.
func printable(data []byte) bool {
	return utf8.Valid(data) && !slices.ContainsFunc(data, func(c byte) bool { return c < ' ' && c != '\t' })
}
