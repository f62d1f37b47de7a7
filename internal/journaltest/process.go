package journaltest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// A process dies with the test, however that ends.
type process struct {
	pid    int
	cmd    *exec.Cmd
	exited chan struct{}
}

// run starts a process.
func run(args ...string) (*process, error) {
	p := &process{cmd: exec.Command(args[0], args[1:]...), exited: make(chan struct{})}
	p.cmd.Stderr = new(bytes.Buffer)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		defer close(p.exited)
		// The signal comes when the thread ends that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // it was told to end
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	p.pid = p.cmd.Process.Pid
	return p, nil
}

// end sends a signal and waits until the process has ended.
func (p *process) end(s os.Signal) {
	_ = p.cmd.Process.Signal(s) // it may have ended by itself
	<-p.exited
}
