package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"band/internal/version"
)

func (c *cli) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long:  "Print the version. It needs no daemon.\n" + exitCodes,
		Example: `  banctl version
  banctl version --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"version": version.String()})
			}
			fmt.Fprintln(cmd.OutOrStdout(), "banctl", version.String())
			return nil
		},
	}
}
