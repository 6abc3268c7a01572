package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
)

// kind is one way to check a server, and the verdict while the server is up.
type kind struct {
	name    string
	healthy bool
	check   wire.Check
}

const (
	portPlain     = 8400
	portTrusted   = 8401 // certificate of the authority that hc-server is given
	portUntrusted = 8402 // certificate of another
)

const (
	kindInterval = 500 * time.Millisecond
	kindTimeout  = 500 * time.Millisecond
	kindRetries  = 1
	// As for a vserver: see leaveLimit and returnLimit there.
	kindLeave  = kindInterval*(kindRetries+1) + kindTimeout + machineLimit
	kindReturn = kindInterval + kindTimeout + machineLimit
)

func kinds() []kind {
	no := false
	tcp := func(port int64) wire.Check { return wire.Check{CheckerType: wire.TypeTCP, Port: port} }
	tls := func(port int64, verify *bool) wire.Check {
		c := tcp(port)
		c.Secure, c.TLSVerify = true, verify
		return c
	}
	http := func(port int64, path wire.Bytes, code int64, body wire.Bytes) wire.Check {
		c := wire.Check{CheckerType: wire.TypeHTTP, Port: port, Path: path, ExpectedBody: body}
		if code != 0 {
			c.ExpectedCodes = []int64{code}
		}
		return c
	}
	https := func(port int64, verify *bool) wire.Check {
		c := http(port, "/healthz", 200, "ok")
		c.Secure, c.TLSVerify = true, verify
		return c
	}
	talk := func(receive wire.Bytes) wire.Check {
		c := tcp(portPlain)
		c.Send, c.Receive = "GET /healthz HTTP/1.0\r\n\r\n", receive
		return c
	}
	head := http(portPlain, "/healthz", 200, "")
	head.Method = "HEAD"
	return []kind{
		{"tcp", true, tcp(portPlain)},
		{"tcp with the right answer", true, talk("HTTP/1.1 200 ")},
		{"tcp with a wrong answer", false, talk("SSH-2.0-")},
		{"tls unverified", true, tls(portUntrusted, &no)},
		{"tls verified", true, tls(portTrusted, nil)},
		{"tls with a stranger's certificate", false, tls(portUntrusted, nil)},
		{"tls to a plain port", false, tls(portPlain, &no)},
		{"http", true, http(portPlain, "/healthz", 200, "ok")},
		{"http head", true, head},
		{"http with the other code", true, http(portPlain, "/none", 404, "no")},
		{"http with any code", true, http(portPlain, "/none", 0, "")},
		{"http with a wrong code", false, http(portPlain, "/none", 200, "")},
		{"http with a wrong body", false, http(portPlain, "/healthz", 200, "OK")},
		{"http with a longer body than there is", false, http(portPlain, "/healthz", 200, "ok\nand more")},
		{"https unverified", true, https(portUntrusted, &no)},
		{"https verified", true, https(portTrusted, nil)},
		{"https with a stranger's certificate", false, https(portUntrusted, nil)},
		{"http to a tls port", false, http(portTrusted, "/healthz", 200, "ok")},
	}
}

// firstID is above 2^63, where ids of a real engine are for half of all pids.
const firstID = 1<<63 + 20

// kindChecks are all kinds over both families, and their kinds by id.
func kindChecks() ([]*wire.Check, map[uint64]kind) {
	var checks []*wire.Check
	byID := make(map[uint64]kind)
	for _, ip := range []string{"127.0.0.1", "::1"} {
		for _, k := range kinds() {
			c := k.check
			c.ID = firstID + uint64(len(checks))
			c.IP = ip
			c.Interval, c.Timeout = wire.Period(kindInterval), wire.Period(kindTimeout)
			c.Retries = kindRetries
			k.name += " of " + ip
			checks = append(checks, &c)
			byID[c.ID] = k
		}
	}
	return checks, byID
}

// TestFakeEngineToNginx: TCP, TLS, HTTP and HTTPS over both families, from a file
// of checks to nginx and back to what the engine was told.
func TestFakeEngineToNginx(t *testing.T) {
	dir := logDir(t)
	certs := t.TempDir()
	ours, other := newAuthority(t, certs, "ours"), newAuthority(t, certs, "other")
	server := startNginx(t, dir, "nginx", nginxPorts{
		plain: []int{portPlain},
		secure: map[int]certificate{
			portTrusted:   ours.sign(t, certs, "trusted"),
			portUntrusted: other.sign(t, certs, "untrusted"),
		},
	})
	checks, byID := kindChecks()
	engine := startFakeEngine(t, dir, checks)
	startPair(t, dir, engine.socket, pairOptions{
		serverEnv: []string{"SSL_CERT_FILE=" + ours.root, "HC_SERVER_NOTIFY_INTERVAL=2s"},
		proxyArgs: []string{"-fetch_interval", "1s"},
	})
	verdicts := func(up bool) map[uint64]wire.State {
		want := make(map[uint64]wire.State)
		for id, k := range byID {
			want[id] = wire.StateUnhealthy
			if up && k.healthy {
				want[id] = wire.StateHealthy
			}
		}
		return want
	}
	start := time.Now()
	engine.awaitStates(byID, verdicts(true), start, startLimit, "first verdicts")
	for range 2 {
		death := time.Now()
		server.Kill()
		engine.awaitStates(byID, verdicts(false), death, kindLeave, "nginx died")
		server.Start()
		life := time.Now()
		engine.awaitStates(byID, verdicts(true), life, kindReturn, "nginx returned")
	}

	// The file changes: one check goes, one is edited under a new id, the rest
	// stay. What went is never heard of again, what stayed is told again.
	gone, edited := checks[0].ID, checks[len(checks)-1]
	checks = checks[1:]
	again := *edited
	again.ID = firstID + 1000
	again.Port = portPlain
	checks[len(checks)-1] = &again
	delete(byID, gone)
	delete(byID, edited.ID)
	byID[again.ID] = kind{"edited", true, again}
	engine.write(checks)
	change := time.Now()
	// The file is looked at every 100 ms, fetched every second.
	engine.awaitStates(byID, verdicts(true), change, startLimit, "the file changed")
	mark := engine.mark()
	told := func() bool {
		heard := make(map[uint64]bool)
		for _, event := range engine.since(mark) {
			heard[event.ID] = true
		}
		for id := range byID {
			if !heard[id] {
				return false
			}
		}
		return true
	}
	if !engine.await(5*time.Second, told) {
		t.Error("not every check was told again within 5 s, with a refresh of 2 s")
	}
	for _, event := range engine.since(mark) {
		if event.Event == "notification" && (event.ID == gone || event.ID == edited.ID) {
			t.Errorf("news of a check that is gone: %+v", event)
		}
	}
}

// awaitStates waits until the latest state of every check is the wanted one, and
// fails the test if a check came to it later than start + limit.
func (e *fakeEngine) awaitStates(byID map[uint64]kind, want map[uint64]wire.State, start time.Time, limit time.Duration, what string) {
	e.t.Helper()
	wrong := func() []string {
		latest := e.latest()
		var out []string
		for id, state := range want {
			if got := latest[id]; got.State != state {
				out = append(out, byID[id].name+" is "+string(got.State)+", not "+string(state)+" ("+string(got.Message)+")")
			}
		}
		slices.Sort(out)
		return out
	}
	if !e.await(limit+patience, func() bool { return len(wrong()) == 0 }) {
		for _, text := range wrong() {
			e.t.Errorf("%s: %s", what, text)
		}
		e.t.FailNow()
	}
	// When each last came to its state, by the engine's clock.
	since := make(map[uint64]time.Time)
	before := make(map[uint64]wire.State)
	for _, event := range e.since(0) {
		if event.Event == "notification" && before[event.ID] != event.State {
			before[event.ID] = event.State
			since[event.ID] = event.Time
		}
	}
	last := start
	for id := range want {
		at := since[id]
		if after := at.Sub(start); after > limit {
			e.t.Errorf("%s: %s after %v, limit %v", what, byID[id].name, after, limit)
		}
		if at.After(last) {
			last = at
		}
		if string(e.latest()[id].Message) == "" {
			e.t.Errorf("%s: %s came without a text", what, byID[id].name)
		}
	}
	e.t.Logf("%s: %d in %v (limit %v)", what, len(want), last.Sub(start).Round(time.Millisecond), limit)
}
