package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// A child reads the journal and writes what it finds to a pipe. Journal files
// are mapped into the memory of who reads them; where one is truncated
// meanwhile, that is a fatal signal (https://github.com/systemd/systemd/issues/33277),
// and it must not be ours.
type child struct {
	items chan item          // closed when it has ended
	kill  context.CancelFunc // ends it
	err   error              // why it ended; to be read when items is closed
}

// item is an entry of the journal, and the line that it ends.
type item struct {
	Entry        // the line
	whole bool   // there is one
	at    Cursor // the entry
	begun Cursor // where the oldest line begins that has not ended
}

// startChild starts a child. Its first entry is passed over if it is drop.
func (r *reading) startChild(args []string, drop Cursor) *child {
	alive, kill := context.WithCancel(r.ctx)
	c := &child{items: make(chan item), kill: kill}
	r.tasks.Go(func() {
		// The child gets its signal when the thread ends that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.items)
		defer kill()
		c.err = r.runChild(alive, c, args, drop)
	})
	return c
}

func (r *reading) runChild(alive context.Context, c *child, args []string, drop Cursor) error {
	cmd, stderr := r.command(alive, args)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return stderr.explain(err)
	}
	// Something that the child started might hold the pipe open.
	defer context.AfterFunc(alive, func() { _ = stdout.Close() })()
	read := make(chan error)
	go func() { read <- r.read(stdout, c.items, drop) }()
	err = <-read
	if !errors.Is(err, io.EOF) {
		c.kill()
	}
	if ended := cmd.Wait(); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed) {
		return stderr.explain(ended)
	}
	return fmt.Errorf("read what %s wrote: %w", cmd.Args[0], err)
}

// read reads entries until the stream or Run ends. What it has taken from the
// stream it hands over, or the joiner would get it twice.
func (r *reading) read(stdout io.Reader, items chan<- item, drop Cursor) error {
	d := newDecoder(stdout)
	for first := true; ; first = false {
		e, err := d.next()
		if err != nil {
			return err
		}
		if first && e.Cursor == drop {
			r.joiner.note(e)
			continue
		}
		it := item{at: e.Cursor}
		it.Entry, it.whole = r.joiner.add(e)
		it.begun = r.joiner.begun(e.Time)
		select {
		case items <- it:
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

// command returns the command with the arguments that all calls share.
func (r *reading) command(ctx context.Context, args []string) (*exec.Cmd, *lastWords) {
	argv := append(r.config.Command[1:len(r.config.Command):len(r.config.Command)], "--quiet", "--no-pager", "--output=export")
	cmd := exec.CommandContext(ctx, r.config.Command[0], append(argv, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	words := &lastWords{}
	cmd.Stderr = words
	return cmd, words
}

// lastWords keeps the end of what a child wrote to its standard error.
type lastWords struct{ text []byte }

func (w *lastWords) Write(p []byte) (int, error) {
	const enough = 1 << 10
	w.text = append(w.text, p...)
	w.text = append(w.text[:0], w.text[max(0, len(w.text)-enough):]...)
	return len(p), nil
}

// explain adds to an error of the child what it said last.
func (w *lastWords) explain(err error) error {
	lines := bytes.Split(bytes.TrimSpace(w.text), []byte("\n"))
	said := lines[len(lines)-1]
	switch {
	case err == nil && len(said) == 0:
		return errors.New("it ended by itself")
	case err == nil:
		return fmt.Errorf("it ended by itself: %s", said)
	case len(said) == 0:
		return err
	}
	return fmt.Errorf("%w: %s", err, said)
}
