// Command band watches logs and bans the hosts that fail to log in.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/pflag"

	"band/banner"
	"band/internal/config"
	"band/internal/daemon"
	"band/internal/journal"
	"band/internal/version"
	"band/jails"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2 // wrong usage or configuration
)

type options struct {
	config, state, socket string
	check, flush, version bool
	logLevel, logFormat   string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == journalReader {
		readJournal(os.Args[2:])
		return
	}
	var o options
	flags := pflag.NewFlagSet("band", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.StringVar(&o.config, "config", config.Dir, "directory of band.toml and jails.d; it may be missing")
	flags.StringVar(&o.state, "state", config.StateDir, "directory of the state")
	flags.StringVar(&o.socket, "socket", config.Socket, "control socket, for banctl")
	flags.BoolVar(&o.check, "check", false, "validate the configuration and exit")
	flags.BoolVar(&o.flush, "flush", false, "remove all bans from the kernel and exit; the daemon should be stopped")
	flags.BoolVar(&o.version, "version", false, "print the version and exit")
	flags.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&o.logFormat, "log-format", "text", "text or json")
	flags.Usage = func() {
		fmt.Fprintf(os.Stderr, "band watches logs and bans the hosts that fail to log in.\n\nUsage: band [flags]\n\n%s", flags.FlagUsages())
	}
	if err := flags.Parse(os.Args[1:]); errors.Is(err, pflag.ErrHelp) {
		return
	} else if err != nil {
		usage(err)
	} else if flags.NArg() > 0 {
		usage(fmt.Errorf("unexpected argument %q", flags.Arg(0)))
	}
	log, err := logger(o)
	if err != nil {
		usage(err)
	}
	switch {
	case o.version:
		fmt.Printf("band %s, reads the journal by %s\n", version.String(), journal.ReaderName())
	case o.check:
		check(config.Load(o.config))
	case o.flush:
		if err = banner.Remove(); err == nil {
			fmt.Println("removed the table inet band; a band that runs makes it again")
		}
	default:
		err = run(o, log)
	}
	if err != nil {
		log.Error("band stops", "error", err)
		os.Exit(exitFailed)
	}
}

// journalReader is the command that the daemon runs as its child where it was
// built with the tag sdjournal. It is of no use to people.
const journalReader = "journal-reader"

func readJournal(args []string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := journal.ReadTo(ctx, os.Stdout, args); err != nil {
		fmt.Fprintf(os.Stderr, "band %s: %v\n", journalReader, err)
		os.Exit(exitFailed)
	}
}

func usage(err error) {
	fmt.Fprintf(os.Stderr, "band: %v; see band --help\n", err)
	os.Exit(exitUsage)
}

func logger(o options) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level %q is none of debug, info, warn, error", o.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	switch o.logFormat {
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), nil
	case "text":
		if os.Getenv("JOURNAL_STREAM") != "" { // the journal has its own time
			options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey && len(groups) == 0 {
					return slog.Attr{}
				}
				return a
			}
		}
		return slog.New(slog.NewTextHandler(os.Stderr, options)), nil
	}
	return nil, fmt.Errorf("--log-format %q is neither text nor json", o.logFormat)
}

func check(c *jails.Config) {
	for _, p := range c.Problems {
		fmt.Fprintln(os.Stderr, p.Error())
	}
	if len(c.Problems) > 0 {
		os.Exit(exitUsage)
	}
}

func run(o options, log *slog.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	watchdog, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("read the watchdog interval: %w", err)
	}
	notify := func(state string) {
		if _, err := systemd.SdNotify(false, state); err != nil {
			log.Error("systemd was not told", "state", state, "error", err)
		}
	}
	if os.Getenv("GOGC") == "" {
		// In a flood of failures what is known is large, and Go's 100 would double it.
		debug.SetGCPercent(50)
	}
	log.Info("band starts", "version", version.String(), "pid", os.Getpid())
	d, err := daemon.New(daemon.Config{
		Load:     func() *jails.Config { return config.Load(o.config) },
		StateDir: o.state,
		Socket:   o.socket,
		Version:  version.String(),
		Log:      log,
		Ready: func() {
			notify(systemd.SdNotifyReady)
			debug.FreeOSMemory() // what the start took, to read the state above all
		},
		Alive:      func() { notify(systemd.SdNotifyWatchdog) },
		AliveEvery: watchdog / 2,
		Hangups:    hangups,
	})
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { notify(systemd.SdNotifyStopping) })
	if err := d.Run(ctx); err != nil {
		return err
	}
	log.Info("band stopped; the bans stay in the kernel")
	return nil
}
