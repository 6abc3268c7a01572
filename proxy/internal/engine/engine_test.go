package engine

import (
	"context"
	"errors"
	"net"
	"net/rpc"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/seesaw"
)

// within bounds every wait of these tests.
const within = 10 * time.Second

// script is an engine whose answers a test gives.
type script struct {
	healthchecks func(*seesaw.Checks) error
	healthState  func([]*seesaw.Notification) error
}

func (s *script) Healthchecks(ctx *seesaw.Context, reply *seesaw.Checks) error {
	if ctx.AuthType != seesaw.AuthTrusted {
		return errors.New("insufficient access")
	}
	return s.healthchecks(reply)
}

func (s *script) HealthState(args *seesaw.HealthState, _ *int) error {
	return s.healthState(args.Notifications)
}

// host serves connections until the test ends, or until stop is called, which
// drops them all.
func host(t *testing.T, socket string, serve func(net.Conn)) (stop func()) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu    sync.Mutex
		conns []net.Conn
		tasks sync.WaitGroup
	)
	tasks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			tasks.Go(func() { serve(conn) })
		}
	})
	stop = sync.OnceFunc(func() {
		listener.Close()
		mu.Lock()
		for _, conn := range conns {
			conn.Close()
		}
		mu.Unlock()
	})
	t.Cleanup(func() {
		stop()
		tasks.Wait()
	})
	return stop
}

func hostScript(t *testing.T, s *script) (socket string, stop func()) {
	t.Helper()
	server := rpc.NewServer()
	if err := server.RegisterName(seesaw.ServiceName, s); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(t.TempDir(), "engine.sock")
	return socket, host(t, socket, func(conn net.Conn) { server.ServeConn(conn) })
}

func dial(t *testing.T, socket string, timeout time.Duration) *Conn {
	t.Helper()
	conn, err := Dial(t.Context(), socket, timeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func lost(conn *Conn) bool {
	select {
	case <-conn.Lost():
		return true
	default:
		return false
	}
}

func awaitLost(t *testing.T, conn *Conn) {
	t.Helper()
	select {
	case <-conn.Lost():
	case <-time.After(within):
		t.Fatal("the connection was not given up")
	}
}

func TestCallsAndTheErrorsOfTheEngine(t *testing.T) {
	var told []*seesaw.Notification
	socket, _ := hostScript(t, &script{
		healthchecks: func(reply *seesaw.Checks) error {
			reply.Configs = map[uint64]*seesaw.Config{1 << 63: {Id: 1 << 63, Checker: &seesaw.TCPChecker{Send: "\xff"}}}
			return nil
		},
		healthState: func(n []*seesaw.Notification) error {
			told = n
			return errors.New("no")
		},
	})
	conn := dial(t, socket, within)
	checks, err := conn.Healthchecks()
	if err != nil || checks.Configs[1<<63].Checker.(*seesaw.TCPChecker).Send != "\xff" {
		t.Errorf("%+v, %v", checks, err)
	}
	err = conn.HealthState([]*seesaw.Notification{{Id: 1<<64 - 1}})
	var answer rpc.ServerError
	if !errors.As(err, &answer) || answer != "no" {
		t.Errorf("%v", err)
	}
	if len(told) != 1 || told[0].Id != 1<<64-1 {
		t.Errorf("the engine heard %+v", told)
	}
	if lost(conn) {
		t.Error("an answer of the engine ended the connection")
	}
}

func TestAHungCallHoldsUpNoOther(t *testing.T) {
	release := make(chan struct{})
	socket, _ := hostScript(t, &script{
		healthchecks: func(*seesaw.Checks) error { <-release; return nil },
		healthState:  func([]*seesaw.Notification) error { return nil },
	})
	conn := dial(t, socket, within)
	fetched := make(chan error, 1)
	go func() {
		_, err := conn.Healthchecks()
		fetched <- err
	}()
	if err := conn.HealthState(nil); err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-fetched; err != nil {
		t.Error(err)
	}
}

func TestACallThatIsNotAnsweredEndsTheConnection(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	socket, _ := hostScript(t, &script{
		healthchecks: func(*seesaw.Checks) error { <-release; return nil },
	})
	conn := dial(t, socket, 50*time.Millisecond)
	if _, err := conn.Healthchecks(); err == nil || !strings.Contains(err.Error(), "no answer within 50ms") {
		t.Errorf("%v", err)
	}
	awaitLost(t, conn)
	if conn.Answered() {
		t.Error("it was never answered")
	}
}

func TestAnEngineThatDoesNotReadEndsTheConnection(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "engine.sock")
	host(t, socket, func(net.Conn) {})
	conn := dial(t, socket, 50*time.Millisecond)
	big := []*seesaw.Notification{{Status: seesaw.Status{Message: strings.Repeat("x", 8<<20)}}}
	if err := conn.HealthState(big); err == nil {
		t.Error("taken")
	}
	awaitLost(t, conn)
}

func TestTheEndOfAnIdleConnectionIsSeen(t *testing.T) {
	socket, stop := hostScript(t, &script{})
	conn := dial(t, socket, within)
	stop()
	awaitLost(t, conn)
	if conn.Reason() == nil {
		t.Error("no reason")
	}
	if _, err := conn.Healthchecks(); err == nil {
		t.Error("a dead connection answered")
	}
}

func TestTheContextEndsCalls(t *testing.T) {
	called, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	socket, _ := hostScript(t, &script{
		healthchecks: func(*seesaw.Checks) error { close(called); <-release; return nil },
	})
	ctx, cancel := context.WithCancel(t.Context())
	conn, err := Dial(ctx, socket, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	fetched := make(chan error, 1)
	go func() {
		_, err := conn.Healthchecks()
		fetched <- err
	}()
	<-called
	cancel()
	select {
	case err := <-fetched:
		if err == nil {
			t.Error("answered")
		}
	case <-time.After(within):
		t.Fatal("the call goes on")
	}
}

func TestKeepDialsAgain(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "engine.sock")
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan Event)
	var keeper sync.WaitGroup
	keeper.Go(func() { Keep(ctx, socket, within, events) })
	defer keeper.Wait()
	defer cancel()
	// next skips the dials that fail because the engine is not there yet.
	next := func(wantConn bool) Event {
		t.Helper()
		deadline := time.After(within)
		for {
			select {
			case event := <-events:
				if (event.Conn != nil) == wantConn {
					return event
				}
			case <-deadline:
				t.Fatal("no such event")
			}
		}
	}
	if event := next(false); event.Err == nil {
		t.Error("no reason")
	}
	var epochs []uint64
	for range 2 {
		stop := host(t, socket, func(net.Conn) {})
		epochs = append(epochs, next(true).Conn.Epoch)
		stop()
		if event := next(false); event.Err == nil {
			t.Error("no reason")
		}
	}
	if epochs[0] >= epochs[1] {
		t.Errorf("epochs %v", epochs)
	}
}
