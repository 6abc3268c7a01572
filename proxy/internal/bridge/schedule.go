package bridge

import (
	"time"

	"github.com/hc-server/hc/proxy/internal/engine"
)

// failedPause is Seesaw's own, after an engine has answered a fetch with an
// error.
const failedPause = 5 * time.Second

// schedule says when the engine is asked for its checks.
type schedule struct {
	interval time.Duration
	epoch    time.Time
	eager    time.Duration
	due      time.Time
}

// begin starts a new epoch of the engine: ask at once.
func (s *schedule) begin(now time.Time) {
	s.epoch, s.due, s.eager = now, now, 50*time.Millisecond
}

// young reports whether the engine may not have built all its checks yet.
func (s *schedule) young(now time.Time) bool { return now.Sub(s.epoch) < engine.BuildTime }

// asked is called when a fetch has ended: in the first ten seconds of an epoch
// the next follows after 100, 200, 400, 800 ms and then every second, later
// after the interval, or 5 s after a failure if that is sooner.
func (s *schedule) asked(now time.Time, failed bool) {
	pause := s.interval
	if failed {
		pause = min(pause, failedPause)
	}
	if s.young(now) {
		s.eager = min(2*s.eager, time.Second)
		pause = min(pause, s.eager)
	}
	s.due = now.Add(pause)
}
