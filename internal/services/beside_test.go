package services_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"band/internal/services"
)

func TestBeside(t *testing.T) {
	w := newWorld(t)
	var rivals []services.Rival
	for _, rival := range []struct {
		program
		says string
	}{
		{program{Name: "fail2ban-server", Args: []string{"-xf", "start"}}, "fail2ban-server"},
		{program{Name: "python3", Args: []string{"/usr/bin/fail2ban-server", "-xf", "start"}}, "fail2ban-server"},
		{program{Name: "php", Args: []string{"/var/www/fusionpbx/app/event_guard/resources/service/event_guard.php"}}, "event_guard.php"},
		{program{Name: "crowdsec-firewall-bouncer", Args: []string{"-c", "x.yaml"}, User: user}, "crowdsec-firewall-bouncer"},
	} {
		pid := w.start(rival.program)
		rivals = append(rivals, services.Rival{Program: rival.says, PID: pid})
	}
	w.start(program{Name: "vim", Args: []string{"fail2ban-server"}})
	newWorld(t).start(program{Name: "fail2ban-server"})
	slices.SortFunc(rivals, func(a, b services.Rival) int { return a.PID - b.PID })
	var want []string
	for _, r := range rivals {
		want = append(want, fmt.Sprintf("%s (pid %d)", r.Program, r.PID))
	}

	for who, a := range map[string]answer{"root": w.ask(), "hardened": w.hardened()} {
		if diff := cmp.Diff(want, a.Rivals); diff != "" || a.RivalsErr != "" {
			t.Errorf("%s: error %q, rivals (-want +got):\n%s", who, a.RivalsErr, diff)
		}
	}
}
