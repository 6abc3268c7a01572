package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/seesawtest/ncc"
	"github.com/hc-server/hc/proxy/seesawtest/supervise"
)

// settleLimit is the longest time from the last start of a killed program until
// the table tells the truth again about what flipped meanwhile: a start and a
// reconnect on top of the limits of the check itself.
const settleLimit = 2 * time.Second

// rig is a running chain whose programs are killed and started again.
type rig struct {
	*chain
	site  *site
	down  map[int]bool // backends of "single" that are down
	flips int
}

func startRig(t *testing.T) *rig {
	t.Helper()
	dir := logDir(t)
	s := startSite(t, dir)
	w := newChain(t, dir, s.cluster)
	w.startPair()
	w.startEngine()
	w.awaitPresent(s.cluster.entries(), w.engine.StartedAt(), startLimit, "start")
	return &rig{chain: w, site: s, down: make(map[int]bool)}
}

// part is one program of the chain.
type part struct {
	name    string
	process func(*rig) *supervise.Process
}

var (
	engine = part{"engine", func(r *rig) *supervise.Process { return r.engine }}
	server = part{"server", func(r *rig) *supervise.Process { return r.server }}
	proxy  = part{"proxy", func(r *rig) *supervise.Process { return r.proxy }}
)

// orders are all orders of the parts.
func orders(parts ...part) [][]part {
	if len(parts) <= 1 {
		return [][]part{parts}
	}
	var out [][]part
	for i, first := range parts {
		rest := append(slices.Clone(parts[:i]), parts[i+1:]...)
		for _, order := range orders(rest...) {
			out = append(out, append([]part{first}, order...))
		}
	}
	return out
}

func nameOf(order []part) string {
	name := ""
	for _, p := range order {
		name += "-" + p.name
	}
	return name[1:]
}

// TestKillEachInEveryOrder kills one after the other with SIGKILL and starts it
// again before the next, in all six orders. A backend flips while each is dead
// and another afterwards.
func TestKillEachInEveryOrder(t *testing.T) {
	r := startRig(t)
	for _, order := range orders(engine, server, proxy) {
		for _, p := range order {
			r.outage(nameOf(order)+": "+p.name, []part{p}, []part{p})
		}
	}
	r.quiet()
}

// TestKillSeveralAtOnce kills two or all three before any is started again, and
// starts them in every order.
func TestKillSeveralAtOnce(t *testing.T) {
	r := startRig(t)
	for _, group := range [][]part{{engine, server}, {engine, proxy}, {server, proxy}, {engine, server, proxy}} {
		for _, order := range orders(group...) {
			r.outage(nameOf(order)+" at once", group, order)
		}
	}
	r.quiet()
}

// outage kills the parts, flips a backend while they are dead, starts them in
// the given order, and holds the chain to its promises: no healthy backend is
// deleted, a restarted engine has every healthy one back within its limit, the
// flip is seen, checks go on, and one more flip is seen within a check's own
// limits.
func (r *rig) outage(what string, kill, start []part) {
	r.t.Helper()
	single := r.site.cluster.named("single")
	mark := r.table.Mark()
	dead := r.dead()
	for _, p := range kill {
		p.process(r).Kill()
	}
	goesDown, flipped := r.flip()
	for _, p := range start {
		p.process(r).Start()
	}
	last := start[len(start)-1].process(r).StartedAt()

	healthy := without(r.site.cluster.entries(), r.dead())
	excused := []ncc.Entry{r.site.singleEntry(flipped)}
	if !goesDown {
		dead = without(dead, excused)
	}
	if slices.ContainsFunc(kill, func(p part) bool { return p.name == engine.name }) {
		// From the engine's start, or from the last part's when that is later:
		// nobody can tell the engine anything before.
		r.awaitFlush(mark, what)
		r.awaitPresent(without(healthy, excused), last, startLimit, what+": healthy ones are back")
	} else if missing := r.table.Missing(without(healthy, excused)); len(missing) > 0 {
		r.t.Errorf("%s: %s are out of the table", what, some(missing, len(healthy)))
	}
	if goesDown {
		r.awaitAbsent(excused, last, single.leaveLimit()+settleLimit, what+": flip down is seen")
	} else {
		r.awaitPresent(excused, last, single.returnLimit()+settleLimit, what+": flip up is seen")
	}

	before := r.site.answers()
	eventually(r.t, single.returnLimit(), what+": checks go on", func() bool {
		return r.site.answers() >= before+int64(r.up())
	})

	r.failOnGhosts(mark, dead, what)

	goesDown, flipped = r.flip()
	after := []ncc.Entry{r.site.singleEntry(flipped)}
	now := time.Now()
	if goesDown {
		r.awaitAbsent(after, now, single.leaveLimit(), what+": next flip down")
	} else {
		r.awaitPresent(after, now, single.returnLimit(), what+": next flip up")
	}
	r.failOnDeletes(mark, append(after, excused...), what)
	if r.t.Failed() {
		r.t.FailNow() // what follows would only repeat it
	}
}

// flip takes two backends of "single" down, one a call, and the same two up
// again, then the next two. It returns which one flipped and which way.
func (r *rig) flip() (goesDown bool, i int) {
	i = (r.flips/4*2 + r.flips%2) % len(r.site.single)
	goesDown = r.flips%4 < 2
	r.flips++
	r.down[i] = goesDown
	if goesDown {
		r.site.single[i].down()
	} else {
		r.site.single[i].up()
	}
	return goesDown, i
}

// dead are the entries of the backends that are down.
func (r *rig) dead() []ncc.Entry {
	var out []ncc.Entry
	for i, down := range r.down {
		if down {
			out = append(out, r.site.singleEntry(i))
		}
	}
	return out
}

// failOnGhosts fails the test if a backend that was known to be dead before the
// outage, and is dead still, was put into service since the mark.
func (r *rig) failOnGhosts(mark int, dead []ncc.Entry, what string) {
	r.t.Helper()
	for _, event := range r.table.Events(mark) {
		if event.Op == ncc.OpAddDestination && slices.Contains(dead, event.Entry()) {
			r.t.Errorf("%s: %v is dead and was put into service", what, event.Entry())
		}
	}
}

// awaitFlush waits for the restarted engine to empty the table, which is the
// first thing that it does: before, the table is the old engine's.
func (r *rig) awaitFlush(mark int, what string) {
	r.t.Helper()
	eventually(r.t, patience, what+": the engine flushes the table", func() bool {
		return slices.ContainsFunc(r.table.Events(mark), func(e ncc.Event) bool { return e.Op == ncc.OpFlush })
	})
}

// quiet watches the table for longer than a refresh of all checks takes (15 s),
// which is when Seesaw's own healthchecker takes healthy backends out after a
// restart. Nothing may change, and checks must go on.
func (r *rig) quiet() {
	r.t.Helper()
	const watch = 17 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), watch)
	defer cancel()
	mark := r.table.Mark()
	before := r.site.answers()
	changes := func() []ncc.Event { return r.table.Events(mark) }
	if r.table.Wait(ctx, func() bool { return len(changes()) > 0 }) == nil {
		for _, event := range changes() {
			r.t.Errorf("in the quiet: %s of %v", event.Op, event.Entry())
		}
		return
	}
	single := r.site.cluster.named("single")
	// One probe a backend and interval; two fewer for the ends of the watch.
	least := int64(r.up() * (int(watch/time.Second)/single.interval - 2))
	if got := r.site.answers() - before; got < least {
		r.t.Errorf("%d probes in %v, want at least %d", got, watch, least)
	}
}

// up is how many backends of "single" are up.
func (r *rig) up() int {
	up := len(r.site.single)
	for _, down := range r.down {
		if down {
			up--
		}
	}
	return up
}

func without(entries, remove []ncc.Entry) []ncc.Entry {
	gone := make(map[ncc.Entry]bool, len(remove))
	for _, e := range remove {
		gone[e] = true
	}
	var out []ncc.Entry
	for _, e := range entries {
		if !gone[e] {
			out = append(out, e)
		}
	}
	return out
}
