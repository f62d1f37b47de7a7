package follow

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// pace is the least time between two wake-ups by the kernel. The first write
// to an idle file wakes at once; at thousands of writes a second the events of
// a pace melt into one.
const pace = 2 * time.Millisecond

// watch wakes the follower when something happens to a directory's names or to
// an open file. It says only that it is time to look, never what happened: the
// file system is asked for that. It is plain inotify because fsnotify always
// asks for the writes to all files of a directory, and so would wake for every
// line that anyone logs next to ours.
type watch struct {
	C    <-chan struct{}
	file *os.File
	fd   int
	dir  int // the watch of the directory
	stop chan struct{}
	done chan struct{}
}

// newWatch starts the goroutine that close ends and waits for.
func newWatch() (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("start inotify: %w", err)
	}
	c := make(chan struct{})
	w := &watch{
		C: c, fd: fd, dir: -1, file: os.NewFile(uintptr(fd), "inotify"),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	go w.run(c)
	return w, nil
}

func (w *watch) run(c chan<- struct{}) {
	defer close(w.done)
	buf := make([]byte, 4096)
	for {
		if _, err := w.file.Read(buf); err != nil {
			return
		}
		select {
		case c <- struct{}{}:
		case <-w.stop:
			return
		}
		select {
		case <-time.After(pace):
		case <-w.stop:
			return
		}
	}
}

// directory asks for the names that come and go in dir. The kernel keeps one
// watch per directory however often it is asked, and drops it with the
// directory, so this is simply repeated.
func (w *watch) directory(dir string) {
	// A failure leaves the follower to its clock: the directory may be missing,
	// or fs.inotify.max_user_watches reached.
	wd, err := unix.InotifyAddWatch(w.fd, dir, unix.IN_ONLYDIR|unix.IN_CREATE|unix.IN_DELETE|
		unix.IN_MOVED_TO|unix.IN_MOVED_FROM|unix.IN_ATTRIB|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF)
	if err == nil && wd != w.dir {
		w.remove(w.dir)
		w.dir = wd
	}
}

// add asks for what happens to an open file, by whatever name. It returns what
// remove wants.
func (w *watch) add(f *os.File) int {
	wd, err := unix.InotifyAddWatch(w.fd, procPath(f), unix.IN_MODIFY|unix.IN_ATTRIB|unix.IN_MOVE_SELF)
	if err != nil {
		return -1
	}
	return wd
}

func (w *watch) remove(wd int) {
	if wd >= 0 {
		// The watch of a deleted file has gone by itself.
		_, _ = unix.InotifyRmWatch(w.fd, uint32(wd))
	}
}

func (w *watch) close() {
	close(w.stop)
	_ = w.file.Close()
	<-w.done
}

// procPath is a path to an open file that no rename or deletion changes.
func procPath(f *os.File) string {
	return "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
}
