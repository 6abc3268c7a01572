package e2e

import (
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/hc-server/hc/proxy/seesawtest/ncc"
)

// site is the cluster that the tests of the real engine share, with its backends
// running: 200 of them behind nine vservers.
//
// The vservers "tcp" to "dsr" live on one nginx that stays up, those whose names
// end in -a on nginx A, "dual" on nginx B, and every backend of "single" is a
// listener of its own.
type site struct {
	cluster cluster
	a, b    *nginx
	single  []*answerer
}

// Ports of the cluster. 8306 is the HTTP check of "mixed-a" beside its TCP check.
const (
	portTCP = 8300 + iota
	portHTTP
	portHTTPS
	portTLS
	portHTTPA
	portMixedA
	portMixedAHTTP
	portDual
	portSingle
	portDSR
)

const healthz = `send: "/healthz" receive: "ok" code: 200`

func siteCluster() cluster {
	return cluster{
		{name: "tcp", number: 21, port: portTCP, backends: 25, interval: 1, timeout: 1, retries: 1,
			checks: []string{"type: TCP"}},
		{name: "http", number: 22, port: portHTTP, backends: 25, interval: 1, timeout: 1, retries: 1,
			checks: []string{"type: HTTP " + healthz}},
		{name: "https", number: 23, port: portHTTPS, backends: 25, interval: 2, timeout: 1,
			checks: []string{"type: HTTPS tls_verify: false " + healthz}},
		{name: "tls", number: 24, port: portTLS, backends: 25, interval: 2, timeout: 1,
			checks: []string{"type: TCP_TLS tls_verify: false"}},
		{name: "http-a", number: 25, port: portHTTPA, backends: 25, interval: 1, timeout: 1, retries: 2,
			checks: []string{"type: HTTP " + healthz}},
		{name: "mixed-a", number: 26, port: portMixedA, backends: 25, interval: 1, timeout: 1,
			checks: []string{"type: TCP", fmt.Sprintf("type: HTTP port: %d %s", portMixedAHTTP, healthz)}},
		{name: "dual", number: 27, port: portDual, ipv6: true, backends: 25, interval: 1, timeout: 1, retries: 1,
			checks: []string{"type: TCP"}},
		{name: "single", number: 28, port: portSingle, backends: 22, interval: 1, timeout: 1, retries: 1,
			checks: []string{fmt.Sprintf("type: TCP send: %q receive: %q", question, answer)}},
		{name: "dsr", number: 29, port: portDSR, backends: 3, dsr: true, interval: 1, timeout: 1, retries: 1,
			checks: []string{"type: TCP"}},
	}
}

// startSite starts the backends. All of them are up.
func startSite(t *testing.T, dir string) *site {
	t.Helper()
	certs := t.TempDir()
	cert := newAuthority(t, certs, "authority").sign(t, certs, "server")
	s := &site{cluster: siteCluster()}
	if n := s.cluster.backendCount(); n != 200 {
		t.Fatalf("the cluster has %d backends, not 200", n)
	}
	startNginx(t, dir, "nginx-main", nginxPorts{
		plain:  []int{portTCP, portHTTP, portDSR},
		secure: map[int]certificate{portHTTPS: cert, portTLS: cert},
	})
	s.a = startNginx(t, dir, "nginx-a", nginxPorts{plain: []int{portHTTPA, portMixedA, portMixedAHTTP}})
	s.b = startNginx(t, dir, "nginx-b", nginxPorts{plain: []int{portDual}})
	single := s.cluster.named("single")
	for i := range single.backends {
		address := net.JoinHostPort(single.backend4(i).String(), strconv.Itoa(portSingle))
		s.single = append(s.single, startAnswerer(t, address))
	}
	return s
}

// singleEntry is the table's entry of one backend of "single".
func (s *site) singleEntry(i int) ncc.Entry {
	return s.cluster.named("single").entries()[i]
}

// answers is how often the listeners of "single" have answered so far.
func (s *site) answers() int64 {
	var sum int64
	for _, a := range s.single {
		sum += a.answers.Load()
	}
	return sum
}

// names maps what the engine and seesaw_cli call a destination to its entry.
func (s *site) names() map[string]ncc.Entry {
	out := make(map[string]ncc.Entry)
	for _, v := range s.cluster {
		for _, e := range v.entries() {
			out[v.destinationName(e)] = e
		}
	}
	return out
}
