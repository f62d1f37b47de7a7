package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"band/internal/config"
)

func (c *cli) check() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration",
		Long: `Validate the configuration, as band --check does. It needs no daemon. Each error
is a line with file, line and key; the exit status is then 2.` + "\n" + exitCodes,
		Example: `  banctl check
  banctl --config ./etc check`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded := config.Load(c.config)
			if c.json {
				type problem struct {
					File string `json:"file"`
					Line int    `json:"line"`
					Key  string `json:"key"`
					Jail string `json:"jail"`
					Text string `json:"text"`
				}
				found := []problem{}
				for _, p := range loaded.Problems {
					found = append(found, problem{p.File, p.Line, p.Key, p.Jail, p.Text})
				}
				if err := printJSON(cmd.OutOrStdout(), found); err != nil {
					return err
				}
			}
			if err := problems(cmd, loaded, nil); err != nil {
				return err
			}
			if !c.json {
				enabled := 0
				for _, j := range loaded.Jails {
					if j.Enabled {
						enabled++
					}
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: no errors; %s, %d enabled\n", c.config, plural(len(loaded.Jails), "jail", "jails"), enabled)
			}
			return nil
		},
	}
}
