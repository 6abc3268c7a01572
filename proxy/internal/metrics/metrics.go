// Package metrics counts what hc-proxy does and serves the counts to Prometheus
// (docs/operations.md). Off unless a listener is opened.
package metrics

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

// Metrics is what hc-proxy knows about itself. The zero value is ready to use.
// All methods and fields may be used concurrently.
type Metrics struct {
	// Engine and Server are the two connections.
	Engine, Server Connection
	// Fetches are the calls of SeesawEngine.Healthchecks, Deliveries those of
	// SeesawEngine.HealthState.
	Fetches, Deliveries Calls
	// Checks is how many checks hc-server was told to run, LeftOut how many of
	// the engine's cannot be told at all, Rejected how many hc-server refused.
	Checks, LeftOut, Rejected atomic.Int64
	// FullSets and Deltas are what hc-server was told of the checks.
	FullSets, Deltas atomic.Uint64
	// Batches came from hc-server, with Notifications in them.
	Batches, Notifications atomic.Uint64
	// Kept is how many statuses are kept, Refreshes how many refreshes of
	// hc-server were told to the engine, with ToldAgain statuses in them, and
	// Differing how many were about something else than is kept.
	Kept                            atomic.Int64
	Refreshes, ToldAgain, Differing atomic.Uint64
	// Refused batches and refreshes never reached the engine, by reason.
	Refused [RefusalCount]atomic.Uint64
}

// Refusal is why a batch was not passed on to the engine.
type Refusal int

// The refusals.
const (
	// NoEngine: there is no connection to the engine.
	NoEngine Refusal = iota
	// NoSetYet: the engine is new and has not given its checks.
	NoSetYet
	// OldGeneration: the batch is about checks of an engine before this one.
	OldGeneration
	// Busy: the engine has not answered the batch before.
	Busy
	// RefusalCount is how many there are.
	RefusalCount
)

var refusals = [RefusalCount]string{"no_engine", "no_set_yet", "old_generation", "busy"}

// Connection counts the connections to one peer.
type Connection struct {
	up    atomic.Bool
	total atomic.Uint64
}

// Up is called when a connection stands.
func (c *Connection) Up() {
	c.up.Store(true)
	c.total.Add(1)
}

// Down is called when there is none.
func (c *Connection) Down() { c.up.Store(false) }

// Calls counts the calls of one method.
type Calls struct {
	total, errors atomic.Uint64
	// succeeded is the time of the last success in nanoseconds since 1970.
	succeeded atomic.Int64
}

// Ended is called when a call was answered, or was given up.
func (c *Calls) Ended(now time.Time, err error) {
	c.total.Add(1)
	if err != nil {
		c.errors.Add(1)
		return
	}
	c.succeeded.Store(now.UnixNano())
}

// page writes metrics in Prometheus' text format, version 0.0.4.
type page struct{ bytes.Buffer }

func (p *page) describe(name, kind, help string) {
	fmt.Fprintf(p, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (p *page) single(name, kind, help string, value int64) {
	p.describe(name, kind, help)
	fmt.Fprintf(p, "%s %d\n", name, value)
}

// labelled writes one value of each label, in the order given.
func labelled[T any](p *page, name, kind, help, label string, labels []string, values []T) {
	p.describe(name, kind, help)
	for i, value := range values {
		fmt.Fprintf(p, "%s{%s=%q} %v\n", name, label, labels[i], value)
	}
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Text is the page that Prometheus reads.
func (m *Metrics) Text(version string) []byte {
	p := new(page)
	p.describe("hc_proxy_build_info", "gauge", "Always 1; the labels say what runs.")
	fmt.Fprintf(p, "hc_proxy_build_info{version=%q,go_version=%q} 1\n", version, runtime.Version())

	peers := []string{"engine", "hc-server"}
	labelled(p, "hc_proxy_connected", "gauge", "Whether the peer is connected.", "peer", peers,
		[]int64{number(m.Engine.up.Load()), number(m.Server.up.Load())})
	labelled(p, "hc_proxy_connections_total", "counter", "Connections made to the peer.", "peer", peers,
		[]uint64{m.Engine.total.Load(), m.Server.total.Load()})

	methods := []string{"Healthchecks", "HealthState"}
	labelled(p, "hc_proxy_engine_calls_total", "counter", "Calls to the engine that ended, with or without success.", "method", methods,
		[]uint64{m.Fetches.total.Load(), m.Deliveries.total.Load()})
	labelled(p, "hc_proxy_engine_call_errors_total", "counter", "Calls to the engine that failed.", "method", methods,
		[]uint64{m.Fetches.errors.Load(), m.Deliveries.errors.Load()})
	m.successes(p, methods)

	p.single("hc_proxy_checks", "gauge", "Checks in the set for hc-server.", m.Checks.Load())
	p.single("hc_proxy_checks_left_out", "gauge", "Checks of the engine that the protocol cannot say; the log names them.", m.LeftOut.Load())
	p.single("hc_proxy_checks_rejected", "gauge", "Checks that hc-server does not run; the log names them.", m.Rejected.Load())
	labelled(p, "hc_proxy_sets_sent_total", "counter", "Sets of checks sent to hc-server.", "kind", []string{"full", "delta"},
		[]uint64{m.FullSets.Load(), m.Deltas.Load()})

	p.single("hc_proxy_batches_total", "counter", "Batches of notifications from hc-server.", int64(m.Batches.Load()))
	p.single("hc_proxy_notifications_total", "counter", "Notifications in these batches.", int64(m.Notifications.Load()))
	p.single("hc_proxy_kept", "gauge", "Statuses that are kept here, for the engine to be told again.", m.Kept.Load())
	p.single("hc_proxy_refreshes_total", "counter", "Refreshes from hc-server after which kept statuses were told again.", int64(m.Refreshes.Load()))
	p.single("hc_proxy_told_again_total", "counter", "Kept statuses that the engine was told again.", int64(m.ToldAgain.Load()))
	p.single("hc_proxy_refreshes_differing_total", "counter",
		"Refreshes about something else than was kept, after which hc-server tells it anew; should stay small.", int64(m.Differing.Load()))
	refused := make([]uint64, RefusalCount)
	for i := range refused {
		refused[i] = m.Refused[i].Load()
	}
	labelled(p, "hc_proxy_batches_refused_total", "counter",
		"Batches and refreshes not passed on to the engine; hc-server sends them again.", "reason", refusals[:], refused)
	return p.Bytes()
}

// successes leaves out what has not happened: an instant of 0 would read as
// "more than fifty years ago".
func (m *Metrics) successes(p *page, methods []string) {
	const name = "hc_proxy_engine_call_last_success_timestamp_seconds"
	described := false
	for i, calls := range []*Calls{&m.Fetches, &m.Deliveries} {
		nanos := calls.succeeded.Load()
		if nanos == 0 {
			continue
		}
		if !described {
			p.describe(name, "gauge", "When the last successful call to the engine ended, in seconds since 1970.")
			described = true
		}
		seconds := strconv.FormatFloat(float64(nanos)/1e9, 'f', 3, 64)
		fmt.Fprintf(p, "%s{method=%q} %s\n", name, methods[i], seconds)
	}
}
