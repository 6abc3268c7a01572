// Package peertest lets a test play hc-server by hand.
package peertest

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
)

// Within bounds every wait of a test.
const Within = 10 * time.Second

// What both sides say first.
const (
	Ready = `{"type":"ready","protocol":1,"version":"9.9"}`
	Hello = `{"type":"hello","protocol":1,"version":"test"}`
)

// Server is a listening socket.
type Server struct {
	// Socket is its path.
	Socket   string
	t        *testing.T
	listener *net.UnixListener
}

// Listen makes one in a directory of its own.
func Listen(t *testing.T) *Server {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "server.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return &Server{socket, t, listener}
}

// Peer is one connection.
type Peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// Accept takes the next connection.
func (s *Server) Accept() *Peer {
	s.t.Helper()
	if err := s.listener.SetDeadline(time.Now().Add(Within)); err != nil {
		s.t.Fatal(err)
	}
	conn, err := s.listener.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return &Peer{s.t, conn, bufio.NewReader(conn)}
}

// Greet takes the next connection and its hello.
func (s *Server) Greet() *Peer {
	s.t.Helper()
	p := s.Accept()
	p.Say(Ready)
	p.Expect(Hello)
	return p
}

// Say sends lines.
func (p *Peer) Say(lines ...string) {
	p.t.Helper()
	p.SayRaw(strings.Join(lines, "\n") + "\n")
}

// SayRaw sends text as it is.
func (p *Peer) SayRaw(text string) {
	p.t.Helper()
	if err := p.conn.SetDeadline(time.Now().Add(Within)); err != nil {
		p.t.Fatal(err)
	}
	if _, err := io.WriteString(p.conn, text); err != nil {
		p.t.Fatal(err)
	}
}

// Expect wants a line that begins so.
func (p *Peer) Expect(want string) {
	p.t.Helper()
	if line := p.line(); !strings.HasPrefix(line, want) {
		p.t.Fatalf("heard %.300q\nwant  %q", line, want)
	}
}

// Next is the next line, which must be a message of type M.
func Next[M wire.Message](p *Peer) M {
	p.t.Helper()
	line := p.line()
	message, err := wire.Decode([]byte(line))
	m, ok := message.(M)
	if err != nil || !ok {
		p.t.Fatalf("heard %.300q (%v), want a %T", line, err, m)
	}
	return m
}

func (p *Peer) line() string {
	p.t.Helper()
	if err := p.conn.SetDeadline(time.Now().Add(Within)); err != nil {
		p.t.Fatal(err)
	}
	line, err := p.in.ReadString('\n')
	if err != nil {
		p.t.Fatalf("heard %.300q, then %v", line, err)
	}
	return line
}

// ExpectEnd wants the end of the stream.
func (p *Peer) ExpectEnd() {
	p.t.Helper()
	if err := p.conn.SetDeadline(time.Now().Add(Within)); err != nil {
		p.t.Fatal(err)
	}
	if line, err := p.in.ReadString('\n'); err != io.EOF {
		p.t.Fatalf("heard %.300q, %v, want the end", line, err)
	}
}

// Close ends the connection.
func (p *Peer) Close() { p.conn.Close() }
