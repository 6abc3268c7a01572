package chaos

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// trouble is something that happens to a chain with 1,000 checks a second.
type trouble struct {
	name string
	hold time.Duration
	// short is the hold of a quick run; without it the quick run leaves the
	// trouble out.
	short time.Duration
	begin func(r *rig)
	end   func(r *rig)
	// said is what hc-server's log must say, so that a trouble which did not
	// trouble anybody is noticed.
	said string
	// probing wants probes to go on in the meantime.
	probing bool
}

var troubles = []trouble{
	{
		// Longer than any timeout.
		name: "SIGSTOP of hc-server", hold: 10 * time.Second, short: 6 * time.Second,
		begin: func(r *rig) { r.server.Signal(syscall.SIGSTOP) },
		end:   func(r *rig) { r.server.Signal(syscall.SIGCONT) },
	},
	{
		name: "SIGSTOP of hc-proxy", hold: 10 * time.Second, probing: true,
		begin: func(r *rig) { r.proxy.Signal(syscall.SIGSTOP) },
		end:   func(r *rig) { r.proxy.Signal(syscall.SIGCONT) },
	},
	{
		name: "5 % of a CPU for hc-server", hold: 30 * time.Second, short: 5 * time.Second,
		begin: func(r *rig) { r.quota = limitCPU(r.t, r.server.Pid(), 5) },
		end:   func(r *rig) { r.quota() },
	},
	{
		name: "no descriptor left", hold: 10 * time.Second, short: 3 * time.Second, said: "label=\"local_descriptors\"",
		begin: func(r *rig) { r.files = limitFiles(r.t, r.server.Pid(), 8) },
		end:   func(r *rig) { r.files() },
	},
	{
		name: "no port left", hold: 10 * time.Second, short: 3 * time.Second, said: "label=\"local_ports\"",
		begin: func(r *rig) { r.ports = takePorts(r.t) },
		end:   func(r *rig) { r.ports() },
	},
	{
		// What the kernel does to the routes of an interface that goes down.
		name: "no route to the backends", hold: 8 * time.Second, short: 3 * time.Second, said: "label=\"local_no_route\"",
		// No server can begin to listen meanwhile.
		begin: func(r *rig) { r.judge.still(true); route(r.t, "del") },
		end:   func(r *rig) { route(r.t, "add"); r.judge.still(false) },
	},
	{
		name: "disk full, kill -9 of hc-server", hold: 15 * time.Second, short: 3 * time.Second, said: "cannot write a snapshot",
		begin: func(r *rig) { r.fillDisk(); pass(2 * time.Second); r.server.Kill(); r.server.Start() },
		end:   func(r *rig) { r.clearDisk() },
	},
	{
		name: "engine answers after 9 s", hold: 45 * time.Second, probing: true,
		begin: func(r *rig) { r.replaceEngine("slow-engine", "-delay=9s") },
		end:   func(r *rig) { r.replaceEngine("engine-after-slow") },
	},
	{
		name: "engine never answers", hold: 30 * time.Second, probing: true,
		begin: func(r *rig) { r.replaceEngine("silent-engine", "-delay=24h") },
		end:   func(r *rig) { r.replaceEngine("engine-after-silent") },
	},
	{
		name: "engine answers with an error", hold: 15 * time.Second, short: 3 * time.Second, probing: true,
		begin: func(r *rig) { r.replaceEngine("failing-engine", "-fail=not now") },
		end:   func(r *rig) { r.replaceEngine("engine-after-failing") },
	},
	{
		name: "proxy reads a byte a second", hold: 45 * time.Second, short: 5 * time.Second, probing: true,
		begin: func(r *rig) { r.proxy.Kill(); r.slow = startSlowProxy(r) },
		end:   func(r *rig) { r.slow.stop(); r.proxy.Start() },
	},
}

// TestTroubles puts one chain through all of them, one after the other.
func TestTroubles(t *testing.T) {
	r := startRig(t, options{checks: 1000, interval: time.Second, flippers: 100, hold: 2 * time.Second})
	for _, trouble := range troubles {
		hold := trouble.hold
		if *quick {
			hold = trouble.short
		}
		if hold == 0 {
			continue
		}
		m := r.measure(fmt.Sprintf("%s, %v", trouble.name, hold))
		logged := len(r.server.Log())
		answers := r.fleet.answers.Load()
		r.judge.troubleBegins()
		trouble.begin(r)
		r.memory.follow()
		pass(hold)
		answered := r.fleet.answers.Load() - answers
		ended := wall()
		trouble.end(r)
		r.memory.follow()
		r.judge.troubleEnds()
		recovered := r.awaitFresh(trouble.name, ended)
		if !*quick {
			r.awaitWhole(trouble.name, ended)
		}
		m.done(t, recovered)

		said := string(r.server.Log()[logged:])
		if !strings.Contains(said, trouble.said) {
			t.Errorf("%s: hc-server did not say %q", trouble.name, trouble.said)
		}
		// A tenth of all backends are down, and a fifth answers 503: of the
		// others each UDP server answers once in an interval.
		if least := int64(len(r.fleet.backends)/5*9/10/2) * int64(hold/time.Second); trouble.probing && answered < least {
			t.Errorf("%s: %d probes in %v, want at least %d", trouble.name, answered, hold, least)
		}
		if t.Failed() {
			return // what follows would suffer from it
		}
	}
	r.awaitWhole("after all troubles", wall())
}

// TestFewFiles has 1,000 checks a second under `ulimit -n 64`.
func TestFewFiles(t *testing.T) {
	const hold = 30 * time.Second
	if *quick {
		t.Skip("not in a quick run")
	}
	r := startRig(t, options{checks: 1000, interval: time.Second, flippers: 100, hold: 2 * time.Second, files: 64})
	m := r.measure(fmt.Sprintf("ulimit -n 64, %v", hold))
	pass(hold)
	r.awaitSettled("ulimit -n 64", wall())
	m.done(t)
}

// TestLoopbackDown takes the loopback interface down. The kernel keeps its routes
// and drops every packet without a word; hc-server has to look at the interface.
func TestLoopbackDown(t *testing.T) {
	hold := 8 * time.Second
	if *quick {
		hold = 4 * time.Second
	}
	r := startRig(t, options{checks: 1000, interval: time.Second, flippers: 20, hold: 2 * time.Second})
	m := r.measure(fmt.Sprintf("loopback down, %v", hold))
	r.judge.still(true) // nobody could begin to listen
	r.awaitSettled("before the loopback is down", wall())
	r.judge.troubleBegins()
	run(t, "ip", "link", "set", "lo", "down")
	pass(hold)
	ended := wall()
	run(t, "ip", "link", "set", "lo", "up")
	r.judge.troubleEnds()
	recovered := r.awaitFresh("loopback down", ended)
	r.judge.still(false)
	r.awaitTold("loopback down", ended)
	r.awaitSettled("loopback down", wall())
	m.done(t, recovered)
}

// TestCutOff takes every way to the backends away for longer than their checks are
// held: all must be told unhealthy, none of them sooner, and be back at once.
func TestCutOff(t *testing.T) {
	cuts := []struct {
		name       string
		begin, end func()
		// found is how long a probe that was under way may take to find out.
		found time.Duration
		slow  bool
	}{
		{"no route for longer than held", func() { route(t, "del") }, func() { route(t, "add") }, longestTimeout, false},
		{"loopback down for longer than held", func() { run(t, "ip", "link", "set", "lo", "down") },
			func() { run(t, "ip", "link", "set", "lo", "up") }, longestTimeout, true},
	}
	r := startRig(t, options{checks: 1000, interval: time.Second, flippers: 20, hold: 2 * time.Second})
	for _, cut := range cuts {
		if *quick && cut.slow {
			continue
		}
		m := r.measure(cut.name)
		r.judge.still(true) // nobody could begin to listen
		r.awaitSettled("before "+cut.name, wall())
		r.judge.troubleBegins()
		r.judge.cutBegins()
		began := wall()
		cut.begin()
		eventually(t, wholeLimit, cut.name+": every backend is unhealthy", r.judge.withdrawn)
		if took := time.Since(began); took > holdUnreachable+2*cut.found+5*time.Second {
			t.Errorf("%s: the last backend is withdrawn after %v", cut.name, took)
		}
		ended := wall()
		cut.end()
		r.judge.cutOver()
		r.judge.troubleEnds()
		recovered := r.awaitFresh(cut.name, ended)
		r.judge.still(false)
		r.awaitTold(cut.name, ended)
		r.awaitSettled(cut.name, wall())
		m.done(t, recovered)
		if said := string(r.server.Log()); !strings.Contains(said, "label=\"path_down\"") {
			t.Errorf("%s: hc-server did not say path_down", cut.name)
		}
	}
}

// longestTimeout is that of the slowest kind of check, a second apart.
const longestTimeout = 5 * time.Second

// awaitFresh waits until the engine heard of a probe that began after a moment.
func (r *rig) awaitFresh(what string, since time.Time) time.Duration {
	r.t.Helper()
	eventually(r.t, wholeLimit, what+": a word about a new probe", func() bool { return r.judge.freshest().After(since) })
	return time.Since(since)
}

// replaceEngine ends the engine and starts another on its socket, with new ids.
func (r *rig) replaceEngine(name string, args ...string) {
	r.t.Helper()
	r.engine.Kill()
	r.newIDs()
	r.engine = r.startEngine(name, args...)
}

// route takes the route to the backends away or gives it back.
func route(t *testing.T, verb string) {
	t.Helper()
	run(t, "ip", "route", verb, "local", "127.0.0.0/8", "dev", "lo", "table", "local", "proto", "kernel", "scope", "host", "src", "127.0.0.1")
}

func (r *rig) fillDisk() {
	r.t.Helper()
	file, err := os.Create(r.path("state/ballast"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer file.Close()
	var block [4096]byte
	for range 2 * stateSize / len(block) {
		if _, err = file.Write(block[:]); err != nil {
			return
		}
	}
	r.t.Fatal("the disk for snapshots does not fill up")
}

func (r *rig) clearDisk() {
	r.t.Helper()
	if err := os.Remove(r.path("state/ballast")); err != nil {
		r.t.Error(err)
	}
}
