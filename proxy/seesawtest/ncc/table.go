// Package ncc stands in for Seesaw's network control component. The real one
// programs the kernel's IPVS table; this one keeps the table in memory with
// the time of every change, so that a test sees when the real engine took a
// backend into service and when it took it out.
package ncc

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Op names a change of the table.
type Op string

// The changes that a Table records.
const (
	OpFlush             Op = "flush"
	OpAddService        Op = "add_service"
	OpUpdateService     Op = "update_service"
	OpDeleteService     Op = "delete_service"
	OpAddDestination    Op = "add_destination"
	OpUpdateDestination Op = "update_destination"
	OpDeleteDestination Op = "delete_destination"
)

// Service names an IPVS service. A service with a Mark is the engine's own, for
// DSR and TUN checks; it has no protocol and no port.
type Service struct {
	Address  netip.Addr `json:"address"`
	Protocol uint16     `json:"protocol,omitempty"`
	Port     uint16     `json:"port,omitempty"`
	Mark     uint32     `json:"mark,omitempty"`
}

// String returns the service as operators write it.
func (s Service) String() string {
	if s.Mark != 0 {
		return fmt.Sprintf("mark %d", s.Mark)
	}
	return fmt.Sprintf("%d/%s", s.Protocol, netip.AddrPortFrom(s.Address, s.Port))
}

// Entry names a destination of a service.
type Entry struct {
	Service     Service        `json:"service"`
	Destination netip.AddrPort `json:"destination"`
}

// String returns "service -> destination".
func (e Entry) String() string { return e.Service.String() + " -> " + e.Destination.String() }

// Event is one change of the table. Destination is the zero value for changes
// of a whole service and for a flush, Service too for a flush.
type Event struct {
	Seq         int            `json:"seq"`
	Time        time.Time      `json:"time"`
	Op          Op             `json:"op"`
	Service     Service        `json:"service"`
	Destination netip.AddrPort `json:"destination"`
	// Anomaly says what a kernel would have refused, such as a delete of what
	// is not there. The stub carries on: an error would end the engine.
	Anomaly string `json:"anomaly,omitempty"`
}

// Entry returns the destination that the event is about.
func (e Event) Entry() Entry { return Entry{e.Service, e.Destination} }

// Table is an IPVS table in memory. It is safe for concurrent use.
type Table struct {
	mu       sync.Mutex
	services map[Service]map[netip.AddrPort]bool
	events   []Event
	changed  chan struct{} // closed and replaced at every change
	observer func(Event)
}

// NewTable returns an empty table. If observer is not nil it is called for every
// event, in order, while the table is locked: it must not call the table.
func NewTable(observer func(Event)) *Table {
	return &Table{
		services: make(map[Service]map[netip.AddrPort]bool),
		changed:  make(chan struct{}),
		observer: observer,
	}
}

// Flush empties the table.
func (t *Table) Flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.services)
	t.record(OpFlush, Entry{}, "")
}

// AddService adds a service together with its first destinations.
func (t *Table) AddService(svc Service, destinations ...netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	anomaly := ""
	if _, ok := t.services[svc]; ok {
		anomaly = "service exists"
	} else {
		t.services[svc] = make(map[netip.AddrPort]bool)
	}
	t.record(OpAddService, Entry{Service: svc}, anomaly)
	for _, dst := range destinations {
		t.addDestination(Entry{svc, dst})
	}
}

// UpdateService records a change of a service's settings, which the table does
// not keep.
func (t *Table) UpdateService(svc Service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.record(OpUpdateService, Entry{Service: svc}, t.serviceMissing(svc))
}

// DeleteService removes a service and what destinations it still has.
func (t *Table) DeleteService(svc Service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	anomaly := t.serviceMissing(svc)
	delete(t.services, svc)
	t.record(OpDeleteService, Entry{Service: svc}, anomaly)
}

// AddDestination adds a destination to a service.
func (t *Table) AddDestination(e Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addDestination(e)
}

// UpdateDestination records a change of a destination's settings, which the
// table does not keep.
func (t *Table) UpdateDestination(e Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.record(OpUpdateDestination, e, t.destinationMissing(e))
}

// DeleteDestination removes a destination from a service.
func (t *Table) DeleteDestination(e Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	anomaly := t.destinationMissing(e)
	delete(t.services[e.Service], e.Destination)
	t.record(OpDeleteDestination, e, anomaly)
}

// Has reports whether the destination is in the table.
func (t *Table) Has(e Entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.services[e.Service][e.Destination]
}

// Services returns the services of the table and the destinations of each.
func (t *Table) Services() map[Service][]netip.AddrPort {
	t.mu.Lock()
	defer t.mu.Unlock()
	services := make(map[Service][]netip.AddrPort, len(t.services))
	for svc, destinations := range t.services {
		list := make([]netip.AddrPort, 0, len(destinations))
		for dst := range destinations {
			list = append(list, dst)
		}
		services[svc] = list
	}
	return services
}

// Missing returns those of want that are not in the table.
func (t *Table) Missing(want []Entry) []Entry { return t.filter(want, false) }

// Present returns those of entries that are in the table.
func (t *Table) Present(entries []Entry) []Entry { return t.filter(entries, true) }

// Events returns a copy of the events from the given sequence number on; the
// first event has number 0.
func (t *Table) Events(from int) []Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	if from >= len(t.events) {
		return nil
	}
	return append([]Event(nil), t.events[from:]...)
}

// Mark returns the sequence number that the next event will have.
func (t *Table) Mark() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.events)
}

// Wait returns nil as soon as condition holds. It asks at once and after every
// change of the table, without the table being locked. It returns the context's
// error if the context ends first.
func (t *Table) Wait(ctx context.Context, condition func() bool) error {
	for {
		t.mu.Lock()
		changed := t.changed
		t.mu.Unlock()
		// The channel was taken first, so a change during the question is not
		// missed.
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *Table) filter(entries []Entry, present bool) []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Entry
	for _, e := range entries {
		if t.services[e.Service][e.Destination] == present {
			out = append(out, e)
		}
	}
	return out
}

func (t *Table) addDestination(e Entry) {
	anomaly := t.serviceMissing(e.Service)
	destinations := t.services[e.Service]
	switch {
	case destinations == nil:
		destinations = make(map[netip.AddrPort]bool)
		t.services[e.Service] = destinations
	case destinations[e.Destination]:
		anomaly = "destination exists"
	}
	destinations[e.Destination] = true
	t.record(OpAddDestination, e, anomaly)
}

func (t *Table) serviceMissing(svc Service) string {
	if _, ok := t.services[svc]; !ok {
		return "no such service"
	}
	return ""
}

func (t *Table) destinationMissing(e Entry) string {
	if !t.services[e.Service][e.Destination] {
		return "no such destination"
	}
	return ""
}

func (t *Table) record(op Op, e Entry, anomaly string) {
	event := Event{
		Seq:         len(t.events),
		Time:        time.Now(),
		Op:          op,
		Service:     e.Service,
		Destination: e.Destination,
		Anomaly:     anomaly,
	}
	t.events = append(t.events, event)
	close(t.changed)
	t.changed = make(chan struct{})
	if t.observer != nil {
		t.observer(event)
	}
}
