package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"band/internal/control"
)

// orders are the ways to sort a list of bans.
var orders = map[string]func(a, b control.Ban) int{
	"unit":    func(a, b control.Ban) int { return a.Unit.Compare(b.Unit.Prefix) },
	"since":   func(a, b control.Ban) int { return b.Since.Compare(a.Since) },
	"until":   func(a, b control.Ban) int { return forever(a.Until).Compare(forever(b.Until)) },
	"packets": func(a, b control.Ban) int { return cmp.Compare(b.Packets, a.Packets) },
}

func (c *cli) list() *cobra.Command {
	var jail, order string
	command := &cobra.Command{
		Use:   "list",
		Short: "List the bans in force",
		Long: `List the bans in force.

With --json it is an array of objects with unit, jail, since, until (null: for
ever), failures, packets (dropped so far), origin ("jail", "network": so many of its
units were banned, or "manual"), dry_run where it is not enforced, and allowed: the
entry of the allowlist that lets all of its packets pass.` + "\n" + exitCodes,
		Example: `  banctl list
  banctl list --jail freeswitch --sort packets
  banctl list --json | jq -r '.[].unit'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			compare, ok := orders[order]
			if !ok {
				return invalid{fmt.Errorf("--sort %q is none of unit, since, until, packets", order)}
			}
			if err := c.knows(cmd, jail); err != nil {
				return err
			}
			bans, err := c.daemon().Bans(cmd.Context())
			if err != nil {
				return c.reach(err)
			}
			bans = slices.DeleteFunc(bans, func(b control.Ban) bool { return jail != "" && b.Jail != jail })
			slices.SortStableFunc(bans, compare)
			if c.json {
				return printJSON(cmd.OutOrStdout(), bans)
			}
			if len(bans) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nobody is banned")
				return nil
			}
			return table(cmd.OutOrStdout(), banRows(bans))
		},
	}
	command.Flags().StringVar(&jail, "jail", "", "only the bans of this jail")
	command.Flags().StringVar(&order, "sort", "unit", "unit, since (newest first), until (soonest first) or packets (most first)")
	return command
}

// knows checks that the daemon has a jail of that name, where one is given.
func (c *cli) knows(cmd *cobra.Command, jail string) error {
	if jail == "" || jail == "manual" {
		return nil
	}
	s, err := c.daemon().Status(cmd.Context())
	if err != nil {
		return c.reach(err)
	}
	names := []string{"manual"}
	for _, j := range s.Jails {
		names = append(names, j.Name)
	}
	if !slices.Contains(names, jail) {
		return invalid{fmt.Errorf("there is no jail %q; there are: %s", jail, strings.Join(names, ", "))}
	}
	return nil
}

func banRows(bans []control.Ban) [][]string {
	rows := [][]string{{"UNIT", "JAIL", "SINCE", "LEFT", "FAILURES", "PACKETS", "ORIGIN"}}
	for _, b := range bans {
		origin := b.Origin
		if b.DryRun {
			origin += ", dry run: not enforced"
		}
		if b.Allowed != "" {
			origin += ", passes: " + printable(b.Allowed) + " is on the allowlist"
		}
		rows = append(rows, []string{b.Unit.String(), b.Jail, local(b.Since), left(b.Until),
			strconv.Itoa(b.Failures), number(b.Packets), origin})
	}
	return rows
}

// changed prints what was done. That it is not in the kernel and on the disk yet
// is an error.
func changed(cmd *cobra.Command, asJSON bool, done control.Changed, word string) error {
	if asJSON {
		if err := printJSON(cmd.OutOrStdout(), done); err != nil {
			return err
		}
	} else {
		for _, b := range done.Bans {
			line := word + " " + b.Unit.String()
			switch {
			case word == "unbanned":
				line += " from " + b.Jail
			case b.Until == nil:
				line += " forever"
			default:
				line += " for " + left(b.Until)
			}
			fmt.Fprintln(cmd.OutOrStdout(), line)
		}
	}
	if done.Warning != "" {
		return errors.New(done.Warning)
	}
	return nil
}

func local(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func forever(until *time.Time) time.Time {
	if until == nil {
		return time.Unix(1<<40, 0)
	}
	return *until
}
