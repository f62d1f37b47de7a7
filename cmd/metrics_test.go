package cmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"band/internal/doctor"
)

var update = flag.Bool("update", false, "write the golden files")

// scrape returns the metrics of the host's daemon, "" while there is no answer:
// those at a TCP address, or where that is "" those at the control socket.
func (h *host) scrape(address string) string {
	h.t.Helper()
	network := "tcp"
	if address == "" {
		network, address = "unix", h.dir+"/band.sock"
	}
	client := http.Client{Timeout: deadline, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (conn net.Conn, err error) {
			h.inside(func() { conn, err = net.DialTimeout(network, address, deadline) })
			return conn, err
		},
	}}
	answer, err := client.Get("http://band/metrics")
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return ""
	}
	return string(text)
}

var (
	// varies is what is another value in each run.
	varies = regexp.MustCompile(`(?m)^((?:band_start_time|[a-z_]*_timestamp_seconds|band_state_|process_|go_)[a-z_]*(?:\{.*\})?) \S+$`)
	builds = regexp.MustCompile(`(?m)^(band_build_info)\{.*\}`)
	// absent are the kinds of findings of which there is none; rivals may run beside
	// these tests.
	absent = regexp.MustCompile(`(?m)^band_findings?\{(?:.*\} 0|.*kind="rival-running".*)\n`)
)

// normal leaves out of an exposition what does not follow from the attack alone.
func (h *host) normal(text string) string {
	text = varies.ReplaceAllString(text, "$1 VARIES")
	text = builds.ReplaceAllString(text, "${1}{VARIES}")
	text = absent.ReplaceAllString(text, "")
	return strings.ReplaceAll(text, h.dir, "/DIR")
}

// The metrics of a known attack are known: at the control socket, and the same at
// a TCP address.
func TestMetrics(t *testing.T) {
	server, outside := newHost(t), newHost(t)
	cable(server, outside)
	const address = "127.0.0.1:9719"
	server.band = fmt.Sprintf("metrics = %q\nallow = ['203.0.113.52']\nfreeswitch = %q\n", address, server.dir)
	server.jails = map[string]string{
		"freeswitch-acl":     "enabled = false\n",
		"freeswitch-scan":    "enabled = false\n",
		"freeswitch-scanner": "enabled = false\n",
		"sshd":               "enabled = false\n",
		"trial": `
			format     = 'freeswitch'
			sources_of = 'freeswitch'
			dry_run    = true
			maxretry   = 3
			[[pattern]]
			name  = 'failed'
			regex = '''^\[WARNING\] sofia_reg\.c:\d+ SIP auth failure .* from ip <HOST>$'''
			`,
		"door": `
			format = 'syslog'
			[[source]]
			journal = ['SYSLOG_IDENTIFIER=door', '_UID=0']
			[[pattern]]
			name  = 'failed'
			regex = '^door: failed from <HOST>$'
			`,
	}
	if err := os.WriteFile(server.dir+"/freeswitch.xml", []byte("<document type='freeswitch/xml'/>"), 0o644); err != nil {
		t.Fatal(err)
	}
	recording, err := os.ReadFile("../testdata/freeswitch/01_basic.guard.log")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(server.log(), atTime(recording, time.Now()), 0o644); err != nil {
		t.Fatal(err)
	}
	server.start()
	set := func(address string) bool {
		out, err := server.command("nft", "list", "set", "inet", "band", "freeswitch-ip4").Output()
		return err == nil && strings.Contains(string(out), address)
	}
	until(t, func() bool { return set("198.51.100.74") }, func() string { return "the attack bans nobody" })
	server.banctl("ban", "192.0.2.1", "--for", "10m")
	banned := outside.dial("198.51.100.70", "203.0.113.10:5060")
	for range 3 {
		if _, err := banned.Write([]byte("REGISTER")); err != nil {
			t.Fatal(err)
		}
	}

	golden := filepath.Join("testdata", "metrics.golden")
	if *update {
		time.Sleep(2 * time.Second)
		if err := os.WriteFile(golden, []byte(server.normal(server.scrape(""))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"", address} {
		var got string
		until(t, func() bool { got = server.scrape(at); return server.normal(got) == string(want) }, func() string {
			return fmt.Sprintf("the metrics at %q never are those of %s; at last -want +got:\n%s", at, golden, cmp.Diff(string(want), server.normal(got)))
		})
		if problems, err := promlint.New(strings.NewReader(got)).Lint(); err != nil || len(problems) > 0 {
			t.Errorf("promlint: %v %v", problems, err)
		}
		for _, kind := range doctor.Kinds() {
			if !strings.Contains(got, fmt.Sprintf("\nband_findings{kind=%q} ", kind)) {
				t.Errorf("findings of the kind %s are not counted", kind)
			}
		}
		if !strings.Contains(got, fmt.Sprintf(`band_build_info{goversion=%q,version=`, runtime.Version())) {
			t.Error("the build is not told")
		}
		if diff := cmp.Diff(documented(t), exposed(t, got)); diff != "" {
			t.Errorf("-in docs/metrics.md +at %q:\n%s", at, diff)
		}
	}
}

// family is what is said of the metrics of a name.
type family struct{ Name, Type, Labels string }

// exposed returns what an exposition says, by name.
func exposed(t *testing.T, text string) (families []family) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)\n\w+(?:\{(.*)\})? `).FindAllStringSubmatch(text, -1) {
		var labels []string
		for _, l := range regexp.MustCompile(`(\w+)="(?:[^"\\]|\\.)*"`).FindAllStringSubmatch(m[3], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			}
		}
		families = append(families, family{m[1], m[2], strings.Join(labels, " ")})
	}
	return families
}

// documented returns what the tables of docs/metrics.md say, by name.
func documented(t *testing.T) (families []family) {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| (.*?) ?\\| .+ \\|$").FindAllStringSubmatch(string(text), -1) {
		labels := strings.FieldsFunc(m[3], func(r rune) bool { return strings.ContainsRune("`, ", r) })
		slices.Sort(labels)
		families = append(families, family{m[1], m[2], strings.Join(labels, " ")})
	}
	slices.SortFunc(families, func(a, b family) int { return strings.Compare(a.Name, b.Name) })
	return families
}

// doctor returns the kinds of the findings.
func (h *host) doctor() (kinds []string) {
	h.t.Helper()
	out, _ := h.command(filepath.Join(binaries, "banctl"), "--socket", h.dir+"/band.sock", "doctor", "--json").Output()
	var answer struct{ Findings []struct{ Kind string } }
	if err := json.Unmarshal(out, &answer); err != nil {
		return []string{err.Error()}
	}
	for _, f := range answer.Findings {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}

// A reload moves the metrics to another address, and an address that is taken is a
// finding and tried again, while everything else goes on.
func TestMetricsAddress(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	daemon := h.start()
	until(t, func() bool { return h.scrape("") != "" }, func() string { return "the daemon does not answer" })
	const first, second = "127.0.0.1:9719", "[::1]:9720"
	reload := func(band string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(h.dir, "etc", "band.toml"), []byte(band), 0o644); err != nil {
			t.Fatal(err)
		}
		h.banctl("reload")
	}
	served := func(want ...string) {
		t.Helper()
		for _, address := range []string{first, second} {
			if got := h.scrape(address) != ""; got != slices.Contains(want, address) {
				t.Errorf("served at %s: %v, and it should be at %q", address, got, want)
			}
		}
	}
	served()
	reload(fmt.Sprintf("metrics = %q\n", first))
	served(first)
	reload(fmt.Sprintf("metrics = %q\nmaxretry = 4\n", first))
	served(first)

	// One who is in the middle of a request holds up nobody.
	var slow net.Conn
	var err error
	h.inside(func() { slow, err = net.Dial("tcp", first) })
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := slow.Write([]byte("GET /metr")); err != nil {
		t.Fatal(err)
	}
	reload(fmt.Sprintf("metrics = %q\n", second))
	served(second)

	var other net.Listener
	h.inside(func() { other, err = net.Listen("tcp", first) })
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	reload(fmt.Sprintf("metrics = %q\n", first))
	if kinds := h.doctor(); !slices.Contains(kinds, "metrics-failing") {
		t.Errorf("the address is taken, and the findings are %q", kinds)
	}
	until(t, func() bool { return strings.Contains(h.scrape(""), "\nband_findings{kind=\"metrics-failing\"} 1\n") },
		func() string { return "at the control socket it is not told" })
	other.Close()
	until(t, func() bool { return h.scrape(first) != "" }, func() string { return "it is not served when the address is free" })
	if kinds := h.doctor(); slices.Contains(kinds, "metrics-failing") {
		t.Errorf("it is served, and the findings are %q", kinds)
	}
	reload("")
	served()

	reload(fmt.Sprintf("metrics = %q\n", first))
	if err := daemon.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// A log that waits to be read is told, in bytes and in time, until it was read.
func TestLag(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	// The journal, which is to be read first, cannot be opened until the test says so.
	journalctl, err := os.ReadFile(filepath.Join(h.path, "journalctl"))
	if err != nil {
		t.Fatal(err)
	}
	wait := fmt.Sprintf("#!/bin/sh\nwhile ! [ -e %s/go ]; do sleep 0.1; done\n", h.dir)
	script := bytes.Replace(journalctl, []byte("#!/bin/sh\n"), []byte(wait), 1)
	if err := os.WriteFile(filepath.Join(h.path, "journalctl"), script, 0o755); err != nil {
		t.Fatal(err)
	}
	h.jails = map[string]string{
		"freeswitch-acl":     "enabled = false\n",
		"freeswitch-scan":    "enabled = false\n",
		"freeswitch-scanner": "enabled = false\n",
		"sshd":               "[[source]]\njournal = ['SYSLOG_IDENTIFIER=sshd', '_UID=0']\npreferred = true\n",
	}
	recording, err := os.ReadFile("../testdata/freeswitch/01_basic.guard.log")
	if err != nil {
		t.Fatal(err)
	}
	recording = atTime(recording, time.Now())
	if err := os.WriteFile(h.log(), recording, 0o644); err != nil {
		t.Fatal(err)
	}
	h.start()
	value := func(name string) (v float64) {
		_, after, _ := strings.Cut(h.scrape(""), fmt.Sprintf("\n%s{source=%q} ", name, h.log()))
		if _, err := fmt.Sscan(after, &v); err != nil {
			return -1
		}
		return v
	}
	until(t, func() bool { return value("band_source_lag_seconds") > 1 }, func() string { return "the log waits, and there is no lag:\n" + h.scrape("") })
	if unread := value("band_source_unread_bytes"); unread != float64(len(recording)) {
		t.Errorf("%v bytes are unread, want %d", unread, len(recording))
	}
	if up := value("band_source_up"); up != 1 {
		t.Errorf("up is %v", up)
	}
	if status := string(h.banctl("status")); !regexp.MustCompile(`freeswitch\.log +catching up, \d+s behind \(\d+ bytes\)`).MatchString(status) {
		t.Errorf("banctl status does not tell:\n%s", status)
	}
	if err := os.WriteFile(h.dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool {
		return value("band_source_lag_seconds") == 0 && value("band_source_unread_bytes") == 0 && value("band_source_caught_up") == 1
	}, func() string { return "the lag stays when the log was read" })
	if status := string(h.banctl("status")); strings.Contains(status, "behind") {
		t.Errorf("banctl status still tells of it:\n%s", status)
	}
}
