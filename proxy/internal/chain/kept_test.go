package chain

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/bridge"
	"github.com/hc-server/hc/proxy/internal/fakeengine"
	"github.com/hc-server/hc/proxy/internal/kept"
	"github.com/hc-server/hc/proxy/internal/peertest"
	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

const readyToKeep = `{"type":"ready","protocol":1,"version":"test","capabilities":["keep"]}`

func keeping(options *bridge.Options) { options.Keep = true }

// greetKeeper is the handshake of two sides that can do with refreshes.
func greetKeeper(c *chain) *peertest.Peer {
	c.t.Helper()
	p := c.server.Accept()
	p.Say(readyToKeep)
	p.Expect(`{"type":"hello","protocol":1,"version":"test","capabilities":["keep"]}`)
	return p
}

// refresh is one of all buckets, about these checks.
func refresh(seq, generation uint64, state int, ids ...uint64) string {
	var s kept.Store
	for _, id := range ids {
		s.Put(&seesaw.Notification{Id: id, Status: seesaw.Status{State: state}})
	}
	digest := s.Digest(0, kept.Buckets-1)
	line := wire.Encode(&wire.Refresh{
		Seq: seq, Generation: &generation, Last: kept.Buckets - 1, Count: digest.Count, Digest: digest.Sum,
	})
	return string(bytes.TrimSuffix(line, []byte{'\n'}))
}

func TestWhatIsKeptIsToldAgain(t *testing.T) {
	c := start(t, keeping)
	e := c.engine(ports(1, 2), fakeengine.Behavior{})
	p := greetKeeper(c)
	generation := full(t, p, 1, 2)
	p.Say(batch(1, generation, 1, wire.StateHealthy, "first"))
	p.Expect(`{"type":"ack","seq":1}`)
	e.expect(1, "healthy", "first")
	for seq := uint64(2); seq < 4; seq++ {
		p.Say(refresh(seq, generation, seesaw.StateHealthy, 1))
		p.Expect(fmt.Sprintf(`{"type":"ack","seq":%d}`, seq))
		e.expect(1, "healthy", "first")
	}
	p.Say(batch(4, generation, 1, wire.StateUnhealthy, "second"))
	p.Expect(`{"type":"ack","seq":4}`)
	e.expect(1, "unhealthy", "second")
	// As if the acknowledgement had not come: hc-server means what was before.
	p.Say(refresh(5, generation, seesaw.StateHealthy, 1))
	p.Expect(`{"type":"ack","seq":5,"error":"other statuses are kept`)
	p.Say(refresh(6, generation, seesaw.StateHealthy))
	p.Expect(`{"type":"ack","seq":6}`)
	e.silent()
}

func TestAServerWithoutTheCapabilityIsTakenAsBefore(t *testing.T) {
	c := start(t, keeping)
	e := c.engine(ports(1), fakeengine.Behavior{})
	p := c.server.Accept()
	p.Say(peertest.Ready)
	p.Expect(`{"type":"hello","protocol":1,"version":"test","capabilities":["keep"]}`)
	generation := full(t, p, 1)
	for seq := uint64(1); seq < 3; seq++ {
		p.Say(batch(seq, generation, 1, wire.StateHealthy, "again"))
		p.Expect(fmt.Sprintf(`{"type":"ack","seq":%d}`, seq))
		e.expect(1, "healthy", "again")
	}
}

func TestAShadowKeepsNothing(t *testing.T) {
	c := start(t, func(options *bridge.Options) {
		options.Keep, options.Shadow = true, &listener{sets: make(chan int, 1)}
	})
	c.engine(ports(1), fakeengine.Behavior{})
	p := c.server.Accept()
	p.Say(readyToKeep)
	p.Expect(`{"type":"hello","protocol":1,"version":"test"}`)
}

// A batch does not wait for the whole of a refresh, nor a refresh for all batches.
func TestABatchAndARefreshTakeTurns(t *testing.T) {
	const checks = 250
	c := start(t, keeping)
	e := c.engine(ports(slices.Repeat([]int{1}, checks)...), fakeengine.Behavior{Delay: 200 * time.Millisecond})
	p := greetKeeper(c)
	generation := full(t, p, slices.Repeat([]int{1}, checks)...)
	all := &wire.NotificationBatch{Seq: new(uint64), Generation: &generation}
	var ids []uint64
	for id := uint64(1); id <= checks; id++ {
		ids = append(ids, id)
		all.Batch.Notifications = append(all.Batch.Notifications,
			wire.Notification{ID: id, Status: wire.Status{State: wire.StateHealthy}})
	}
	p.Say(string(bytes.TrimSuffix(wire.Encode(all), []byte{'\n'})))
	p.Expect(`{"type":"ack","seq":0}`)
	for range checks {
		<-e.events
	}
	p.Say(refresh(1, generation, seesaw.StateHealthy, ids...), batch(2, generation, 7, wire.StateUnhealthy, "news"))
	p.Expect(`{"type":"ack","seq":2}`)
	p.Expect(`{"type":"ack","seq":1}`)
	at, calls := -1, map[string]int{}
	for i := 0; len(calls) < checks || at < 0; i++ {
		select {
		case event := <-e.events:
			calls[fmt.Sprint(event["id"])]++
			if event["state"] == "unhealthy" {
				at = i
			}
		case <-time.After(peertest.Within):
			t.Fatalf("the engine heard of %d checks", len(calls))
		}
	}
	if at != 100 {
		t.Errorf("the news came after %d checks of the refresh", at)
	}
}

func TestANewEngineIsNotToldAgainOfTheOld(t *testing.T) {
	c := start(t, keeping)
	e := c.engine(ports(1), fakeengine.Behavior{})
	p := greetKeeper(c)
	generation := full(t, p, 1)
	p.Say(batch(1, generation, 1, wire.StateHealthy, "old"))
	p.Expect(`{"type":"ack","seq":1}`)
	e.expect(1, "healthy", "old")
	e.close()
	e = c.engine(ports(2), fakeengine.Behavior{})
	next := full(t, p, 2)
	p.Say(refresh(2, generation, seesaw.StateHealthy, 1))
	p.Expect(`{"type":"ack","seq":2,"error":"the engine is new`)
	p.Say(refresh(3, next, seesaw.StateHealthy, 1))
	p.Expect(`{"type":"ack","seq":3,"error":"other statuses are kept`)
	e.silent()
}
