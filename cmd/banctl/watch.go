package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"band/internal/control"
)

func (c *cli) watch() *cobra.Command {
	return &cobra.Command{
		Use:   "watch",
		Short: "Show what happens, as it happens",
		Long: `Show failures, bans, findings and changes as they happen, until it is interrupted
or the daemon stops. With --json each event is an object on a line of its own.` + "\n" + exitCodes,
		Example: `  banctl watch
  banctl watch --json | jq 'select(.event == "ban")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := cmd.OutOrStdout()
			begun := func() {
				if !c.json {
					fmt.Fprintln(cmd.ErrOrStderr(), "watching; interrupt to end")
				}
			}
			err := c.daemon().Watch(cmd.Context(), begun, func(e control.Event) error {
				if !c.json {
					_, err := fmt.Fprintln(w, eventLine(e))
					return err
				}
				raw, err := json.Marshal(e)
				if err == nil {
					_, err = io.WriteString(w, escapeJSON(string(raw))+"\n")
				}
				return err
			})
			return c.reach(err)
		},
	}
}

// eventLine is an event as a person reads it.
func eventLine(e control.Event) string {
	parts := []string{e.Time.Local().Format("15:04:05"), e.Event}
	if e.Jail != "" {
		parts = append(parts, e.Jail)
	}
	switch {
	case e.Host.IsValid():
		parts = append(parts, e.Host.String())
	case e.Unit != nil:
		parts = append(parts, e.Unit.String())
	}
	if e.Event == control.EventBan || e.Event == control.EventAllow {
		lasting := "for " + left(e.Until)
		if e.Until == nil {
			lasting = "forever"
		}
		parts = append(parts, lasting)
	}
	if e.DryRun {
		parts = append(parts, "(dry run)")
	}
	if e.User != "" {
		parts = append(parts, "user "+printable(e.User))
	}
	if e.Source != "" {
		parts = append(parts, printable(e.Source))
	}
	if e.Text != "" && e.Event != control.EventFailure {
		parts = append(parts, printable(e.Text))
	}
	return strings.Join(parts, "  ")
}
