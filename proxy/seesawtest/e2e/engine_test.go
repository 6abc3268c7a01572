package e2e

import (
	"net/rpc"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/google/seesaw/common/ipc"
	"github.com/google/seesaw/common/seesaw"
	"github.com/hc-server/hc/proxy/seesawtest/ncc"
)

// startLimit is the longest time from the engine's start until every healthy
// backend is in the table.
const startLimit = 5 * time.Second

// TestRealEngine: the engine puts 200 backends into service within three
// seconds, takes them out when they die and back when they return, and its own
// tools say the same.
func TestRealEngine(t *testing.T) {
	dir := logDir(t)
	s := startSite(t, dir)
	w := newChain(t, dir, s.cluster)
	// The engine last: it finds a healthchecker that has waited for it.
	socket := filepath.Join(filepath.Dir(w.engineSocket), "metrics.sock")
	w.startPair("-metrics", socket)
	w.startEngine()
	all := s.cluster.entries()
	w.awaitPresent(all, w.engine.StartedAt(), startLimit, "start")
	proxyMetricsAreGood(t, socket)
	w.agreeWithTools(s, nil)

	httpA, mixedA, dual, single := s.cluster.named("http-a"), s.cluster.named("mixed-a"), s.cluster.named("dual"), s.cluster.named("single")
	onA := append(httpA.entries(), mixedA.entries()...)

	// An nginx dies: what lives on it leaves, over TCP and HTTP, and nothing else.
	mark := w.table.Mark()
	death := time.Now()
	s.a.Kill()
	w.awaitLeave(mixedA, mixedA.entries(), death)
	w.awaitLeave(httpA, httpA.entries(), death)
	w.agreeWithTools(s, onA)
	s.a.Start()
	life := time.Now()
	w.awaitPresent(mixedA.entries(), life, mixedA.returnLimit(), "mixed-a returns")
	w.awaitPresent(httpA.entries(), life, httpA.returnLimit(), "http-a returns")

	// An nginx stops answering but its port still accepts: HTTP checks run into
	// their timeout, and a TCP check that passes does not save the backend.
	death = time.Now()
	s.a.Signal(syscall.SIGSTOP)
	w.awaitLeave(mixedA, mixedA.entries(), death)
	w.awaitLeave(httpA, httpA.entries(), death)
	life = time.Now()
	s.a.Signal(syscall.SIGCONT)
	w.awaitPresent(mixedA.entries(), life, mixedA.returnLimit(), "mixed-a returns")
	w.awaitPresent(httpA.entries(), life, httpA.returnLimit(), "http-a returns")
	w.failOnOthers(mark, onA, "nginx A")

	// Both families of a backend.
	mark = w.table.Mark()
	death = time.Now()
	s.b.Kill()
	w.awaitLeave(dual, dual.entries(), death)
	s.b.Start()
	life = time.Now()
	w.awaitPresent(dual.entries(), life, dual.returnLimit(), "dual returns")
	w.failOnOthers(mark, dual.entries(), "nginx B")

	// Single backends, two at once.
	for i := 0; i < 6; i += 2 {
		pair := []ncc.Entry{s.singleEntry(i), s.singleEntry(i + 1)}
		mark = w.table.Mark()
		death = time.Now()
		s.single[i].down()
		s.single[i+1].down()
		w.awaitLeave(single, pair, death)
		life = time.Now()
		s.single[i].up()
		s.single[i+1].up()
		w.awaitPresent(pair, life, single.returnLimit(), "single returns")
		w.failOnOthers(mark, pair, "single")
	}
	w.agreeWithTools(s, nil)
}

// failOnOthers fails the test if since the mark a destination other than the
// given ones entered or left the table.
func (w *chain) failOnOthers(mark int, changed []ncc.Entry, what string) {
	w.t.Helper()
	allowed := make(map[ncc.Entry]bool)
	for _, e := range changed {
		allowed[e] = true
	}
	for _, event := range w.table.Events(mark) {
		if event.Destination.IsValid() && event.Service.Mark == 0 && !allowed[event.Entry()] {
			w.t.Errorf("%s: %s of %v, which did not change", what, event.Op, event.Entry())
		}
	}
}

// toolsLimit is how long the engine's own view may lag: it takes a snapshot
// every 15 s.
const toolsLimit = 35 * time.Second

// agreeWithTools waits until the engine's Vservers call and seesaw_cli show all
// destinations healthy and active but the given ones.
func (w *chain) agreeWithTools(s *site, down []ncc.Entry) {
	w.t.Helper()
	want := make(map[string]bool)
	for name := range s.names() {
		want[name] = true
	}
	isDown := make(map[ncc.Entry]bool)
	for _, e := range down {
		isDown[e] = true
	}
	for name, e := range s.names() {
		want[name] = !isDown[e]
	}
	var differ string
	agree := func(what string, got func() map[string]bool) {
		w.t.Helper()
		start := time.Now()
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			seen := got()
			if differ = difference(want, seen); differ == "" {
				w.t.Logf("%s agrees after %v", what, time.Since(start).Round(time.Millisecond))
				return
			}
			if time.Since(start) > toolsLimit {
				w.t.Fatalf("%s still differs after %v: %s", what, toolsLimit, differ)
			}
			<-tick.C
		}
	}
	agree("SeesawEngine.Vservers", w.engineView)
	agree("seesaw_cli", w.cliView)
}

// engineView asks the engine which destinations are healthy and active.
func (w *chain) engineView() map[string]bool {
	w.t.Helper()
	client, err := rpc.Dial("unix", w.engineSocket)
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close()
	var reply seesaw.VserverMap
	if err := client.Call("SeesawEngine.Vservers", ipc.NewTrustedContext(seesaw.SCLocalCLI), &reply); err != nil {
		w.t.Fatal(err)
	}
	out := make(map[string]bool)
	for _, v := range reply.Vservers {
		for _, service := range v.Services {
			for _, d := range service.Destinations {
				out[d.Name] = d.Enabled && d.Healthy && d.Active
			}
		}
	}
	return out
}

var cliLine = regexp.MustCompile(`(?m)^\s*\[\s*\d+\] (\S+) \(([^)]*)\)$`)

// cliView reads the same from seesaw_cli. Before the first snapshot the command
// fails, for there is nothing to show.
func (w *chain) cliView() map[string]bool {
	w.t.Helper()
	cmd := exec.Command(program(w.t, "seesaw_cli"), "-engine", w.engineSocket, "-c", "show destinations")
	text, err := cmd.CombinedOutput()
	if err != nil {
		return nil
	}
	out := make(map[string]bool)
	for _, match := range cliLine.FindAllStringSubmatch(string(text), -1) {
		out[match[1]] = match[2] == "enabled, healthy, active"
	}
	return out
}

// difference names one destination of which the two do not say the same.
func difference(want, got map[string]bool) string {
	word := map[bool]string{true: "up", false: "down"}
	for name, up := range want {
		shown, ok := got[name]
		switch {
		case !ok:
			return name + " is not shown"
		case shown != up:
			return name + " is " + word[up] + " and is shown " + word[shown]
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			return name + " is shown and does not exist"
		}
	}
	return ""
}
