package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"band/internal/control"
	"band/internal/doctor"
)

func (c *cli) status() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Tell whether the daemon is protecting",
		Long: `Tell whether the daemon is protecting: what it reads, what it found there since
it started, whom it bans, and what weakens the protection.

The exit status is 0 whenever the daemon answered, whatever it answered.` + "\n" + exitCodes,
		Example: `  banctl status
  banctl status --json | jq '.findings[].text'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.daemon().Status(cmd.Context())
			if err != nil {
				return c.reach(err)
			}
			w := cmd.OutOrStdout()
			if c.json {
				return printJSON(w, s)
			}
			fmt.Fprintf(w, "band %s, pid %d, up %s\n", s.Version, s.PID, span(time.Since(s.Started)))
			for _, line := range verdict(s) {
				fmt.Fprintln(w, line)
			}
			bans := plural(s.Bans, "ban", "bans") + " in force"
			if s.DryBans > 0 {
				bans += fmt.Sprintf(" and %d in a dry run", s.DryBans)
			}
			fmt.Fprintf(w, "%s, %s dropped, %s with failures that may still add up\n\n",
				bans, plural(int(s.Dropped), "packet", "packets"), plural(s.Units, "unit", "units"))

			rows := [][]string{{"JAIL", "RECORDS", "FAILURES", "EXEMPT", "BANNED", "IN FORCE", "DROPPED", "LAST MATCH"}}
			for _, j := range s.Jails {
				name := j.Name
				if j.DryRun {
					name += " (dry run)"
				}
				rows = append(rows, []string{name, number(j.Records), number(j.Failures), number(j.Exempt),
					number(j.Banned), strconv.Itoa(j.Bans), number(j.Dropped), ago(j.LastMatch)})
			}
			table(w, rows)
			fmt.Fprintln(w)
			rows = [][]string{{"SOURCE", "STATE", "RECORDS", "LAST RECORD", "JAILS"}}
			for _, src := range s.Sources {
				rows = append(rows, []string{src.Name, reading(src), number(src.Records), ago(src.LastRecord), strings.Join(src.Jails, ", ")})
			}
			table(w, rows)
			switch {
			case weakened(s.Findings):
				fmt.Fprintln(w, "\nWhat weakens the protection:")
			case len(s.Findings) > 0:
				fmt.Fprintln(w, "\nWhat could be better:")
			}
			printFindings(w, s.Findings)
			return nil
		},
	}
}

// verdict answers the question: which jails protect, and which do not, and why.
func verdict(s control.Status) (lines []string) {
	var protecting, dry, refused []string
	waiting := make(map[string][]string) // by what they wait for
	for _, j := range s.Jails {
		states := make(map[string]bool)
		for _, src := range s.Sources {
			if slices.Contains(src.Jails, j.Name) {
				states[src.State] = true
			}
		}
		switch {
		case states["following"] || states["catching up"]:
			if j.DryRun {
				dry = append(dry, j.Name)
			} else {
				protecting = append(protecting, j.Name)
			}
		case states["opening"]:
			waiting["its sources are being opened"] = append(waiting["its sources are being opened"], j.Name)
		case states["unreadable"]:
			waiting["no source can be read"] = append(waiting["no source can be read"], j.Name)
		default:
			waiting["no source exists"] = append(waiting["no source exists"], j.Name)
		}
	}
	kernel := ""
	for _, f := range s.Findings {
		known := slices.ContainsFunc(s.Jails, func(j control.JailStatus) bool { return j.Name == f.Jail })
		if f.Kind == doctor.JailRefused && !known && !slices.Contains(refused, f.Jail) {
			refused = append(refused, f.Jail)
		}
		if f.Kind == doctor.KernelFailing {
			kernel = f.Text
		}
	}
	switch {
	case kernel != "":
		lines = append(lines, "NOT protecting: "+printable(kernel))
	case len(protecting) > 0:
		lines = append(lines, "protecting: "+strings.Join(protecting, ", "))
	case len(dry) == 0:
		lines = append(lines, "NOT protecting: no source of any jail can be read")
	}
	if len(dry) > 0 {
		lines = append(lines, "NOT protecting: "+strings.Join(dry, ", ")+" (dry run: bans are decided and not enforced)")
	}
	if len(refused) > 0 {
		lines = append(lines, "NOT protecting: "+strings.Join(refused, ", ")+" (refused)")
	}
	for _, why := range slices.Sorted(maps.Keys(waiting)) {
		lines = append(lines, "not yet: "+strings.Join(waiting[why], ", ")+" ("+why+")")
	}
	return lines
}

// reading tells the state of a source, and how far it is behind.
func reading(s control.SourceStatus) string {
	if s.Lag < 1 {
		return s.State
	}
	state := fmt.Sprintf("%s, %s behind", s.State, span(time.Duration(s.Lag*float64(time.Second))))
	if s.Unread > 0 {
		state += fmt.Sprintf(" (%s)", plural(int(s.Unread), "byte", "bytes"))
	}
	return state
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }
