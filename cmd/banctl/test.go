package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"band/internal/pipeline"
	"band/internal/replay"
	"band/jails"
	"band/matcher"
	"band/store"
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
			failures := make(map[string]int) // by pattern
			for r, err := range replay.Records(cmd.Context(), t.jail, log) {
				if err != nil {
					return invalid{fmt.Errorf("read %s: %w", args[1], err)}
				}
				t.number++
				found := t.judge(r)
				for _, f := range found.failures {
					failures[f.Pattern]++
				}
				if err := show(cmd.OutOrStdout(), found); err != nil {
					return err
				}
			}
			if !c.json {
				fmt.Fprintln(cmd.ErrOrStderr(), summary(failures, t.number))
			}
			if len(failures) == 0 {
				return errNo
			}
			return nil
		},
	}
}

// summary tells how many failures of each pattern there were.
func summary(failures map[string]int, records int) string {
	if len(failures) == 0 {
		return "nothing matched in " + plural(records, "record", "records")
	}
	all := 0
	var each []string
	for _, name := range slices.Sorted(maps.Keys(failures)) {
		all += failures[name]
		each = append(each, fmt.Sprintf("%s %d", name, failures[name]))
	}
	return fmt.Sprintf("%s in %s: %s", plural(all, "failure", "failures"), plural(records, "record", "records"), strings.Join(each, ", "))
}

// tester shows what a jail makes of records.
type tester struct {
	jail     *pipeline.Jail
	clock    *matcher.Clock
	sessions pipeline.Sessions
	number   int // of the record
	marks    marks
}

// found is what a jail makes of a record.
type found struct {
	matcher.Record
	at       *time.Time // nil where it is not known
	pattern  *matcher.Pattern
	match    matcher.Match
	failures []*store.Failure
}

func (t *tester) judge(r matcher.Record) found {
	f := found{Record: r}
	if at, dated := t.clock.Time(r.Stamp); !r.Time.IsZero() {
		f.at = &r.Time
	} else if dated {
		f.at = &at
	}
	var at time.Time
	if f.at != nil {
		at = *f.at
	}
	f.pattern, f.match, f.failures = t.jail.Failures(&t.sessions, r, at)
	return f
}

// marks enclose what was taken for host and user.
type marks struct{ host, user, end string }

func newTester(j jails.Jail) (*tester, error) {
	t := &tester{marks: marks{">>", ">>", "<<"}}
	if terminal(os.Stdout) && os.Getenv("NO_COLOR") == "" {
		t.marks = marks{"\x1b[1;31m", "\x1b[1;34m", "\x1b[0m"}
	}
	format, err := matcher.FormatNamed(j.Format, j.Time)
	if err != nil {
		return nil, err
	}
	t.clock = matcher.NewClock(format, time.Local)
	if t.jail, err = pipeline.NewJail(j); err != nil {
		return nil, err
	}
	if !t.jail.Lines() {
		return nil, fmt.Errorf("no pattern of the jail %s that is enabled is for lines: they are for events, which no log holds", j.Name)
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

func (t *tester) json(w io.Writer, f found) error {
	v := testView{Record: t.number, Line: f.Line, Match: len(f.failures) > 0, Time: f.at}
	if v.Match {
		last := f.failures[len(f.failures)-1]
		v.Pattern, v.Host, v.User = last.Pattern, last.Host.String(), last.User
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", escapeJSON(string(raw)))
	return err
}

func (t *tester) text(w io.Writer, f found) error {
	where := fmt.Sprintf("record %d", t.number)
	if f.Line > 0 {
		where += fmt.Sprintf(", line %d", f.Line)
	}
	what := ""
	switch {
	case len(f.failures) > 0:
		last := f.failures[len(f.failures)-1]
		what = fmt.Sprintf("%s, host %s, user %s\n    %s", last.Pattern, last.Host, printable(cmp.Or(last.User, "-")), t.marked(f.Record, f.match))
	case f.pattern != nil && !f.match.Host.IsValid():
		what = f.pattern.Name + ", no failure until its session names a host\n    " + t.marked(f.Record, f.match)
	case f.pattern != nil:
		what = f.pattern.Name + ", no failure: it tells of its session\n    " + t.marked(f.Record, f.match)
	case f.Message == nil && (f.Stamp != nil || len(f.Text) > 36 && strings.Count(string(f.Text[:36]), "-") == 4):
		what = "no match: a session's record, never matched"
	case f.Message == nil:
		what = "no match: not the start of a record of this format"
	default:
		what = "no match: " + t.nearest(f.Message)
	}
	_, err := fmt.Fprintf(w, "%s: %s\n", where, what)
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

// marked returns the message with host and user marked, where they are in it.
func (t *tester) marked(r matcher.Record, m matcher.Match) string {
	text := func(from, to int) string { return printable(string(r.Message[from:to])) }
	type mark struct {
		at      [2]int
		opening string
	}
	marks := []mark{{m.UserAt, t.marks.user}, {m.HostAt, t.marks.host}}
	slices.SortFunc(marks, func(a, b mark) int { return a.at[0] - b.at[0] })
	out, end := "", 0
	for _, mark := range marks {
		if mark.at[1] > mark.at[0] {
			out += text(end, mark.at[0]) + mark.opening + text(mark.at[0], mark.at[1]) + t.marks.end
			end = mark.at[1]
		}
	}
	return out + text(end, len(r.Message))
}
