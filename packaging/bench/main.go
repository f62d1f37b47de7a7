// Command bench measures band beside fail2ban, and against what the machine can do
// at best, and writes docs/performance.md. It is run by make bench-peers, as root:
// everything happens in network namespaces and a directory of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A subject is one thing that is measured.
type subject struct {
	name    string
	measure func(*bench, context.Context) error
}

var subjects = []subject{
	{"replay", (*bench).replay},
	{"follow", (*bench).follow},
	{"latency", (*bench).latency},
	{"restore", (*bench).restore},
	{"idle", (*bench).idle},
	{"packets", (*bench).packets},
	{"scaling", (*bench).scaling},
	{"profiles", (*bench).profiles},
}

// A bench is one run of the subjects.
type bench struct {
	size
	dir   string // of all temporary data
	bin   string // of the built commands
	runs  int
	rooms int // made so far
	figures
	curves   []curve
	made     []profile
	commands map[string][]string // by subject
}

// size is how much is measured at a time.
type size struct {
	lines, attackers int           // of the log
	bans             int           // that are restored
	peerBans         int           // that fail2ban restores
	attempts         int           // whose latency is measured
	quiet            time.Duration // for which an idle daemon is watched
	rounds           int           // of packets
	quick            bool
}

var (
	full  = size{lines: 500_000, attackers: 2000, bans: 100_000, peerBans: 2000, attempts: 200, quiet: time.Minute, rounds: 1000}
	small = size{lines: 50_000, attackers: 200, bans: 20_000, peerBans: 100, attempts: 10, quiet: 5 * time.Second, rounds: 200, quick: true}
)

func run(ctx context.Context) (err error) {
	names := make([]string, len(subjects))
	for i, s := range subjects {
		names[i] = s.name
	}
	only := flag.String("only", strings.Join(names, ","), "what to measure")
	runs := flag.Int("runs", 3, "how often; the slowest figures of fail2ban are measured half as often")
	out := flag.String("out", "", "the report, whose plots go into the directory of that name; else docs/performance.md, and where not all is measured the report is printed")
	quick := flag.Bool("quick", false, "measure little and once, to see that all of it works")
	bin := flag.String("bin", "bin", "directory of band and banctl")
	flag.Parse()
	b := &bench{size: full, runs: max(*runs, 1), commands: make(map[string][]string)}
	if *quick {
		b.size, b.runs = small, 1
	}
	wanted := strings.Split(*only, ",")
	if *out == "" && !*quick && len(wanted) == len(subjects) {
		*out = "docs/performance.md"
	}
	for _, name := range wanted {
		if !slices.Contains(names, name) {
			return fmt.Errorf("-only %s: there are %s", name, strings.Join(names, ", "))
		}
	}
	if b.bin, err = filepath.Abs(*bin); err != nil {
		return fmt.Errorf("-bin %s: %w", *bin, err)
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces and nftables need root")
	}
	if b.dir, err = os.MkdirTemp("", "band-bench-"); err != nil {
		return fmt.Errorf("make a directory for the bench: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()

	m, err := b.machine(ctx)
	if err != nil {
		return err
	}
	for _, s := range subjects {
		if !slices.Contains(wanted, s.name) {
			continue
		}
		b.say("== %s", s.name)
		if err := s.measure(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return b.report(ctx, m, *out)
}

// say tells who waits what is going on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}

// runsOf counts the runs of a daemon and says so: those of fail2ban, which takes
// minutes for one, are half as many.
func (b *bench) runsOf(p peer) iter.Seq[int] {
	runs := b.runs
	if p.name() == fail2banName {
		runs = (b.runs + 1) / 2
	}
	return func(yield func(int) bool) {
		for i := range runs {
			b.say("%s, run %d of %d", p.name(), i+1, runs)
			if !yield(i) {
				return
			}
		}
	}
}
