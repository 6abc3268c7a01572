// Package chain tests the chain: an engine, the bridge, and an hc-server that the
// test plays by hand.
package chain

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/bridge"
	"github.com/hc-server/hc/proxy/internal/fakeengine"
	"github.com/hc-server/hc/proxy/internal/peertest"
	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/server"
	"github.com/hc-server/hc/proxy/internal/wire"
)

func TestMain(m *testing.M) {
	// Not into files.
	if err := flag.Set("logtostderr", "true"); err != nil {
		panic(err)
	}
	m.Run()
}

// chain is a running bridge between an engine's socket and a scripted server.
type chain struct {
	t      *testing.T
	socket string
	server *peertest.Server
	// stop ends the bridge and waits for it.
	stop func()
}

func start(t *testing.T, change func(*bridge.Options)) *chain {
	t.Helper()
	c := &chain{t: t, socket: filepath.Join(t.TempDir(), "engine.sock"), server: peertest.Listen(t)}
	options := bridge.Options{
		EngineSocket:  c.socket,
		EngineTimeout: peertest.Within,
		FetchInterval: 20 * time.Millisecond,
		DialServer:    server.DialUnix(c.server.Socket),
		Version:       "test",
	}
	if change != nil {
		change(&options)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { bridge.Run(ctx, options) })
	c.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(c.stop)
	return c
}

// engine is a fake engine and what it printed.
type engine struct {
	*fakeengine.Engine
	t      *testing.T
	events <-chan map[string]any
	close  func()
}

// lines gives each line that is written to it as an event. It holds more than
// any test makes.
type lines chan map[string]any

func (l lines) Write(p []byte) (int, error) {
	decoder := json.NewDecoder(bytes.NewReader(p))
	decoder.UseNumber()
	var event map[string]any
	if err := decoder.Decode(&event); err != nil {
		return 0, err
	}
	if event["event"] != "fetch" {
		l <- event
	}
	return len(p), nil
}

func (c *chain) engine(configs map[uint64]*seesaw.Config, behavior fakeengine.Behavior) *engine {
	c.t.Helper()
	return listen(c.t, c.socket, configs, behavior)
}

func listen(t *testing.T, socket string, configs map[uint64]*seesaw.Config, behavior fakeengine.Behavior) *engine {
	t.Helper()
	events := make(lines, 1000)
	e, err := fakeengine.Listen(socket, behavior, configs, fakeengine.NewEvents(events))
	if err != nil {
		t.Fatal(err)
	}
	closeOnce := sync.OnceFunc(func() {
		e.Close()
		e.Wait()
	})
	t.Cleanup(closeOnce)
	return &engine{e, t, events, closeOnce}
}

// expect wants the next notification to be this one.
func (e *engine) expect(id uint64, state, message string) {
	e.t.Helper()
	select {
	case event := <-e.events:
		got := fmt.Sprint(event["event"], event["id"], event["state"], event["message"])
		if want := fmt.Sprint("notification", json.Number(fmt.Sprint(id)), state, message); got != want {
			e.t.Fatalf("the engine heard %s, want %s", got, want)
		}
	case <-time.After(peertest.Within):
		e.t.Fatal("the engine heard nothing")
	}
}

// silent wants that the engine has heard nothing so far.
func (e *engine) silent() {
	e.t.Helper()
	select {
	case event := <-e.events:
		e.t.Fatalf("the engine heard %v", event)
	default:
	}
}

// tcp is a check of a port; every id has the same address.
func tcp(port int) *seesaw.Config {
	ip := net.ParseIP("192.0.2.1")
	return &seesaw.Config{
		Interval: time.Second, Timeout: time.Second,
		Checker: &seesaw.TCPChecker{Target: seesaw.Target{IP: ip, Host: ip, Port: port, Proto: seesaw.ProtoTCP}},
	}
}

// ports makes ids 1, 2, 3… of ports.
func ports(list ...int) map[uint64]*seesaw.Config {
	configs := map[uint64]*seesaw.Config{}
	for i, port := range list {
		id := uint64(i + 1)
		configs[id] = tcp(port)
		configs[id].Id = id
	}
	return configs
}

// full wants a full set with these ports, and returns its generation.
func full(t *testing.T, p *peertest.Peer, want ...int) uint64 {
	t.Helper()
	update := peertest.Next[*wire.UpdateConfigs](p)
	got := map[uint64]int{}
	for _, raw := range update.Configs {
		var check wire.Check
		if err := json.Unmarshal(raw, &check); err != nil {
			t.Fatal(err)
		}
		got[check.ID] = int(check.Port)
	}
	var list []int
	for _, id := range slices.Sorted(maps.Keys(got)) {
		list = append(list, got[id])
	}
	if !slices.Equal(list, want) || update.Generation == nil {
		t.Fatalf("told ports %v, generation %v, want %v", list, update.Generation, want)
	}
	return *update.Generation
}

// batch is a batch of one notification.
func batch(seq, generation, id uint64, state wire.State, message string) string {
	line := wire.Encode(&wire.NotificationBatch{
		Batch: wire.Batch{Notifications: []wire.Notification{{ID: id, Status: wire.Status{
			LastCheck: time.Unix(1700000000, 0).UTC(), Duration: 1, State: state, Message: wire.Bytes(message),
		}}}},
		Seq: &seq, Generation: &generation,
	})
	return string(bytes.TrimSuffix(line, []byte{'\n'}))
}
