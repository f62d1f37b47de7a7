package cmd_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// page is where a reader may see the end of a write that is not over yet.
const page = 4096

// logFile is a log as FreeSWITCH writes it: each record in one write(2). It may be
// used from any goroutine.
type logFile struct {
	t    *testing.T
	path string
	// noise is a record that is no failure, of a text.
	noise func(text string) string

	mu   sync.Mutex // of a record, and of a rotation
	file *os.File
	idle int // the idle CPU of the moment, in hundredths
	turn int // rotations so far
}

func openLog(t *testing.T, path string, noise func(text string) string) *logFile {
	t.Helper()
	l := &logFile{t: t, path: path, noise: noise, idle: 8160}
	l.open()
	t.Cleanup(func() { l.file.Close() })
	return l
}

// Messages, as they stand behind the time and the idle CPU.
func wrongPassword(from netip.Addr) string {
	return fmt.Sprintf("[WARNING] sofia_reg.c:1787 SIP auth failure (REGISTER) on sofia profile 'internal' for [1000@pbx] from ip %s\n", from)
}

func unknownUser(from netip.Addr) string {
	return fmt.Sprintf("[WARNING] sofia_reg.c:3210 Can't find user [7770@pbx] from %s\n", from) +
		"You must define a domain called 'pbx' in your directory and add a user with the id=\"7770\" attribute\n" +
		"and you must configure your device to use the proper domain in its authentication credentials.\n"
}

// folded is a wrong password whose user forges another one with a header of two lines.
func folded(victim, from netip.Addr) string {
	return fmt.Sprintf("[WARNING] sofia_reg.c:1787 SIP auth failure (REGISTER) on sofia profile 'internal' for [a] from ip %s\n b@pbx] from ip %s\n", victim, from)
}

// session is a record of a call, whose text is the caller's.
func session(text string) string {
	return "[INFO] switch_core_state_machine.c:40 " + text + "\n"
}

// challenge is a record that stands in a dedicated log too.
func challenge(text string) string {
	return "[WARNING] sofia_reg.c:1842 SIP auth challenge (REGISTER) on sofia profile 'internal' for [" + text + "@pbx] from ip 203.0.113.52\n"
}

func header(at time.Time, idle int) string {
	return fmt.Sprintf("%s %d.%02d%% ", at.UTC().Format("2006-01-02 15:04:05.000000"), idle/100, idle%100)
}

// put writes records in one write(2) and returns the time that they tell.
func (l *logFile) put(messages ...string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := now()
	l.write(l.records(at, messages...))
	return at
}

// now is as exact as a record tells it.
func now() time.Time { return time.Now().Truncate(time.Microsecond) }

func (l *logFile) records(at time.Time, messages ...string) string {
	var text strings.Builder
	for _, m := range messages {
		text.WriteString(header(at, l.idle) + m)
	}
	return text.String()
}

// sample tells another idle CPU from now on, and a record that is no failure is the
// first to do so.
func (l *logFile) sample(idle int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = idle
	l.write(l.records(now(), l.noise("sampled")))
}

// raw writes text as it is.
func (l *logFile) raw(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(text)
}

// tear writes a record, and pauses after its first bytes, where a page ends.
func (l *logFile) tear(message string, first int, pause time.Duration) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.align(first)
	at := now()
	text := l.records(at, message)
	l.write(text[:first])
	time.Sleep(pause)
	l.write(text[first:])
	return at
}

// atPage writes a record in one write(2); a page ends after its first bytes.
func (l *logFile) atPage(message string, first int) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.align(first)
	at := now()
	l.write(l.records(at, message))
	return at
}

// align writes noise, so that so many bytes more fill a page.
func (l *logFile) align(more int) {
	info, err := l.file.Stat()
	if err != nil {
		l.t.Error(err)
		return
	}
	least := len(l.records(now(), l.noise("")))
	gap := page - (int(info.Size())+least+more)%page
	l.write(l.records(now(), l.noise(strings.Repeat("x", gap%page))))
}

func (l *logFile) write(text string) {
	if _, err := l.file.WriteString(text); err != nil {
		l.t.Error(err)
	}
}

func (l *logFile) open() {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		l.t.Fatal(err)
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file = file
}

// rotation is a way to rotate a log that loses nothing, whenever it happens.
type rotation struct {
	name string
	do   func(l *logFile)
}

var rotations = []rotation{
	{"rename and create", func(l *logFile) {
		l.rename(l.dated())
		l.open()
	}},
	{"rename, old descriptor until HUP", func(l *logFile) {
		l.rename(l.dated())
		made, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			l.t.Error(err)
		}
		made.Close()
		// What is written now goes to the old file.
		l.mu.Unlock()
		time.Sleep(50 * time.Millisecond)
		l.mu.Lock()
		l.open()
	}},
	{"numbers that shift", func(l *logFile) {
		last := 1
		for ; exists(fmt.Sprint(l.path, ".", last)); last++ {
		}
		for ; last > 1; last-- {
			if err := os.Rename(fmt.Sprint(l.path, ".", last-1), fmt.Sprint(l.path, ".", last)); err != nil {
				l.t.Error(err)
			}
		}
		l.rename(l.path + ".1")
		l.open()
	}},
	{"rename and compress", func(l *logFile) {
		old := l.dated()
		l.rename(old)
		l.open()
		l.compress(old)
	}},
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// rotate rotates the log.
func (l *logFile) rotate(r rotation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn++
	r.do(l)
}

func (l *logFile) dated() string {
	return fmt.Sprintf("%s.%s.%d", l.path, time.Now().Format("2006-01-02-15-04-05"), l.turn)
}

func (l *logFile) rename(to string) {
	if err := os.Rename(l.path, to); err != nil {
		l.t.Error(err)
	}
}

// compress replaces a file by its compressed form, as gzip(1) does.
func (l *logFile) compress(path string) {
	if out, err := exec.Command("gzip", path).CombinedOutput(); err != nil {
		l.t.Errorf("gzip %s: %v: %s", path, err, out)
	}
}

// prune deletes what rotation left behind.
func (l *logFile) prune() {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, err := filepath.Glob(l.path + ".*")
	if err != nil {
		l.t.Error(err)
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			l.t.Error(err)
		}
	}
}
