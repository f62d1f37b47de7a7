package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"band/internal/doctor"
)

func (c *cli) doctor() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Tell what weakens the protection, and what to do about it",
		Long: `Tell what weakens the protection, and what to do about it: errors (something is not
protected), warnings (something may be lost, or is weaker than it seems) and notes
(it could be better). When there is more than notes the exit status is 1.

What is in brackets, --json calls it the kind, is explained in docs/findings.md.` + "\n" + exitCodes,
		Example: `  banctl doctor
  banctl doctor --json | jq -r '.findings[].kind'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.daemon().Status(cmd.Context())
			if err != nil {
				return c.reach(err)
			}
			w := cmd.OutOrStdout()
			switch {
			case c.json:
				err = printJSON(w, map[string][]doctor.Finding{"findings": s.Findings})
			case !weakened(s.Findings):
				fmt.Fprintln(w, "nothing is known to weaken the protection")
				fallthrough
			default:
				printFindings(w, s.Findings)
			}
			if err == nil && weakened(s.Findings) {
				err = errNo
			}
			return err
		},
	}
}

// weakened reports whether there is more than notes.
func weakened(findings []doctor.Finding) bool {
	return slices.ContainsFunc(findings, func(f doctor.Finding) bool { return f.Severity != doctor.Note })
}

func printFindings(w io.Writer, findings []doctor.Finding) {
	for _, f := range findings {
		fmt.Fprintf(w, "  %s: %s [%s]\n", f.Severity, strings.TrimSpace(about(f)+printable(f.Text)), f.Kind)
		fmt.Fprintf(w, "    -> %s\n", printable(f.Remedy))
	}
}

// about names what a finding is about, where it is about one thing.
func about(f doctor.Finding) string {
	switch {
	case f.Kind == doctor.JailRefused || f.Kind == doctor.ConfigRefused:
		return "" // the text names file and line
	case f.Source != "":
		return printable(f.Source) + ": "
	case f.Jail != "":
		return "jail " + f.Jail + ": "
	}
	return ""
}
