package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/seesawtest/supervise"
)

// certificate is a key and a chain in files.
type certificate struct{ key, chain string }

// authority signs certificates; root is the file of its own.
type authority struct {
	root string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, name+".pem")
	writePEM(t, root, "CERTIFICATE", der)
	return authority{root, cert, key}
}

// sign makes a server certificate for the loopback addresses and further ones.
func (a authority) sign(t *testing.T, dir, name string, further ...string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, ip := range further {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	out := certificate{filepath.Join(dir, name+".key"), filepath.Join(dir, name+".pem")}
	writePEM(t, out.key, "EC PRIVATE KEY", keyDER)
	writePEM(t, out.chain, "CERTIFICATE", der)
	return out
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	data := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// nginx is a web server of one process, on every address of both families. It
// answers /healthz with 200 and "ok", anything else with 404.
type nginx struct {
	*supervise.Process
	t     *testing.T
	ports []int
}

// nginxPorts are the ports of an nginx; those of TLS have their certificate, some
// have directives of their own.
type nginxPorts struct {
	in       namespace
	plain    []int
	secure   map[int]certificate
	settings map[int]string
	listen   map[int]string // more words behind the ports
}

func startNginx(t *testing.T, dir, name string, ports nginxPorts) *nginx {
	t.Helper()
	n := &nginx{t: t, ports: append([]int(nil), ports.plain...)}
	var servers strings.Builder
	server := func(port int, tls, settings string) {
		fmt.Fprintf(&servers, `
  server {
    listen 0.0.0.0:%d %s;
    listen [::]:%d %s ipv6only=on;
    %s
    location = /healthz { default_type text/plain; return 200 "ok\n"; }
    location / { return 404 "no\n"; }
  }`, port, tls, port, tls, settings+ports.settings[port])
	}
	for _, port := range ports.plain {
		server(port, ports.listen[port], "")
	}
	for port, cert := range ports.secure {
		n.ports = append(n.ports, port)
		server(port, "ssl "+ports.listen[port], fmt.Sprintf("ssl_certificate %s; ssl_certificate_key %s;", cert.chain, cert.key))
	}
	home := filepath.Join(dir, name)
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(home, "nginx.conf")
	text := fmt.Sprintf(`daemon off;
master_process off; # one process, so that one SIGKILL ends it
pid %[1]s/pid;
error_log stderr warn;
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;%[2]s
}
`, home, servers.String())
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	n.Process = supervise.Start(t, dir, ports.in.spec(supervise.Spec{
		Name: name, Path: "nginx", Args: []string{"-e", "stderr", "-p", home, "-c", config},
	}))
	awaitListening(t, n.Process, "tcp", n.ports...)
	return n
}

// Start runs nginx again and returns when its ports are open.
func (n *nginx) Start() {
	n.t.Helper()
	n.Process.Start()
	awaitListening(n.t, n.Process, "tcp", n.ports...)
}

// answerer is a backend inside the test: whoever sends "ping\n" gets "pong\n".
// It counts the answers, which tells whether checks go on.
type answerer struct {
	t       *testing.T
	address string
	answers atomic.Int64

	listener net.Listener // nil while it is down
	tasks    sync.WaitGroup
}

const (
	question = "ping\n"
	answer   = "pong\n"
)

func startAnswerer(t *testing.T, address string) *answerer {
	t.Helper()
	a := &answerer{t: t, address: address}
	a.up()
	t.Cleanup(a.down)
	return a
}

// up starts to listen.
func (a *answerer) up() {
	a.t.Helper()
	listener, err := net.Listen("tcp", a.address)
	if err != nil {
		a.t.Fatal(err)
	}
	a.listener = listener
	a.tasks.Add(1)
	go func() {
		defer a.tasks.Done()
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			a.tasks.Add(1)
			go func() {
				defer a.tasks.Done()
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(5 * time.Second))
				if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != question {
					return
				}
				if _, err := conn.Write([]byte(answer)); err == nil {
					a.answers.Add(1)
				}
			}()
		}
	}()
}

// down stops listening, so that connections are refused. Being down already is
// fine.
func (a *answerer) down() {
	if a.listener != nil {
		a.listener.Close()
		a.listener = nil
	}
	a.tasks.Wait()
}
