package pipeline_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"band/internal/pipeline"
)

// A forged record names a victim; what is genuine comes from the attacker.
const victim = "192.0.2.1"

func genuine(seconds float64, idle string) string {
	return line(after(seconds), idle, wrong("x", attacker))
}

func forged(seconds float64, idle string) string {
	return line(after(seconds), idle, wrong("x", victim))
}

func chat(seconds float64, idle string) string { return line(after(seconds), idle, chatter) }

// TestCanary: what is counted of the default log, and how much is doubtful.
func TestCanary(t *testing.T) {
	run := func(parts ...string) string { return strings.Join(parts, "") }
	tests := []struct {
		name, log string
		counted   string
		doubtful  int
	}{
		{"fits the record before",
			run(chat(0, "81.60"), genuine(0.02, "81.60")), attacker, 0},
		{"the idle value and nothing else changed since the one before",
			run(chat(0, "81.60"), genuine(0.9, "82.10"), chat(0.92, "82.10")), attacker, 0},
		{"fits neither value",
			run(chat(0, "81.60"), forged(0.02, "50.00"), chat(0.04, "81.60")), "", 1},
		{"the right value, but an hour old",
			run(chat(0, "81.60"), forged(-3600, "81.60"), chat(0.04, "81.60")), "", 1},
		{"the right value, but as old as a second",
			run(chat(0, "81.60"), forged(-1, "81.60"), chat(0.04, "81.60")), "", 1},
		{"the value of the next one, but old",
			run(chat(0, "81.60"), forged(-3600, "82.10"), chat(0.04, "82.10")), "", 1},
		{"the value of the next one, but later than it",
			run(chat(0, "81.60"), forged(60, "82.10"), chat(0.04, "82.10")), "", 1},
		{"threads that take their stamps and write in turn",
			run(chat(0, "81.60"), genuine(-0.1, "81.60"), chat(0, "81.60")), attacker, 0},
		{"no value where others have one",
			run(chat(0, "81.60"), strings.Replace(forged(0.02, "81.60"), " 81.60%", "", 1), chat(0.04, "81.60")), "", 1},
		{"a value where others have none, before 1.10.7",
			run(strings.Replace(chat(0, "81.60")+genuine(0.02, "81.60"), " 81.60%", "", -1), forged(0.04, "81.60"),
				strings.Replace(chat(0.06, "81.60"), " 81.60%", "", 1)), attacker, 1},
		{"a made-up value in a row",
			run(chat(0, "81.60"), strings.Repeat(forged(0.02, "50.00"), 6), chat(0.02, "81.60")), "", 6},
		{"a row between the genuine ones",
			run(chat(0, "81.60"), genuine(0.02, "81.60"), forged(0.02, "50.00"), forged(0.02, "50.00"), genuine(0.02, "81.60"), chat(0.04, "81.60")),
			attacker + " " + attacker, 2},
		{"a day that there is not",
			run(chat(0, "81.60"), strings.Replace(forged(0, "81.60"), "2026-11-21", "2026-02-31", 1), chat(0.02, "81.60")), "", 1},
		{"a year of no clock",
			run(chat(0, "81.60"), strings.Replace(forged(0, "81.60"), "2026-11-21", "0000-11-21", 1), chat(0.02, "81.60")), "", 1},
		{"the clock is set back an hour, before a failure",
			run(chat(0, "81.60"), genuine(-3600, "81.60"), chat(-3599.98, "81.60"), genuine(-3599.9, "81.60")), attacker + " " + attacker, 0},
		{"the clock is set back while the value changes",
			run(chat(0, "81.60"), genuine(-3600, "82.10"), chat(-3599.98, "82.10")), attacker, 0},
		{"the clock is set back, in a row of failures",
			run(chat(0, "81.60"), genuine(0.02, "81.60"), genuine(-3600, "81.60"), genuine(-3599.98, "81.60"), chat(-3599.9, "81.60")),
			attacker + " " + attacker + " " + attacker, 0},
		{"the clock is set back, between others",
			run(chat(0, "81.60"), chat(-3600, "81.60"), genuine(-3599.98, "81.60")), attacker, 0},
		{"the clock is set ahead",
			run(chat(0, "81.60"), genuine(3600, "81.60"), chat(3600.02, "81.60"), genuine(3600.04, "81.60")), attacker + " " + attacker, 0},
		{"the log begins with failures",
			run(genuine(0, "81.60"), genuine(0.02, "81.60"), chat(0.04, "81.60")), attacker + " " + attacker, 0},
		{"failures alone that agree, for over a second",
			run(chat(0, "81.60"), genuine(100, "90.00"), genuine(100.5, "90.00"), genuine(101, "90.00"), genuine(101.02, "90.00")),
			attacker + " " + attacker + " " + attacker, 0},
		{"failures alone, and more that agree with those",
			run(chat(0, "81.60"), genuine(100, "90.00"), genuine(100.5, "90.00"), genuine(101.02, "90.00"), genuine(101.04, "90.00")),
			strings.TrimSpace(strings.Repeat(attacker+" ", 4)), 0},
		{"failures that agree while the value changes twice",
			run(chat(0, "81.60"), genuine(1, "90.00"), genuine(1.02, "90.00"), chat(2, "83.00")), attacker + " " + attacker, 0},
		{"failures alone, not yet for a second",
			run(chat(0, "81.60"), genuine(100, "90.00"), genuine(100.5, "90.00"), genuine(101, "90.00")), "", 0},
		{"failures alone that disagree",
			run(chat(0, "81.60"), forged(100, "90.00"), forged(100.5, "91.00"), forged(101.5, "92.00")), "", 2},
		{"a second start within the record vouches for nothing",
			run(chat(0, "81.60"), line(after(0.02), "50.00", chatter+" 2026-11-21 12:00:00.020000 81.60% [NOTICE] a.c:1 x"),
				forged(0.02, "50.00"), chat(0.04, "81.60")), "", 1},
		{"lines of sessions that tell no time are no neighbours",
			run(chat(0, "81.60"), genuine(0.9, "82.10"), "9e63daf3-4092-ae72-581d-afa700a15c96 a=rtpmap:0 PCMU/8000\n", chat(0.92, "82.10")), attacker, 0},
	}
	for _, tt := range tests {
		// A crash between any two records, or none, or all records at once,
		// decides alike.
		for _, how := range []string{"at once", "one by one", "log", "snapshot"} {
			t.Run(tt.name+", "+how, func(t *testing.T) {
				c := load(t, overlays{"freeswitch": "maxretry = 100"})
				r := newRig(t, overlays{"freeswitch": "maxretry = 100"})
				// That the log is the default one is known before.
				r.take(r.vanilla, after(-7200), line(after(-7200), "1.00", chatter))
				doubtful := 0
				if how == "at once" {
					doubtful = r.take(r.vanilla, after(7200), tt.log).Doubtful
				} else {
					for _, record := range frame(t, tt.log) {
						doubtful += r.take(r.vanilla, after(7200), string(record.Text), "\n").Doubtful
						if how != "one by one" {
							r.restart(c, how == "snapshot")
						}
					}
				}
				equal(t, "counted", r.hosts(), tt.counted)
				equal(t, "doubtful", doubtful, tt.doubtful)
				if n := strings.Count(tt.counted, attacker); n > 0 {
					equal(t, "counts", r.counts(), fmt.Sprintf("freeswitch %s %d", unit, n))
				}
			})
		}
	}
}

// While records are read as they are written, it is the time of reading that
// tells whether failures are alone: those that they tell may be made up too.
func TestForgedSecondsApart(t *testing.T) {
	r := newRig(t, nil)
	r.vanilla.Live = true
	r.take(r.vanilla, after(0), chat(0, "81.60"))
	var run strings.Builder
	for i := range 9 {
		run.WriteString(forged(float64(2*i), "50.00"))
	}
	d := r.take(r.vanilla, after(0.01), run.String())
	e := r.take(r.vanilla, after(0.05), chat(0.02, "81.60"))
	equal(t, "counted", r.hosts(), "")
	equal(t, "doubtful", d.Doubtful+e.Doubtful, 9)
	equal(t, "in force", r.inForce(after(20)), "")
}

// Failures alone are accepted while they are written, a second after them.
func TestAloneLive(t *testing.T) {
	r := newRig(t, nil)
	r.vanilla.Live = true
	r.take(r.vanilla, after(0), chat(0, "81.60"))
	for i := range 8 {
		at := 100 + float64(i)/4
		r.take(r.vanilla, after(at+0.01), genuine(at, "90.00"))
	}
	equal(t, "in force", r.inForce(after(110)), "freeswitch "+unit)
}

// A log that holds nothing but what a dedicated one may is never doubted.
func TestDedicatedLog(t *testing.T) {
	r := newRig(t, overlays{"freeswitch": "maxretry = 1000", "freeswitch-acl": "maxretry = 1000"})
	messages := []string{
		wrong("x", attacker), unknown("x", attacker), challenge("x", attacker), rejected(attacker),
		`[WARNING] mod_event_socket.c:2674 IP ` + attacker + ` Rejected by acl "loopback.auto"`,
		`[WARNING] sofia.c:10667 IP ` + attacker + ` Rejected by acl "domains"`,
		`[ERR] sofia_reg.c:1437 Can not do authorization without a complete header in REGISTER request from ` + attacker + `:5060`,
	}
	doubtful := 0
	for i := range 700 {
		at := after(float64(i * 7919 % 700)) // out of order
		text := line(at, fmt.Sprintf("%d.%02d", i%100, i*37%100), messages[i%len(messages)])
		if i%2 == 0 {
			text = strings.Replace(text, "% ", " ", 1) // nor is its start one any more
			text = line(at, "0.00", messages[i%len(messages)]) + "continued " + text
		}
		doubtful += r.take(r.vanilla, after(1000), text).Doubtful
	}
	equal(t, "doubtful", doubtful, 0)
	if n := len(r.counted); n < 300 {
		t.Errorf("counted: %d", n)
	}
}

// However many failures are forged in a row, the held ones stay few, and none
// of them is counted.
func TestHeldIsBounded(t *testing.T) {
	r := newRig(t, overlays{"freeswitch": "maxretry = 10000"})
	r.vanilla.Live = true
	doubtful := r.take(r.vanilla, after(0), chat(0, "81.60")).Doubtful
	for range 30 {
		doubtful += r.take(r.vanilla, after(0.5), strings.Repeat(forged(0.02, "50.00"), 100)).Doubtful
		if n := held(t, r.vanilla, r); n > 100 {
			t.Fatalf("%d failures are held", n)
		}
	}
	doubtful += r.take(r.vanilla, after(0.6), chat(0.6, "81.60")).Doubtful
	equal(t, "held", held(t, r.vanilla, r), 0)
	equal(t, "counted", len(r.counted), 0)
	equal(t, "doubtful", doubtful, 3000)
}

// held counts the failures that the position of a source holds.
func held(t *testing.T, s *pipeline.Source, r *rig) int {
	t.Helper()
	for b := range r.Dump() {
		if raw, ok := b.Cursors[s.Name]; ok {
			var position struct {
				Canary struct {
					Held []json.RawMessage `json:"held"`
				} `json:"canary"`
			}
			if err := json.Unmarshal(raw, &position); err != nil {
				t.Fatal(err)
			}
			return len(position.Canary.Held)
		}
	}
	t.Fatal("no position")
	return 0
}

// Nothing before the first records vouches for them: a row that agrees with
// nothing else is doubtful.
func TestForgedAtTheBeginning(t *testing.T) {
	r := newRig(t, nil)
	d := r.take(r.vanilla, after(9), forged(0, "50.00"), forged(0.02, "50.00"), chat(0.04, "81.60"))
	equal(t, "counted", r.hosts(), "")
	equal(t, "doubtful", d.Doubtful, 2)
}

// A forged log is seen to be the default one by the first record that no
// dedicated log holds, in the same batch already.
func TestVanillaIsLearnt(t *testing.T) {
	r := newRig(t, nil)
	d := r.take(r.vanilla, after(9), genuine(0, "81.60"), genuine(0.02, "81.60"), forged(0.02, "50.00"), chat(0.04, "81.60"))
	equal(t, "counted", r.hosts(), attacker+" "+attacker)
	equal(t, "doubtful", d.Doubtful, 1)
	c := load(t, nil)
	r.restart(c, true)
	d = r.take(r.vanilla, after(9), forged(0.06, "50.00"), genuine(0.08, "81.60"))
	equal(t, "doubtful after a restart", d.Doubtful, 1)
	equal(t, "counted after a restart", r.hosts(), attacker)
	equal(t, "last", r.vanilla.Last.Sub(after(0)), 80*time.Millisecond)
}
