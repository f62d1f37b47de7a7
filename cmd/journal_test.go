package cmd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"band/internal/journaltest"
)

// recording reads a recording of FreeSWITCH, with the current time in it.
func recording(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../testdata/freeswitch", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(atTime(text, time.Now()))
}

// records cuts a recording where a record begins.
func records(text string) (all []string) {
	begins := stamps.FindAllStringIndex(text, -1)
	for i, at := range begins {
		end := len(text)
		if i+1 < len(begins) {
			end = begins[i+1][0]
		}
		all = append(all, strings.TrimSuffix(text[at[0]:end], "\n"))
	}
	return all
}

func (h *host) units() string {
	bans, _ := h.list()
	var units []string
	for _, b := range bans {
		units = append(units, b.Unit)
	}
	slices.Sort(units)
	return strings.Join(units, " ")
}

func (h *host) bans(t *testing.T, want string) {
	t.Helper()
	until(t, func() bool { return h.units() == want }, func() string {
		return fmt.Sprintf("bans: %s\nstatus:\n%s", cmp.Diff(want, h.units()), h.banctl("status"))
	})
}

// What the attack of a recording leads to, from whatever source it is read.
const attackers = "198.51.100.70 198.51.100.71 198.51.100.72 198.51.100.73 198.51.100.74 2001:db8:bad::/64"

// The same attack, told by the journal: by mod_syslog, a record an entry, and by
// the coloured console, a line an entry.
func TestJournal(t *testing.T) {
	forms := map[string]func(*journaltest.Journald){
		"mod_syslog": func(j *journaltest.Journald) {
			for _, r := range records(recording(t, "01_basic.guard.log")) {
				j.Syslog("<12>Nov 21 07:47:57 freeswitch[869]: " + r)
			}
		},
		"console": func(j *journaltest.Journald) {
			out := j.Stdout("freeswitch", "freeswitch.service")
			for line := range strings.Lines(recording(t, "01_basic.nouuid.log")) {
				fmt.Fprintf(out, "\x1b[m\x1b[35m%s", line)
			}
		},
	}
	for name, write := range forms {
		t.Run(name, func(t *testing.T) {
			j, h := journaltest.Start(t), newHost(t)
			h.path = j.Bin
			h.jails = map[string]string{"freeswitch": "[[source]]\njournal = [\"_SYSTEMD_UNIT=freeswitch.service\", \"+\", \"SYSLOG_IDENTIFIER=freeswitch\", \"_UID=0\"]\n"}
			daemon := h.start()
			write(j)
			h.bans(t, attackers)
			// Nothing is lost or counted twice by a restart.
			before := h.show("203.0.113.52")
			daemon.Process.Kill()
			daemon.Wait()
			h.start()
			h.bans(t, attackers)
			if after := h.show("203.0.113.52"); after != before {
				t.Errorf("before and after the restart: %s", cmp.Diff(before, after))
			}
		})
	}
}

// show returns what is known of an address, banned or not.
func (h *host) show(addr string) string {
	out, _ := h.command(filepath.Join(binaries, "banctl"), "--socket", h.dir+"/band.sock", "show", addr).CombinedOutput()
	return string(out)
}

// Where rsyslog and the journal both tell of the same attempts, five of them ban,
// not three; and names that users choose frame nobody. Where the journal is
// preferred, as it is shipped, nor do lines that a local user has rsyslog write.
func TestBothTell(t *testing.T) {
	for _, preferred := range []bool{true, false} {
		t.Run(fmt.Sprintf("preferred=%v", preferred), func(t *testing.T) {
			j, h := journaltest.Start(t), newHost(t)
			auth := filepath.Join(h.dir, "auth.log")
			h.path = j.Bin
			h.jails = map[string]string{"sshd": fmt.Sprintf("[[source]]\njournal = [\"SYSLOG_IDENTIFIER=sshd\", \"SYSLOG_IDENTIFIER=sshd-session\", \"_UID=0\"]\npreferred = %v\n[[source]]\nfile = %q\n", preferred, auth)}
			log, err := os.Create(auth)
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			h.start()
			rsyslog := func(text string) {
				if _, err := fmt.Fprintf(log, "%s host %s\n", time.Now().UTC().Format(time.Stamp), text); err != nil {
					t.Fatal(err)
				}
			}
			fail := func(program, user, from string) {
				for _, text := range []string{
					fmt.Sprintf("%s[4711]: Invalid user %s from %s port 40022", program, user, from),
					fmt.Sprintf("%s[4711]: Failed password for invalid user %s from %s port 40022 ssh2", program, user, from),
				} {
					j.Syslog("<38>" + time.Now().UTC().Format(time.Stamp) + " " + text)
					rsyslog(text)
				}
			}
			for range 4 {
				fail("sshd", "admin", "198.51.100.7")
			}
			for range 5 {
				fail("sshd-session", "x from 192.0.2.9 port 1 ssh2", "198.51.100.8")
				// Any user can log under the name of sshd, but not as root.
				const forged = "Failed password for root from 192.0.2.77 port 1 ssh2"
				forge := j.Enter("setpriv", "--reuid=65534", "--clear-groups", "logger", "--tag", "sshd", forged)
				if out, err := exec.Command(forge[0], forge[1:]...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", forge, err, out)
				}
				if preferred {
					rsyslog("sshd[91]: " + forged)
				}
			}
			h.bans(t, "198.51.100.8")
			until(t, func() bool { return strings.Contains(h.show("198.51.100.7"), "4 of 5") }, func() string {
				return h.show("198.51.100.7")
			})
			fail("sshd", "admin", "198.51.100.7")
			h.bans(t, "198.51.100.7 198.51.100.8")
		})
	}
}
