package server

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/peertest"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// rig is a server that a test plays by hand, and the events of a Keep.
type rig struct {
	t      *testing.T
	server *peertest.Server
	events chan Event
	cancel context.CancelFunc
}

func newRig(t *testing.T) *rig {
	t.Helper()
	server := peertest.Listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	r := &rig{t: t, server: server, events: make(chan Event), cancel: cancel}
	var keeper sync.WaitGroup
	keeper.Go(func() { Keep(ctx, DialUnix(server.Socket), wire.Hello{Version: "test"}, r.events) })
	t.Cleanup(func() {
		cancel()
		keeper.Wait()
	})
	return r
}

func (r *rig) next() Event {
	r.t.Helper()
	select {
	case event := <-r.events:
		return event
	case <-time.After(peertest.Within):
		r.t.Fatal("no event")
		panic("unreachable")
	}
}

func (r *rig) greeted() (*peertest.Peer, *Link) {
	r.t.Helper()
	p := r.server.Greet()
	return p, r.link()
}

// link is the next event's, and ends with the test.
func (r *rig) link() *Link {
	r.t.Helper()
	event := r.next()
	if event.Link == nil || event.Message != nil || event.Link.ServerVersion != "9.9" {
		r.t.Fatalf("%+v", event)
	}
	r.t.Cleanup(func() { event.Link.lose(net.ErrClosed) })
	return event.Link
}

func TestHandshakeAndMessages(t *testing.T) {
	r := newRig(t)
	p, link := r.greeted()
	link.Send(&wire.Ack{Seq: 1})
	link.Send(&wire.Ack{Seq: 2})
	p.Expect(`{"type":"ack","seq":1}`)
	p.Expect(`{"type":"ack","seq":2}`)
	p.Say(`{"type":"request_configs","reason":"x"}`)
	if m, ok := r.next().Message.(*wire.RequestConfigs); !ok || m.Reason != "x" {
		t.Errorf("%+v", m)
	}
}

func TestBadLinesAreAnsweredAndTheNextIsRead(t *testing.T) {
	r := newRig(t)
	p := r.server.Accept()
	p.Say("garbage before ready")
	p.Expect(`{"type":"error","code":"malformed"`)
	p.Say(`{"type":"shutdown"}`)
	p.Expect(`{"type":"error","code":"unexpected"`)
	p.Say(peertest.Ready)
	p.Expect(peertest.Hello)
	r.link()
	p.Say("garbage", "")
	p.Expect(`{"type":"error","code":"malformed"`)
	p.Say(`{"type":"news"}`)
	p.Expect(`{"type":"error","code":"unknown_type"`)
	p.Say(strings.Repeat("x", wire.MaxLine))
	p.Expect(`{"type":"error","code":"line_too_long"`)
	p.Say(`{"type":"error","code":"internal","message":"never answered"}`)
	if m, ok := r.next().Message.(*wire.Error); !ok || m.Code != "internal" {
		t.Errorf("%+v", m)
	}
	p.Say(`{"type":"request_configs","reason":"` + strings.Repeat("y", wire.MaxLine-50) + `"}`)
	if _, ok := r.next().Message.(*wire.RequestConfigs); !ok {
		t.Error("the longest line was not read")
	}
}

func TestAnotherProtocolIsRefused(t *testing.T) {
	r := newRig(t)
	p := r.server.Accept()
	p.Say(`{"type":"ready","protocol":2,"version":"later"}`)
	p.Expect(`{"type":"error","code":"protocol"`)
	p.ExpectEnd()
	if event := r.next(); event.Link != nil || event.Err == nil {
		t.Errorf("%+v", event)
	}
	r.greeted()
}

func TestHalfALineIsDroppedAndTheServerDialledAgain(t *testing.T) {
	r := newRig(t)
	p, _ := r.greeted()
	p.SayRaw(`{"type":"request_configs","reason":"x"}`)
	p.Close()
	if event := r.next(); event.Link != nil || event.Err == nil {
		t.Errorf("%+v", event)
	}
	r.greeted()
}

func TestALinkThatWasReplacedIsDialledAgainLater(t *testing.T) {
	r := newRig(t)
	p, _ := r.greeted()
	p.Say(`{"type":"error","code":"replaced","message":"another"}`)
	r.next()
	p.Close()
	r.next()
	began := time.Now()
	r.greeted()
	if pause := time.Since(began); pause < 900*time.Millisecond {
		t.Errorf("dialled again after %v", pause)
	}
}

func TestAServerThatDoesNotReadIsGivenUp(t *testing.T) {
	r := newRig(t)
	_, link := r.greeted()
	message := &wire.Error{Message: strings.Repeat("x", 64<<10)}
	for range limit + 16 {
		link.Send(message)
	}
	if event := r.next(); event.Err != errSlow {
		t.Errorf("%+v", event)
	}
}

func TestASetOfMorePartsThanTheQueueHoldsFlows(t *testing.T) {
	r := newRig(t)
	p, link := r.greeted()
	const parts = 3 * limit
	// Together far more than the kernel takes for a peer that does not read.
	check := json.RawMessage(`"` + strings.Repeat("x", 4<<10) + `"`)
	set := make([]wire.Message, parts)
	for i := range set {
		set[i] = &wire.UpdateConfigs{Configs: []json.RawMessage{check}, Part: uint32(i + 1), Parts: parts}
	}
	link.Send(set...)
	link.Send(&wire.Ack{Seq: 1})
	for i := range parts {
		if update := peertest.Next[*wire.UpdateConfigs](p); update.Part != uint32(i+1) {
			t.Fatalf("part %d, want %d", update.Part, i+1)
		}
	}
	p.Expect(`{"type":"ack","seq":1}`)
}

func TestLeaveSaysAllThatIsQueuedThenShutdown(t *testing.T) {
	r := newRig(t)
	p, link := r.greeted()
	link.Send(&wire.Ack{Seq: 1})
	r.cancel()
	link.Leave()
	p.Expect(`{"type":"ack","seq":1}`)
	p.Expect(`{"type":"shutdown"}`)
	p.ExpectEnd()
}

func TestLeaveDoesNotWaitForAServerThatDoesNotRead(t *testing.T) {
	r := newRig(t)
	_, link := r.greeted()
	link.Send(&wire.Error{Message: strings.Repeat("x", 8<<20)})
	r.cancel()
	began := time.Now()
	link.Leave()
	if took := time.Since(began); took > ioTimeout/2 {
		t.Errorf("took %v", took)
	}
}
