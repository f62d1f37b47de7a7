package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"band/internal/config"
	"band/jails"
)

func (c *cli) jails() *cobra.Command {
	command := &cobra.Command{
		Use:   "jails",
		Short: "List the jails of the configuration",
		Long: `List the jails of the configuration, as a daemon started now would run them. It
needs no daemon.` + "\n" + exitCodes,
		Example: `  banctl jails
  banctl jails show freeswitch`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded := config.Load(c.config)
			if c.json {
				views := []jailView{}
				for _, j := range loaded.Jails {
					views = append(views, view(j))
				}
				return problems(cmd, loaded, printJSON(cmd.OutOrStdout(), views))
			}
			rows := [][]string{{"JAIL", "ENABLED", "MAXRETRY", "FINDTIME", "BANTIME", "PORTS", "SOURCES"}}
			for _, j := range loaded.Jails {
				v := view(j)
				rows = append(rows, []string{j.Name, strconv.FormatBool(j.Enabled), v.value("maxretry"), v.value("findtime"),
					v.value("bantime"), v.value("ports"), v.value("source")})
			}
			table(cmd.OutOrStdout(), rows)
			return problems(cmd, loaded, nil)
		},
	}
	command.AddCommand(&cobra.Command{
		Use:   "show JAIL",
		Short: "Show a jail's values and where each comes from",
		Long: `Show a jail's values and where each comes from: built in, band.toml, the shipped
jail, or its overlay in jails.d. It needs no daemon.` + "\n" + exitCodes,
		Example: `  banctl jails show freeswitch
  banctl jails show freeswitch --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			loaded := config.Load(c.config)
			for _, j := range loaded.Jails {
				if j.Name != args[0] {
					continue
				}
				v := view(j)
				if c.json {
					return problems(cmd, loaded, printJSON(cmd.OutOrStdout(), v))
				}
				return problems(cmd, loaded, printJail(cmd.OutOrStdout(), v))
			}
			if err := problems(cmd, loaded, nil); err != nil {
				return err
			}
			return invalid{fmt.Errorf("there is no jail %q; banctl jails lists them", args[0])}
		},
	})
	return command
}

// printJail prints the values of a jail, the long ones below the others.
func printJail(w io.Writer, v jailView) error {
	rows := [][]string{{"KEY", "VALUE", "FROM"}}
	for _, k := range v.Keys {
		if !strings.HasSuffix(k.Key, ".regex") {
			rows = append(rows, []string{k.Key, k.Value, k.Origin})
		}
	}
	if err := table(w, rows); err != nil {
		return err
	}
	for _, k := range v.Keys {
		if strings.HasSuffix(k.Key, ".regex") {
			fmt.Fprintf(w, "\n%s, from %s:\n  %s\n", k.Key, k.Origin, k.Value)
		}
	}
	return nil
}

// problems says what is wrong with the configuration, where nothing else went
// wrong before.
func problems(cmd *cobra.Command, loaded *jails.Config, err error) error {
	if err != nil || len(loaded.Problems) == 0 {
		return err
	}
	for _, p := range loaded.Problems {
		fmt.Fprintln(cmd.ErrOrStderr(), p.Error())
	}
	return invalid{fmt.Errorf("the configuration has %s", plural(len(loaded.Problems), "error", "errors"))}
}

// jailView is a jail as programs see it.
type jailView struct {
	Name    string     `json:"name"`
	Enabled bool       `json:"enabled"`
	Keys    []keyValue `json:"keys"`
}

type keyValue struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

func (v jailView) value(key string) string {
	for _, k := range v.Keys {
		if k.Key == key {
			return k.Value
		}
	}
	return ""
}

func view(j jails.Jail) jailView {
	v := jailView{Name: j.Name, Enabled: j.Enabled}
	add := func(key, value string) {
		from := j.Origins[key]
		if from.Layer == "" { // a part of a pattern that was set with the pattern
			from = j.Origins[key[:max(strings.LastIndex(key, "."), 0)]]
		}
		v.Keys = append(v.Keys, keyValue{key, value, cmp.Or(from.String(), "built-in")})
	}
	add("enabled", strconv.FormatBool(j.Enabled))
	add("dry_run", strconv.FormatBool(j.DryRun))
	add("format", j.Format)
	add("time", cmp.Or(j.Time, "-"))
	add("findtime", jails.FormatDuration(j.FindTime))
	add("maxretry", strconv.Itoa(j.MaxRetry))
	add("bantime", jails.FormatDuration(j.BanTime))
	add("distinct", cmp.Or(j.Distinct, "-"))
	add("clear_on", cmp.Or(strings.Join(j.ClearOn, ", "), "-"))
	trust := "-"
	if j.Trust > 0 { // what is 0 of a bantime is for ever
		trust = jails.FormatDuration(j.Trust)
	}
	add("trust", trust)
	add("ports", ports(j.Ports))
	add("services", cmp.Or(strings.Join(j.Services, ", "), "-"))
	add("ipv4_prefix", strconv.Itoa(j.IPv4Prefix))
	add("ipv6_prefix", strconv.Itoa(j.IPv6Prefix))
	add("aggregate", strconv.Itoa(j.Aggregate))
	add("escalate.factor", strconv.FormatFloat(j.Escalate.Factor, 'f', -1, 64))
	add("escalate.max", jails.FormatDuration(j.Escalate.Max))
	add("escalate.forget", jails.FormatDuration(j.Escalate.Forget))
	add("escalate.all_jails", strconv.FormatBool(j.Escalate.AllJails))
	var sources []string
	for _, s := range j.Sources {
		source := s.String()
		if s.PasswordFile != "" {
			source += " (password_file " + s.PasswordFile + ")"
		}
		if s.Preferred {
			source += " (preferred)"
		}
		if s.Optional {
			source += " (optional)"
		}
		if s.Unsafe {
			source += " (unsafe)"
		}
		sources = append(sources, source)
	}
	add("sources_of", cmp.Or(j.SourcesOf, "-"))
	add("source", strings.Join(sources, ", "))
	for _, p := range j.Patterns {
		add("pattern."+p.Name+".enabled", strconv.FormatBool(p.Enabled))
		counts := p.Counts
		if slices.Contains(j.ClearOn, p.Name) {
			counts = "as a success"
		}
		add("pattern."+p.Name+".counts", counts)
		add("pattern."+p.Name+".kind", p.Kind)
		add("pattern."+p.Name+".unsafe", strconv.FormatBool(p.Unsafe))
		if p.Event == "" {
			add("pattern."+p.Name+".regex", p.Regex)
			continue
		}
		add("pattern."+p.Name+".event", p.Event)
		add("pattern."+p.Name+".host", p.Host)
		add("pattern."+p.Name+".user", cmp.Or(p.User, "-"))
		add("pattern."+p.Name+".where", cmp.Or(where(p.Where), "-"))
	}
	return v
}

// where writes what an event's fields must be, the fields in order.
func where(fields map[string][]string) string {
	var all []string
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		all = append(all, field+" = "+strings.Join(fields[field], " | "))
	}
	return strings.Join(all, ", ")
}

func ports(p jails.Ports) string {
	if p.All() {
		return "all"
	}
	list := func(name string, numbers []uint16) string {
		var s []string
		for _, n := range numbers {
			s = append(s, strconv.Itoa(int(n)))
		}
		return name + " " + strings.Join(s, ",")
	}
	switch {
	case fmt.Sprint(p.UDP) == fmt.Sprint(p.TCP):
		return list("udp+tcp", p.UDP)
	case len(p.TCP) == 0:
		return list("udp", p.UDP)
	case len(p.UDP) == 0:
		return list("tcp", p.TCP)
	}
	return list("udp", p.UDP) + " " + list("tcp", p.TCP)
}
