package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"band/internal/config"
	"band/internal/jailtest"
	"band/jails"
)

func (c *cli) check() *cobra.Command {
	var tests string
	command := &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration",
		Long: `Validate the configuration, as band --check does. It needs no daemon. Each error
is a line with file, line and key; the exit status is then 2.

With --tests it also runs the jail tests of a directory, files that hold a jail,
a log and who is to be banned (docs/jails.md); when one fails the exit status is 1.` + "\n" + exitCodes,
		Example: `  banctl check
  banctl check --tests /etc/band/tests
  banctl --config ./etc check`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded := config.Load(c.config)
			if c.json && (tests == "" || len(loaded.Problems) > 0) {
				if err := printJSON(cmd.OutOrStdout(), asProblems(loaded)); err != nil {
					return err
				}
			}
			if err := problems(cmd, loaded, nil); err != nil {
				return err
			}
			if tests != "" {
				return c.runTests(cmd, tests, loaded)
			}
			if !c.json {
				enabled := 0
				for _, j := range loaded.Jails {
					if j.Enabled {
						enabled++
					}
				}
				where := c.config
				if _, err := os.Stat(c.config); errors.Is(err, fs.ErrNotExist) {
					where += " does not exist, the built-in values are used"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: no errors; %s, %d enabled\n", where, plural(len(loaded.Jails), "jail", "jails"), enabled)
			}
			return nil
		},
	}
	command.Flags().StringVar(&tests, "tests", "", "run the jail tests in this directory")
	return command
}

// problem is a jails.Problem as programs see it.
type problem struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Key  string `json:"key"`
	Jail string `json:"jail"`
	Text string `json:"text"`
}

func asProblems(loaded *jails.Config) []problem {
	found := []problem{}
	for _, p := range loaded.Problems {
		found = append(found, problem{p.File, p.Line, p.Key, p.Jail, p.Text})
	}
	return found
}

// testResult is how a jail test ended.
type testResult struct {
	Test string `json:"test"`
	OK   bool   `json:"ok"`
	Diff string `json:"diff"`
}

func (c *cli) runTests(cmd *cobra.Command, dir string, loaded *jails.Config) error {
	if _, err := os.Stat(dir); err != nil {
		return invalid{err}
	}
	fsys := os.DirFS(dir)
	names, err := fs.Glob(fsys, "*"+jailtest.Suffix)
	if err != nil {
		return invalid{err}
	}
	if len(names) == 0 {
		return invalid{fmt.Errorf("%s: no file is named *%s", dir, jailtest.Suffix)}
	}
	var results []testResult
	failed := 0
	for _, name := range names {
		diff, err := jailtest.Run(cmd.Context(), fsys, name, loaded)
		if err != nil {
			diff = err.Error()
		}
		if diff != "" {
			failed++
		}
		results = append(results, testResult{name, diff == "", diff})
	}
	if c.json {
		err = printJSON(cmd.OutOrStdout(), results)
	} else {
		printTests(cmd, results, failed)
	}
	if err == nil && failed > 0 {
		return errNo
	}
	return err
}

func printTests(cmd *cobra.Command, results []testResult, failed int) {
	for _, r := range results {
		if r.OK {
			fmt.Fprintf(cmd.OutOrStdout(), "ok    %s\n", r.Test)
		} else {
			fmt.Fprintf(cmd.OutOrStdout(), "FAIL  %s\n        %s\n", r.Test, strings.ReplaceAll(r.Diff, "\n", "\n        "))
		}
	}
	if failed > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%d of %s failed\n", failed, plural(len(results), "test", "tests"))
	}
}
