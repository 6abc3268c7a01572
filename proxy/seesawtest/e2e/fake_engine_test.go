package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
	"github.com/hc-server/hc/proxy/seesawtest/supervise"
)

// fakeEngine is the program fake-engine, its file of checks and what it printed.
type fakeEngine struct {
	*supervise.Process
	t      *testing.T
	file   string
	socket string

	mu      sync.Mutex
	events  []engineEvent
	changed chan struct{} // closed and replaced at every event
}

// engineEvent is one line that fake-engine prints.
type engineEvent struct {
	Event   string     `json:"event"`
	Time    time.Time  `json:"time"`
	Checks  int        `json:"checks"`
	ID      uint64     `json:"id"`
	State   wire.State `json:"state"`
	Message wire.Bytes `json:"message"`

	Failures  uint64 `json:"failures"`
	Successes uint64 `json:"successes"`
}

// probes is how many probes of the check had a result.
func (e engineEvent) probes() uint64 { return e.Failures + e.Successes }

func startFakeEngine(t *testing.T, dir string, checks []*wire.Check) *fakeEngine {
	t.Helper()
	e := &fakeEngine{
		t:       t,
		file:    filepath.Join(dir, "checks.json"),
		socket:  filepath.Join(socketDir(t), "engine.sock"),
		changed: make(chan struct{}),
	}
	e.write(checks)
	e.Process = supervise.Start(t, dir, supervise.Spec{
		Name: "fake-engine",
		Path: program(t, "fake-engine"),
		Args: []string{"-socket", e.socket, "-checks", e.file},
		Line: e.line,
	})
	return e
}

// write replaces the file of checks in one step.
func (e *fakeEngine) write(checks []*wire.Check) {
	e.t.Helper()
	encoded := []json.RawMessage{}
	for _, check := range checks {
		object, err := check.Encode()
		if err != nil {
			e.t.Fatal(err)
		}
		encoded = append(encoded, object)
	}
	text, err := json.Marshal(encoded)
	if err != nil {
		e.t.Fatal(err)
	}
	next := e.file + ".next"
	if err := os.WriteFile(next, text, 0o644); err != nil {
		e.t.Fatal(err)
	}
	if err := os.Rename(next, e.file); err != nil {
		e.t.Fatal(err)
	}
}

// line runs outside the test's goroutine.
func (e *fakeEngine) line(data []byte) {
	var event engineEvent
	if err := json.Unmarshal(data, &event); err != nil {
		e.t.Errorf("fake-engine printed %q: %v", data, err)
		return
	}
	if event.Event == "error" {
		e.t.Errorf("fake-engine: %s", event.Message)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, event)
	close(e.changed)
	e.changed = make(chan struct{})
}

// since returns the events from the given number on.
func (e *fakeEngine) since(mark int) []engineEvent {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]engineEvent(nil), e.events[mark:]...)
}

// mark is the number of events so far.
func (e *fakeEngine) mark() int { return len(e.since(0)) }

// latest is the latest notification about each check.
func (e *fakeEngine) latest() map[uint64]engineEvent {
	out := make(map[uint64]engineEvent)
	for _, event := range e.since(0) {
		if event.Event == "notification" {
			out[event.ID] = event
		}
	}
	return out
}

// await asks at once and after every event until the condition holds. It reports
// whether it came to hold within the limit.
func (e *fakeEngine) await(limit time.Duration, condition func() bool) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		if condition() {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		}
	}
}
