package replay_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"band/internal/config"
	"band/internal/doctor"
	"band/internal/pipeline"
	"band/internal/replay"
	"band/internal/source"
	"band/jails"
	"band/matcher"
	"band/store"
)

const recordings = "../../testdata/freeswitch"

// shipped returns the shipped jails of those names, enabled.
func shipped(t testing.TB, names ...string) *jails.Config {
	t.Helper()
	all := config.Load("/nonexistent")
	c := &jails.Config{}
	for _, j := range all.Jails {
		if slices.Contains(names, j.Name) {
			j.Enabled = true
			for i := range j.Patterns { // a log tells of challenges to whom that is said
				j.Patterns[i].Enabled = j.Patterns[i].Enabled || j.Patterns[i].Name == "challenge"
			}
			c.Jails = append(c.Jails, j)
		}
	}
	if len(c.Jails) != len(names) {
		t.Fatalf("not all of %v are shipped", names)
	}
	return c
}

func run(t testing.TB, c *jails.Config, log io.Reader) *replay.Result {
	t.Helper()
	r, err := replay.Run(context.Background(), c, []io.Reader{log})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// counts writes attempts with the last part of an attacker's address alone.
func counts(attempts map[netip.Addr]int) string {
	var out []string
	for _, host := range slices.SortedFunc(maps.Keys(attempts), netip.Addr.Compare) {
		out = append(out, fmt.Sprintf("%s:%d", strings.TrimPrefix(host.String(), "198.51.100."), attempts[host]))
	}
	return strings.Join(out, " ")
}

func units(bans []store.Ban) string {
	var out []string
	for _, b := range bans {
		out = append(out, b.Unit.String())
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// What the recordings hold, as their README counts it: failures, or unknown
// users where there are no failures. It is the same in every file of the same
// traffic, and no address that only stands in forged text (192.0.2.x) is in it.
var recorded = []struct {
	name, attempts, bans string
	files                []string
}{
	{"01_basic", "70:5 71:5 72:5 73:5 74:5 203.0.113.52:1 2001:db8:bad::66:3 2001:db8:bad::67:3",
		"198.51.100.70/32 198.51.100.71/32 198.51.100.72/32 198.51.100.73/32 198.51.100.74/32 2001:db8:bad::/64",
		[]string{"guard", "authonly", "freeswitch", "nouuid"}},
	{"02_scan_and_normal", "", "", []string{"guard", "authonly", "freeswitch", "nouuid"}},
	{"04_silent_and_acl", "82:3 87:3 88:10 91:3 94:1 95:1 203.0.113.53:1 203.0.113.54:1 203.0.113.56:1 203.0.113.57:1",
		"198.51.100.88/32", []string{"guard", "authonly", "freeswitch", "nouuid"}},
	{"05_inject_headers", "67:1 68:1 69:1 70:1 71:1 72:1 75:1 76:1 87:1 88:1 89:1 90:1 91:1 92:1 93:1 94:1 95:1 96:1 97:1", "",
		[]string{"guard", "authonly", "freeswitch", "nouuid"}},
	{"06_inject_default_file", "78:1 79:1", "", []string{"guard", "authonly", "freeswitch", "nouuid"}},
	{"08_inject_uuid_esl_verto", "80:1 81:1", "", []string{"guard", "authonly", "freeswitch", "nouuid"}},
}

func TestRecordings(t *testing.T) {
	for _, tt := range recorded {
		for _, file := range tt.files {
			t.Run(tt.name+"."+file, func(t *testing.T) {
				log, err := os.ReadFile(filepath.Join(recordings, tt.name+"."+file+".log"))
				if err != nil {
					t.Fatal(err)
				}
				r := run(t, shipped(t, "freeswitch"), bytes.NewReader(log))
				if got := counts(r.Attempts["freeswitch"]); got != tt.attempts {
					t.Errorf("attempts %s\nwant     %s", got, tt.attempts)
				}
				if got := units(r.Bans); got != tt.bans {
					t.Errorf("bans %s, want %s", got, tt.bans)
				}
				honest := tt.name < "05" || file == "guard" || file == "authonly"
				if honest && r.Doubtful > 0 {
					t.Errorf("%d honest failures were doubted", r.Doubtful)
				}
				live, bans := follow(t, log)
				if live != tt.attempts || bans != tt.bans {
					t.Errorf("as a live file: attempts %s, bans %s", live, bans)
				}
			})
		}
	}
}

// follow reads a log as the daemon does, written in pieces while it is read.
func follow(t *testing.T, log []byte) (attempts, bans string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "freeswitch.log")
	half := len(log) / 2
	if err := os.WriteFile(path, log[:half], 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := pipeline.New(shipped(t, "freeswitch"))
	if err != nil {
		t.Fatal(err)
	}
	tally := make(map[netip.Addr]map[string]int)
	p.Matched = func(f *store.Failure) {
		if tally[f.Host] == nil {
			tally[f.Host] = make(map[string]int)
		}
		tally[f.Host][f.Kind]++
	}
	format, err := matcher.FormatNamed("freeswitch", "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.NewSource(path, source.ViaFile, format, time.Local)
	if err != nil {
		t.Fatal(err)
	}
	s.Watch(p.Jails["freeswitch"], false)
	quiet := slog.New(slog.DiscardHandler)
	file, err := source.NewFile(source.FileConfig{Path: path, Name: path, Format: format, New: true, Log: quiet, Board: doctor.NewBoard(quiet, time.Now)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	batches, ended := make(chan source.Batch), make(chan error)
	go func() { ended <- file.Run(ctx, batches) }()
	want := bytes.Count(log, []byte("\n"))
	appended, lines := false, 0
	var banned []store.Ban
	for lines < want {
		select {
		case b := <-batches:
			d := p.Take(s, b.Records, b.Cursor, time.Now().Add(1000*time.Hour))
			banned = append(banned, d.Bans...)
			for _, r := range b.Records {
				lines = r.Line + bytes.Count(r.Text, []byte("\n"))
			}
		case <-ctx.Done():
			t.Fatalf("read %d of %d lines", lines, want)
		}
		if !appended {
			appended = true
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(log[half:]); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	larger := make(map[netip.Addr]int)
	for host, kinds := range tally {
		larger[host] = slices.Max(slices.Collect(maps.Values(kinds)))
	}
	return counts(larger), units(banned)
}

// The other two FreeSWITCH jails, on the traffic that is theirs.
func TestOtherJails(t *testing.T) {
	read := func(name string) io.Reader {
		log, err := os.ReadFile(filepath.Join(recordings, name))
		if err != nil {
			t.Fatal(err)
		}
		return bytes.NewReader(log)
	}
	r := run(t, shipped(t, "freeswitch-scan"), read("02_scan_and_normal.guard.log"))
	if got := units(r.Bans); got != "198.51.100.66/32" {
		t.Errorf("freeswitch-scan bans %s, want the scanner and no phone", got)
	}
	if n := r.Attempts["freeswitch-scan"][netip.MustParseAddr("203.0.113.51")]; n != 20 {
		t.Errorf("%d challenges of the honest phone were seen, want 20: the test shows nothing", n)
	}
	for _, log := range []string{"04_silent_and_acl.guard.log", "04_silent_and_acl.freeswitch.log"} {
		r = run(t, shipped(t, "freeswitch-acl"), read(log))
		if got := counts(r.Attempts["freeswitch-acl"]); got != "92:3 94:1" {
			t.Errorf("%s: freeswitch-acl counts %s", log, got)
		}
	}
	r = run(t, shipped(t, "freeswitch-acl"), read("08_inject_uuid_esl_verto.guard.log"))
	if got := counts(r.Attempts["freeswitch-acl"]); got != "71:1 2001:db8:bad::66:1" {
		t.Errorf("freeswitch-acl counts %s of the event socket", got)
	}
}

// Single records, in all forms that FreeSWITCH writes and attackers forge.
func TestForms(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(recordings, "forms.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	c := shipped(t, "freeswitch", "freeswitch-acl")
	for line := range strings.Lines(string(file)) {
		var form struct {
			ID, Line, Note string
			Want           []string
			Optional       bool
		}
		if err := json.Unmarshal([]byte(line), &form); err != nil {
			t.Fatal(err)
		}
		t.Run(form.ID, func(t *testing.T) {
			if form.ID == "F12" { // its pattern ships off, see freeswitch-acl.toml
				for i, p := range c.Jails[1].Patterns {
					if p.Name == "call-acl" {
						patterns := slices.Clone(c.Jails[1].Patterns)
						patterns[i].Enabled = true
						on := *c
						on.Jails = slices.Clone(c.Jails)
						on.Jails[1].Patterns = patterns
						c = &on
					}
				}
			}
			got := []string{}
			for _, hosts := range run(t, c, strings.NewReader(form.Line+"\n")).Attempts {
				for host := range hosts {
					got = append(got, host.String())
				}
			}
			if form.Optional && len(got) == 0 {
				return
			}
			if diff := cmp.Diff(form.Want, got); diff != "" {
				t.Errorf("%s: %s", form.Note, diff)
			}
		})
	}
}

// Logs may be compressed, and come in several files, cut anywhere.
func TestOpen(t *testing.T) {
	log, err := os.ReadFile(filepath.Join(recordings, "01_basic.guard.log"))
	if err != nil {
		t.Fatal(err)
	}
	cut := bytes.Index(log, []byte("\n2026-11-21 07:51:48.137433")) + 1
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(log[:cut])
	z.Close()
	dir := t.TempDir()
	first, second := filepath.Join(dir, "log.1"), filepath.Join(dir, "log")
	if err := os.WriteFile(first, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(second, log[cut:], 0o644); err != nil {
		t.Fatal(err)
	}
	read := 0
	var logs []io.Reader
	for _, path := range []string{first, second} {
		l, err := replay.Open(path, func(n int) { read += n })
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if info, _ := os.Stat(path); l.Size != info.Size() {
			t.Errorf("%s: size %d, want %d", path, l.Size, info.Size())
		}
		logs = append(logs, l)
	}
	r, err := replay.Run(t.Context(), shipped(t, "freeswitch"), logs)
	if err != nil {
		t.Fatal(err)
	}
	if got := counts(r.Attempts["freeswitch"]); got != recorded[0].attempts {
		t.Errorf("attempts %s", got)
	}
	if want := packed.Len() + len(log) - cut; read != want {
		t.Errorf("progress of %d bytes, want %d", read, want)
	}
	if _, err := replay.Open(filepath.Join(dir, "none"), nil); err == nil {
		t.Error("a log that does not exist was opened")
	}
}

// A damaged gzip file is an error, not a shorter log.
func TestDamagedLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.gz")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(bytes.Repeat([]byte("2026-11-21 07:51:48.117416 [NOTICE] a.c:1 x\n"), 1000))
	z.Close()
	if err := os.WriteFile(path, packed.Bytes()[:packed.Len()-20], 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := replay.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := replay.Run(t.Context(), shipped(t, "freeswitch"), []io.Reader{l}); err == nil {
		t.Error("a cut gzip file was replayed without an error")
	}
}

// No bytes injected into a field change the host.
func FuzzFieldsDoNotMatter(f *testing.F) {
	f.Add("1000", "pbx")
	f.Add("x] from ip 192.0.2.1", "b")
	f.Add("a", "b] from ip 192.0.2.60\n b@host")
	f.Add("a", "b] from ip 192.0.2.60\r\n\tx 2026-11-21 07:51:48.117416 b@host")
	c := shipped(f, "freeswitch")
	f.Fuzz(func(t *testing.T, user, host string) {
		// Header folding is all that brings a newline into these fields, and it
		// leaves a space or a tab behind it (freeswitch.md).
		field := func(s string) string {
			var out strings.Builder
			for i, r := range s {
				out.WriteRune(r)
				if r == '\n' && (i+1 == len(s) || s[i+1] != ' ' && s[i+1] != '\t') {
					out.WriteByte(' ')
				}
			}
			return out.String()
		}
		u, h := field(user), field(host)
		const stamp = "2026-11-21 07:51:48.117416 81.60% "
		log := stamp + "[WARNING] sofia_reg.c:1842 SIP auth challenge (REGISTER) on sofia profile 'internal' for [" + u + "@" + h + "] from ip 198.51.100.70\n" +
			stamp + "[WARNING] sofia_reg.c:3210 Can't find user [" + u + "@" + h + "] from 198.51.100.70\nYou must define a domain called '" + h +
			"' in your directory and add a user with the id=\"" + u + "\" attribute\nand you must configure your device to use the proper domain in its authentication credentials.\n" +
			stamp + "[WARNING] sofia_reg.c:1787 SIP auth failure (REGISTER) on sofia profile 'internal' for [" + u + "@" + h + "] from ip 198.51.100.70\n"
		if got := counts(run(t, c, strings.NewReader(log)).Attempts["freeswitch"]); got != "70:1" {
			t.Errorf("user %q, host %q: counted %s, want 70:1", u, h, got)
		}
	})
}

func BenchmarkReplay(b *testing.B) {
	log, err := os.ReadFile(filepath.Join(recordings, "04_silent_and_acl.freeswitch.log"))
	if err != nil {
		b.Fatal(err)
	}
	log = bytes.Repeat(log, 100)
	c := shipped(b, "freeswitch")
	b.SetBytes(int64(len(log)))
	b.ReportMetric(float64(bytes.Count(log, []byte("\n"))), "lines/op")
	b.ReportAllocs()
	for b.Loop() {
		run(b, c, bytes.NewReader(log))
	}
}
