package main

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"band/internal/config"
	"band/internal/replay"
)

const (
	testLines     = 20_000
	testAttackers = 100
)

// The log is the same each time, and what is told of it is true.
func TestGenerate(t *testing.T) {
	s := generate(testLines, testAttackers)
	if !bytes.Equal(s.text, generate(testLines, testAttackers).text) {
		t.Error("the same log differs")
	}
	if n := bytes.Count(s.text, []byte("\n")); n != testLines || len(s.stamps) != n || len(s.lines) != n+1 {
		t.Errorf("%d lines, %d stamps, %d ends; want %d", n, len(s.stamps), len(s.lines), testLines)
	}
	c, err := config.Only(config.Load(os.DevNull), "freeswitch")
	if err != nil {
		t.Fatal(err)
	}
	r, err := replay.Run(t.Context(), c, []io.Reader{bytes.NewReader(s.text)})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(r.Attempts["freeswitch"], s.attempts) || r.Doubtful > 0 {
		t.Errorf("found %v, want %v; %d doubtful", r.Attempts["freeswitch"], s.attempts, r.Doubtful)
	}
	if len(r.Bans) != testAttackers || len(s.attempts) != testAttackers {
		t.Errorf("%d bans, %d attackers, want %d", len(r.Bans), len(s.attempts), testAttackers)
	}
	if failures := bytes.Count(s.text, []byte("SIP auth failure")); failures != s.failures || failures != testLines/failureShare-1 {
		t.Errorf("%d failures, told are %d", failures, s.failures)
	}
	if unknown := bytes.Count(s.text, []byte("Can't find user")); unknown != s.unknown || unknown == 0 {
		t.Errorf("%d unknown users, told are %d", unknown, s.unknown)
	}

	// Who has banned the last attacker has read all.
	hosts := hosts(testAttackers)
	last := "from ip " + hosts[testAttackers-1].String() + "\n"
	for _, line := range strings.SplitAfter(string(s.text), "\n")[testLines-retries : testLines] {
		if !strings.HasSuffix(line, last) {
			t.Errorf("one of the last lines is %q", line)
		}
	}
	if n := strings.Count(string(s.text), last); n != retries {
		t.Errorf("the last attacker failed %d times", n)
	}
}

// grep -E finds the same with the shipped pattern.
func TestEgrep(t *testing.T) {
	s := generate(testLines, testAttackers)
	regex, err := egrep()
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?m)"+regex).FindAll(s.text, -1)
	if len(found) != s.failures {
		t.Errorf("%d lines match, want %d", len(found), s.failures)
	}
}

// Each line is written with the present time, and else as it is.
func TestWrite(t *testing.T) {
	s := generate(testLines, testAttackers)
	before := bytes.Clone(s.text)
	path := filepath.Join(t.TempDir(), "log")
	begin := time.Now().Truncate(time.Microsecond)
	if err := s.write(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range s.stamps {
		if at < 0 {
			continue
		}
		stamp, err := time.Parse(stampLayout, string(text[at:at+len(stampLayout)]))
		if err != nil || stamp.Before(begin) || stamp.After(time.Now()) {
			t.Fatalf("%v, %v", stamp, err)
		}
		copy(text[at:], before[at:at+len(stampLayout)])
	}
	if !bytes.Equal(text, before) {
		t.Error("more than the times has changed")
	}
}

// No two hosts are counted as one.
func TestHosts(t *testing.T) {
	const n = 100_000
	units := make(map[string]bool)
	six := 0
	for _, host := range hosts(n) {
		bits := 32
		if host.Is6() {
			bits, six = 64, six+1
		}
		unit, err := host.Prefix(bits)
		if err != nil {
			t.Fatal(err)
		}
		units[unit.String()] = true
	}
	if len(units) != n || six != n/10 {
		t.Errorf("%d units, %d of them IPv6", len(units), six)
	}
}
