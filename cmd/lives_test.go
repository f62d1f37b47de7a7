package cmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"band/internal/control"
)

// lives are those of a daemon that is killed and started again and again.
type lives struct {
	*host
	client  *control.Client
	present *life
	past    []*life // the last few
}

// life is a daemon from its start to its end.
type life struct {
	cmd   *exec.Cmd
	began time.Time
	voice voice
	ended chan struct{}
	err   error // to be read when it ended
}

// patience is how long a daemon may take to read everything, on a machine that does
// other things too.
const patience = 2 * time.Minute

// shown is of how many lives the log is printed where a test fails.
const shown = 3

func newLives(h *host) *lives {
	l := &lives{host: h, client: control.NewClient(h.dir + "/band.sock")}
	h.t.Cleanup(func() {
		l.kill()
		if h.t.Failed() {
			for _, past := range l.past {
				h.t.Logf("a daemon's log, from %s on:\n%s", clock(past.began), past.voice.text())
			}
		}
	})
	return l
}

// begin starts a daemon.
func (l *lives) begin() {
	l.t.Helper()
	one := &life{began: time.Now(), ended: make(chan struct{})}
	l.configure()
	one.cmd = l.launch(&one.voice)
	go func() {
		one.err = one.cmd.Wait()
		close(one.ended)
	}()
	l.present = one
	l.past = append(l.past, one)
	l.past = l.past[max(0, len(l.past)-shown):]
}

// kill ends the daemon as a crash does.
func (l *lives) kill() {
	l.end(syscall.SIGKILL)
}

// stop ends the daemon as systemd does.
func (l *lives) stop() {
	l.t.Helper()
	one := l.present
	// Where it had not begun yet, the signal ends it.
	if l.end(syscall.SIGTERM); one.err != nil && one.voice.times("band starts") > 0 {
		l.t.Errorf("the daemon was told to stop and ended with %v", one.err)
	}
}

func (l *lives) end(with syscall.Signal) {
	l.t.Helper()
	l.alive()
	if l.present == nil {
		return
	}
	if err := l.present.cmd.Process.Signal(with); err != nil {
		l.t.Errorf("the daemon could not be ended: %v", err)
	}
	<-l.present.ended
	l.present = nil
}

// alive fails the test where the daemon has ended by itself.
func (l *lives) alive() {
	l.t.Helper()
	if l.present == nil {
		return
	}
	select {
	case <-l.present.ended:
		err := l.present.err
		l.present = nil
		l.t.Fatalf("the daemon ended by itself: %v", err)
	default:
	}
}

// moment waits for a random moment of the daemon's life: while it starts, while it
// catches up, or when it has caught up with so many sources.
func (l *lives) moment(random *rand.Rand, sources int) (when string) {
	l.t.Helper()
	wait := func(most time.Duration) { time.Sleep(time.Duration(random.Int64N(int64(most)))) }
	until := func(text string, times int) {
		// A slow machine may never get there.
		for end := time.Now().Add(time.Second); time.Now().Before(end) && l.present.voice.times(text) < times; {
			l.alive()
			time.Sleep(time.Millisecond)
		}
	}
	switch random.IntN(3) {
	case 0:
		wait(80 * time.Millisecond)
		return "starting"
	case 1:
		until("state read", 1)
		wait(60 * time.Millisecond)
		return "catching up"
	}
	until("source caught up", sources)
	wait(120 * time.Millisecond)
	return "running"
}

// asked is what the daemon says of everybody, and false where it does not answer.
func (l *lives) asked() (told, bool) {
	t := told{from: now(), bans: make(map[account]sentence), counts: make(map[account]int)}
	bans, ok := l.list()
	t.to = time.Now()
	if !ok {
		return t, false
	}
	for _, b := range bans {
		t.bans[account{b.Jail, mustUnit(b.Unit)}] = sentence{b.Since, b.Until, b.Failures}
	}
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		e, err := l.explain(all)
		if err != nil {
			return t, false
		}
		for _, c := range e.Counts {
			t.counts[account{c.Jail, c.Unit.Prefix}] = c.Failures
		}
	}
	return t, true
}

// explain returns all that the daemon knows of a unit.
func (l *lives) explain(unit string) (control.Explanation, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	return l.client.Explain(ctx, control.Unit{Prefix: mustUnit(unit)})
}

// decided reports whether the daemon has ever banned a unit.
func (l *lives) decided(unit netip.Prefix) bool {
	e, err := l.explain(unit.String())
	return err == nil && len(e.Bans)+len(e.Past) > 0
}

func mustUnit(text string) netip.Prefix {
	u, err := control.ParseUnit(text)
	if err != nil {
		panic(err)
	}
	return u.Prefix
}

// order runs banctl and returns its exit code.
func (h *host) order(args ...string) (code int, said string) {
	c := h.command(append([]string{filepath.Join(h.bin, "banctl"), "--socket", h.dir + "/band.sock"}, args...)...)
	out, err := c.CombinedOutput()
	if err != nil && c.ProcessState == nil {
		return -1, err.Error()
	}
	return c.ProcessState.ExitCode(), string(out)
}

// elements returns what the sets of the kernel's table hold, by the group and the
// unit; false where there is no table.
func (h *host) elements() (map[account]bool, bool) {
	var ruleset struct {
		Nftables []struct {
			Set struct {
				Name string            `json:"name"`
				Elem []json.RawMessage `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	out, err := h.command("nft", "-j", "list", "table", "inet", "band").Output()
	if err != nil || json.Unmarshal(out, &ruleset) != nil {
		return nil, false
	}
	have := make(map[account]bool)
	for _, object := range ruleset.Nftables {
		group, shape, ok := strings.Cut(object.Set.Name, "-ip")
		if !ok {
			continue
		}
		_, bits, masked := strings.Cut(shape, "-")
		for _, raw := range object.Set.Elem {
			var e struct {
				Elem struct {
					Val string `json:"val"`
				} `json:"elem"`
			}
			if err := json.Unmarshal(raw, &e); err != nil {
				h.t.Errorf("an element of %s: %v: %s", object.Set.Name, err, raw)
				continue
			}
			text := e.Elem.Val
			if masked {
				text += "/" + bits
			}
			have[account{group, mustUnit(text)}] = true
		}
	}
	return have, true
}

// usage is what a daemon uses.
type usage struct {
	descriptors, threads, goroutines int
	memory                           int // KiB, of its own
}

func (u usage) String() string {
	return fmt.Sprintf("%d descriptors, %d threads, %d goroutines, %d KiB", u.descriptors, u.threads, u.goroutines, u.memory)
}

// usage reads what the daemon uses now.
func (l *lives) usage() (u usage, err error) {
	proc := fmt.Sprintf("/proc/%d/", l.present.cmd.Process.Pid)
	fds, err := os.ReadDir(proc + "fd")
	if err != nil {
		return u, err
	}
	u.descriptors = len(fds)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		number, _, _ := strings.Cut(strings.TrimSpace(value), " ")
		switch name {
		case "Threads":
			u.threads, err = strconv.Atoi(number)
		case "RssAnon":
			u.memory, err = strconv.Atoi(number)
		}
		if err != nil {
			return u, err
		}
	}
	_, text, _ := strings.Cut(l.scrape(""), "\ngo_goroutines ")
	number, _, _ := strings.Cut(text, "\n")
	u.goroutines, err = strconv.Atoi(number)
	return u, err
}

// voice keeps the beginning and the end of what a daemon writes to its standard
// error. It may be used from any goroutine.
type voice struct {
	mu         sync.Mutex
	head, tail []byte
}

func (v *voice) Write(p []byte) (int, error) {
	const most = 32 << 10
	v.mu.Lock()
	defer v.mu.Unlock()
	n := min(len(p), most-len(v.head))
	v.head = append(v.head, p[:n]...)
	v.tail = append(v.tail, p[n:]...)
	if len(v.tail) > 2*most {
		v.tail = append(v.tail[:0], v.tail[len(v.tail)-most:]...)
	}
	return len(p), nil
}

func (v *voice) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return string(v.head) + "\n...\n" + string(v.tail)
}

func (v *voice) times(text string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return bytes.Count(v.head, []byte(text))
}

// setting is the number that an environment variable sets.
func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
