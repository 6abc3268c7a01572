package chain

import (
	"strings"
	"sync"
	"testing"

	"github.com/hc-server/hc/proxy/internal/bridge"
	"github.com/hc-server/hc/proxy/internal/fakeengine"
	"github.com/hc-server/hc/proxy/internal/metrics"
	"github.com/hc-server/hc/proxy/internal/peertest"
	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// listener notes what a shadow hears.
type listener struct {
	// sets gets the size of each set.
	sets     chan int
	mu       sync.Mutex
	checks   int
	heard    []string
	rejected int
}

func (l *listener) Checks(configs map[uint64]*seesaw.Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checks = len(configs)
	select {
	case l.sets <- len(configs):
	default:
	}
}

func (l *listener) Batch(notifications []wire.Notification) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range notifications {
		l.heard = append(l.heard, string(n.Status.Message))
	}
}

func (l *listener) Rejected(checks []wire.Rejection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rejected += len(checks)
}

// With a shadow hc-server is served as ever, and the engine hears nothing.
func TestAShadowHearsInPlaceOfTheEngine(t *testing.T) {
	shadow, counts := &listener{sets: make(chan int, 1)}, new(metrics.Metrics)
	c := start(t, func(options *bridge.Options) { options.Shadow, options.Metrics = shadow, counts })
	e := c.engine(ports(1, 2), fakeengine.Behavior{})
	// It knows the engine's set although hc-server is not there yet.
	if n := <-shadow.sets; n != 2 {
		t.Errorf("%d checks", n)
	}
	p := c.server.Greet()
	generation := full(t, p, 1, 2)
	p.Say(`{"type":"rejected","generation":1,"checks":[{"id":2,"reason":"port: no"}]}`)
	for seq := uint64(1); seq <= 3; seq++ {
		p.Say(batch(seq, generation, 1, wire.StateHealthy, "x"))
		if ack := peertest.Next[*wire.Ack](p); ack.Seq != seq || ack.Error != "" {
			t.Errorf("%+v", ack)
		}
	}
	// Of the engine before this one.
	p.Say(batch(4, 1, 1, wire.StateHealthy, "old"))
	p.Expect(`{"type":"ack","seq":4,"error":"engine: the engine is new`)
	c.stop()
	e.silent()
	if shadow.checks != 2 || len(shadow.heard) != 3 || shadow.rejected != 1 {
		t.Errorf("%+v", shadow)
	}
	if text := string(counts.Text("")); !strings.Contains(text, `hc_proxy_engine_calls_total{method="HealthState"} 0`) {
		t.Errorf("%s", text)
	}
}
