package store_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"band/store"

	"pgregory.net/rapid"
)

// TestPowerCut: lives of a daemon, each ended by a power cut at any operation
// on the disk, snapshots and recovery included. What was acknowledged stays,
// in order, without gap or repetition.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		disk := newPowerFS()
		acknowledged := 0
		for range rapid.IntRange(1, 5).Draw(t, "lives") {
			disk.left = rapid.IntRange(0, 60).Draw(t, "operations")
			o := openPower(t, dir, disk, acknowledged)
			for range rapid.IntRange(0, 12).Draw(t, "steps") {
				o.add(rapid.IntRange(0, 3).Draw(t, "append"))
				if rapid.IntRange(0, 3).Draw(t, "snapshot") == 0 {
					if err := o.snapshot(); err != nil {
						t.Fatal(err)
					}
				}
				if rapid.Bool().Draw(t, "sync") && o.sync() == nil {
					acknowledged = len(o.numbers)
				}
			}
			if o.stop() == nil {
				acknowledged = len(o.numbers)
			}
			disk = disk.cut(func(n int) int { return rapid.IntRange(0, n).Draw(t, "kept") })
		}
		disk.left = 1000
		o := openPower(t, dir, disk, acknowledged)
		o.add(1)
		if err := o.stop(); err != nil {
			t.Fatal(err)
		}
		if err := openPower(t, dir, disk, len(o.numbers)).stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func openPower(t *rapid.T, dir string, disk *powerFS, atLeast int) *owner {
	o, err := open(dir, store.Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.numbers) < atLeast || !slices.Equal(o.numbers, upTo(len(o.numbers))) {
		got := o.numbers
		o.stop()
		t.Fatalf("after the cut: %v, want 1.. to at least %d; %+v", got, atLeast, o.report)
	}
	return o
}

// child appends numbers, prints each when it is durable, and never ends.
func child(dir string) {
	o, err := open(dir, store.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		o.add(1)
		if i%7 == 6 {
			if err := o.snapshot(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		if err := o.Sync(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(len(o.numbers))
	}
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := 0
	for range 30 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "BAND_TEST_STORE_CHILD="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatal("the child does not work")
		}
		timer := time.AfterFunc(rand.N(40*time.Millisecond), func() { cmd.Process.Kill() })
		for ok := true; ok; ok = lines.Scan() {
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatal(err)
			}
			acknowledged = n
		}
		timer.Stop()
		cmd.Wait()

		o, err := load(dir, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		o.Close()
		if n := len(o.numbers); n < acknowledged || !slices.Equal(o.numbers, upTo(n)) {
			t.Fatalf("%d acknowledged, %d read: %v", acknowledged, n, o.report)
		}
	}
	if acknowledged < 100 {
		t.Errorf("only %d acknowledged: proves little", acknowledged)
	}
}
