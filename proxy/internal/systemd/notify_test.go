package systemd

import (
	"testing"
	"time"
)

func TestWatchdogTimeout(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
		wrong     bool
	}{
		{"", "7", 0, false},
		{"30000000", "", 30 * time.Second, false},
		{"30000000", "7", 30 * time.Second, false},
		{"30000000", "8", 0, false},
		{"30000000", "me", 0, true},
		{"0", "", 0, true},
		{"-1", "", 0, true},
		{"30s", "", 0, true},
		{"9223372036854775807", "", 0, true},
	} {
		got, err := watchdogTimeout(c.usec, c.pid, 7)
		if got != c.want || (err != nil) != c.wrong {
			t.Errorf("%q %q: %v, %v", c.usec, c.pid, got, err)
		}
	}
}
