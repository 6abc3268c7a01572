package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
	"github.com/hc-server/hc/proxy/seesawtest/supervise"
)

// bigQuery has an answer that comes over TCP.
const bigQuery = "big.example.com"

// largeBody is longer than what a socket takes in before it is read.
const largeBody = 4 << 20

// markedKinds are checks of a service, all healthy while it lives: every checker,
// both families and both modes, each with a mark of its own.
func markedKinds() []serverKind {
	var plain []serverKind
	add := func(server, name string, check wire.Check) {
		plain = append(plain, serverKind{kind: kind{name, true, check}, server: server})
	}
	for _, k := range kinds() {
		if k.healthy {
			add("nginx", k.name, k.check)
		}
	}
	add("nginx", "http of which the beginning decides", wire.Check{
		CheckerType: wire.TypeHTTP, Port: portPlain, Path: "/large", ExpectedBody: "large",
	})
	add("nginx", "https of which the beginning decides", wire.Check{
		CheckerType: wire.TypeHTTP, Port: portTrusted, Path: "/large", ExpectedBody: "large", Secure: true,
	})
	www, big, bob, secret := wire.Bytes("www.example.com"), wire.Bytes(bigQuery), wire.Bytes("bob"), wire.Bytes(radiusSecret)
	add("unbound", "dns", wire.Check{
		CheckerType: wire.TypeDNS, Port: portDNS, Query: &www, ExpectedIPs: []wire.Bytes{"192.0.2.10"},
	})
	add("unbound", "dns over tcp", wire.Check{
		CheckerType: wire.TypeDNS, Port: portDNS, Query: &big, ExpectedIPs: []wire.Bytes{"198.51.100.7"},
	})
	add("freeradius", "radius", wire.Check{
		CheckerType: wire.TypeRADIUS, Port: portRADIUS, Username: &bob, Password: radiusPassword, Secret: &secret,
	})
	add("echo", "udp", wire.Check{CheckerType: wire.TypeUDP, Port: portEcho, Send: "hello", Receive: "hello"})
	add("", "icmp", wire.Check{CheckerType: wire.TypeICMP})

	var all []serverKind
	for _, mode := range []string{wire.ModeDSR, wire.ModeTUN} {
		for vip, host := range map[string]string{vip4: backend4, vip6: backend6} {
			for _, k := range plain {
				k.name += " of " + vip + " by " + mode
				k.check.IP, k.check.Host, k.check.Mode = vip, host, mode
				k.check.Mark = firstMark + int64(len(all))
				all = append(all, k)
			}
		}
	}
	return all
}

const (
	markInterval = time.Second
	// Far longer than any answer takes, also of a busy machine that loses packets:
	// one that comes after the end of its probe finds no socket, and the kernel
	// answers it for nobody, without a mark.
	markTimeout = 15 * time.Second
	// For those that have no answer. Of a longer flight more may be lost to a busy
	// machine before its verdict counts for nothing.
	unmarkedTimeout = 5 * time.Second
	markProbes      = 8
)

// TestMarks: no packet of a marked check is without its mark, from the first to
// the last, whoever sends it and whatever becomes of the others.
func TestMarks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, closing string
		pingGroups    string // who may open a ping socket; the others take a raw one
	}{
		{"reset and ping sockets", "reset", "0 0"},
		{"graceful and raw sockets", "graceful", "1 0"},
	} {
		t.Run(c.name, func(t *testing.T) { testMarks(t, c.closing, c.pingGroups) })
	}
}

func testMarks(t *testing.T, closing, pingGroups string) {
	dir := logDir(t)
	n := newNetwork(t)
	n.addVIP()
	n.lb.set(t, "net/ipv4/ping_group_range", pingGroups)
	certs := t.TempDir()
	ours := newAuthority(t, certs, "ours")
	cert := ours.sign(t, certs, "server", vip4, vip6)
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "large"), []byte(strings.Repeat("large ", largeBody/6)), 0o644); err != nil {
		t.Fatal(err)
	}
	large := fmt.Sprintf("location = /large { root %s; }", files)
	mortals := []mortal{
		startNginx(t, dir, "nginx", nginxPorts{
			in:       n.backend,
			plain:    []int{portPlain},
			secure:   map[int]certificate{portTrusted: cert, portUntrusted: cert},
			settings: map[int]string{portPlain: large, portTrusted: large},
		}),
		startUnbound(t, dir, n.backend, vip4, vip6),
		startRADIUS(t, dir, n.backend, vip4, vip6),
		startEcho(t, dir, n.backend, vip4, vip6),
	}
	checks, byID, servers := place(markedKinds())
	for _, c := range checks {
		c.Interval, c.Timeout = wire.Period(markInterval), wire.Period(markTimeout)
	}
	n.count(checks)
	engine := startFakeEngine(t, dir, checks)
	server, _ := startPair(t, dir, engine.socket, pairOptions{
		serverIn: n.lb,
		serverEnv: []string{
			"SSL_CERT_FILE=" + ours.root, "HC_SERVER_NOTIFY_INTERVAL=1s", "HC_SERVER_CHECKS_CLOSE=" + closing,
		},
		// With each refresh the engine hears the counters, by which this test knows of probes.
		proxyArgs: []string{"-fetch_interval", "1s", "-keep=false"},
	})
	verdicts := func(alive func(serverKind) bool) map[uint64]wire.State {
		want := make(map[uint64]wire.State)
		for id, k := range servers {
			want[id] = wire.StateUnhealthy
			if alive(k) {
				want[id] = wire.StateHealthy
			}
		}
		return want
	}
	all := func(serverKind) bool { return true }
	none := func(serverKind) bool { return false }

	engine.awaitStates(byID, verdicts(all), time.Now(), serverLimit, "marked")
	failUnlessConfined(t, server)
	engine.awaitProbes(byID, markProbes)
	marked := n.counts().marked
	for _, check := range checks {
		for _, transport := range transports(check) {
			// A probe of any kind is at least one packet.
			if sent := marked[counterOf(check, transport)]; sent < markProbes {
				t.Errorf("%s: %d packets of %s with the mark in %d probes", byID[check.ID].name, sent, transport, markProbes)
			}
		}
	}
	n.failOnStrays("all is well")

	repeated := repeatedSegments(t, server)
	n.losePackets()
	engine.awaitProbes(byID, markProbes)
	n.losePacketsNoMore()
	if repeatedSegments(t, server) == repeated {
		t.Error("no segment was sent twice, although one of every connection was lost")
	}
	n.failOnStrays("packets are lost")

	engine.awaitStates(byID, verdicts(all), time.Now(), serverLimit, "nothing is lost any more")
	for _, m := range mortals {
		m.Kill()
	}
	engine.awaitStates(byID, verdicts(func(k serverKind) bool { return k.server == "" }), time.Now(), serverLimit, "the servers died")
	for _, m := range mortals {
		m.Start()
	}
	engine.awaitStates(byID, verdicts(all), time.Now(), serverLimit, "the servers returned")
	n.failOnStrays("servers died and returned")

	// The same checks without the mark reach nobody, and are counted: we would have
	// seen a packet without it.
	for i, check := range checks {
		unmarked := *check
		unmarked.ID += 1000
		unmarked.Mode, unmarked.Mark, unmarked.Host = "", 0, ""
		unmarked.Timeout = wire.Period(unmarkedTimeout)
		k := byID[check.ID]
		delete(byID, check.ID)
		k.name += ", unmarked"
		byID[unmarked.ID] = k
		servers[unmarked.ID] = servers[check.ID]
		delete(servers, check.ID)
		checks[i] = &unmarked
	}
	engine.write(checks)
	engine.awaitStates(byID, verdicts(none), time.Now(), serverLimit, "unmarked")
	strays := n.counts().strays
	for _, check := range checks {
		// Over UDP no answer says that TCP would be better.
		transport := transports(check)[0]
		beginning := fmt.Sprintf("stray_%s [%d,0", transport, check.Port)
		if transport == "icmp" {
			beginning = `stray_others ["icmp",0`
			if strings.Contains(check.IP, ":") {
				beginning = `stray_others ["ipv6-icmp",0`
			}
		}
		if !anyBegins(strays, beginning) {
			t.Errorf("%s: no packet without the mark was counted: %v", byID[check.ID].name, strays)
		}
		if text := string(engine.latest()[check.ID].Message); !strings.Contains(text, "; timed out ") {
			t.Errorf("%s: the message %q does not say that it timed out", byID[check.ID].name, text)
		}
	}
}

func anyBegins(all map[string]int, beginning string) bool {
	for name := range all {
		if strings.HasPrefix(name, beginning) {
			return true
		}
	}
	return false
}

// awaitProbes waits until each check has been probed so many times more than it
// has told so far.
func (e *fakeEngine) awaitProbes(byID map[uint64]kind, probes uint64) {
	e.t.Helper()
	before := e.latest()
	missing := func() (names []string) {
		latest := e.latest()
		for id, k := range byID {
			if latest[id].probes() < before[id].probes()+probes {
				names = append(names, k.name)
			}
		}
		return names
	}
	// Each may take its timeout, and be told a second later.
	limit := time.Duration(probes)*markTimeout + patience
	if !e.await(limit, func() bool { return len(missing()) == 0 }) {
		e.t.Fatalf("not probed %d times within %v: %v", probes, limit, missing())
	}
}

// repeatedSegments is how many TCP segments were sent again in the network of
// the process (proc_net_snmp, RFC 4022).
func repeatedSegments(t *testing.T, p *supervise.Process) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if fields[0] != "Tcp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if name == "RetransSegs" {
				n, err := strconv.Atoi(fields[i])
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	t.Fatal("the kernel does not say how many segments were sent again")
	return 0
}
