package chaos

import (
	"encoding/json"
	"net"
	"sync"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
)

// slowProxy stands in for hc-proxy and hardly reads: a byte a second, while it
// asks for the status of all checks every second, which nobody could send it.
type slowProxy struct {
	rig  *rig
	end  chan struct{}
	done sync.WaitGroup
}

func startSlowProxy(r *rig) *slowProxy {
	p := &slowProxy{rig: r, end: make(chan struct{})}
	p.done.Go(p.run)
	return p
}

func (p *slowProxy) stop() {
	close(p.end)
	p.done.Wait()
}

// run comes back whenever hc-server has had enough.
func (p *slowProxy) run() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for generation := uint64(time.Now().UnixMicro()); ; generation++ {
		if conn, err := net.Dial("unix", p.rig.path("proxy.sock")); err == nil {
			p.serve(conn, generation, tick)
			conn.Close()
		}
		select {
		case <-tick.C:
		case <-p.end:
			return
		}
	}
}

// serve returns when the connection fails or all is over.
func (p *slowProxy) serve(conn net.Conn, generation uint64, tick *time.Ticker) {
	configs := make([]json.RawMessage, len(p.rig.ids))
	for i, b := range p.rig.fleet.backends {
		encoded, err := b.check(p.rig.ids[i]).Encode()
		if err != nil {
			p.rig.t.Error(err)
			return
		}
		configs[i] = encoded
	}
	greeting := append(wire.Encode(&wire.Hello{Protocol: 1, Version: "slow"}),
		wire.Encode(&wire.UpdateConfigs{Configs: configs, Generation: &generation})...)
	if _, err := conn.Write(greeting); err != nil {
		return
	}
	var one [1]byte
	for {
		select {
		case <-tick.C:
		case <-p.end:
			return
		}
		// hc-server need not take it either.
		_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = conn.Write(wire.Encode(&wire.RequestStatus{}))
		if _, err := conn.Read(one[:]); err != nil {
			return
		}
	}
}
