package e2e

import (
	"os"
	"testing"
	"time"
)

// TestSeesawItself runs the harness with Seesaw's own healthchecker, so that a
// failure of the other tests is known to be ours and not the harness's. Seesaw
// starts 20 checks a second, hence few backends and a limit of its own.
func TestSeesawItself(t *testing.T) {
	dir := logDir(t)
	c := cluster{
		{name: "tcp", number: 11, port: 8101, backends: 10, interval: 1, timeout: 1, retries: 1,
			checks: []string{"type: TCP"}},
		{name: "http", number: 12, port: 8102, ipv6: true, backends: 5, interval: 1, timeout: 1,
			checks: []string{`type: HTTP send: "/healthz" receive: "ok" code: 200`}},
	}
	startNginx(t, dir, "main", nginxPorts{plain: []int{8102}})
	victim := startNginx(t, dir, "victim", nginxPorts{plain: []int{8101}})
	w := newChain(t, dir, c)
	w.startEngine()
	// Seesaw repeats a fetch that fails after 5 s only.
	eventually(t, patience, "the engine listens", func() bool {
		_, err := os.Stat(w.engineSocket)
		return err == nil
	})
	w.startSeesaw()
	// A second fetch if the first came too early, and 20 checks at 50 ms.
	w.awaitPresent(c.entries(), w.engine.StartedAt(), 4*time.Second, "Seesaw's start")

	mark := w.table.Mark()
	tcp := c.named("tcp")
	killed := time.Now()
	victim.Kill()
	w.awaitLeave(tcp, tcp.entries(), killed)
	returned := time.Now()
	victim.Start()
	w.awaitPresent(tcp.entries(), returned, tcp.returnLimit(), "Seesaw's return")
	for _, event := range w.table.Events(mark) {
		if event.Service.Port != uint16(tcp.port) {
			t.Errorf("an event of the other vserver: %+v", event)
		}
	}
}
