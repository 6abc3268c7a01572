package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/seesawtest/supervise"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

// grpcServer is grpc-go's own server with its own health service.
type grpcServer struct {
	t       *testing.T
	address string
	options []grpc.ServerOption
	health  *health.Server // nil for a server without a health service

	mu     sync.Mutex
	gate   chan struct{} // calls wait until it is closed; nil for none
	called chan struct{} // closed by the first call that waits
	server *grpc.Server
	ended  chan error
}

func startGRPC(t *testing.T, checked bool, options ...grpc.ServerOption) *grpcServer {
	t.Helper()
	s := &grpcServer{t: t, address: "127.0.0.1:0"}
	s.options = append(options, grpc.UnaryInterceptor(s.intercept))
	if checked {
		s.health = health.NewServer()
	}
	s.start()
	t.Cleanup(func() {
		s.open()
		s.stop()
	})
	return s
}

// start serves, after the first time on the same port.
func (s *grpcServer) start() {
	s.t.Helper()
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = listener.Addr().String()
	s.server, s.ended = grpc.NewServer(s.options...), make(chan error, 1)
	if s.health != nil {
		healthpb.RegisterHealthServer(s.server, s.health)
	}
	server, ended := s.server, s.ended
	go func() { ended <- server.Serve(listener) }()
}

// stop closes the port and all connections at once.
func (s *grpcServer) stop() {
	s.server.Stop()
	if err := <-s.ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		s.t.Errorf("a gRPC server: %v", err)
	}
	s.ended <- nil
}

// set says how a service is.
func (s *grpcServer) set(service string, status healthpb.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus(service, status)
}

func (s *grpcServer) intercept(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	s.mu.Lock()
	gate := s.gate
	if gate != nil && s.called != nil {
		close(s.called)
		s.called = nil
	}
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	return handler(ctx, request)
}

// shut lets calls wait. The channel is closed once one does.
func (s *grpcServer) shut() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	called := make(chan struct{})
	s.gate, s.called = make(chan struct{}), called
	return called
}

// open answers them.
func (s *grpcServer) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate != nil {
		close(s.gate)
	}
	s.gate, s.called = nil, nil
}

// check starts one probe by hcctl, which writes what it found.
func (s *grpcServer) check(timeout string) (*exec.Cmd, *strings.Builder) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "checks.toml")
	checks := fmt.Sprintf("[[check]]\nname = \"one\"\ntarget = %q\ntimeout = %q\ninterval = \"60s\"\ngrpc = {}\n", s.address, timeout)
	if err := os.WriteFile(file, []byte(checks), 0o644); err != nil {
		s.t.Fatal(err)
	}
	check, out := exec.Command(program(s.t, "hcctl"), "check", "-v", "--file", file, "one"), new(strings.Builder)
	check.Stdout, check.Stderr = out, out
	if err := check.Start(); err != nil {
		s.t.Fatal(err)
	}
	return check, out
}

// TestGRPC holds gRPC checks against grpc-go, plaintext and TLS.
func TestGRPC(t *testing.T) {
	dir, certs := logDir(t), t.TempDir()
	ours := newAuthority(t, certs, "ours")
	cert := ours.sign(t, certs, "server")
	pair, err := tls.LoadX509KeyPair(cert.chain, cert.key)
	if err != nil {
		t.Fatal(err)
	}
	overTLS := grpc.Creds(credentials.NewServerTLSFromCert(&pair))
	plain, secure := startGRPC(t, true), startGRPC(t, true, overTLS)
	bare := startGRPC(t, false)
	slow := startGRPC(t, true)
	slow.shut()
	for _, s := range []*grpcServer{plain, secure} {
		s.set("shop.Up", healthpb.HealthCheckResponse_SERVING)
		s.set("shop.Down", healthpb.HealthCheckResponse_NOT_SERVING)
		s.set("shop.Odd", healthpb.HealthCheckResponse_UNKNOWN)
	}

	checks := "[defaults]\ninterval = \"200ms\"\ntimeout = \"1s\"\nretries = 0\n"
	add := func(name string, s *grpcServer, grpc string) {
		checks += fmt.Sprintf("[[check]]\nname = %q\ntarget = %q\ngrpc = { %s }\n", name, s.address, grpc)
	}
	for _, of := range []struct {
		name, tls string
		server    *grpcServer
	}{{"plain", "tls = false", plain}, {"tls", fmt.Sprintf("tls = { ca_file = %q }", ours.root), secure}} {
		add(of.name+"-whole", of.server, of.tls)
		for _, service := range []string{"Up", "Down", "Odd", "Nobody"} {
			add(of.name+"-"+service, of.server, of.tls+fmt.Sprintf(", service = \"shop.%s\"", service))
		}
	}
	add("untrusted", secure, "tls = true")
	add("tls-to-plain", plain, "tls = { verify = false }")
	add("plain-to-tls", secure, "tls = false")
	add("bare", bare, "tls = false")
	add("slow", slow, "tls = false")
	server := supervise.StartWithFile(t, dir, checks, supervise.FileServerOptions{})

	for _, name := range []string{"plain", "tls"} {
		server.AwaitHealth(name+"-whole", "healthy")
		server.AwaitHealth(name+"-Up", "healthy")
		server.AwaitFailure(name+"-Down", "wrong_answer", "the service is NOT_SERVING", `\x00\x00\x00\x00\x02\b\x02`)
		server.AwaitFailure(name+"-Odd", "wrong_answer", "the service is UNKNOWN", "grpc-status: 0")
		server.AwaitFailure(name+"-Nobody", "status", `grpc-status 5 NOT_FOUND: "unknown service"`, "grpc-message: unknown service")
	}
	server.AwaitFailure("untrusted", "tls", "TLS: ", "")
	server.AwaitFailure("tls-to-plain", "tls", "the peer speaks HTTP/2", "")
	server.AwaitFailure("plain-to-tls", "closed", "connection closed before any answer", "")
	server.AwaitFailure("bare", "status", "grpc-status 12 UNIMPLEMENTED: \"unknown service grpc.health.v1.Health\"", "HTTP/2 200")
	server.AwaitFailure("slow", "timeout_response", "timed out", "")

	// What changes its mind, and what is shut down by its own words.
	plain.set("shop.Up", healthpb.HealthCheckResponse_NOT_SERVING)
	server.AwaitHealth("plain-Up", "unhealthy")
	plain.set("shop.Up", healthpb.HealthCheckResponse_SERVING)
	server.AwaitHealth("plain-Up", "healthy")
	plain.health.Shutdown()
	server.AwaitHealth("plain-whole", "unhealthy")
	server.AwaitFailure("plain-Up", "wrong_answer", "the service is NOT_SERVING", "HTTP/2 200")
	plain.health.Resume()
	server.AwaitHealth("plain-whole", "healthy")

	slow.open()
	server.AwaitHealth("slow", "healthy")

	// One that goes away, and returns on its port.
	for name, s := range map[string]*grpcServer{"plain": plain, "tls": secure} {
		s.stop()
		<-s.ended
		server.AwaitFailure(name+"-Up", "refused", "connection refused", "")
		s.start()
		server.AwaitHealth(name+"-Up", "healthy")
	}
}

// TestGRPCDraining: a server that says GOAWAY to a connection and answers the call
// that is under way on it is healthy, since the call succeeded.
func TestGRPCDraining(t *testing.T) {
	s := startGRPC(t, true)
	called := s.shut()
	check, out := s.check("60s")
	<-called
	// It says GOAWAY, closes its port and waits for the call.
	done := make(chan struct{})
	go func() {
		s.server.GracefulStop()
		close(done)
	}()
	eventually(t, patience, "the port is closed", func() bool {
		connection, err := net.Dial("tcp", s.address)
		if err == nil {
			connection.Close()
		}
		return err != nil
	})
	s.open()
	if err := check.Wait(); err != nil || !strings.HasPrefix(out.String(), "pass: ") {
		t.Errorf("%v: %s", err, out)
	}
	<-done
}

// TestGRPCAge: a server that says GOAWAY to each connection after a while, and ends
// it with the call in it, is found out at once and not at the deadline.
func TestGRPCAge(t *testing.T) {
	s := startGRPC(t, true, grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 100 * time.Millisecond, MaxConnectionAgeGrace: 100 * time.Millisecond,
	}))
	s.shut()
	check, out := s.check("60s")
	began := time.Now()
	err := check.Wait()
	if err == nil || !strings.HasPrefix(out.String(), "fail: ") || !strings.Contains(out.String(), "connection closed") {
		t.Errorf("%v: %s", err, out)
	}
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("found out after %v", took)
	}
	s.open()
	if check, out := s.check("60s"); check.Wait() != nil {
		t.Errorf("%s", out)
	}
}
