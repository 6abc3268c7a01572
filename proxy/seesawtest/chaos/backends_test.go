package chaos

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
)

// backend is one server on an address of its own that can be taken down and up.
// Each kind has its way of being down: a TCP server does not listen, an HTTP
// server answers 503, a UDP server says nothing.
type backend struct {
	index    int
	kind     string
	interval time.Duration
	timeout  time.Duration
	retries  int64
	address  string
	port     int

	secure *tls.Config // of an HTTPS server

	answers  *atomic.Int64 // of all UDP servers of the fleet
	isUp     atomic.Bool
	listener net.Listener   // nil while a TCP server is down
	packets  net.PacketConn // UDP
}

// Ports outside of every range that the kernel takes ports from.
const (
	tcpPort  = 80
	httpPort = 81
	udpPort  = 82
)

// handshake is how long an HTTPS server keeps a client waiting in the middle of
// the handshake, so that at any moment some probes are in flight that have to act
// once more before they can pass.
const handshake = 200 * time.Millisecond

// fleet is all backends of a test.
type fleet struct {
	backends []*backend
	answers  atomic.Int64
}

// usual makes a fleet of which six of ten are TCP, one HTTP, one HTTPS, two UDP.
// Their timeouts are long, since the servers are this process, which may have to
// wait for a processor.
func usual(i int, b *backend, secure *tls.Config) {
	switch i % 5 {
	case 3:
		b.kind, b.port, b.timeout, b.retries = wire.TypeHTTP, httpPort, 5*b.interval, 1
		if i%10 == 3 {
			b.secure, b.retries = secure, 0
		}
	case 4:
		b.kind, b.port, b.timeout, b.retries = wire.TypeUDP, udpPort, 2*b.interval, 2
	default:
		b.kind, b.port, b.timeout, b.retries = wire.TypeTCP, tcpPort, 2*b.interval, int64(i%5)
	}
}

// laborious makes a fleet of which nine of ten are HTTPS, whose probes need much of
// the checker's time, and the rest UDP.
func laborious(i int, b *backend, secure *tls.Config) {
	b.timeout = 2 * b.interval
	if i%10 == 0 {
		b.kind, b.port, b.retries = wire.TypeUDP, udpPort, 2
	} else {
		b.kind, b.port, b.secure = wire.TypeHTTP, httpPort, secure
	}
}

// newFleet starts n backends, all up, of the given kinds.
func newFleet(t *testing.T, n int, interval time.Duration, kinds func(i int, b *backend, secure *tls.Config)) *fleet {
	t.Helper()
	f := &fleet{}
	secure := tlsConfig(t)
	for i := range n {
		b := &backend{
			index: i, interval: interval, answers: &f.answers,
			address: fmt.Sprintf("127.%d.%d.%d", 1+i/62500, 1+i/250%250, 1+i%250),
		}
		kinds(i, b, secure)
		if err := b.start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.stop)
		f.backends = append(f.backends, b)
	}
	return f
}

func (b *backend) hostPort() string { return net.JoinHostPort(b.address, fmt.Sprint(b.port)) }

func (b *backend) start() error {
	b.isUp.Store(true)
	if b.kind != wire.TypeUDP {
		return b.listen()
	}
	packets, err := net.ListenPacket("udp", b.hostPort())
	if err != nil {
		return err
	}
	b.packets = packets
	go b.echo()
	return nil
}

func (b *backend) stop() {
	if b.listener != nil {
		b.listener.Close()
	}
	if b.packets != nil {
		b.packets.Close()
	}
}

func (b *backend) listen() error {
	listener, err := net.Listen("tcp", b.hostPort())
	if err != nil {
		return err
	}
	b.listener = listener
	go b.accept(listener)
	return nil
}

// set takes the backend up or down, and has done so when it returns.
func (b *backend) set(up bool) error {
	b.isUp.Store(up)
	switch {
	case b.kind != wire.TypeTCP:
	case up:
		return b.listen()
	default:
		err := b.listener.Close()
		b.listener = nil
		return err
	}
	return nil
}

func (b *backend) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if b.kind == wire.TypeTCP {
			conn.Close()
			continue
		}
		go b.serve(conn)
	}
}

// serve is one HTTP exchange.
func (b *backend) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(b.timeout))
	if b.secure != nil {
		pass(handshake)
		conn = tls.Server(conn, b.secure)
		defer conn.Close() // takes leave politely
	}
	reader := bufio.NewReaderSize(conn, 512)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return
		}
		if strings.TrimSpace(line) == "" {
			break
		}
	}
	status := "503 Service Unavailable"
	if b.isUp.Load() {
		status = "200 OK"
	}
	fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", status)
}

func (b *backend) echo() {
	var buffer [64]byte
	for {
		n, from, err := b.packets.ReadFrom(buffer[:])
		if err != nil {
			return
		}
		if b.isUp.Load() {
			_, _ = b.packets.WriteTo(append([]byte("re:"), buffer[:n]...), from)
			b.answers.Add(1)
		}
	}
}

// check is the check of this backend under an id.
func (b *backend) check(id uint64) *wire.Check {
	c := &wire.Check{
		ID: id, Interval: wire.Period(b.interval), Timeout: wire.Period(b.timeout), Retries: b.retries,
		CheckerType: b.kind, IP: b.address, Port: int64(b.port),
	}
	switch b.kind {
	case wire.TypeHTTP:
		c.Method, c.Path, c.ExpectedCodes = "GET", "/", []int64{200}
		if b.secure != nil {
			verify := false
			c.Secure, c.TLSVerify = true, &verify
		}
	case wire.TypeUDP:
		c.Send, c.Receive = "ping", "re:ping"
	}
	return c
}

// detection is how long a flip may take to be seen by a server that is whole:
// the rest of a probe under way and, for each probe that it takes, the time to the
// next one and that of a probe.
func (b *backend) detection(up bool) time.Duration {
	const batch = 100 * time.Millisecond
	probe := time.Duration(0)
	switch {
	case b.kind == wire.TypeUDP:
		probe = b.timeout
	case b.secure != nil:
		probe = handshake
	}
	if up {
		return probe + b.interval + probe + batch
	}
	return probe + time.Duration(1+b.retries)*(b.interval+probe) + batch
}

// tlsConfig has a fresh certificate, which nobody verifies.
func tlsConfig(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// raiseFileLimit lets this process hold a socket for each backend.
func raiseFileLimit(t *testing.T) {
	t.Helper()
	limit := syscall.Rlimit{}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}
