package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"
)

// A script is a log of FreeSWITCH 1.10 and the truth about it.
type script struct {
	text   []byte
	lines  []int // where each begins, and the end of text
	stamps []int // where each line's time begins, -1 where it has none

	attempts map[netip.Addr]int // wrong passwords, by attacker
	failures int                // their sum, a record each
	unknown  int                // of them for users that do not exist, one more record each
}

const stampLayout = "2006-01-02 15:04:05.000000"

// The shares of the log's lines, and how many of it FreeSWITCH writes in a second.
const (
	failureShare   = 10 // one line in so many is a wrong password
	unknownShare   = 4  // and one in so many of those is for a user that does not exist
	challengeShare = 50
	linesPerSecond = 1600
	honestPhones   = 150
	retries        = 5 // failures that ban
)

// began is when the log begins, by its own time.
var began = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// What a line, or the lines of an attempt, are of.
const (
	wrongPassword = iota
	unknownUser
	challenge
	chatter
)

// generate writes a log of so many lines, always the same. A tenth of the attackers
// has IPv6, each in a /64 of its own. Their failures are spread over all of it, but
// for the last attacker's: those are the last lines, so that who has banned all has
// read all.
func generate(lines, attackers int) *script {
	g := &generator{
		Rand:   rand.New(rand.NewPCG(1, 2)),
		script: &script{attempts: make(map[netip.Addr]int)},
		at:     began,
	}
	for range 300 {
		g.sessions = append(g.sessions, g.uuid())
	}
	g.failures = lines/failureShare - 1
	g.unknown = g.failures / unknownShare
	var order []netip.Addr
	hosts := hosts(attackers)
	for i := range g.failures - retries {
		order = append(order, hosts[i%(attackers-1)])
	}
	g.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for range retries {
		order = append(order, hosts[attackers-1])
	}

	var plan []byte
	add := func(n int, what byte) { plan = append(plan, bytes.Repeat([]byte{what}, n)...) }
	add(g.unknown, unknownUser)
	add(g.failures-g.unknown-retries, wrongPassword)
	add(lines/challengeShare, challenge)
	add(lines-len(plan)-retries-3*g.unknown, chatter)
	g.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	add(retries, wrongPassword)
	for _, what := range plan {
		switch what {
		case challenge:
			phone := fmt.Sprintf("192.0.2.%d", 1+g.IntN(honestPhones))
			g.line("[WARNING] sofia_reg.c:1842 SIP auth challenge (REGISTER) on sofia profile 'internal' for [%s@%s] from ip %s", g.user(), g.domain(), phone)
		case chatter:
			g.chatter()
		default:
			g.attempt(order[0], what == unknownUser)
			order = order[1:]
		}
	}
	g.lines = append(g.lines, len(g.text))
	return g.script
}

// hosts returns different addresses of the networks that RFC 2544 and RFC 3849 keep
// for benchmarks and examples, the last tenth of them IPv6.
func hosts(n int) []netip.Addr {
	var all []netip.Addr
	for i := range n {
		if i < n-n/10 {
			const spread = 40503 // odd: no two of the 2^17 fall together
			x := i * spread % (1 << 17)
			all = append(all, netip.AddrFrom4([4]byte{198, 18 + byte(x>>16), byte(x >> 8), byte(x)}))
		} else {
			all = append(all, netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, byte(i >> 16), byte(i >> 8), byte(i), 7, 15: 1}))
		}
	}
	return all
}

type generator struct {
	*rand.Rand
	*script
	at       time.Time
	idle     string // the idle CPU, which FreeSWITCH samples once a second
	sampled  int64
	sessions []string
}

// line adds a line that begins with its time. FreeSWITCH's clock ticks every 20 ms.
func (g *generator) line(format string, args ...any) { g.add("", format, args...) }

// of adds a line of a session.
func (g *generator) of(session, format string, args ...any) { g.add(session+" ", format, args...) }

func (g *generator) add(prefix, format string, args ...any) {
	if g.sampled != g.at.Unix() {
		g.sampled, g.idle = g.at.Unix(), fmt.Sprintf("%.2f", 60+40*g.Float64())
	}
	stamp := g.at.Truncate(20*time.Millisecond).Format(stampLayout) + " " + g.idle + "% "
	g.stamps = append(g.stamps, len(g.text)+len(prefix))
	g.put(prefix + stamp + fmt.Sprintf(format, args...))
}

// bare adds a line without a time.
func (g *generator) bare(format string, args ...any) {
	g.stamps = append(g.stamps, -1)
	g.put(fmt.Sprintf(format, args...))
}

func (g *generator) put(line string) {
	g.lines = append(g.lines, len(g.text))
	g.text = append(append(g.text, line...), '\n')
	g.at = g.at.Add(time.Second / linesPerSecond)
}

// attempt adds what FreeSWITCH writes of one attempt.
func (g *generator) attempt(host netip.Addr, unknown bool) {
	g.attempts[host]++
	user, domain := g.user(), g.domain()
	if unknown {
		g.line("[WARNING] sofia_reg.c:3210 Can't find user [%s@%s] from %s", user, domain, host)
		g.bare(`You must define a domain called '%s' in your directory and add a user with the id="%s" attribute`, domain, user)
		g.bare("and you must configure your device to use the proper domain in its authentication credentials.")
	}
	method := "REGISTER"
	if g.IntN(5) == 0 {
		method = "INVITE"
	}
	g.line("%s", failure(method, user, domain, host))
}

// failure is the record of a wrong password, from its level on.
func failure(method, user, domain string, host netip.Addr) string {
	return fmt.Sprintf("[WARNING] sofia_reg.c:1787 SIP auth failure (%s) on sofia profile 'internal' for [%s@%s] from ip %s", method, user, domain, host)
}

// chatter adds one of the other lines of a busy server.
func (g *generator) chatter() {
	session := g.sessions[g.IntN(len(g.sessions))]
	channel := fmt.Sprintf("sofia/internal/%s@%s", g.user(), g.domain())
	switch n := g.IntN(100); {
	case n < 34:
		g.of(session, "[DEBUG] switch_core_state_machine.c:581 (%s) Running State Change %s (Cur %d Tot %d)", channel, g.one("CS_NEW", "CS_INIT", "CS_ROUTING", "CS_EXECUTE", "CS_HANGUP", "CS_REPORTING", "CS_DESTROY"), 1+g.IntN(40), g.IntN(100_000))
	case n < 44:
		g.of(session, "[DEBUG] switch_channel.c:2389 (%s) Callstate Change %s", channel, g.one("DOWN -> RINGING", "RINGING -> ACTIVE", "ACTIVE -> HANGUP"))
	case n < 52:
		g.bare("%s Dialplan: %s parsing [public->%s] continue=false", session, channel, g.one("unloop", "outside_call", "answer", "public_extensions"))
	case n < 60:
		g.of(session, "[DEBUG] sofia.c:7493 Channel %s entering state [%s][%d]", channel, g.one("received", "completed", "ready", "terminated"), 100*(1+g.IntN(4)))
	case n < 66:
		g.line("[DEBUG] sofia.c:10447 verifying acl \"domains\" for ip/port 192.0.2.%d:%d.", 1+g.IntN(honestPhones), 1024+g.IntN(60_000))
	case n < 71:
		g.of(session, "[INFO] sofia.c:10460 %s receiving invite from 192.0.2.%d:%d version: 1.10.12 -release 64bit call-id: %s", channel, 1+g.IntN(honestPhones), 1024+g.IntN(60_000), g.uuid())
	case n < 77:
		g.bare("%s %s", session, g.one("v=0", "s=-", "t=0 0", "c=IN IP4 192.0.2.10", "m=audio 40282 RTP/AVP 0 8 101", "a=rtpmap:0 PCMU/8000", "a=ptime:20", "a=sendrecv"))
	case n < 83:
		g.of(session, "[DEBUG] switch_core_media.c:5650 Audio Codec Compare [PCMU:0:8000:20:64000:1]/[%s]", g.one("PCMU:0:8000:20:64000:1", "PCMA:8:8000:20:64000:1", "opus:116:48000:20:0:1"))
	case n < 88:
		g.of(session, "[DEBUG] switch_rtp.c:4562 Starting timer [soft] 160 bytes per 20ms")
	case n < 92:
		g.of(session, "[NOTICE] switch_channel.c:1142 New Channel %s [%s]", channel, session)
	case n < 96:
		g.line("[NOTICE] switch_core_session.c:1762 Session %d (%s) Ended", g.IntN(100_000), channel)
	case n < 99:
		g.of(session, "[INFO] mod_dialplan_xml.c:639 Processing %[1]s <%[1]s>->%[2]d in context public", g.user(), 1000+g.IntN(9000))
	default:
		g.line("[ERR] mod_sofia.c:%d %s has no read codec.", 1000+g.IntN(4000), channel)
	}
}

func (g *generator) one(of ...string) string { return of[g.IntN(len(of))] }

func (g *generator) user() string {
	if g.IntN(10) == 0 {
		return g.one("admin", "guest", "sip", "test", "voip", "100")
	}
	return fmt.Sprint(1000 + g.IntN(400))
}

func (g *generator) domain() string { return g.one("pbx.example.com", "sip.example.net", "10.0.0.5") }

func (g *generator) uuid() string {
	x := fmt.Sprintf("%016x%016x", g.Uint64(), g.Uint64())
	return strings.Join([]string{x[:8], x[8:12], x[12:16], x[16:20], x[20:]}, "-")
}
