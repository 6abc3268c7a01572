package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
	"github.com/hc-server/hc/proxy/seesawtest/supervise"
)

// Ports of the real servers. The kinds of kinds() go to nginx on ports of theirs.
const (
	portForwarding   = 8403 // an HTTP proxy
	portStrict12     = 8404 // HAProxy that wants a client's certificate, TLS 1.2
	portStrict13     = 8405 // the same, TLS 1.3
	portDNS          = 53
	portRADIUS       = 1812
	portStrictRADIUS = 1814 // Message-Authenticator is required
	portEcho         = 7
)

// Addresses of the backend that answer nothing but pings.
const ping4, ping6 = "10.9.1.1", "fd09:1::1"

// forwarding makes a port of nginx an HTTP proxy for one URL.
const forwarding = `
    location = /forwarded {
      if ($request !~ "^GET http://www\.example\.com/forwarded HTTP/1\.1$") { return 400 "not for a proxy\n"; }
      if ($http_host != www.example.com) { return 400 "another host\n"; }
      rewrite ^ /healthz break;
      proxy_pass http://127.0.0.1:8400;
    }`

// serverKind is a check of a real server: what the engine hears while the server
// is up, and once it is dead.
type serverKind struct {
	kind
	server   string
	up, down string // parts of the message
}

const (
	isRefused  = "; connection refused"
	isSilent   = "; timed out waiting for the response after "
	isRejected = "got RADIUS Access-Reject response"
)

// serverKinds are the checks of one family.
func serverKinds(address, ping string) []serverKind {
	var all []serverKind
	add := func(server string, healthy bool, name, up, down string, check wire.Check) {
		check.IP = address
		all = append(all, serverKind{kind{name + " of " + address, healthy, check}, server, up, down})
	}
	for _, k := range kinds() {
		up := ""
		if !k.healthy {
			up = "; "
		}
		add("nginx", k.healthy, k.name, up, isRefused, k.check)
	}
	no := false
	https := func(port int64) wire.Check {
		return wire.Check{
			CheckerType: wire.TypeHTTP, Port: port, Path: "/", ExpectedCodes: []int64{200}, Secure: true, TLSVerify: &no,
		}
	}
	forwarded := wire.Check{
		CheckerType: wire.TypeHTTP, Port: portForwarding, Path: "http://www.example.com/forwarded",
		ExpectedCodes: []int64{200}, ExpectedBody: "ok", Proxy: true,
	}
	add("nginx", true, "http by a proxy", "; got 200 OK", isRefused, forwarded)
	forwarded.Proxy = false
	add("nginx", false, "http to a proxy as if to a server", "; got 400 Bad Request; want 200", isRefused, forwarded)

	handshake := func(port int64) wire.Check {
		return wire.Check{CheckerType: wire.TypeTCP, Port: port, Secure: true, TLSVerify: &no}
	}
	add("haproxy", false, "tls 1.2 without the certificate that is wanted", "; TLS: ", isRefused, handshake(portStrict12))
	// In TLS 1.3 the client is done before the server has looked at its certificate.
	add("haproxy", true, "tls 1.3 without the certificate that is wanted", "TCP connect to ", isRefused, handshake(portStrict13))
	add("haproxy", false, "https 1.2 without the certificate that is wanted", "; TLS: ", isRefused, https(portStrict12))
	add("haproxy", false, "https 1.3 without the certificate that is wanted", "; TLS: ", isRefused, https(portStrict13))

	all = append(all, dnsKinds(address)...)
	all = append(all, radiusKinds(address)...)

	udp := wire.Check{CheckerType: wire.TypeUDP, Port: portEcho, Send: "hello, echo", Receive: "hello"}
	add("echo", true, "udp", "UDP check to ", isRefused, udp)
	udp.Send, udp.Receive = "", ""
	add("echo", true, "udp of nothing", "UDP check to ", isRefused, udp)
	udp.Send, udp.Receive = "hello", "bye"
	add("echo", false, "udp with a wrong answer", `; unexpected response - "hel"`, isRefused, udp)

	// Without the address the backend is a router that has no way there, which it
	// says in IPv6 alone, as it does not forward.
	gone := isSilent
	if address == backend6 {
		gone = "; network is unreachable"
	}
	address = ping
	add("ping", true, "icmp", "ICMP ping to host ", gone, wire.Check{CheckerType: wire.TypeICMP})
	return all
}

// dnsKinds ask Unbound.
func dnsKinds(address string) []serverKind {
	var all []serverKind
	ask := func(healthy bool, query wire.Bytes, kindOf, want, up string) {
		c := wire.Check{CheckerType: wire.TypeDNS, IP: address, Port: portDNS, Query: &query, QueryType: kindOf}
		if kindOf == "A" || kindOf == "AAAA" {
			c.ExpectedIPs = []wire.Bytes{wire.Bytes(want)}
		} else {
			c.ExpectedAnswer = wire.Bytes(want)
		}
		name := fmt.Sprintf("dns %s %s of %s", kindOf, query, address)
		all = append(all, serverKind{kind{name, healthy, c}, "unbound", up, isRefused})
	}
	const passes = "; received answer "
	ask(true, "www.example.com", "A", "192.0.2.10", passes+"192.0.2.10")
	ask(true, "WWW.Example.COM.", "AAAA", "2001:db8::10", passes+"2001:db8::10")
	ask(false, "www.example.com", "A", "192.0.2.99", "192.0.2.10")
	ask(false, "none.example.com", "A", "192.0.2.10", "; response code 3 (NXDOMAIN)")
	ask(false, "example.com", "A", "192.0.2.10", "; no answer")
	ask(true, "alias.example.com", "CNAME", "www.example.com.", passes+"www.example.com.")
	ask(true, "example.com", "NS", "ns1.example.com", passes)
	ask(true, "example.com", "MX", "10 mail.example.com", passes)
	ask(false, "example.com", "MX", "20 mail.example.com", "10 mail.example.com.")
	ask(true, "example.com", "TXT", "v=spf1 -all", passes)
	ask(true, "example.com", "TXT", `"v=spf1 " "-all"`, passes)
	ask(true, "example.com", "SOA", "ns1.example.com admin.example.com 2026112401 3600 600 86400 60", passes)
	ask(true, "10.2.0.192.in-addr.arpa", "PTR", "www.example.com", passes)
	ask(true, "_radius._udp.example.com", "SRV", "1 2 1812 radius.example.com", passes)
	// At the end of a chain of aliases.
	ask(true, "first.chain.example", "A", "192.0.2.77", passes+"192.0.2.77")
	ask(true, "first.chain.example", "AAAA", "2001:db8::77", passes)
	// Truncated over UDP, whole over TCP.
	ask(true, "big.example.com", "A", fmt.Sprintf("198.51.100.%d", bigAddresses), passes)
	ask(true, "big.example.com", "TXT", strings.Repeat(bigString, bigStrings), passes)
	return all
}

// radiusKinds ask FreeRADIUS.
func radiusKinds(address string) []serverKind {
	var all []serverKind
	add := func(healthy bool, name string, port int64, user, password, secret, want wire.Bytes, up string) {
		c := wire.Check{
			CheckerType: wire.TypeRADIUS, IP: address, Port: port,
			Username: &user, Password: password, Secret: &secret, ExpectedResponse: &want,
		}
		all = append(all, serverKind{kind{"radius " + name + " of " + address, healthy, c}, "freeradius", up, isRefused})
	}
	for port, strict := range map[int64]string{portRADIUS: "", portStrictRADIUS: " with Message-Authenticator required"} {
		add(true, "accept"+strict, port, "bob", radiusPassword, radiusSecret, "accept", "; got RADIUS Access-Accept response")
		add(true, "reject"+strict, port, "bob", "wrong", radiusSecret, "reject", "; "+isRejected)
		add(true, "challenge"+strict, port, "carol", radiusPassword, radiusSecret, "challenge", "; got RADIUS Access-Challenge response")
		add(true, "any"+strict, port, "mallory", "", radiusSecret, "any", "; "+isRejected)
		add(false, "of a wrong password"+strict, port, "bob", "wrong", radiusSecret, "accept", "; "+isRejected+"; want accept response")
		// Such a request is dropped: its Message-Authenticator is wrong.
		add(false, "with a wrong secret"+strict, port, "bob", radiusPassword, "another", "accept", isSilent)
	}
	return all
}

const (
	serverInterval = 500 * time.Millisecond
	serverTimeout  = time.Second
	serverRetries  = 1
	// This is about verdicts and not about times, and several tests run at once. A
	// busy machine knows that it is late, and holds back a verdict of "timed out".
	serverLimit = 30 * time.Second
)

// place numbers the checks and sets their times.
func place(all []serverKind) (checks []*wire.Check, byID map[uint64]kind, servers map[uint64]serverKind) {
	byID, servers = make(map[uint64]kind), make(map[uint64]serverKind)
	for _, k := range all {
		c := k.check
		c.ID = firstID + uint64(len(checks))
		c.Interval, c.Timeout = wire.Period(serverInterval), wire.Period(serverTimeout)
		c.Retries = serverRetries
		checks = append(checks, &c)
		byID[c.ID], servers[c.ID] = k.kind, k
	}
	return checks, byID, servers
}

// mortal is what can die and return.
type mortal interface {
	Kill()
	Start()
}

// pingable is the backend's second pair of addresses.
type pingable struct{ *network }

func (p pingable) Start() { p.addAddress(ping4); p.addAddress(ping6) }
func (p pingable) Kill()  { p.delAddress(ping4); p.delAddress(ping6) }

// TestRealServers: every checker, over both families, against servers that are
// not ours. Each server dies and returns by itself, and the engine hears of the
// checks of that server alone.
func TestRealServers(t *testing.T) {
	t.Parallel()
	dir := logDir(t)
	n := newNetwork(t)
	certs := t.TempDir()
	ours, other := newAuthority(t, certs, "ours"), newAuthority(t, certs, "other")
	trusted := ours.sign(t, certs, "trusted", backend4, backend6)
	pings := pingable{n}
	pings.Start()
	mortals := map[string]mortal{
		"nginx": startNginx(t, dir, "nginx", nginxPorts{
			in:    n.backend,
			plain: []int{portPlain, portForwarding},
			secure: map[int]certificate{
				portTrusted:   trusted,
				portUntrusted: other.sign(t, certs, "untrusted", backend4, backend6),
			},
			settings: map[int]string{portForwarding: forwarding},
		}),
		"haproxy":    startHAProxy(t, dir, n.backend, trusted, other),
		"unbound":    startUnbound(t, dir, n.backend, backend4, backend6),
		"freeradius": startRADIUS(t, dir, n.backend, backend4, backend6),
		"echo":       startEcho(t, dir, n.backend, backend4, backend6),
		"ping":       pings,
	}
	checks, byID, servers := place(append(serverKinds(backend4, ping4), serverKinds(backend6, ping6)...))
	engine := startFakeEngine(t, dir, checks)
	server, _ := startPair(t, dir, engine.socket, pairOptions{
		serverIn:  n.lb,
		serverEnv: []string{"SSL_CERT_FILE=" + ours.root, "HC_SERVER_NOTIFY_INTERVAL=1s"},
		proxyArgs: []string{"-fetch_interval", "1s"},
	})
	await := func(dead string, start time.Time, what string) {
		t.Helper()
		want := make(map[uint64]wire.State)
		for id, k := range servers {
			want[id] = wire.StateUnhealthy
			if k.healthy && k.server != dead {
				want[id] = wire.StateHealthy
			}
		}
		engine.awaitStates(byID, want, start, serverLimit, what)
		engine.awaitTexts(servers, dead, what)
	}
	await("", time.Now(), "first verdicts")
	failUnlessConfined(t, server)
	for name, m := range mortals {
		death := time.Now()
		m.Kill()
		await(name, death, name+" died")
		m.Start()
		await("", time.Now(), name+" returned")
	}
	engine.failOnFlaps(servers)
}

// awaitTexts waits until every check says what it has to. A text that changes
// while the state stays comes with the refresh.
func (e *fakeEngine) awaitTexts(servers map[uint64]serverKind, dead, what string) {
	e.t.Helper()
	wrong := func() []string {
		latest := e.latest()
		var out []string
		for id, k := range servers {
			part := k.up
			if k.server == dead {
				part = k.down
			}
			if text := string(latest[id].Message); !strings.Contains(text, part) {
				out = append(out, fmt.Sprintf("%s: the message %q lacks %q", k.name, text, part))
			}
		}
		slices.Sort(out)
		return out
	}
	if !e.await(serverLimit, func() bool { return len(wrong()) == 0 }) {
		for _, text := range wrong() {
			e.t.Errorf("%s: %s", what, text)
		}
	}
}

// failOnFlaps fails the test if a check changed its state for another reason than
// the death and the return of its server, once each.
func (e *fakeEngine) failOnFlaps(servers map[uint64]serverKind) {
	e.t.Helper()
	heard := make(map[uint64][]wire.State)
	for _, event := range e.since(0) {
		states := heard[event.ID]
		if event.Event == "notification" && (len(states) == 0 || states[len(states)-1] != event.State) {
			heard[event.ID] = append(states, event.State)
		}
	}
	for id, k := range servers {
		want := []wire.State{wire.StateUnhealthy}
		if k.healthy {
			want = []wire.State{wire.StateHealthy, wire.StateUnhealthy, wire.StateHealthy}
		}
		if !slices.Equal(heard[id], want) {
			e.t.Errorf("%s: the states were %v, not %v", k.name, heard[id], want)
		}
	}
}

// failUnlessConfined fails the test unless the server has given up all of root's
// powers but raw sockets and marks (capabilities(7)).
func failUnlessConfined(t *testing.T, server *supervise.Process) {
	t.Helper()
	const wanted = 1<<12 | 1<<13 // CAP_NET_ADMIN, CAP_NET_RAW
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", server.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
		if line := fmt.Sprintf("%s:\t%016x\n", set, wanted); !strings.Contains(string(text), line) {
			t.Errorf("hc-server has other capabilities than %q", line)
		}
	}
	if !strings.Contains(string(text), "Seccomp:\t2\n") {
		t.Error("hc-server has no filter of system calls")
	}
}
