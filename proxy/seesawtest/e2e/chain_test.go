package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/seesawtest/ncc"
	"github.com/hc-server/hc/proxy/seesawtest/supervise"
)

// chain is a load balancer without a kernel: the real engine, the NCC stub that
// holds its table, and a healthchecker, ours or Seesaw's.
type chain struct {
	t       *testing.T
	cluster cluster
	table   *ncc.Table

	dir          string
	engineSocket string
	engineSpec   supervise.Spec
	engine       *supervise.Process
	proxy        *supervise.Process // ours only
	server       *supervise.Process // ours only
}

// newChain starts the stub. Start a healthchecker and the engine yourself, in
// the order that the test is about.
func newChain(t *testing.T, dir string, c cluster) *chain {
	t.Helper()
	w := newChainOn(t, dir, func(dir string) (config, clusterPB string) { return c.write(t, dir) })
	w.cluster = c
	return w
}

// newChainOn is the same with any files for the engine.
func newChainOn(t *testing.T, dir string, write func(dir string) (config, clusterPB string)) *chain {
	t.Helper()
	sockets := socketDir(t)
	nccSocket := filepath.Join(sockets, "ncc.sock")
	w := &chain{
		t:            t,
		table:        ncc.NewTable(nil),
		dir:          dir,
		engineSocket: filepath.Join(sockets, "engine.sock"),
	}
	stub, err := ncc.Serve(nccSocket, w.table)
	if err != nil {
		t.Fatal(err)
	}
	// Runs after the engine's own clean-up, which was registered later.
	t.Cleanup(func() {
		if err := stub.Close(); err != nil {
			t.Error(err)
		}
		w.failOnAnomalies()
	})
	config, clusterPB := write(dir)
	w.engineSpec = supervise.Spec{
		Name: "seesaw_engine",
		Path: program(t, "seesaw_engine"),
		Args: []string{
			"-logtostderr", "-conf", config, "-cluster", clusterPB,
			"-ncc_socket", nccSocket, "-socket", w.engineSocket,
		},
	}
	return w
}

func (w *chain) startEngine() {
	w.t.Helper()
	w.engine = supervise.Start(w.t, w.dir, w.engineSpec)
}

// startPair starts hc-server and hc-proxy, with further arguments of hc-proxy.
func (w *chain) startPair(proxyArgs ...string) {
	w.t.Helper()
	w.server, w.proxy = startPair(w.t, w.dir, w.engineSocket, pairOptions{proxyArgs: proxyArgs})
}

// startSeesaw starts Seesaw's own healthchecker in place of the pair. It fetches
// every second, since it may find the engine without its checks at first.
func (w *chain) startSeesaw() {
	w.t.Helper()
	supervise.Start(w.t, w.dir, supervise.Spec{
		Name: "seesaw_healthcheck",
		Path: program(w.t, "seesaw_healthcheck"),
		Args: []string{"-logtostderr", "-engine", w.engineSocket, "-fetch_interval", "1s"},
	})
}

// pairOptions add to how the pair is started.
type pairOptions struct {
	serverIn  namespace
	serverEnv []string
	proxyArgs []string
}

// startPair starts hc-server and then hc-proxy against the engine's socket.
func startPair(t *testing.T, dir, engineSocket string, options pairOptions) (server, proxy *supervise.Process) {
	t.Helper()
	socket := filepath.Join(filepath.Dir(engineSocket), "proxy.sock")
	spec := supervise.Server(t, socket, t.TempDir())
	spec.Env = options.serverEnv
	server = supervise.Start(t, dir, options.serverIn.spec(spec))
	proxy = supervise.Start(t, dir, supervise.Proxy(t, engineSocket, socket, options.proxyArgs...))
	return server, proxy
}

// awaitPresent waits until all entries are in the table and fails the test if
// that is later than start + limit. It waits longer than that, since by how much
// a limit was missed is worth knowing.
func (w *chain) awaitPresent(entries []ncc.Entry, start time.Time, limit time.Duration, what string) {
	w.t.Helper()
	w.await(entries, ncc.OpAddDestination, w.table.Missing, start, limit, what)
}

// awaitAbsent is the same for entries that must leave the table.
func (w *chain) awaitAbsent(entries []ncc.Entry, start time.Time, limit time.Duration, what string) {
	w.t.Helper()
	w.await(entries, ncc.OpDeleteDestination, w.table.Present, start, limit, what)
}

// awaitLeave waits until the entries of the vserver have left the table after the
// death of their backends, neither too late nor before the retries were used.
func (w *chain) awaitLeave(v vserver, entries []ncc.Entry, death time.Time) {
	w.t.Helper()
	w.awaitAbsent(entries, death, v.leaveLimit(), v.name+" leaves")
	// Probes are due at a fixed rate, but each starts a little late by chance.
	const jitter = 150 * time.Millisecond
	for entry, at := range w.lastTimes(ncc.OpDeleteDestination) {
		if after := at.Sub(death); after < v.earliestLeave()-jitter && slices.Contains(entries, entry) {
			w.t.Errorf("%s: %v left after %v, before its %d retries", v.name, entry, after, v.retries)
		}
	}
}

const patience = 10 * time.Second

func (w *chain) await(entries []ncc.Entry, op ncc.Op, pending func([]ncc.Entry) []ncc.Entry, start time.Time, limit time.Duration, what string) {
	w.t.Helper()
	ctx, cancel := context.WithDeadline(context.Background(), start.Add(limit+patience))
	defer cancel()
	if err := w.table.Wait(ctx, func() bool { return len(pending(entries)) == 0 }); err != nil {
		w.t.Fatalf("%s: %s still pending %v after the limit of %v", what, some(pending(entries), len(entries)), patience, limit)
	}
	// The table's own times, so that a slow test is not a slow chain.
	last := start
	for entry, at := range w.lastTimes(op) {
		if slices.Contains(entries, entry) && at.After(last) {
			last = at
		}
	}
	took := last.Sub(start)
	if took > limit {
		w.t.Errorf("%s: took %v, limit %v", what, took, limit)
	}
	w.t.Logf("%s: %d in %v (limit %v)", what, len(entries), took.Round(time.Millisecond), limit)
}

// lastTimes is when each entry last saw the change.
func (w *chain) lastTimes(op ncc.Op) map[ncc.Entry]time.Time {
	times := make(map[ncc.Entry]time.Time)
	for _, event := range w.table.Events(0) {
		if event.Op == op {
			times[event.Entry()] = event.Time
		}
	}
	return times
}

// failOnDeletes fails the test if anything but the excused entries was taken out
// of the table since the mark. The engine's own services for marked checks do
// not count.
func (w *chain) failOnDeletes(mark int, excused []ncc.Entry, what string) {
	w.t.Helper()
	var lost []ncc.Entry
	for _, event := range w.table.Events(mark) {
		if event.Service.Mark != 0 {
			continue
		}
		switch event.Op {
		case ncc.OpDeleteDestination:
			if !slices.Contains(excused, event.Entry()) {
				lost = append(lost, event.Entry())
			}
		case ncc.OpDeleteService:
			w.t.Errorf("%s: service %v was deleted", what, event.Service)
		}
	}
	if len(lost) > 0 {
		w.t.Errorf("%s: healthy destinations were deleted: %s", what, some(lost, len(lost)))
	}
}

// failOnAnomalies fails the test if the engine did what a kernel refuses: then
// the stub, and not the chain, would be wrong.
func (w *chain) failOnAnomalies() {
	for _, event := range w.table.Events(0) {
		if event.Anomaly != "" {
			w.t.Errorf("the engine did %s %v: %s", event.Op, event.Entry(), event.Anomaly)
		}
	}
}

func some(entries []ncc.Entry, of int) string {
	const shown = 5
	text := fmt.Sprintf("%d of %d", len(entries), of)
	for i, e := range entries {
		if i == shown {
			return text + " …"
		}
		text += " " + e.String()
	}
	return text
}
