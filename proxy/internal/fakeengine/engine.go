// Package fakeengine is an engine that serves its checks from a file and prints
// what it hears. It answers the same calls as the Seesaw Engine, with the same
// errors (seesaw: engine/ipc.go).
package fakeengine

import (
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/seesaw"
)

// The engine's words (engine/ipc.go).
var (
	errContext = errors.New("context is nil")
	errAccess  = errors.New("insufficient access")
)

// Behavior is how the engine misbehaves, for tests of what stands behind it.
type Behavior struct {
	// Delay comes before each answer to HealthState.
	Delay time.Duration
	// Fail, if not empty, is the error that HealthState answers. The
	// notifications are printed all the same.
	Fail string
	// NilFor is how long after its start the engine has no map of checks, like
	// one that has not built its vservers.
	NilFor time.Duration
}

// Engine serves on one socket until it is closed.
type Engine struct {
	behavior Behavior
	events   *Events
	began    time.Time
	configs  atomic.Pointer[map[uint64]*seesaw.Config]
	listener net.Listener
	tasks    sync.WaitGroup
	closing  chan struct{}

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

// Listen begins to serve. A socket file that nobody listens on is removed first;
// one in use is an error. The checks are as in SetConfigs.
func Listen(socket string, behavior Behavior, configs map[uint64]*seesaw.Config, events *Events) (*Engine, error) {
	if _, err := os.Stat(socket); err == nil {
		conn, err := net.DialTimeout("unix", socket, 5*time.Second)
		if err == nil {
			conn.Close()
			return nil, fmt.Errorf("socket %s is in use", socket)
		}
		if err := os.Remove(socket); err != nil {
			return nil, fmt.Errorf("remove the old socket: %w", err)
		}
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		behavior: behavior, events: events, began: time.Now(), listener: listener,
		closing: make(chan struct{}), conns: make(map[net.Conn]struct{}),
	}
	e.SetConfigs(configs)
	seesaw.RegisterGob()
	service := rpc.NewServer()
	if err := service.RegisterName(seesaw.ServiceName, &calls{e}); err != nil {
		listener.Close()
		return nil, err
	}
	e.tasks.Go(func() { e.accept(service) })
	return e, nil
}

// SetConfigs replaces the checks. The map must not be changed any more. A nil
// map is an engine without a map.
func (e *Engine) SetConfigs(configs map[uint64]*seesaw.Config) { e.configs.Store(&configs) }

func (e *Engine) accept(service *rpc.Server) {
	for {
		conn, err := e.listener.Accept()
		if err != nil {
			select {
			case <-e.closing:
			default:
				e.events.Error(fmt.Errorf("accept: %w", err))
			}
			return
		}
		e.mu.Lock()
		if e.closed {
			conn.Close()
		}
		e.conns[conn] = struct{}{}
		e.mu.Unlock()
		e.tasks.Go(func() {
			service.ServeConn(conn)
			e.mu.Lock()
			delete(e.conns, conn)
			e.mu.Unlock()
		})
	}
}

// Close drops every connection and removes the socket. It does not wait for calls
// under way, which may hang where events are not read; Wait does.
func (e *Engine) Close() {
	close(e.closing)
	e.listener.Close()
	e.mu.Lock()
	e.closed = true
	for conn := range e.conns {
		conn.Close()
	}
	e.mu.Unlock()
}

// Wait returns when all that Listen started has ended, some time after Close.
func (e *Engine) Wait() { e.tasks.Wait() }

// calls has the methods that net/rpc serves.
type calls struct{ engine *Engine }

// Healthchecks answers the checks.
func (c *calls) Healthchecks(ctx *seesaw.Context, reply *seesaw.Checks) error {
	if err := permit(ctx); err != nil {
		return err
	}
	if time.Since(c.engine.began) >= c.engine.behavior.NilFor {
		reply.Configs = *c.engine.configs.Load()
	}
	c.engine.events.Fetch(len(reply.Configs))
	return nil
}

// HealthState takes news.
func (c *calls) HealthState(args *seesaw.HealthState, _ *int) error {
	if err := permit(args.Ctx); err != nil {
		return err
	}
	if delay := c.engine.behavior.Delay; delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.engine.closing:
			return errors.New("the engine is closing")
		}
	}
	for _, notification := range args.Notifications {
		c.engine.events.Notification(convert.FromSeesaw(notification))
	}
	if c.engine.behavior.Fail != "" {
		return errors.New(c.engine.behavior.Fail)
	}
	return nil
}

func permit(ctx *seesaw.Context) error {
	if ctx == nil {
		return errContext
	}
	if ctx.AuthType != seesaw.AuthTrusted {
		return errAccess
	}
	return nil
}
