package chaos

import (
	"fmt"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/seesawtest/supervise"
)

// part is one program of the chain.
type part struct {
	name    string
	process func(*rig) *supervise.Process
}

var parts = []part{
	{"hc-server", func(r *rig) *supervise.Process { return r.server }},
	{"hc-proxy", func(r *rig) *supervise.Process { return r.proxy }},
	{"engine", func(r *rig) *supervise.Process { return r.engine }},
}

// TestKillRounds kills one, two or all of the programs with SIGKILL in random
// order and starts them again in another, over and over, while backends flip.
// Most rounds wait until the chain is whole again; some kill into the recovery.
// An engine comes back with new ids, with the same, or with the same ids for
// other backends.
func TestKillRounds(t *testing.T) {
	r := startRig(t, options{checks: 500, interval: time.Second, flippers: 60, hold: 2 * time.Second})
	m := r.measure(fmt.Sprintf("kill -9, %d rounds", *rounds))
	recovered := map[string][]time.Duration{}
	var all []time.Duration
	for round := range *rounds {
		what, started := r.killSome()
		last := round+1 == *rounds
		if !last && r.rng.IntN(5) == 0 {
			r.wait(300 * time.Millisecond)
			continue
		}
		name := fmt.Sprintf("round %d, %s", round, what)
		took := r.awaitTold(name, started)
		if last || r.rng.IntN(10) == 0 {
			r.awaitSettled(name, started)
		}
		recovered[what] = append(recovered[what], took)
		all = append(all, took)
		if t.Failed() {
			break
		}
	}
	m.done(t, all...)
	for _, what := range combinations {
		if took := recovered[what]; len(took) > 0 {
			fmt.Printf("recovery after %s: %d times, median %s, worst %s\n", what, len(took), seconds(quantile(took, 0.5)), seconds(largest(took)))
		}
	}
}

// combinations are the names of all sets of parts, by their bits.
var combinations = func() (out [8]string) {
	for set := range out {
		for i, p := range parts {
			if set&(1<<i) == 0 {
				continue
			}
			if out[set] != "" {
				out[set] += "+"
			}
			out[set] += p.name
		}
	}
	return out
}()

// killSome kills some of the parts and starts them again. It returns which, and
// when the last one was started.
func (r *rig) killSome() (what string, started time.Time) {
	order := r.rng.Perm(len(parts))
	switch n := r.rng.IntN(10); {
	case n < 6:
		order = order[:1]
	case n < 9:
		order = order[:2]
	}
	set := 0
	r.judge.troubleBegins()
	for _, i := range order {
		set |= 1 << i
		parts[i].process(r).Kill()
		r.wait(50 * time.Millisecond)
	}
	r.wait(500 * time.Millisecond)
	if set&4 != 0 {
		switch r.rng.IntN(4) {
		case 0: // the same ids for the same backends
		case 1:
			r.shuffleIDs()
		default:
			r.newIDs()
		}
	}
	r.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, i := range order {
		r.wait(100 * time.Millisecond)
		parts[i].process(r).Start()
	}
	r.memory.follow()
	r.judge.troubleEnds()
	return combinations[set], wall()
}

// wait lets a random time pass.
func (r *rig) wait(most time.Duration) { pass(time.Duration(r.rng.Int64N(int64(most)))) }
