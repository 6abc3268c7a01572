package e2e

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hc-server/hc/proxy/internal/wire"
	"github.com/hc-server/hc/proxy/seesawtest/supervise"
	"github.com/miekg/dns"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

const (
	portH2C       = 8410 // HTTP/2 without TLS
	portH2        = 8411
	portProxied   = 8412 // wants a PROXY header
	portGRPC      = 8413
	portGRPCTLS   = 8414
	portSMTP      = 8415 // with STARTTLS
	portRedis     = 8416
	portNames     = 5353
	markedName    = "vip.example."
	secondSource4 = "10.9.0.3"
	secondSource6 = "fd09::3"
)

// talkersEnv makes this program the servers that nobody else is: gRPC, SMTP with
// STARTTLS, and the name of the service. It holds the files of their certificate.
const talkersEnv = "HC_E2E_TALKERS"

func startTalkers(t *testing.T, dir string, in namespace, cert certificate) *daemon {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return startDaemon(t, dir, in.spec(supervise.Spec{
		Name: "talkers", Path: self, Env: []string{talkersEnv + "=" + cert.chain + " " + cert.key},
	}), []int{portGRPC, portGRPCTLS, portSMTP}, nil)
}

// talk serves all of that. It returns when it cannot.
func talk(files []string) error {
	pair, err := tls.LoadX509KeyPair(files[0], files[1])
	if err != nil {
		return err
	}
	failed := make(chan error)
	serve := func(port int, serve func(net.Listener) error) error {
		for _, network := range []string{"tcp4", "tcp6"} {
			listener, err := net.Listen(network, fmt.Sprintf(":%d", port))
			if err != nil {
				return err
			}
			go func() { failed <- serve(listener) }()
		}
		return nil
	}
	plain, secure := grpc.NewServer(), grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	for _, server := range []*grpc.Server{plain, secure} {
		healthpb.RegisterHealthServer(server, health.NewServer())
	}
	smtp := func(listener net.Listener) error {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return err
			}
			go talkSMTP(connection, &tls.Config{Certificates: []tls.Certificate{pair}})
		}
	}
	err = errors.Join(serve(portGRPC, plain.Serve), serve(portGRPCTLS, secure.Serve), serve(portSMTP, smtp))
	if err != nil {
		return err
	}
	names := &dns.Server{Addr: fmt.Sprintf("%s:%d", backend4, portNames), Net: "udp", Handler: dns.HandlerFunc(nameVIP)}
	go func() { failed <- names.ListenAndServe() }()
	return <-failed
}

// nameVIP answers with the service's address of the family that was asked for.
func nameVIP(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	question := query.Question[0]
	header := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: 1}
	switch question.Qtype {
	case dns.TypeA:
		reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: net.ParseIP(vip4)})
	case dns.TypeAAAA:
		reply.Answer = append(reply.Answer, &dns.AAAA{Hdr: header, AAAA: net.ParseIP(vip6)})
	}
	w.WriteMsg(reply)
}

func talkSMTP(connection net.Conn, config *tls.Config) {
	defer func() { connection.Close() }()
	fmt.Fprint(connection, "220 talker\r\n")
	lines := bufio.NewReader(connection)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		switch strings.ToUpper(strings.Fields(line + " -")[0]) {
		case "EHLO":
			fmt.Fprint(connection, "250-talker\r\n250 STARTTLS\r\n")
		case "STARTTLS":
			fmt.Fprint(connection, "220 go on\r\n")
			connection = tls.Server(connection, config)
			lines = bufio.NewReader(connection)
		case "QUIT":
			fmt.Fprint(connection, "221 bye\r\n")
			return
		default:
			fmt.Fprint(connection, "500 what\r\n")
		}
	}
}

// fileKinds are checks that stand in files alone: name, port and keys.
func fileKinds(ca string) []struct {
	name string
	port int
	keys string
} {
	secure := fmt.Sprintf("tls = { ca_file = %q }", ca)
	codes := "path = \"/healthz\", expected_codes = [200]"
	return []struct {
		name string
		port int
		keys string
	}{
		{"steps", portSMTP, `tcp = { steps = [{ expect = "220 ", rest_of_line = true }, { send = "QUIT\r\n" }, { expect = "221 " }] }`},
		{"redis", portRedis, `redis = {}`},
		{"starttls", portSMTP, fmt.Sprintf("smtp = { starttls = true, %s }", secure)},
		{"h2c", portH2C, fmt.Sprintf("http = { version = \"2\", %s }", codes)},
		{"h2", portH2, fmt.Sprintf("http = { version = \"2\", %s, %s }", codes, secure)},
		{"body", portH2, fmt.Sprintf("http = { version = \"2\", %s, %s, body_contains = \"ok\" }", codes, secure)},
		{"grpc", portGRPC, "grpc = {}"},
		{"grpc-tls", portGRPCTLS, fmt.Sprintf("grpc = { %s }", secure)},
		{"proxy-v1", portProxied, fmt.Sprintf("proxy_protocol = \"v1\"\nhttp = { %s }", codes)},
		{"proxy-v2", portProxied, fmt.Sprintf("proxy_protocol = \"v2\"\nhttp = { %s }", codes)},
		{"proxy-local", portProxied, "proxy_protocol = \"v2-local\"\ntcp = {}"},
		{"source", portGRPC, fmt.Sprintf("source = [%q, %q]\ngrpc = {}", secondSource4, secondSource6)},
		{"device", portGRPC, "device = \"cable\"\ngrpc = {}"},
		{"source-tcp", portSMTP, fmt.Sprintf("source = [%q, %q]\ntcp = {}", secondSource4, secondSource6)},
		{"source-device", portRedis, fmt.Sprintf("source = [%q, %q]\ndevice = \"cable\"\nredis = {}", secondSource4, secondSource6)},
	}
}

// TestMarksOfFiles is TestMarks for what stands in files of checks alone: dialogues,
// STARTTLS, HTTP/2, gRPC, PROXY headers, source addresses, interfaces, host names.
func TestMarksOfFiles(t *testing.T) {
	for _, closing := range []string{"reset", "graceful"} {
		t.Run(closing, func(t *testing.T) { testMarksOfFiles(t, closing) })
	}
}

func testMarksOfFiles(t *testing.T, closing string) {
	dir := logDir(t)
	n := newNetwork(t)
	n.addVIP()
	n.lb.run(t, "ip addr add "+secondSource4+"/24 dev cable")
	n.lb.run(t, "ip addr add "+secondSource6+"/64 dev cable nodad")
	certs := t.TempDir()
	ours := newAuthority(t, certs, "ours")
	cert := ours.sign(t, certs, "server", vip4, vip6)
	talkers := startTalkers(t, dir, n.backend, cert)
	web := startNginx(t, dir, "nginx", nginxPorts{
		in: n.backend, plain: []int{portH2C, portProxied}, secure: map[int]certificate{portH2: cert},
		listen: map[int]string{portH2C: "http2", portProxied: "proxy_protocol", portH2: "http2"},
	})
	redis := startDaemon(t, dir, n.backend.spec(supervise.Spec{
		Name: "redis", Path: "redis-server",
		Args: []string{"--port", fmt.Sprint(portRedis), "--bind", "0.0.0.0", "::", "--protected-mode", "no", "--save", "", "--dir", t.TempDir()},
	}), []int{portRedis}, nil)

	text := fmt.Sprintf("[defaults]\ninterval = \"%v\"\ntimeout = \"%v\"\nretries = 0\n", markInterval, markTimeout)
	var checks []*wire.Check
	names := map[uint64]string{}
	add := func(name, target string, port int, mode, keys string) {
		mark := firstMark + int64(len(checks))
		checks = append(checks, &wire.Check{CheckerType: wire.TypeTCP, Port: int64(port), Mark: mark})
		names[uint64(mark)] = name
		text += fmt.Sprintf("[[check]]\nname = %q\ntarget = %q\nmode = %q\nmark = %d\n%s\n",
			name, net.JoinHostPort(target, fmt.Sprint(port)), mode, mark, keys)
	}
	for _, k := range fileKinds(ours.root) {
		for _, mode := range []string{wire.ModeDSR, wire.ModeTUN} {
			add(k.name+"-4-"+mode, vip4, k.port, mode, k.keys)
			add(k.name+"-6-"+mode, vip6, k.port, mode, k.keys)
		}
		// A certificate is for the address. Each address of the name would take the mark of its check.
		if !strings.Contains(k.keys, "tls") && !strings.Contains(k.keys, "source") {
			for _, rule := range []string{"any", "all"} {
				keys := fmt.Sprintf("resolve = %q\n%s", rule, k.keys)
				add(k.name+"-name-"+rule, strings.TrimSuffix(markedName, "."), k.port, wire.ModeDSR, keys)
			}
		}
	}
	n.count(checks)
	server := supervise.StartWithFile(t, dir, text, supervise.FileServerOptions{
		Source: fmt.Sprintf("dns_servers = [\"%s:%d\"]\ndns_max_age = \"5s\"", backend4, portNames),
		Env:    []string{"HC_SERVER_CHECKS_CLOSE=" + closing},
		Enter:  n.lb.spec,
	})
	// Counts of all checks, in one question.
	probes := func() map[string]uint64 {
		out := map[string]uint64{}
		for _, check := range server.Checks() {
			out[check.Name] = check.Successes + check.Failures
		}
		return out
	}
	await := func(what, health string) {
		t.Helper()
		eventually(t, serverLimit+patience, "all checks are "+health+": "+what, func() bool {
			found := 0
			for _, check := range server.Checks() {
				if check.Health == health {
					found++
				}
			}
			return found == len(checks)
		})
	}
	awaitMore := func(what string) {
		t.Helper()
		before := probes()
		eventually(t, markProbes*markTimeout+patience, "probes: "+what, func() bool {
			now := probes()
			for name, count := range before {
				if now[name] < count+markProbes {
					return false
				}
			}
			return true
		})
	}

	await("at the start", "healthy")
	awaitMore("all is well")
	marked := n.counts().marked
	for _, check := range checks {
		if sent := marked[counterOf(check, "tcp")]; sent < markProbes {
			t.Errorf("%s: %d packets with the mark in %d probes", names[uint64(check.Mark)], sent, markProbes)
		}
	}
	n.failOnStrays("all is well")

	repeated := repeatedSegments(t, server.Process)
	n.losePackets()
	awaitMore("packets are lost")
	n.losePacketsNoMore()
	if repeatedSegments(t, server.Process) == repeated {
		t.Error("no segment was sent twice, although one of every connection was lost")
	}
	n.failOnStrays("packets are lost")

	await("nothing is lost any more", "healthy")
	mortals := []mortal{web, redis, talkers}
	for _, m := range mortals {
		m.Kill()
	}
	await("the servers died", "unhealthy")
	for _, m := range mortals {
		m.Start()
	}
	await("the servers returned", "healthy")
	n.failOnStrays("servers died and returned")

	// Without a mark packets are counted as strays: we would have seen one.
	dialUnmarked(n.lb)
	if strays := n.counts().strays; !anyBegins(strays, fmt.Sprintf("stray_tcp [%d,0", portGRPC)) {
		t.Errorf("a packet without a mark was not counted: %v", strays)
	}
}

// dialUnmarked sends a SYN without a mark to the service.
func dialUnmarked(in namespace) {
	path, args := in.enter("nc", "-z", "-w", "1", vip4, fmt.Sprint(portGRPC))
	// Nobody answers it.
	_ = exec.Command(path, args...).Run()
}
