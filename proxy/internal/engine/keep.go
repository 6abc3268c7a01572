package engine

import (
	"context"
	"time"

	"github.com/hc-server/hc/proxy/internal/backoff"
)

// Event is what [Keep] reports: a connection that stands, or, if Conn is nil,
// that there is none and why.
type Event struct {
	Conn *Conn
	Err  error
}

// Keep holds one connection to the engine until the context ends, and reports
// each connection, its end, and each failed dial.
//
// Pauses grow from 100 ms: to 500 ms while nobody listens, since asking costs
// next to nothing and a new engine waits for us; to 2 s while the engine takes
// connections and drops them before it has answered a call.
//
// Keep waits until each event is taken.
func Keep(ctx context.Context, socket string, timeout time.Duration, events chan<- Event) {
	absent := backoff.Backoff{Min: 100 * time.Millisecond, Max: 500 * time.Millisecond}
	broken := backoff.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second}
	for epoch := uint64(1); ctx.Err() == nil; epoch++ {
		conn, err := Dial(ctx, socket, timeout)
		pause := &absent
		if err == nil {
			absent.Reset()
			pause = &broken
			conn.Epoch = epoch
			if send(ctx, events, Event{Conn: conn}) {
				<-conn.Lost()
			} else {
				conn.Close()
			}
			if conn.Answered() {
				broken.Reset()
			}
			err = conn.Reason()
		}
		if !send(ctx, events, Event{Err: err}) || !pause.Wait(ctx) {
			return
		}
	}
}

func send(ctx context.Context, events chan<- Event, event Event) bool {
	select {
	case events <- event:
		return true
	case <-ctx.Done():
		return false
	}
}
