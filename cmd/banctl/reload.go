package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (c *cli) reload() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Let the daemon read its configuration again",
		Long: `Let the daemon read its configuration again. One with a problem changes nothing,
and the exit status is 2. Counts, bans and positions of jails that stay are kept.` + "\n" + exitCodes,
		Example: `  banctl check && banctl reload`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			done, err := c.daemon().Reload(cmd.Context())
			if err != nil {
				return c.reach(err)
			}
			w := cmd.OutOrStdout()
			switch {
			case c.json:
				if err := printJSON(w, done); err != nil {
					return err
				}
			case len(done.Problems) > 0:
				for _, p := range done.Problems {
					fmt.Fprintln(cmd.ErrOrStderr(), printable(p))
				}
			default:
				fmt.Fprintln(w, "reloaded; the jails are: "+strings.Join(done.Jails, ", "))
				named := func(what string, names []string) {
					if len(names) > 0 {
						fmt.Fprintf(w, "%s: %s\n", what, strings.Join(names, ", "))
					}
				}
				if len(done.Added)+len(done.Removed)+len(done.Changed) == 0 {
					fmt.Fprintln(w, "no jail has changed")
				}
				named("added", done.Added)
				named("removed", done.Removed)
				named("changed", done.Changed)
			}
			if len(done.Problems) > 0 {
				return invalid{errors.New("the configuration is refused, the one before stays in force")}
			}
			return nil
		},
	}
}
