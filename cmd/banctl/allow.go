package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"band/internal/control"
	"band/jails"
)

func (c *cli) allow() *cobra.Command {
	command := &cobra.Command{
		Use:   "allow",
		Short: "Show and change the allowlist",
		Long: `Show who is never counted and never banned: what band.toml says, what was added
here, and the gateways of FreeSWITCH.` + "\n" + exitCodes,
		Example: `  banctl allow
  banctl allow add trunk.example.com
  banctl allow add 198.51.100.7 --for 8h --reason "moving phones, ticket 4711"
  banctl allow del 198.51.100.7`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			entries, err := c.daemon().Allowlist(cmd.Context())
			if err != nil {
				return c.reach(err)
			}
			w := cmd.OutOrStdout()
			if c.json {
				return printJSON(w, entries)
			}
			if len(entries) == 0 {
				fmt.Fprintln(w, "the allowlist is empty")
				return nil
			}
			rows := [][]string{{"ENTRY", "FROM", "LEFT", "STANDS FOR", "NOTE"}}
			for _, e := range entries {
				rows = append(rows, []string{printable(e.Entry), e.Origin, left(e.Until), standsFor(e), printable(e.Note)})
			}
			return table(w, rows)
		},
	}
	command.AddCommand(c.allowAdd(), c.allowDel())
	return command
}

// standsFor lists the first addresses and prefixes of an entry.
func standsFor(e control.Allowed) string {
	const shown = 4
	var units []string
	for _, u := range e.Prefixes[:min(shown, len(e.Prefixes))] {
		units = append(units, u.String())
	}
	text := strings.Join(units, ", ")
	if more := len(e.Prefixes) - shown; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if e.Error != "" {
		text = strings.TrimSpace(text + " (" + printable(e.Error) + ")")
	}
	return text
}

func (c *cli) allowAdd() *cobra.Command {
	var span, reason string
	command := &cobra.Command{
		Use:   "add ENTRY...",
		Short: "Put addresses, prefixes or host names on the allowlist",
		Long: `Put addresses, prefixes or host names on the allowlist, for a while or for ever;
a restart does not forget them. Their failures are not counted any more, and their
packets pass even where they are banned. Names are looked up again and again; one
that has no address yet is told of, and allows nobody until it has.` + "\n" + exitCodes,
		Example: `  banctl allow add trunk.example.com
  banctl allow add 198.51.100.0/24 2001:db8:17::/48 --for 8h`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := control.AllowRequest{Entries: args, Reason: reason}
			for _, arg := range args {
				if _, err := jails.ParseEntry(arg); err != nil {
					return invalid{err}
				}
			}
			var err error
			if request.For, err = jails.ParseBanTime(span); err != nil {
				return invalid{fmt.Errorf("--for: %w", err)}
			}
			done, err := c.daemon().Allow(cmd.Context(), request)
			if err != nil {
				return c.reach(err)
			}
			if err := c.allowChanged(cmd, done, "allowed"); err != nil {
				return err
			}
			return c.tellUnresolved(cmd, done.Entries)
		},
	}
	command.Flags().StringVar(&span, "for", "forever", `how long: "90s", "10m", "1d12h", "2w" or "forever"`)
	command.Flags().StringVar(&reason, "reason", "", "why, for those who ask later")
	return command
}

// lookUp is how long the first look-up of a name is waited for.
const lookUp = 3 * time.Second

// tellUnresolved tells of the names among entries that stand for nobody when they
// were looked up, or when that takes long.
func (c *cli) tellUnresolved(cmd *cobra.Command, entries []string) error {
	names := make(map[string]string) // and what is wrong with each
	for _, entry := range entries {
		if e, err := jails.ParseEntry(entry); err == nil && e.Name != "" {
			names[e.Name] = "no name server has answered yet"
		}
	}
	again := time.NewTicker(lookUp / 30)
	defer again.Stop()
	for end := time.Now().Add(lookUp); len(names) > 0; <-again.C {
		listed, err := c.daemon().Allowlist(cmd.Context())
		if err != nil {
			return c.reach(err)
		}
		tried := true
		for _, a := range listed {
			switch _, asked := names[a.Entry]; {
			case !asked:
			case len(a.Prefixes) > 0:
				delete(names, a.Entry)
			case a.Error != "":
				names[a.Entry] = a.Error
			default:
				tried = false
			}
		}
		if tried || time.Now().After(end) {
			break
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s stands for nobody yet, and is looked up again and again: %s\n", printable(name), printable(names[name]))
	}
	return nil
}

func (c *cli) allowDel() *cobra.Command {
	return &cobra.Command{
		Use:   "del ENTRY...",
		Short: "Take entries off the allowlist that were added here",
		Long: `Take entries off the allowlist that were added here. When none of them was on it
the exit status is 1; one that band.toml or FreeSWITCH names is refused.` + "\n" + exitCodes,
		Example: `  banctl allow del trunk.example.com`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, arg := range args {
				if _, err := jails.ParseEntry(arg); err != nil {
					return invalid{err}
				}
			}
			done, err := c.daemon().Disallow(cmd.Context(), control.DisallowRequest{Entries: args})
			if err != nil {
				return c.reach(err)
			}
			if err := c.allowChanged(cmd, done, "not allowed any more"); err != nil {
				return err
			}
			if len(done.Entries) == 0 {
				if !c.json {
					fmt.Fprintln(cmd.ErrOrStderr(), "not on the allowlist: "+strings.Join(args, " "))
				}
				return errNo
			}
			return nil
		},
	}
}

// allowChanged prints what a change of the allowlist did. That it is not in the
// kernel and on the disk yet is an error.
func (c *cli) allowChanged(cmd *cobra.Command, done control.AllowChanged, what string) error {
	if c.json {
		if err := printJSON(cmd.OutOrStdout(), done); err != nil {
			return err
		}
	} else {
		for _, entry := range done.Entries {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", what, printable(entry))
		}
	}
	if done.Warning != "" {
		return errors.New(done.Warning)
	}
	return nil
}
