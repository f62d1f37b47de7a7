package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"band/internal/control"
)

func (c *cli) show() *cobra.Command {
	return &cobra.Command{
		Use:   "show ADDR|PREFIX",
		Short: "Tell all that is known of an address, and why it is banned",
		Long: `Tell all that is known of an address or prefix: the bans that cover it, the
records that led to them, the user names that were tried, earlier bans, failures
that are short of a ban, and what exempts it. When it is not banned the exit
status is 1.` + "\n" + exitCodes,
		Example: `  banctl show 198.51.100.70
  banctl show 2001:db8:bad::/64 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asked, err := units(args)
			if err != nil {
				return err
			}
			e, err := c.daemon().Explain(cmd.Context(), asked[0])
			if err != nil {
				return c.reach(err)
			}
			answer := error(nil)
			if len(e.Bans) == 0 {
				answer = errNo
			}
			w := cmd.OutOrStdout()
			if c.json {
				if err := printJSON(w, e); err != nil {
					return err
				}
				return answer
			}
			if len(e.Bans) > 0 {
				table(w, banRows(e.Bans))
			} else {
				fmt.Fprintf(w, "%s is not banned\n", e.Unit)
			}
			for _, b := range e.Bans {
				if b.Reason != "" {
					fmt.Fprintf(w, "%s is banned by %s%s\n", b.Unit, b.Jail, because(b))
				}
			}
			if e.Allowed != "" {
				fmt.Fprintf(w, "exempt: it is %s\n", e.Allowed)
			}
			for _, n := range e.Counts {
				of := fmt.Sprintf("%d of %d failures", n.Failures, n.MaxRetry)
				if n.MaxRetry == 0 {
					of = fmt.Sprintf("%d failures, of which none counts,", n.Failures)
				}
				fmt.Fprintf(w, "%s in jail %s (%s)%s\n", of, n.Jail, n.Unit, forgiven(n))
			}
			if len(e.Users) > 0 {
				var users []string
				for _, u := range e.Users {
					users = append(users, printable(u))
				}
				fmt.Fprintln(w, "users tried, of the records kept:", strings.Join(users, ", "))
			}
			if len(e.Evidence) > 0 {
				fmt.Fprintln(w, "the last records:")
			}
			for _, f := range e.Evidence {
				fmt.Fprintf(w, "  %s  %s/%s  %s\n    %s\n", local(f.Time), f.Jail, f.Pattern, f.Host, printable(f.Record))
			}
			if len(e.Past) > 0 {
				fmt.Fprintln(w, "earlier bans:")
			}
			for _, b := range e.Past {
				how := "ran out"
				switch {
				case b.Lifted:
					how = "was lifted"
				case b.Replaced:
					how = "was replaced"
				case b.Idle:
					how = "is not enforced, because its jail is not at work"
				}
				fmt.Fprintf(w, "  %s  %s  %s, %s%s\n", local(b.Since), b.Unit, b.Jail, how, because(b.Ban))
			}
			return answer
		},
	}
}

// forgiven says that a host succeeded, and what that means.
func forgiven(n control.Count) string {
	switch {
	case n.Succeeded == nil:
		return ""
	case n.Trusted:
		return ", trusted: it logged in at " + local(*n.Succeeded)
	}
	return " since it logged in at " + local(*n.Succeeded)
}

// because says why somebody banned by hand, where he did.
func because(b control.Ban) string {
	if b.Reason == "" {
		return ""
	}
	return ": " + printable(b.Reason)
}
