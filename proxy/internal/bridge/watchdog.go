package bridge

import (
	"fmt"
	"time"
)

// A Watchdog is fed while the bridge makes progress.
type Watchdog struct {
	// Every is the time between two looks. 0 is no watchdog.
	Every time.Duration
	// Feed is called at each look that finds progress, with what goes on in words.
	Feed func(status string)
	// Starve is called, once, at the first look that finds none.
	Starve func(what string)
}

// stuckAfter is how often the time that the engine has for an answer must have
// gone by until a call counts as stuck. A set of a million checks takes a while to
// convert after that time.
const stuckAfter = 6

// progress judges whether what runs beside the loop ever ends. That the loop
// itself runs is shown by its being asked.
//
// It counts looks, not time: a machine that was suspended for an hour during a
// call has had one look.
type progress struct {
	// looks that may find the same call.
	limit             int
	fetching, telling int
	stuck             bool
}

func newProgress(every, engineTimeout time.Duration) progress {
	return progress{limit: int(stuckAfter*engineTimeout/every) + 1}
}

// look says what is stuck, "" if nothing is. The arguments are whether a call is
// under way; fetched and told are called when one ends.
func (p *progress) look(fetching, telling bool) string {
	count := func(looks *int, underWay bool) bool {
		if underWay {
			*looks++
		} else {
			*looks = 0
		}
		return *looks > p.limit
	}
	fetch, tell := count(&p.fetching, fetching), count(&p.telling, telling)
	switch {
	case fetch:
		return "a fetch of the engine's healthchecks"
	case tell:
		return "a call that tells the engine of health"
	}
	return ""
}

func (p *progress) fetched() { p.fetching = 0 }

func (p *progress) told() { p.telling = 0 }

// look feeds the watchdog, unless something is stuck.
func (r *run) look() {
	what := r.progress.look(r.fetching, r.delivering)
	if what == "" {
		r.progress.stuck = false
		r.options.Watchdog.Feed(r.status())
		return
	}
	if !r.progress.stuck {
		r.progress.stuck = true
		r.options.Watchdog.Starve(what)
	}
}

// status is a line for "systemctl status".
func (r *run) status() string {
	word := func(there bool) string {
		if there {
			return "connected"
		}
		return "away"
	}
	return fmt.Sprintf("engine %s, hc-server %s, %d healthchecks",
		word(r.conn != nil), word(r.link != nil), r.options.Metrics.Checks.Load())
}
