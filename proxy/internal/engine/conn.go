// Package engine is the client of the Seesaw Engine: net/rpc with gob over a
// Unix socket (seesaw: engine/ipc.go, healthcheck/core.go).
//
// Seesaw dials anew for each call. Here one connection is kept, because its end
// is how a restart of the engine is noticed at once; the engine serves any
// number of calls on it.
package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hc-server/hc/proxy/internal/seesaw"
)

// Timeout is Seesaw's, for the dial and for each whole call.
const Timeout = 10 * time.Second

// BuildTime is how long after its start an engine may have no map of checks, or
// some of them only: it builds its vservers one after the other (seesaw:
// engine/core.go, engine/vserver.go).
const BuildTime = 10 * time.Second

// Conn is one connection to one engine process. Its methods may be called
// concurrently: the calls share the connection and do not wait for each other's
// answers.
type Conn struct {
	// Epoch numbers the connections of one [Keep], from 1. What was learned on
	// one says nothing about the engine behind the next.
	Epoch uint64

	conn     net.Conn
	client   *rpc.Client
	caller   *seesaw.Context
	timeout  time.Duration
	answered atomic.Bool
	lostOnce sync.Once
	lost     chan struct{}
	reason   error
}

// Dial connects. The connection closes when the context ends, which also ends
// calls in flight.
func Dial(ctx context.Context, socket string, timeout time.Duration) (*Conn, error) {
	dialer := net.Dialer{Timeout: timeout}
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	c := &Conn{conn: conn, caller: seesaw.NewContext(), timeout: timeout, lost: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { c.lose(context.Cause(ctx)) })
	c.client = rpc.NewClientWithCodec(newCodec(conn, func(err error) {
		stop()
		c.lose(err)
	}))
	return c, nil
}

// lose closes the connection for good, the first reason counts.
func (c *Conn) lose(reason error) {
	c.lostOnce.Do(func() {
		c.reason = reason
		c.conn.Close()
		close(c.lost)
	})
}

// Lost is closed when the connection has ended, whether or not it was in use.
func (c *Conn) Lost() <-chan struct{} { return c.lost }

// Reason is why the connection ended. Only valid once Lost is closed.
func (c *Conn) Reason() error { return c.reason }

// Answered reports whether any call has been answered.
func (c *Conn) Answered() bool { return c.answered.Load() }

// Close ends the connection and the calls in flight.
func (c *Conn) Close() { c.lose(net.ErrClosed) }

// Healthchecks fetches the engine's checks. Configs is nil if the engine has no
// map of checks at all, which a young engine has not, and empty if it has none
// in it.
//
// If the engine answers with an error, that is the error, its text cut after
// 1 KiB, and the connection stays. Every other error ends the connection; an
// answer of more than [MaxAnswer] is one.
func (c *Conn) Healthchecks() (*seesaw.Checks, error) {
	// Not reused: after a timeout net/rpc may still write into it.
	checks := new(seesaw.Checks)
	if err := c.call(seesaw.MethodHealthchecks, c.caller, checks); err != nil {
		return nil, err
	}
	return checks, nil
}

// HealthState tells the engine the state of checks. It returns once the engine
// has taken them; errors are as in Healthchecks.
func (c *Conn) HealthState(notifications []*seesaw.Notification) error {
	state := &seesaw.HealthState{Ctx: c.caller, Notifications: notifications}
	return c.call(seesaw.MethodHealthState, state, new(int))
}

// Vservers asks for the engine's own view of its destinations; errors are as in
// Healthchecks.
func (c *Conn) Vservers() (*seesaw.VserverMap, error) {
	// The map is made here, so that gob does not make one as large as the answer
	// says it is.
	vservers := &seesaw.VserverMap{Vservers: make(map[string]*seesaw.Vserver)}
	if err := c.call(seesaw.MethodVservers, c.caller, vservers); err != nil {
		return nil, err
	}
	return vservers, nil
}

// call bounds the write by the deadline of the connection, since net/rpc writes
// before it returns, and the whole by a timer.
func (c *Conn) call(method string, args, reply any) error {
	timer := time.NewTimer(c.timeout)
	defer timer.Stop()
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		c.lose(err)
		return fmt.Errorf("%s: %w", method, c.reason)
	}
	call := c.client.Go(method, args, reply, make(chan *rpc.Call, 1))
	var err error
	select {
	case <-call.Done:
		err = call.Error
	case <-timer.C:
		err = fmt.Errorf("no answer within %v", c.timeout)
	}
	var answer rpc.ServerError
	if err == nil || errors.As(err, &answer) {
		c.answered.Store(true)
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", method, err)
	}
	c.lose(err)
	return fmt.Errorf("%s: %w", method, err)
}
