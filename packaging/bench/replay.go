package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"band/internal/config"
)

const (
	perCPU    = "lines per CPU-s"
	perSecond = "lines per s"
)

// replay reads an old log to its end. A figure counts only where who made it found
// what is in the log.
func (b *bench) replay(ctx context.Context) error {
	s := generate(b.lines, b.attackers)
	path := filepath.Join(b.dir, "replayed.log")
	if err := os.WriteFile(path, s.text, 0o644); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	defer os.Remove(path)
	regex, err := egrep()
	if err != nil {
		return err
	}
	r, err := b.room(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	f2b := r.path("fail2ban")
	if err := (fail2ban{}).configureIn(f2b, r, retries); err != nil {
		return err
	}
	banctl := filepath.Join(b.bin, "banctl")
	for _, c := range []struct {
		who, locale string
		runs        int
		args        []string
		right       func(out []byte) error
	}{
		{bandName, "C.UTF-8", b.runs, []string{banctl, "--config", r.path("none"), "replay", "--json", path}, s.rightBand},
		{"band, the jail freeswitch alone", "C.UTF-8", b.runs, []string{banctl, "--config", r.path("none"), "replay", "--jail", "freeswitch", "--json", path}, s.rightBand},
		{fail2banName, "C.UTF-8", (b.runs + 1) / 2, []string{"fail2ban-regex", "-c", f2b, path, filter}, s.rightFail2ban},
		{"grep -c, a fixed string", "C", b.runs, []string{"grep", "-cF", "SIP auth failure", path}, s.rightCount},
		{"grep -cE, the pattern, LC_ALL=C", "C", b.runs, []string{"grep", "-cE", regex, path}, s.rightCount},
		{"grep -cE, the pattern, LC_ALL=C.UTF-8", "C.UTF-8", b.runs, []string{"grep", "-cE", regex, path}, s.rightCount},
	} {
		b.ran("replay", append([]string{"LC_ALL=" + c.locale}, c.args...))
		for range c.runs {
			cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
			cmd.Env = append(os.Environ(), "LC_ALL="+c.locale, "TZ=UTC")
			begin := time.Now()
			out, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("%v: %w", cmd.Args, err)
			}
			took := time.Since(begin)
			if err := c.right(out); err != nil {
				return fmt.Errorf("%s: %w", c.who, err)
			}
			used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			b.add("replay", perCPU, c.who, float64(b.lines)/used.Seconds())
			b.add("replay", perSecond, c.who, float64(b.lines)/took.Seconds())
		}
	}
	return nil
}

// egrep is the shipped pattern of a wrong password as grep -E knows it, behind the
// beginning of the line.
func egrep() (string, error) {
	for _, j := range config.Load(os.DevNull).Jails {
		for _, p := range j.Patterns {
			if j.Name == "freeswitch" && p.Name == "auth-failure" {
				regex := strings.NewReplacer(`\d`, "[0-9]", "(?:", "(", "<F-USER>", "", "</F-USER>", "", "<HOST>", "[0-9A-Fa-f.:]+").Replace(p.Regex)
				return "^[0-9-]+ [0-9:.]+ [0-9.]+% " + strings.TrimPrefix(regex, "^"), nil
			}
		}
	}
	return "", errors.New("the jail freeswitch has no pattern auth-failure")
}

// rightBand checks that band found each attempt of each attacker, and bans them.
func (s *script) rightBand(out []byte) error {
	var found struct {
		Failures map[string]map[netip.Addr]int
		Bans     []struct{ Jail string }
	}
	if err := json.Unmarshal(out, &found); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if !maps.Equal(found.Failures["freeswitch"], s.attempts) {
		return fmt.Errorf("it found the attempts of %d hosts, and not those that %d made", len(found.Failures["freeswitch"]), len(s.attempts))
	}
	if len(found.Bans) != len(s.attempts) {
		return fmt.Errorf("it bans %d times, there are %d attackers", len(found.Bans), len(s.attempts))
	}
	return nil
}

var matchedLines = regexp.MustCompile(`(?m)^Lines: (\d+) lines, \d+ ignored, (\d+) matched`)

// rightFail2ban checks that fail2ban matched both kinds of records.
func (s *script) rightFail2ban(out []byte) error {
	m := matchedLines.FindSubmatch(out)
	if m == nil {
		return fmt.Errorf("it does not say what it matched:\n%s", out)
	}
	if want := strconv.Itoa(s.failures + s.unknown); string(m[2]) != want {
		return fmt.Errorf("it matched %s lines, there are %s", m[2], want)
	}
	return nil
}

// rightCount checks the number of wrong passwords.
func (s *script) rightCount(out []byte) error {
	if got, want := strings.TrimSpace(string(out)), strconv.Itoa(s.failures); got != want {
		return fmt.Errorf("it counted %s lines, there are %s", got, want)
	}
	return nil
}
