package daemon_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"band/internal/config"
	"band/internal/daemon"
	"band/jails"
)

// A machine is a daemon, its logs and a clock that can be set.
type machine struct {
	*daemon.Daemon
	t   *testing.T
	dir string
	set atomic.Int64 // how far the clock is from the true one
}

func (m *machine) now() time.Time { return time.Now().Add(time.Duration(m.set.Load())) }

// run runs the daemon until the function that it returns is called.
func (m *machine) run() (stop func()) {
	m.t.Helper()
	log := filepath.Join(m.dir, "door*.log")
	jail := fmt.Sprintf("format = \"syslog\"\nports = \"all\"\n[[source]]\nfile = %q\n[[pattern]]\nname = \"failed\"\nregex = '^door: failed from <HOST>$'\n", log)
	files := fstest.MapFS{"jails.d/door.toml": {Data: []byte(jail)}}
	for _, shipped := range []string{"freeswitch", "freeswitch-acl", "freeswitch-scan", "freeswitch-scanner", "sshd"} {
		files["jails.d/"+shipped+".toml"] = &fstest.MapFile{Data: []byte("enabled = false\n")}
	}
	ready := make(chan struct{})
	d, err := daemon.New(daemon.Config{
		Load:     func() *jails.Config { return config.LoadFS(files, "") },
		StateDir: filepath.Join(m.dir, "state"), Socket: filepath.Join(m.dir, "band.sock"),
		Log: slog.New(slog.NewTextHandler(m.t.Output(), nil)), Now: m.now,
		Ready: func() { close(ready) },
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.Daemon = d
	ctx, cancel := context.WithCancel(m.t.Context())
	stopped := make(chan error)
	go func() { stopped <- d.Run(ctx) }()
	<-ready
	return func() {
		cancel()
		if err := <-stopped; err != nil {
			m.t.Error(err)
		}
	}
}

// fail lets a host fail that often now.
func (m *machine) fail(host string, times int) {
	m.t.Helper()
	for range times {
		m.write("door.log", m.now(), "door: failed from "+host)
	}
}

// write writes a record to a log.
func (m *machine) write(log string, at time.Time, text string) {
	m.t.Helper()
	f, err := os.OpenFile(filepath.Join(m.dir, log), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s host %s\n", at.Format(time.RFC3339), text); err != nil {
		m.t.Fatal(err)
	}
}
