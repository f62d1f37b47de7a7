package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A curve is the cost of something against the number of something else, as a Go
// benchmark measures it.
type curve struct {
	name      string // of the plot
	title     string
	benchmark string // in the name of which stands of=NUMBER
	of        string
	unit      string // of the benchmark's result
	cost      string // what that is
	points    []point
}

type point struct {
	n      int
	values figure
}

// The benchmarks of a record and of a sentence tell the time of the processor, that
// of the kernel what passes until it has the ban.
func curves() []curve {
	return []curve{
		{name: "jails", title: "A record, by jails that watch its source", benchmark: "Record", of: "jails", unit: "ns/record", cost: "ns of CPU a record"},
		{name: "patterns", title: "A record, by patterns of a jail", benchmark: "Record", of: "patterns", unit: "ns/record", cost: "ns of CPU a record"},
		{name: "units", title: "A record, by units with failures", benchmark: "Record", of: "units", unit: "ns/record", cost: "ns of CPU a record"},
		{name: "bans", title: "A record, by bans in force", benchmark: "Record", of: "bans", unit: "ns/record", cost: "ns of CPU a record"},
		{name: "sentences", title: "A decision to ban, by bans in force", benchmark: "Sentence", of: "bans", unit: "ns/ban", cost: "ns of CPU a ban"},
		{name: "elements", title: "A ban until the kernel has it, by bans in the kernel", benchmark: "Ban", of: "elements", unit: "ns/op", cost: "ns a ban"},
	}
}

// scaling runs the benchmarks. It needs the sources, in the working directory.
func (b *bench) scaling(ctx context.Context) error {
	b.curves = curves()
	for _, in := range []struct {
		bench, dir string
		runs       int
	}{{"^(BenchmarkRecord|BenchmarkSentence)$", "./internal/pipeline", b.runs}, {"^BenchmarkBan$", "./banner", (b.runs + 1) / 2}} {
		args := []string{"go", "test", "-run", "^$", "-bench", in.bench, "-count", strconv.Itoa(in.runs), "-timeout", "0"}
		if b.quick {
			args = append(args, "-short", "-benchtime", "50ms")
		}
		args = append(args, in.dir)
		b.ran("scaling", args)
		out, err := command(ctx, append([]string{"env", "GOTMPDIR=" + b.dir}, args...)...)
		if err != nil {
			return err
		}
		for i := range b.curves {
			if err := b.curves[i].read(out); err != nil {
				return err
			}
		}
	}
	for _, c := range b.curves {
		if len(c.points) == 0 {
			return fmt.Errorf("no benchmark told of %s", c.name)
		}
	}
	return nil
}

var (
	benchmarkLine = regexp.MustCompile(`(?m)^Benchmark(\w+)/(\w+)=(\d+)(?:-\d+)?\s+\d+\s+(.*)$`)
	result        = regexp.MustCompile(`([0-9.e+]+) (\S+)`)
)

// read takes its points from what go test printed.
func (c *curve) read(out string) error {
	for _, m := range benchmarkLine.FindAllStringSubmatch(out, -1) {
		if m[1] != c.benchmark || m[2] != c.of {
			continue
		}
		n, err := strconv.Atoi(m[3])
		if err != nil {
			return fmt.Errorf("read %q: %w", m[0], err)
		}
		for _, r := range result.FindAllStringSubmatch(m[4], -1) {
			if r[2] != c.unit {
				continue
			}
			v, err := strconv.ParseFloat(r[1], 64)
			if err != nil {
				return fmt.Errorf("read %q: %w", m[0], err)
			}
			i := slices.IndexFunc(c.points, func(p point) bool { return p.n == n })
			if i < 0 {
				i = len(c.points)
				c.points = append(c.points, point{n: n})
			}
			c.points[i].values.values = append(c.points[i].values.values, v)
		}
	}
	return nil
}

// draw writes the plot of a curve, with the spread of each point.
func (c *curve) draw(ctx context.Context, dir string) error {
	var data strings.Builder
	for _, p := range c.points {
		fmt.Fprintf(&data, "%q %g %g %g\n", number(float64(p.n)), p.values.median(), p.values.min(), p.values.max())
	}
	script := filepath.Join(dir, c.name+".gnuplot")
	text := fmt.Sprintf(`set terminal svg size 640,320 background "white" font "sans-serif,12"
set output %q
set title %q
set ylabel %q
set yrange [0:*]
set xrange [-0.5:%d.5]
set grid ytics
set format y "%%.0f"
unset key
$data << END
%sEND
plot $data using 0:2:xtic(1) with lines linecolor "#20639b" linewidth 2, \
	$data using 0:2:3:4 with yerrorbars linecolor "#20639b" pointtype 7 pointsize 0.5
`, filepath.Join(dir, c.name+".svg"), c.title, c.cost, len(c.points)-1, data.String())
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		return fmt.Errorf("draw %s: %w", c.name, err)
	}
	defer os.Remove(script)
	_, err := command(ctx, "gnuplot", script)
	return err
}
