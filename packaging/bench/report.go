package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
)

//go:embed performance.md.tmpl
var pageText string

// page is what the report is made of.
type page struct {
	*machine
	Rows     []row
	Subjects []subjectPart
	Curves   []curve
	Profiles []profile
	Plots    string // the directory of plots and profiles, from the page
}

// A row of the first table: what is measured, of whom, and the target.
type row struct {
	Work                   string
	band, peer, limit      *figure
	Target                 string
	met                    func(v float64) bool
	Band, Peer, Limit, Met string
}

// A subjectPart is all that was measured of a subject, and by which commands.
type subjectPart struct {
	Name     string
	Figures  []*figure
	Commands []string
}

func (f *figure) What() string   { return f.what }
func (f *figure) Who() string    { return f.who }
func (f *figure) Median() string { return number(f.median()) }
func (f *figure) Min() string    { return number(f.min()) }
func (f *figure) Max() string    { return number(f.max()) }
func (f *figure) Runs() int      { return len(f.values) }

func (c curve) Name() string  { return c.name }
func (c curve) Title() string { return c.title }
func (c curve) Cost() string  { return c.cost }

// Points lists the medians, and Ratio compares the last with the first.
func (c curve) Points() (text string) {
	var all []string
	for _, p := range c.points {
		all = append(all, fmt.Sprintf("%s: %s", digits(p.n), number(p.values.median())))
	}
	return strings.Join(all, ", ")
}

func (c curve) Ratio() string {
	return number(c.points[len(c.points)-1].values.median() / c.points[0].values.median())
}

// atMost and atLeast are targets.
func atMost(most float64) func(float64) bool   { return func(v float64) bool { return v <= most } }
func atLeast(least float64) func(float64) bool { return func(v float64) bool { return v >= least } }

func (b *bench) rows() []row {
	lines, bans := digits(b.lines), digits(b.bans)
	fast := b.find("replay", perCPU, bandName)
	egrep := func(locale string) row {
		than := b.find("replay", perCPU, "grep -cE, the pattern, LC_ALL="+locale)
		r := row{Work: "the same against `grep -E` of the same pattern, `LC_ALL=" + locale + "`", band: fast, limit: than, Target: "more than it"}
		if than != nil {
			r.met = atLeast(than.median())
		}
		return r
	}
	rows := []row{
		{Work: "replay of " + lines + " lines, lines per CPU-s", band: fast, peer: b.find("replay", perCPU, fail2banName), limit: b.find("replay", perCPU, "grep -c, a fixed string"), Target: "3,900,000", met: atLeast(3_900_000)},
		egrep("C.UTF-8"),
		egrep("C"),
		{Work: "follow: a burst of " + lines + " lines until all attackers are in nftables, lines/s", band: b.find("follow", perSecond, bandName), peer: b.find("follow", perSecond, fail2banName), limit: b.find("follow", perSecond, writerName), Target: "400,000", met: atLeast(400_000)},
		{Work: "the same, but there before the start, so that the follower library reads none of it", band: b.find("follow", perSecond, catchingUp)},
		{Work: "CPU-s for that burst", band: b.find("follow", cpuSeconds, bandName), peer: b.find("follow", cpuSeconds, fail2banName), Target: "1.5", met: atMost(1.5)},
		{Work: "a line written until it is a kernel element, p50, ms", band: b.find("latency", medianLatency, bandName), peer: b.find("latency", medianLatency, fail2banName), limit: b.find("latency", medianLatency, oneFlush), Target: "5", met: atMost(5)},
		{Work: "the same, p99, ms", band: b.find("latency", worstLatency, bandName), peer: b.find("latency", worstLatency, fail2banName), limit: b.find("latency", worstLatency, oneFlush), Target: "20", met: atMost(20)},
		{Work: "start with " + bans + " bans until all are enforced, s", band: b.find("restore", untilEnforced, bandName+", "+number(float64(b.bans))+" bans"), peer: b.find("restore", untilEnforced, extrapolated), limit: b.find("restore", untilEnforced, oneTable), Target: "1", met: atMost(1)},
		{Work: "unprotected at a restart, s (fail2ban with " + digits(b.peerBans) + " bans)", band: b.find("restore", unprotected, bandName), peer: b.find("restore", unprotected, fail2banName), Target: "0", met: atMost(0)},
		{Work: "memory: idle, MiB", band: b.find("idle", memoryNow, bandName), peer: b.find("idle", memoryNow, fail2banName), Target: "15", met: atMost(15)},
		{Work: "memory: in the burst at most, MiB", band: b.find("follow", peakMemory, bandName), peer: b.find("follow", peakMemory, fail2banName), Target: "40", met: atMost(40)},
		{Work: "memory: with " + bans + " bans, MiB", band: b.find("restore", bansMemory, bandName), Target: "90", met: atMost(90)},
		{Work: "idle CPU, %", band: b.find("idle", idleCPU, bandName), peer: b.find("idle", idleCPU, fail2banName), Target: "0.02", met: atMost(0.02)},
		{Work: "idle wake-ups per s", band: b.find("idle", idleWakeups, bandName), peer: b.find("idle", idleWakeups, fail2banName), Target: "1", met: atMost(1)},
		{Work: "a banned packet at " + bans + " bans, above one dropped before any rule, ns", band: b.find("packets", bannedPacket, bandName), peer: b.find("packets", bannedPacket, fail2banName), limit: b.find("packets", bannedPacket, ingressName), Target: "600", met: atMost(600)},
		{Work: "an honest packet then, above one without a table of bans, ns", band: b.find("packets", honestPacket, bandName), peer: b.find("packets", honestPacket, fail2banName), limit: b.find("packets", honestPacket, ingressName), Target: "250", met: atMost(250)},
	}
	for i := range rows {
		r := &rows[i]
		r.Band, r.Peer, r.Limit = r.band.spread(), r.peer.spread(), r.limit.spread()
		if r.met != nil && r.band != nil {
			r.Met = "**no**"
			if r.met(r.band.median()) {
				r.Met = "yes"
			}
		}
	}
	return rows
}

// ran notes the command line of a subject, without what differs between runs.
func (b *bench) ran(subject string, args []string) {
	args = slices.Clone(args)
	for i := range args {
		if strings.ContainsAny(args[i], " ^$|()[]'\\") {
			args[i] = "'" + strings.ReplaceAll(args[i], "'", `'\''`) + "'"
		}
	}
	line := strings.NewReplacer(b.bin+"/", "", b.dir, "DIR").Replace(strings.Join(args, " "))
	line = roomDir.ReplaceAllString(line, "DIR")
	if !slices.Contains(b.commands[subject], line) {
		b.commands[subject] = append(b.commands[subject], line)
	}
}

var roomDir = regexp.MustCompile(`DIR/band-bench-\d+-\d+`)

// report draws the plots and writes the page, or prints it where out is "".
func (b *bench) report(ctx context.Context, m *machine, out string) error {
	m.LoadAfter = load()
	p := page{machine: m, Rows: b.rows(), Curves: b.curves, Profiles: b.made, Plots: strings.TrimSuffix(filepath.Base(out), ".md")}
	for _, s := range subjects {
		part := subjectPart{Name: s.name, Commands: b.commands[s.name]}
		for _, f := range b.all {
			if f.subject == s.name {
				part.Figures = append(part.Figures, f)
			}
		}
		if len(part.Figures)+len(part.Commands) > 0 {
			p.Subjects = append(p.Subjects, part)
		}
	}
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return fmt.Errorf("read the template: %w", err)
	}
	var fresh bytes.Buffer
	if err := t.Execute(&fresh, p); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if out == "" {
		_, err := os.Stdout.Write(fresh.Bytes())
		return err
	}
	plots := filepath.Join(filepath.Dir(out), p.Plots)
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	for _, c := range b.curves {
		if err := c.draw(ctx, plots); err != nil {
			return err
		}
	}
	for _, p := range b.made {
		if err := os.WriteFile(filepath.Join(plots, p.Name+".txt"), []byte(p.text), 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	kept, err := os.ReadFile(out)
	if errors.Is(err, fs.ErrNotExist) {
		kept, err = fresh.Bytes(), nil
	}
	if err != nil {
		return fmt.Errorf("read the report before: %w", err)
	}
	if err := os.WriteFile(out, []byte(renew(string(kept), fresh.String())), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

var measured = regexp.MustCompile(`(?s)<!-- measured: \w+ -->\n.*?<!-- end -->`)

// renew returns a page with its measured parts as they stand in a fresh one. What is
// outside of them is written by hand, and stays; so does a part taken out.
func renew(kept, fresh string) string {
	parts := make(map[string]string)
	for _, part := range measured.FindAllString(fresh, -1) {
		head, _, _ := strings.Cut(part, "\n")
		parts[head] = part
	}
	return measured.ReplaceAllStringFunc(kept, func(part string) string {
		head, _, _ := strings.Cut(part, "\n")
		if renewed, ok := parts[head]; ok {
			return renewed
		}
		return part
	})
}
