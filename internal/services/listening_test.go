package services_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"band/internal/services"
)

const user = 64123 // nobody else's

func TestListening(t *testing.T) {
	w := newWorld(t)
	w.start(program{Name: "sv-switch", Sockets: []string{
		"udp4 0.0.0.0:5090", "tcp4 0.0.0.0:5090",
		"udp6 [::]:5060", "tcp :7443", // both families
		"udp4 127.0.0.1:5080", "udp6 [::1]:5081", "tcp4 127.0.0.9:8021", "tcp6 [::1]:8021",
		"udp4 0.0.0.0:5082 lo", "tcp6 [::]:5082 lo",
		"udp4 203.0.113.10:5061", "udp4 203.0.113.10:5083 connected",
		"udp4 0.0.0.0:9999", "udp4 0.0.0.0:10000", "udp6 [::]:30000", "tcp4 0.0.0.0:30000",
	}})
	w.start(program{Name: "sv-switch", Sockets: []string{"tcp4 0.0.0.0:2856"}})
	w.start(program{Name: "sv-switches", Sockets: []string{"tcp4 0.0.0.0:81"}})
	w.start(program{Name: "a-name-of-more-than-15-bytes", Sockets: []string{"tcp4 0.0.0.0:82"}})
	w.start(program{Name: "sv-idle"})
	newWorld(t).start(program{Name: "sv-switch", Sockets: []string{"tcp4 0.0.0.0:83"}})

	switched := []string{
		"tcp 0.0.0.0:2856", "tcp 0.0.0.0:5090", "tcp [::]:7443", "tcp 0.0.0.0:30000",
		"udp [::]:5060", "udp 203.0.113.10:5061", "udp 0.0.0.0:5090", "udp 0.0.0.0:9999",
	}
	for _, test := range []struct {
		names []string
		want  []string
	}{
		{[]string{"sv-switch"}, switched},
		{[]string{"sv-switch", "sv-idle", "sv-nobody"}, switched},
		{[]string{"a-name-of-more-than-15-bytes"}, []string{"tcp 0.0.0.0:82"}},
		{[]string{"sv-idle"}, nil},
		{[]string{"sv-nobody"}, nil},
		{nil, nil},
	} {
		a := w.ask(test.names...)
		if diff := cmp.Diff(test.want, a.Ports); diff != "" || a.PortsErr != "" {
			t.Errorf("%v: error %q, ports (-want +got):\n%s", test.names, a.PortsErr, diff)
		}
	}
}

// TestHardenedListening starts, for each case, programs in a world of their own
// and asks without the capability to read their files.
func TestHardenedListening(t *testing.T) {
	c := cgroups(t, "sv.service", "sv.socket", "other.scope")
	service, socket, other := c[0], c[1], c[2]
	here := []string{"tcp4 0.0.0.0:2222", "udp6 [::]:5090"}
	for _, test := range []struct {
		name      string
		programs  []program
		elsewhere []program // in another network namespace
		want      []string
		unknown   bool
	}{
		{
			name:     "a cgroup of its own",
			programs: []program{{Name: "sv", Sockets: here, Cgroup: service}, {Name: "stranger", Sockets: []string{"tcp4 0.0.0.0:80"}, Cgroup: other}},
			want:     []string{"tcp 0.0.0.0:2222", "udp [::]:5090"},
		},
		{
			name:     "a cgroup with a process that belongs to the service",
			programs: []program{{Name: "sv", Sockets: here, Cgroup: service}, {Name: "sv-session", Cgroup: service}},
			want:     []string{"tcp 0.0.0.0:2222", "udp [::]:5090"},
		},
		{
			name:     "a cgroup with a stranger",
			programs: []program{{Name: "sv", Sockets: here, Cgroup: service}, {Name: "stranger", Cgroup: service}},
			unknown:  true,
		},
		{
			name:      "a cgroup with a stranger in another network namespace",
			programs:  []program{{Name: "sv", Sockets: here, Cgroup: service}},
			elsewhere: []program{{Name: "stranger", Cgroup: service, Sockets: here}},
			want:      []string{"tcp 0.0.0.0:2222", "udp [::]:5090"},
		},
		{
			name:     "sockets of the socket unit",
			programs: []program{{Name: "sv", Sockets: here, Cgroup: socket, Moves: service}},
			want:     []string{"tcp 0.0.0.0:2222", "udp [::]:5090"},
		},
		{
			name:     "sockets of another cgroup",
			programs: []program{{Name: "sv", Sockets: here, Cgroup: other, Moves: service}},
			unknown:  true,
		},
		{
			name:     "loopback only",
			programs: []program{{Name: "sv", Sockets: []string{"tcp4 127.0.0.1:2222"}, Cgroup: service}},
		},
		{
			name:     "a user of its own",
			programs: []program{{Name: "sv", Sockets: here, User: user}, {Name: "stranger", Sockets: []string{"tcp4 0.0.0.0:80"}}},
			want:     []string{"tcp 0.0.0.0:2222", "udp [::]:5090"},
		},
		{
			name:     "a user of its own in a cgroup with a stranger",
			programs: []program{{Name: "sv", Sockets: here, User: user, Cgroup: service}, {Name: "stranger", Sockets: []string{"tcp4 0.0.0.0:80"}, Cgroup: service}},
			want:     []string{"tcp 0.0.0.0:2222", "udp [::]:5090"},
		},
		{
			name:     "a user with a stranger",
			programs: []program{{Name: "sv", Sockets: here, User: user}, {Name: "stranger", User: user}},
			unknown:  true,
		},
		{
			name:      "a user with a stranger in another network namespace",
			programs:  []program{{Name: "sv", Sockets: here, User: user}},
			elsewhere: []program{{Name: "stranger", User: user}},
			want:      []string{"tcp 0.0.0.0:2222", "udp [::]:5090"},
		},
		{
			name:     "root among others",
			programs: []program{{Name: "sv", Sockets: here}},
			unknown:  true,
		},
		{
			name:     "a service and its login among others",
			programs: []program{{Name: "sv", Sockets: here, Cgroup: service}, {Name: "sv", Cgroup: other}, {Name: "stranger", Cgroup: other}},
			want:     []string{"tcp 0.0.0.0:2222", "udp [::]:5090"},
		},
		{
			name:      "another network namespace",
			programs:  []program{{Name: "stranger", Sockets: here}},
			elsewhere: []program{{Name: "sv", Sockets: here}},
		},
		{name: "no such process"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			for _, p := range test.programs {
				w.start(p)
			}
			if far := newWorld(t); len(test.elsewhere) > 0 {
				for _, p := range test.elsewhere {
					far.start(p)
				}
			}
			a := w.hardened("sv", "sv-session")
			if diff := cmp.Diff(test.want, a.Ports); diff != "" {
				t.Errorf("ports (-want +got):\n%s", diff)
			}
			if (a.PortsErr != "") != test.unknown {
				t.Errorf("error %q, want one: %v", a.PortsErr, test.unknown)
			}
		})
	}
}

// TestUnprivilegedListening asks as a user who may read no files of others. Root
// is nobody's own user: the kernel's sockets are root's too.
func TestUnprivilegedListening(t *testing.T) {
	w := newWorld(t)
	w.start(program{Name: "sv-root", Sockets: []string{"tcp4 0.0.0.0:2222"}})
	w.start(program{Name: "sv-user", Sockets: []string{"tcp4 0.0.0.0:2223"}, User: user + 1})
	if a := w.unprivileged("sv-root"); a.PortsErr == "" {
		t.Errorf("root: ports %v, want an error", a.Ports)
	}
	if a := w.unprivileged("sv-user"); !slices.Equal(a.Ports, []string{"tcp 0.0.0.0:2223"}) {
		t.Errorf("another user: ports %v, error %q", a.Ports, a.PortsErr)
	}
}

// TestHidden asks where /proc hides the processes of others. The group 0, of
// which the daemon is, sees them unless another one is named.
func TestHidden(t *testing.T) {
	w := newWorld(t)
	w.start(program{Name: "sv-hidden", Sockets: []string{"tcp4 0.0.0.0:2222"}, User: user})
	w.start(program{Name: "fail2ban-server"})
	for options, hides := range map[string]bool{
		"hidepid=1,gid=64123": true,
		"hidepid=2,gid=64123": true,
		"hidepid=4":           true, // ProtectProc=ptraceable
		"hidepid=2":           false,
	} {
		a := w.behind(options, "sv-hidden")
		if strings.Contains(a.PortsErr, "hidepid") != hides || strings.Contains(a.RivalsErr, "hidepid") != hides {
			t.Errorf("%s: errors %q and %q, want them: %v", options, a.PortsErr, a.RivalsErr, hides)
		}
		if (len(a.Ports) == 0) != hides || (len(a.Rivals) == 0) != hides {
			t.Errorf("%s: ports %v, rivals %v, want none: %v", options, a.Ports, a.Rivals, hides)
		}
	}
}

// TestVanishing asks while processes come and go.
func TestVanishing(t *testing.T) {
	w := newWorld(t)
	w.start(program{Name: "sv-stays", Sockets: []string{"tcp4 0.0.0.0:2222"}})
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := exec.Command("true").Run(); err != nil {
				stopped <- err
				return
			}
		}
	}()
	w.inside(func() error {
		for range 50 {
			ports, err := services.Listening([]string{"sv-stays", "true"})
			if err != nil || len(ports) != 1 {
				t.Errorf("ports %v, error %v", ports, err)
			}
			if _, err := services.Listening([]string{"true"}); err != nil {
				t.Error(err)
			}
			if _, err := services.Beside(); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}
