package daemon_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"band/internal/control"
	"band/internal/doctor"
)

// left returns how long the bans will last, by what the daemon says.
func (m *machine) left() map[string]time.Duration {
	m.t.Helper()
	bans, err := m.Bans(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	left := make(map[string]time.Duration)
	for _, b := range bans {
		left[b.Unit.String()] = b.Until.Sub(m.now())
	}
	return left
}

// inKernel returns the same by what the kernel says.
func (m *machine) inKernel() map[string]time.Duration {
	m.t.Helper()
	out, err := exec.Command("nft", "-j", "list", "set", "inet", "band", "all-ip4").Output()
	if err != nil {
		return nil // somebody flushed it
	}
	var listing struct {
		Nftables []struct {
			Set struct {
				Elem []struct {
					Elem struct {
						Val     string
						Expires int64
					}
				}
			}
		}
	}
	if err := json.Unmarshal(out, &listing); err != nil {
		m.t.Fatal(err)
	}
	left := make(map[string]time.Duration)
	for _, o := range listing.Nftables {
		for _, e := range o.Set.Elem {
			left[e.Elem.Val] = time.Duration(e.Elem.Expires) * time.Second
		}
	}
	return left
}

// agree waits until the daemon and the kernel both hold these bans for about an
// hour, or shorter by as much as this test takes.
func (m *machine) agree(when string, units ...string) {
	m.t.Helper()
	right := func(left map[string]time.Duration) bool {
		for _, u := range units {
			if left[u] > time.Hour || left[u] < 45*time.Minute {
				return false
			}
		}
		return len(left) == len(units)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		told, kernel := m.left(), m.inKernel()
		if right(told) && right(kernel) {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: the daemon has %v, the kernel %v, want an hour for each of %v", when, told, kernel, units)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (m *machine) findings(kind doctor.Kind) (texts []string) {
	m.t.Helper()
	s, err := m.Status(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	for _, f := range s.Findings {
		if f.Kind == kind {
			texts = append(texts, f.Text)
		}
	}
	return texts
}

// A clock that is set by a day, back and forward, ends no ban and makes none
// longer, keeps what was counted, and is told.
func TestClockIsSet(t *testing.T) {
	for name, by := range map[string]time.Duration{"forward": 24 * time.Hour, "back": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
				t.Fatal(err, string(out))
			}
			m := &machine{t: t, dir: t.TempDir()}
			stop := m.run()
			m.fail("198.51.100.70", 5)
			m.fail("198.51.100.71", 4)
			m.fail("198.51.100.72", 5)
			m.agree("before", "198.51.100.70", "198.51.100.72")
			unit, err := control.ParseUnit("198.51.100.72")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Unban(t.Context(), control.UnbanRequest{Units: []control.Unit{unit}}); err != nil {
				t.Fatal(err)
			}
			m.agree("after an unban", "198.51.100.70")

			m.set.Store(int64(by))
			m.agree("after the clock was set", "198.51.100.70")
			m.fail("198.51.100.71", 1) // the fifth
			m.agree("after one more failure", "198.51.100.70", "198.51.100.71")
			told := m.findings(doctor.ClockStepped)
			if len(told) != 1 || !strings.Contains(told[0], "set "+name+" by 24h0m0s") {
				t.Errorf("findings: %q", told)
			}
			stop()
			stop = m.run()
			m.agree("after a restart", "198.51.100.70", "198.51.100.71")

			m.set.Store(0)
			m.agree("after it was set right", "198.51.100.70", "198.51.100.71")
			if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
				t.Fatal(err, string(out))
			}
			m.agree("after somebody flushed the ruleset", "198.51.100.70", "198.51.100.71")
			stop()
		})
	}
}
