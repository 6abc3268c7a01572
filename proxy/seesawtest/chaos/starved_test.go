package chaos

import (
	"fmt"
	"testing"
	"time"
)

// TestStarved gives hc-server much less processor time than it would need, for as
// long as it takes. Hardly any probe gets by without a stall, most come too late
// to their second step, and no timeout of a healthy backend may count; yet those
// that fall silent have to be found out while it lasts.
func TestStarved(t *testing.T) {
	const percent = 10
	checks, hold := 3000, time.Minute
	if *quick {
		checks, hold = 600, 10*time.Second
	}
	flippers := checks / 20
	r := startRig(t, options{checks: checks, interval: time.Second, flippers: flippers, hold: 5 * time.Second, silent: true})
	m := r.measure(fmt.Sprintf("%d %% of a CPU, %v", percent, hold))
	release := limitCPU(t, r.server.Pid(), percent)
	pass(hold)
	r.judge.still(true)
	r.awaitSettled("starved", wall())
	release()
	v := m.done(t)
	if v.reported < flippers/2 {
		t.Errorf("%d flips were told, want at least %d", v.reported, flippers/2)
	}
	// Where nothing is short, most are not late at all.
	if len(v.late) > 0 && quantile(v.late, 0.5) < time.Second {
		t.Errorf("hc-server was not starved: flips were told %v late in the median", quantile(v.late, 0.5))
	}
}
