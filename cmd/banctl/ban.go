package main

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"band/internal/control"
	"band/jails"
)

func (c *cli) ban() *cobra.Command {
	var span, reason string
	var force bool
	command := &cobra.Command{
		Use:   "ban ADDR|PREFIX...",
		Short: "Ban addresses or prefixes by hand",
		Long: `Ban addresses or prefixes by hand, on all ports. It returns when the bans are in
the kernel and on the disk.

What is on the allowlist, an address of this machine or its gateway, and the
address that you are logged in from are refused without --force.` + "\n" + exitCodes,
		Example: `  banctl ban 198.51.100.70
  banctl ban 203.0.113.0/24 2001:db8:bad::/48 --for 1d --reason "scanner, ticket 4711"
  banctl ban 198.51.100.7 --for forever`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := control.BanRequest{Reason: reason, Force: force, Operator: operator()}
			var err error
			if request.Units, err = units(args); err != nil {
				return err
			}
			if request.For, err = jails.ParseBanTime(span); err != nil {
				return invalid{fmt.Errorf("--for: %w", err)}
			}
			done, err := c.daemon().Ban(cmd.Context(), request)
			if err != nil {
				return c.reach(err)
			}
			return changed(cmd, c.json, done, "banned")
		},
	}
	command.Flags().StringVar(&span, "for", "1h", `how long: "90s", "10m", "1d12h", "2w" or "forever"`)
	command.Flags().StringVar(&reason, "reason", "", "why, for those who ask later")
	command.Flags().BoolVar(&force, "force", false, "ban even what is refused for your own good")
	return command
}

func (c *cli) unban() *cobra.Command {
	var request control.UnbanRequest
	command := &cobra.Command{
		Use:   "unban ADDR|PREFIX...|--all",
		Short: "Lift bans",
		Long: `Lift bans: those that cover an address, and those that lie within a prefix. Their
failures are forgotten too. It returns when the kernel lets the packets through
and the disk knows it. When nothing was banned the exit status is 1.` + "\n" + exitCodes,
		Example: `  banctl unban 198.51.100.70
  banctl unban 2001:db8:bad::66             also where its /64 is banned
  banctl unban 198.51.100.0/24              whatever is banned in there
  banctl unban --all --jail freeswitch`,
		Args: func(_ *cobra.Command, args []string) error {
			if request.All != (len(args) == 0) {
				return fmt.Errorf("name addresses or prefixes, or --all")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if request.Units, err = units(args); err != nil {
				return err
			}
			if err := c.knows(cmd, request.Jail); err != nil {
				return err
			}
			done, err := c.daemon().Unban(cmd.Context(), request)
			if err != nil {
				return c.reach(err)
			}
			if err := changed(cmd, c.json, done, "unbanned"); err != nil {
				return err
			}
			if len(done.Bans) == 0 {
				if !c.json {
					fmt.Fprintln(cmd.ErrOrStderr(), notBanned(request, args))
				}
				return errNo
			}
			return nil
		},
	}
	command.Flags().BoolVar(&request.All, "all", false, "lift every ban")
	command.Flags().StringVar(&request.Jail, "jail", "", `only bans of this jail ("manual": those by hand)`)
	return command
}

func notBanned(r control.UnbanRequest, args []string) string {
	text := "nobody is banned"
	if len(args) > 0 {
		text = "not banned: " + strings.Join(args, " ")
	}
	if r.Jail != "" {
		text += " (by jail " + r.Jail + ")"
	}
	return text
}

// operator returns the address that the person at the keyboard is logged in
// from over SSH, the zero address where that cannot be told. sudo and su clear
// the environment, so that of the processes above is asked too.
func operator() netip.Addr {
	environment := os.Environ()
	for pid := os.Getppid(); pid > 1; {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil {
			environment = append(environment, strings.Split(string(raw), "\x00")...)
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			break
		}
		// pid (comm) state ppid: comm may hold spaces and parentheses (proc_pid_stat(5)).
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 2 {
			break
		}
		if pid, err = strconv.Atoi(fields[1]); err != nil {
			break
		}
	}
	for _, variable := range environment {
		if value, ok := strings.CutPrefix(variable, "SSH_CONNECTION="); ok {
			client, _, _ := strings.Cut(value, " ")
			if addr, err := netip.ParseAddr(client); err == nil {
				return addr.Unmap().WithZone("")
			}
		}
	}
	return netip.Addr{}
}
