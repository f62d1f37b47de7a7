// Command banctl shows and changes what the band daemon does.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"band/internal/config"
	"band/internal/control"
)

// Exit codes, the same for every command.
const (
	exitDone        = 0
	exitNo          = 1 // the answer is no
	exitUsage       = 2 // wrong usage or configuration
	exitUnreachable = 3 // the daemon cannot be reached, or could not do it
	exitRefused     = 4
)

const exitCodes = `
Exit status:
  0  done, or yes
  1  the answer is no
  2  wrong usage or configuration
  3  the daemon cannot be reached, or could not do it
  4  refused`

// errNo says that the answer is no. It has been printed already.
var errNo = errors.New("no")

// invalid is an error of the usage or the configuration.
type invalid struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs one command and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil || errors.Is(err, errNo) {
		if err != nil {
			return exitNo
		}
		return exitDone
	}
	fmt.Fprintf(stderr, "banctl: %v\n", err)
	switch {
	case errors.As(err, new(invalid)):
		return exitUsage
	case errors.Is(err, control.ErrRefused):
		return exitRefused
	}
	return exitUnreachable
}

// cli is what all commands share.
type cli struct {
	socket, config string
	json           bool
}

func newRoot() *cobra.Command {
	c := &cli{}
	root := &cobra.Command{
		Use:   "banctl",
		Short: "Show and change what the band daemon does",
		Long:  "banctl shows and changes what the band daemon does.\n" + exitCodes,
		Example: `  banctl status                            is it protecting?
  banctl list                              who is banned
  banctl show 198.51.100.70                why
  banctl unban 198.51.100.70               let him in again
  banctl ban 203.0.113.0/24 --for 1d       shut out a network`,
		SilenceUsage: true, SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.socket, "socket", config.Socket, "control socket of the daemon")
	flags.StringVar(&c.config, "config", config.Dir, "directory of band.toml and jails.d")
	flags.BoolVar(&c.json, "json", false, "print JSON, for programs")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return invalid{seeHelp(cmd, err)} })
	for _, command := range []*cobra.Command{
		c.status(), c.doctor(), c.list(), c.show(), c.watch(), c.ban(), c.unban(), c.allow(), c.reload(),
		c.jails(), c.check(), c.test(), c.replay(), c.version(),
	} {
		root.AddCommand(command)
	}
	usageErrors(root)
	return root
}

// usageErrors makes wrong arguments of a command, and of those below it, errors
// of the usage.
func usageErrors(command *cobra.Command) {
	if args := command.Args; args != nil {
		command.Args = func(cmd *cobra.Command, given []string) error {
			if err := args(cmd, given); err != nil {
				return invalid{seeHelp(cmd, err)}
			}
			return nil
		}
	}
	for _, c := range command.Commands() {
		usageErrors(c)
	}
}

func seeHelp(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
}

// daemon returns a client; reach explains its errors.
func (c *cli) daemon() *control.Client { return control.NewClient(c.socket) }

// reach explains why the daemon cannot be reached.
func (c *cli) reach(err error) error {
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, control.ErrUnreachable):
		return err
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("no permission for %s: run as root, or join the group %s", c.socket, control.Group)
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no daemon answers at %s: start band, or name its socket with --socket", c.socket)
	}
	return fmt.Errorf("%w at %s", err, c.socket)
}

// units parses the addresses and prefixes that a command was given.
func units(args []string) ([]control.Unit, error) {
	var units []control.Unit
	for _, arg := range args {
		unit, err := control.ParseUnit(arg)
		if err != nil {
			return nil, invalid{err}
		}
		units = append(units, unit)
	}
	return units, nil
}
