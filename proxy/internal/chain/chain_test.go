package chain

import (
	"encoding/gob"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/bridge"
	"github.com/hc-server/hc/proxy/internal/dryrun"
	"github.com/hc-server/hc/proxy/internal/fakeengine"
	"github.com/hc-server/hc/proxy/internal/metrics"
	"github.com/hc-server/hc/proxy/internal/peertest"
	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

func TestSetsDeltasAndNews(t *testing.T) {
	counts := new(metrics.Metrics)
	c := start(t, func(options *bridge.Options) { options.Metrics = counts })
	e := c.engine(ports(1, 2, 3, 4, 5), fakeengine.Behavior{})
	p := c.server.Greet()
	first := full(t, p, 1, 2, 3, 4, 5)

	e.SetConfigs(ports(1, 2, 3, 4, 5, 6))
	delta := peertest.Next[*wire.UpdateDelta](p)
	if delta.Base != first || delta.Generation <= first || len(delta.Upsert) != 1 || len(delta.Remove) != 0 {
		t.Errorf("%+v", delta)
	}
	p.Say(`{"type":"request_configs","reason":"a test"}`)
	second := full(t, p, 1, 2, 3, 4, 5, 6)

	p.Say(batch(7, second, 6, wire.StateHealthy, "good"))
	p.Expect(`{"type":"ack","seq":7}`)
	e.expect(6, "healthy", "good")

	p.Say("garbage", strings.Repeat("x", 2*wire.MaxLine))
	p.Expect(`{"type":"error","code":"malformed"`)
	p.Expect(`{"type":"error","code":"line_too_long"`)
	p.Say(`{"type":"rejected","generation":1,"checks":[{"id":6,"reason":"port: no"},{"id":null,"reason":"id: missing"}]}`)
	p.Say(`{"type":"hello","protocol":1,"version":"x"}`)
	p.Expect(`{"type":"error","code":"unexpected"`)
	p.Say(batch(8, second, 6, wire.StateUnhealthy, "bad"))
	p.Expect(`{"type":"ack","seq":8}`)
	e.expect(6, "unhealthy", "bad")

	e.SetConfigs(map[uint64]*seesaw.Config{})
	full(t, p)
	c.stop()
	p.Expect(`{"type":"shutdown"}`)
	p.ExpectEnd()
	text := string(counts.Text("test"))
	for _, want := range []string{
		`connected{peer="hc-server"} 1`, `connections_total{peer="engine"} 1`,
		`call_errors_total{method="HealthState"} 0`, `calls_total{method="HealthState"} 2`,
		`sets_sent_total{kind="full"} 3`, `sets_sent_total{kind="delta"} 1`,
		"batches_total 2", "notifications_total 2",
	} {
		if !strings.Contains(text, "hc_proxy_"+want+"\n") && !strings.Contains(text, "hc_proxy_engine_"+want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestTheAnswerOfTheEngineIsTheAck(t *testing.T) {
	c := start(t, nil)
	e := c.engine(ports(1), fakeengine.Behavior{Fail: "no such thing"})
	p := c.server.Greet()
	p.Say(batch(1, full(t, p, 1), 1, wire.StateHealthy, "x"))
	p.Expect(`{"type":"ack","seq":1,"error":"engine: SeesawEngine.HealthState: no such thing"}`)
	e.expect(1, "healthy", "x")
}

func TestTheGivenBareBatchReachesTheEngine(t *testing.T) {
	c := start(t, nil)
	e := c.engine(ports(1), fakeengine.Behavior{})
	p := c.server.Greet()
	full(t, p, 1)
	p.Say(`{"type":"notification_batch","batch":{"notifications":[{"id":123,"status":{"last_check":"2024-01-15T10:30:00Z","duration":"45ms","failures":0,"successes":10,"state":"healthy","message":"10/10 checks successful"}}]}}`)
	e.expect(123, "healthy", "10/10 checks successful")
}

func TestARestartedServerIsToldAllAgain(t *testing.T) {
	c := start(t, nil)
	c.engine(ports(1, 2), fakeengine.Behavior{})
	p := c.server.Greet()
	first := full(t, p, 1, 2)
	p.Close()
	p = c.server.Greet()
	if second := full(t, p, 1, 2); second <= first {
		t.Errorf("generation %d after %d", second, first)
	}
}

// The numbers of batches begin again with each server, so an answer of the engine
// that comes late must not acknowledge a batch of the next one.
func TestALateAnswerIsNotForTheNextServer(t *testing.T) {
	c := start(t, nil)
	e := c.engine(ports(1), fakeengine.Behavior{Delay: 200 * time.Millisecond})
	p := c.server.Greet()
	p.Say(batch(1, full(t, p, 1), 1, wire.StateHealthy, "old"))
	// The batch has been read before the second answer is written.
	p.Say("garbage")
	p.Expect(`{"type":"error","code":"malformed"`)
	p.Close()
	p = c.server.Greet()
	generation := full(t, p, 1)
	e.expect(1, "healthy", "old")
	for seq := uint64(2); ; seq++ {
		p.Say(batch(seq, generation, 1, wire.StateHealthy, "new"))
		ack := peertest.Next[*wire.Ack](p)
		if ack.Seq != seq {
			t.Fatalf("acknowledged %d, want %d", ack.Seq, seq)
		}
		if ack.Error == "" {
			return
		}
	}
}

func TestAServerThatStartsWhileTheEngineIsAwayStillGetsTheSet(t *testing.T) {
	c := start(t, nil)
	e := c.engine(ports(1), fakeengine.Behavior{})
	p := c.server.Greet()
	full(t, p, 1)
	e.close()
	p.Close()
	p = c.server.Greet()
	generation := full(t, p, 1)
	p.Say(batch(1, generation, 1, wire.StateHealthy, "x"))
	p.Expect(`{"type":"ack","seq":1,"error":"engine: no connection to the engine"}`)
}

// Ids repeat, targets differ: news about the old engine's check 1 must not be
// taken for news about the new one's.
func TestNewsOfTheOldEngineIsNotToldToTheNew(t *testing.T) {
	c := start(t, nil)
	e := c.engine(ports(1, 2, 3), fakeengine.Behavior{})
	p := c.server.Greet()
	old := full(t, p, 1, 2, 3)
	e.close()
	e = c.engine(ports(3, 2, 1), fakeengine.Behavior{})
	now := full(t, p, 3, 2, 1)
	p.Say(batch(1, old, 1, wire.StateHealthy, "about port 1"))
	p.Expect(`{"type":"ack","seq":1,"error":"engine: the engine is new, and generation`)
	e.silent()
	p.Say(batch(2, now, 1, wire.StateUnhealthy, "about port 3"))
	p.Expect(`{"type":"ack","seq":2}`)
	e.expect(1, "unhealthy", "about port 3")
}

func TestANewEngineWithTheSameChecksIsToldAllAgain(t *testing.T) {
	c := start(t, nil)
	e := c.engine(ports(1, 2), fakeengine.Behavior{})
	p := c.server.Greet()
	first := full(t, p, 1, 2)
	e.close()
	c.engine(ports(1, 2), fakeengine.Behavior{})
	if second := full(t, p, 1, 2); second <= first {
		t.Errorf("generation %d after %d", second, first)
	}
}

// A young engine has no map at first. That is no empty set: checks run on, and
// nothing is told to the engine until it has given its checks.
func TestAYoungEngineDoesNotStopTheChecks(t *testing.T) {
	c := start(t, nil)
	e := c.engine(ports(1), fakeengine.Behavior{})
	p := c.server.Greet()
	old := full(t, p, 1)
	e.close()
	e = c.engine(ports(2), fakeengine.Behavior{NilFor: 300 * time.Millisecond})
	p.Say(batch(1, old, 1, wire.StateHealthy, "x"))
	p.Expect(`{"type":"ack","seq":1,"error":"engine: `)
	full(t, p, 2)
	e.silent()
}

// A call that the engine never answers holds up neither the reading of what
// hc-server says, nor the end of the program.
func TestAHungEngineHoldsUpNothing(t *testing.T) {
	c := start(t, nil)
	c.engine(ports(1), fakeengine.Behavior{Delay: time.Hour})
	p := c.server.Greet()
	generation := full(t, p, 1)
	p.Say(batch(1, generation, 1, wire.StateHealthy, "x"))
	p.Say(batch(2, generation, 1, wire.StateHealthy, "x"))
	p.Expect(`{"type":"ack","seq":2,"error":"engine: another batch is under way"}`)
	p.Say(`{"type":"request_configs","reason":"a test"}`)
	full(t, p, 1)
	began := time.Now()
	c.stop()
	if took := time.Since(began); took > time.Second {
		t.Errorf("the end took %v", took)
	}
	p.Expect(`{"type":"shutdown"}`)
	p.ExpectEnd()
}

func TestACallThatIsNotAnsweredIsAnError(t *testing.T) {
	c := start(t, func(o *bridge.Options) { o.EngineTimeout = 100 * time.Millisecond })
	c.engine(ports(1), fakeengine.Behavior{Delay: time.Hour})
	p := c.server.Greet()
	p.Say(batch(1, full(t, p, 1), 1, wire.StateHealthy, "x"))
	ack := peertest.Next[*wire.Ack](p)
	if ack.Seq != 1 || !strings.Contains(ack.Error, "no answer within 100ms") {
		t.Errorf("%+v", ack)
	}
	// The connection was given up; on the next one all is told again.
	full(t, p, 1)
}

// A fetch that fails changes nothing: between the two sets nothing is told.
func TestAFailedFetchChangesNothing(t *testing.T) {
	c := start(t, nil)
	e := c.engine(ports(1), fakeengine.Behavior{})
	p := c.server.Greet()
	full(t, p, 1)
	e.close()
	listener, err := net.Listen("unix", c.socket)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "this is no gob")
		conn.Close()
	}
	listener.Close()
	c.engine(ports(2), fakeengine.Behavior{})
	full(t, p, 2)
}

type foreignChecker struct {
	seesaw.Target
	Extra string
}

// The relay renames a type on its way, so that it is one that this process has
// not registered.
func TestAForeignCheckerIsLeftOutAlone(t *testing.T) {
	gob.RegisterName("*healthcheck.GammaChecker", &foreignChecker{})
	c := start(t, nil)
	configs := ports(1, 2)
	configs[3] = &seesaw.Config{Id: 3, Checker: &foreignChecker{Extra: "x"}}
	behind := c.socket + ".behind"
	listen(t, behind, configs, fakeengine.Behavior{})
	relay(c, behind)
	full(t, c.server.Greet(), 1, 2)
}

func relay(c *chain, behind string) {
	c.t.Helper()
	listener, err := net.Listen("unix", c.socket)
	if err != nil {
		c.t.Fatal(err)
	}
	var tasks sync.WaitGroup
	c.t.Cleanup(func() {
		c.stop()
		listener.Close()
		tasks.Wait()
	})
	tasks.Go(func() {
		for {
			front, err := listener.Accept()
			if err != nil {
				return
			}
			back, err := net.Dial("unix", behind)
			if err != nil {
				front.Close()
				continue
			}
			tasks.Go(func() { io.Copy(back, front); back.Close() })
			tasks.Go(func() { io.Copy(renaming{front}, back); front.Close() })
		}
	})
}

// renaming expects the name in one piece, which gob's buffered writes give.
type renaming struct{ net.Conn }

func (r renaming) Write(p []byte) (int, error) {
	renamed := strings.ReplaceAll(string(p), "GammaChecker", "DeltaChecker")
	return io.WriteString(r.Conn, renamed)
}

func TestDryRun(t *testing.T) {
	const n = 250
	c := start(t, func(o *bridge.Options) { o.DialServer = dryrun.Dialer(50 * time.Millisecond) })
	var list []int
	for port := range n {
		list = append(list, port+1)
	}
	e := c.engine(ports(list...), fakeengine.Behavior{})
	heard := map[string]int{}
	// Each check at least twice: news, then the refresh.
	for deadline := time.After(peertest.Within); ; {
		select {
		case event := <-e.events:
			if event["state"] != "healthy" || event["message"] != dryrun.Message {
				t.Fatalf("%v", event)
			}
			heard[fmt.Sprint(event["id"])]++
		case <-deadline:
			t.Fatalf("heard of %d", len(heard))
		}
		twice := 0
		for _, times := range heard {
			if times > 1 {
				twice++
			}
		}
		if twice == n {
			return
		}
	}
}
