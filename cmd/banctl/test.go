package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"band/internal/pipeline"
	"band/internal/replay"
	"band/jails"
	"band/matcher"
)

func (c *cli) test() *cobra.Command {
	return &cobra.Command{
		Use:   "test JAIL LOG|-",
		Short: "Show which records of a log a jail takes for failures, and why not",
		Long: `Show, record by record, which pattern of a jail matches, and which part of the
record it takes for the host and the user; or, where none matches, how far the
nearest one agrees. It needs no daemon, and the jail need not be enabled. Logs
compressed by gzip are recognised; - is the standard input.

Counting, the allowlist and forged records are not looked at: banctl replay does.
When nothing matched the exit status is 1.` + "\n" + exitCodes,
		Example: `  banctl test freeswitch /var/log/freeswitch/freeswitch.log | less
  tail -1 /var/log/freeswitch/freeswitch.log | banctl test freeswitch -
  banctl test freeswitch old.log.gz --json | jq -r 'select(.match).host' | sort | uniq -c`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			loaded, err := c.withJails(cmd, args[:1])
			if err != nil {
				return err
			}
			t, err := newTester(loaded.Jails[0])
			if err != nil {
				return invalid{err}
			}
			log, err := replay.Open(args[1], nil)
			if err != nil {
				return invalid{err}
			}
			defer log.Close()
			show := t.text
			if c.json {
				show = t.json
			}
			matched := false
			for r, err := range matcher.Records(log, t.format) {
				if err != nil {
					return invalid{fmt.Errorf("read %s: %w", args[1], err)}
				}
				t.number++
				pattern, m, ok := t.jail.Match(r)
				matched = matched || ok
				if err := show(cmd.OutOrStdout(), r, pattern, m, ok); err != nil {
					return err
				}
			}
			if !matched {
				if !c.json {
					fmt.Fprintf(cmd.ErrOrStderr(), "nothing matched in %s\n", plural(t.number, "record", "records"))
				}
				return errNo
			}
			return nil
		},
	}
}

// tester shows what a jail makes of records.
type tester struct {
	jail   *pipeline.Jail
	format matcher.Format
	clock  *matcher.Clock
	number int // of the record
	marks  marks
}

// marks enclose what was taken for host and user.
type marks struct{ host, user, end string }

func newTester(j jails.Jail) (*tester, error) {
	t := &tester{clock: matcher.NewClock(time.Local), marks: marks{">>", ">>", "<<"}}
	if terminal(os.Stdout) && os.Getenv("NO_COLOR") == "" {
		t.marks = marks{"\x1b[1;31m", "\x1b[1;34m", "\x1b[0m"}
	}
	var err error
	if t.format, err = matcher.FormatNamed(j.Format); err != nil {
		return nil, err
	}
	if t.jail, err = pipeline.NewJail(j); err != nil {
		return nil, err
	}
	return t, nil
}

// testView is what is shown of a record to programs.
type testView struct {
	Record  int        `json:"record"`
	Line    int        `json:"line"`
	Match   bool       `json:"match"`
	Pattern string     `json:"pattern"`
	Host    string     `json:"host"`
	User    string     `json:"user"`
	Time    *time.Time `json:"time"`
}

func (t *tester) json(w io.Writer, r matcher.Record, p *matcher.Pattern, m matcher.Match, ok bool) error {
	v := testView{Record: t.number, Line: r.Line, Match: ok}
	if at, dated := t.clock.Time(r.Stamp); dated {
		v.Time = &at
	}
	if ok {
		v.Pattern, v.Host, v.User = p.Name, m.Host.String(), m.User
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", escapeJSON(string(raw)))
	return err
}

func (t *tester) text(w io.Writer, r matcher.Record, p *matcher.Pattern, m matcher.Match, ok bool) error {
	where := fmt.Sprintf("record %d, line %d", t.number, r.Line)
	if ok {
		_, err := fmt.Fprintf(w, "%s: %s, host %s, user %s\n    %s\n", where, p.Name, m.Host, printable(cmp.Or(m.User, "-")), t.marked(r, m))
		return err
	}
	why := ""
	switch {
	case r.Message == nil && r.Stamp != nil, r.Message == nil && len(r.Text) > 36 && strings.Count(string(r.Text[:36]), "-") == 4:
		why = "a session's record, never matched"
	case r.Message == nil:
		why = "not the start of a record of this format"
	default:
		why = t.nearest(r.Message)
	}
	_, err := fmt.Fprintf(w, "%s: no match: %s\n", where, why)
	return err
}

// nearest tells which pattern agrees the longest with a message, and where it
// stops to.
func (t *tester) nearest(message []byte) string {
	best, at, expected := t.jail.Nearest(message)
	const shown = 60
	rest := message[at:]
	text := printable(string(rest[:min(len(rest), shown)]))
	return fmt.Sprintf("%s agrees with %s, then expects %q, and finds %q", best, plural(at, "byte", "bytes"), expected, text)
}

// marked returns the message with host and user marked.
func (t *tester) marked(r matcher.Record, m matcher.Match) string {
	text := func(from, to int) string { return printable(string(r.Message[from:to])) }
	first, second := m.UserAt, m.HostAt
	opening, closing := t.marks.user, t.marks.host
	if second[0] < first[0] {
		first, second = second, first
		opening, closing = closing, opening
	}
	out := text(0, first[0])
	if first[1] > first[0] {
		out += opening + text(first[0], first[1]) + t.marks.end
	}
	return out + text(first[1], second[0]) + closing + text(second[0], second[1]) + t.marks.end + text(second[1], len(r.Message))
}
