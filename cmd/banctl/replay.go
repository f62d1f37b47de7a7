package main

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"band/internal/config"
	"band/internal/control"
	"band/internal/replay"
	"band/jails"
	"band/store"
)

func (c *cli) replay() *cobra.Command {
	var names []string
	command := &cobra.Command{
		Use:   "replay LOG...",
		Short: "Tell who would have been banned by old logs, and when",
		Long: `Tell who would have been banned by old logs, when, and for how long, by the logs'
own time and the jails of the configuration. It needs no daemon, bans nobody, and
may run as any user that can read the logs. Logs are read in the order given, as
one; those compressed by gzip are recognised; - is the standard input.

Without --jail all enabled jails are used.

With --json it is an object with the number of records, failures (attempts by
jail and host) and bans (unit, jail, at, failures), in the order of decision.` + "\n" + exitCodes,
		Example: `  banctl replay /var/log/freeswitch/freeswitch.log
  banctl replay --jail freeswitch freeswitch.log.2.gz freeswitch.log.1 freeswitch.log
  zstdcat old.log.zst | banctl replay --json -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			loaded, err := c.withJails(cmd, names)
			if err != nil {
				return err
			}
			bar := newBar(cmd.ErrOrStderr())
			var logs []io.Reader
			for _, path := range args {
				log, err := replay.Open(path, bar.add)
				if err != nil {
					return invalid{err}
				}
				defer log.Close()
				bar.total += log.Size
				logs = append(logs, log)
			}
			result, err := replay.Run(cmd.Context(), loaded, logs)
			bar.end()
			if err != nil {
				return invalid{err}
			}
			if !result.Understood {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning: no record of the jails' format begins in these logs; are they the right ones?")
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), asReplay(result))
			}
			printReplay(cmd.OutOrStdout(), result, loaded)
			return nil
		},
	}
	command.Flags().StringSliceVar(&names, "jail", nil, "only this jail, also where it is not enabled; may be repeated")
	return command
}

// withJails returns the configuration, where jails are named with only those,
// enabled. What is wrong with the rest is said; what is wrong with one of them is
// an error.
func (c *cli) withJails(cmd *cobra.Command, names []string) (*jails.Config, error) {
	loaded := config.Load(c.config)
	kept := loaded
	if len(names) > 0 {
		var err error
		if kept, err = config.Only(loaded, names...); err != nil {
			return nil, invalid{err}
		}
	}
	for _, p := range loaded.Problems {
		fmt.Fprintln(cmd.ErrOrStderr(), p.Error())
	}
	return kept, nil
}

// replayView is a replay as programs see it.
type replayView struct {
	Records  int                       `json:"records"`
	Failures map[string]map[string]int `json:"failures"`
	Bans     []replayBan               `json:"bans"`
}

type replayBan struct {
	Unit     control.Unit `json:"unit"`
	Jail     string       `json:"jail"`
	At       time.Time    `json:"at"`
	Failures int          `json:"failures"`
}

func asReplay(r *replay.Result) replayView {
	v := replayView{Records: r.Records, Failures: make(map[string]map[string]int), Bans: []replayBan{}}
	for jail, hosts := range r.Attempts {
		v.Failures[jail] = make(map[string]int)
		for host, n := range hosts {
			v.Failures[jail][host.String()] = n
		}
	}
	for _, b := range r.Bans {
		v.Bans = append(v.Bans, replayBan{control.Unit{Prefix: b.Unit}, b.Jail, b.Since, b.Failures})
	}
	return v
}

func printReplay(w io.Writer, r *replay.Result, c *jails.Config) {
	fmt.Fprintf(w, "%s read\n", plural(r.Records, "record", "records"))
	if len(r.Bans) > 0 {
		rows := [][]string{{"BANNED", "JAIL", "AT", "FOR", "FAILURES"}}
		for _, b := range r.Bans {
			rows = append(rows, []string{control.Unit{Prefix: b.Unit}.String(), b.Jail, local(b.Since), lasting(b), strconv.Itoa(b.Failures)})
		}
		fmt.Fprintln(w)
		table(w, rows)
	}
	rows := [][]string{{"NOT BANNED", "JAIL", "ATTEMPTS", "MAXRETRY"}}
	for _, j := range c.Jails {
		hosts := r.Attempts[j.Name]
		banned := func(host netip.Addr) bool {
			return slices.ContainsFunc(r.Bans, func(b store.Ban) bool { return b.Jail == j.Name && b.Unit.Contains(host) })
		}
		for _, host := range sortedByCount(hosts) {
			if !banned(host) {
				rows = append(rows, []string{host.String(), j.Name, strconv.Itoa(hosts[host]), strconv.Itoa(j.MaxRetry)})
			}
		}
	}
	if len(rows) > 1 {
		fmt.Fprintln(w)
		table(w, rows)
	}
	if r.Doubtful > 0 {
		fmt.Fprintf(w, "\nnot counted: %s forged, in a log that callers can write to\n", plural(r.Doubtful, "failure that looks", "failures that look"))
	}
	if r.Exempt > 0 {
		fmt.Fprintf(w, "\nnot counted: %s of hosts that are exempt\n", plural(r.Exempt, "failure", "failures"))
	}
	if len(r.Bans) == 0 {
		fmt.Fprintln(w, "nobody would have been banned")
	}
}

func lasting(b store.Ban) string {
	if b.Until.IsZero() {
		return "forever"
	}
	return span(b.Until.Sub(b.Since))
}

// sortedByCount returns the hosts, those with the most attempts first.
func sortedByCount(hosts map[netip.Addr]int) []netip.Addr {
	var sorted []netip.Addr
	for host := range hosts {
		sorted = append(sorted, host)
	}
	slices.SortFunc(sorted, func(a, b netip.Addr) int {
		if hosts[a] != hosts[b] {
			return hosts[b] - hosts[a]
		}
		return a.Compare(b)
	})
	return sorted
}

// bar shows progress on a terminal and nothing elsewhere.
type bar struct {
	w           io.Writer // nil: nothing is shown
	total, done int64
	shown       time.Time
}

const barWidth = 40

func newBar(w io.Writer) *bar {
	if terminal(w) {
		return &bar{w: w}
	}
	return &bar{}
}

func (b *bar) add(n int) {
	b.done += int64(n)
	if b.w == nil || b.total == 0 || time.Since(b.shown) < 100*time.Millisecond {
		return
	}
	b.shown = time.Now()
	full := int(min(b.done, b.total) * barWidth / b.total)
	fmt.Fprintf(b.w, "\r[%s%s] %3d%%", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), min(b.done, b.total)*100/b.total)
}

func (b *bar) end() {
	if !b.shown.IsZero() {
		fmt.Fprintf(b.w, "\r%*s\r", barWidth+8, "")
	}
}
