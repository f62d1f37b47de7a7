package journal_test

import (
	"testing"
	"time"

	"band/internal/journal"
)

func TestCursor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		c, d journal.Cursor
		want bool
	}{
		{"OK: numbered later", "s=1;i=10;t=1", "s=1;i=f;t=2", true},
		{"OK: numbered earlier", "s=1;i=f;t=2", "s=1;i=10;t=1", false},
		{"OK: the same", "s=1;i=f;t=2", "s=1;i=f;t=2", false},
		{"OK: of another journald, later", "s=1;i=1;t=2", "s=2;i=2;t=1", true},
		{"OK: of another journald, earlier", "s=1;i=2;t=1", "s=2;i=1;t=2", false},
		{"OK: anything is behind nothing", "s=1;i=2;t=1", "", true},
		{"OK: nothing is behind nothing", "", "", false},
		{"bad: no number", "s=1;i=zz;t=2", "s=1;i=1;t=1", true},
		{"bad: nonsense", "nonsense", "s=1;i=1;t=1", false},
		{"bad: a time that none can be", "t=ffffffffffffffff", "t=1", false},
	} {
		if got := test.c.After(test.d); got != test.want {
			t.Errorf("%s: %q after %q: %v", test.name, test.c, test.d, got)
		}
	}
	const real = journal.Cursor("s=816c1a0a29c5403298b64f5366bdd1d5;i=114;b=9df58d3049f14e8398daae7d5ddb962d;m=8d58131f;t=660c48f15b19c;x=54c1618d79a37530")
	if got, want := real.Time(), time.UnixMicro(1795247190684060); !got.Equal(want) {
		t.Errorf("time %v, want %v", got, want)
	}
}
