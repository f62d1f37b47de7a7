package cmd_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// deadline is how long a test waits for what must happen; nothing waits for it
// where all is well.
const deadline = 20 * time.Second

// raceOptions let a data race end the daemon, and spare each command the second
// that it otherwise waits for races before it ends.
const raceOptions = "halt_on_error=1 atexit_sleep_ms=0"

// binaries is the directory of the built commands.
var binaries string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	for _, tool := range []string{"nft", "ip", "unshare", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return 1, fmt.Errorf("these tests need %s, nothing was tested: %w", tool, err)
		}
	}
	if os.Geteuid() != 0 {
		return 1, fmt.Errorf("these tests need root for network namespaces, nothing was tested")
	}
	dir, err := os.MkdirTemp("", "band-test-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	binaries = dir
	if err := os.Setenv("GORACE", raceOptions); err != nil {
		return 1, err
	}
	build := exec.Command("go", "build", "-o", dir)
	if raceDetector() {
		build.Args = append(build.Args, "-race")
	}
	build.Args = append(build.Args, "./band", "./banctl")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("%v: %w\n%s", build.Args, err, out)
	}
	return m.Run(), nil
}

// raceDetector reports whether these tests run with -race; then the commands
// do too.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// namespace starts a process that holds a network namespace of its own and
// returns the command line that runs something in it.
func namespace() (enter []string, holder *os.Process, err error) {
	hold := exec.Command("unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity")
	out, err := hold.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := hold.Start(); err != nil {
		return nil, nil, fmt.Errorf("%v: %w", hold.Args, err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		return nil, nil, fmt.Errorf("%v: no namespace came up: %w", hold.Args, err)
	}
	return []string{"nsenter", "--net=" + fmt.Sprintf("/proc/%d/ns/net", hold.Process.Pid)}, hold.Process, nil
}

func end(p *os.Process) {
	p.Kill()
	p.Wait()
}

func TestScripts(t *testing.T) {
	recordings, err := filepath.Abs("../testdata/freeswitch")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			enter, holder, err := namespace()
			if err != nil {
				return err
			}
			env.Defer(func() { end(holder) })
			// In a script these run in the script's own namespace, on its own
			// configuration, state and socket.
			own := fmt.Sprintf("--config %[1]s/etc --socket %[1]s/band.sock", env.WorkDir)
			wrappers := map[string]string{
				"band":   fmt.Sprintf("%s %s/band %s --state %s/lib", strings.Join(enter, " "), binaries, own, env.WorkDir),
				"banctl": fmt.Sprintf("%s %s/banctl %s", strings.Join(enter, " "), binaries, own),
				"nft":    strings.Join(enter, " ") + " nft",
				"ip":     strings.Join(enter, " ") + " ip",
				"inside": strings.Join(enter, " "),
			}
			bin := filepath.Join(env.WorkDir, ".bin")
			reader := filepath.Join(env.WorkDir, ".journalctl")
			if err := errors.Join(os.Mkdir(bin, 0o755), os.Mkdir(reader, 0o755)); err != nil {
				return err
			}
			if _, err := noJournal(reader); err != nil {
				return err
			}
			// A fork in between would keep a script open that is to be run.
			syscall.ForkLock.RLock()
			defer syscall.ForkLock.RUnlock()
			for name, command := range wrappers {
				script := "#!/bin/sh\nPATH=" + reader + ":" + os.Getenv("PATH") + "\nexec " + command + ` "$@"` + "\n"
				if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
					return err
				}
			}
			if err := expand(filepath.Join(env.WorkDir, "etc"), env.WorkDir); err != nil {
				return err
			}
			env.Setenv("PATH", bin+":"+env.Getenv("PATH"))
			env.Setenv("RECORDINGS", recordings)
			env.Setenv("TZ", "UTC")
			env.Setenv("GORACE", raceOptions)
			env.Setenv("SSH_CONNECTION", "100.64.0.9 4711 203.0.113.10 22")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"poll": poll, "play": play, "exit": exit,
		},
	})
}

// expand puts the script's directory in place of $WORK in its configuration,
// which takes absolute paths only.
func expand(dir, work string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, bytes.ReplaceAll(text, []byte("$WORK"), []byte(work)), 0o644)
	})
}

// poll runs a command until its output matches a regular expression, or with !
// until it does not:
//
//	poll REGEXP COMMAND...
func poll(ts *testscript.TestScript, neg bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[0])
	var out []byte
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		out, _ = command(ts, args[1:]).CombinedOutput()
		if want.Match(out) != neg {
			return
		}
	}
	ts.Fatalf("%v: never matched %q; at last it printed:\n%s", args[1:], args[0], out)
}

// play appends a recording to a log with the current time in place of its own:
//
//	play RECORDING LOG
func play(ts *testscript.TestScript, _ bool, args []string) {
	recording, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	log, err := os.OpenFile(ts.MkAbs(args[1]), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	ts.Check(err)
	_, err = log.Write(atTime(recording, time.Now()))
	ts.Check(err)
	ts.Check(log.Close())
}

var stamps = regexp.MustCompile(`(?m)^([0-9a-f-]{36} )?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}`)

func atTime(recording []byte, now time.Time) []byte {
	return stamps.ReplaceAll(recording, []byte("${1}"+now.UTC().Format("2006-01-02 15:04:05.000000")))
}

// exit runs a command and checks its exit code:
//
//	exit CODE COMMAND...
func exit(ts *testscript.TestScript, _ bool, args []string) {
	var out bytes.Buffer
	c := command(ts, args[1:])
	c.Stdout, c.Stderr = &out, &out
	c.Run()
	ts.Logf("%s", out.Bytes())
	if code := fmt.Sprint(c.ProcessState.ExitCode()); code != args[0] {
		ts.Fatalf("%v: exit code %s, want %s\n%s", args[1:], code, args[0], &out)
	}
}

// command runs as a script's exec would.
func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	c := exec.Command("env", args...)
	c.Dir = ts.MkAbs(".")
	c.Env = []string{}
	for _, name := range []string{"PATH", "TZ", "SSH_CONNECTION", "HOME"} {
		c.Env = append(c.Env, name+"="+ts.Getenv(name))
	}
	return c
}
