package fakeengine

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
)

// Events prints what happens, one JSON object a line.
type Events struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

// NewEvents prints to w. Errors of w are ignored: there is no better place to
// report them.
func NewEvents(w io.Writer) *Events {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return &Events{encoder: encoder}
}

// head is how every line begins. Times are RFC 3339 with nanoseconds, in UTC.
type head struct {
	Event string    `json:"event"`
	Time  time.Time `json:"time"`
}

func (e *Events) print(event string, line func(head) any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.encoder.Encode(line(head{event, time.Now().UTC()}))
}

type count struct {
	head
	Checks int `json:"checks"`
}

// Listening is printed once the socket takes connections.
func (e *Events) Listening(socket string, checks int) {
	e.print("listening", func(h head) any {
		return struct {
			count
			Socket string `json:"socket"`
		}{count{h, checks}, socket}
	})
}

// Fetch is printed for each call of Healthchecks.
func (e *Events) Fetch(checks int) {
	e.print("fetch", func(h head) any { return count{h, checks} })
}

// Checks is printed when the file has been read again.
func (e *Events) Checks(checks int) {
	e.print("checks", func(h head) any { return count{h, checks} })
}

// Notification is printed for each notification of a HealthState.
func (e *Events) Notification(n wire.Notification) {
	e.print("notification", func(h head) any {
		return struct {
			head
			ID        uint64       `json:"id"`
			State     wire.State   `json:"state"`
			LastCheck time.Time    `json:"last_check,omitzero"`
			Duration  wire.Elapsed `json:"duration"`
			Failures  uint64       `json:"failures"`
			Successes uint64       `json:"successes"`
			Message   wire.Bytes   `json:"message"`
		}{h, n.ID, n.Status.State, n.Status.LastCheck, n.Status.Duration, n.Status.Failures, n.Status.Successes, n.Status.Message}
	})
}

// Error is printed when something failed and the engine goes on.
func (e *Events) Error(err error) {
	e.print("error", func(h head) any {
		return struct {
			head
			Message string `json:"message"`
		}{h, err.Error()}
	})
}
