// Package server is the client of hc-server: JSON lines over a Unix socket
// (docs/protocol.md).
package server

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
)

// DefaultSocket is where hc-server listens.
const DefaultSocket = "/var/run/seesaw/healthcheck-proxy.sock"

const (
	// ioTimeout is how long a server may take to read one line, and to greet.
	ioTimeout = 10 * time.Second
	// closeTimeout bounds what a process that ends still waits for.
	closeTimeout = 300 * time.Millisecond
)

var errSlow = errors.New("hc-server does not read what it is sent")

// Link is one connection to hc-server after the handshake. The methods do not
// block and may be called concurrently.
type Link struct {
	// ServerVersion is what the server calls itself.
	ServerVersion string
	// Keeps is whether both sides can do with refreshes ([wire.Refresh]).
	Keeps bool

	conn     net.Conn
	lines    *wire.LineReader
	out      *queue
	lostOnce sync.Once
	lost     chan struct{}
	reason   error
	writer   sync.WaitGroup
}

// greet waits for ready and answers hello. Lines that are no messages are
// answered with an error and passed over.
func greet(conn net.Conn, hello wire.Hello) (*Link, error) {
	l := &Link{
		conn: conn, lines: wire.NewLineReader(conn),
		out: newQueue(), lost: make(chan struct{}),
	}
	if err := conn.SetDeadline(time.Now().Add(ioTimeout)); err != nil {
		return nil, err
	}
	for {
		message, complaint, err := l.read()
		switch {
		case err != nil:
			return nil, fmt.Errorf("waiting for ready: %w", err)
		case complaint != nil:
			if err := l.write(wire.Encode(complaint)); err != nil {
				return nil, err
			}
			continue
		}
		switch m := message.(type) {
		case *wire.Ready:
			if m.Protocol != wire.Protocol {
				err := fmt.Errorf("hc-server %s speaks protocol %d, this is %d", m.Version, m.Protocol, wire.Protocol)
				l.write(wire.Encode(&wire.Error{Code: wire.CodeProtocol, Message: err.Error()}))
				return nil, err
			}
			l.ServerVersion = m.Version
			l.Keeps = slices.Contains(m.Capabilities, wire.CapabilityKeep) &&
				slices.Contains(hello.Capabilities, wire.CapabilityKeep)
			hello.Protocol = wire.Protocol
			if err := l.write(wire.Encode(&hello)); err != nil {
				return nil, err
			}
			l.writer.Go(l.writeQueue)
			return l, conn.SetReadDeadline(time.Time{})
		case *wire.Error:
			return nil, fmt.Errorf("hc-server: %s: %s", m.Code, m.Message)
		default:
			err := wire.Error{Code: wire.CodeUnexpected, Message: "expected ready first"}
			if err := l.write(wire.Encode(&err)); err != nil {
				return nil, err
			}
		}
	}
}

// read returns a message, or what to complain about instead of one, or why the
// stream ended.
func (l *Link) read() (wire.Message, *wire.Error, error) {
	line, err := l.lines.Read()
	if errors.Is(err, wire.ErrLineTooLong) {
		return nil, &wire.Error{Code: wire.CodeLineTooLong, Message: err.Error()}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	message, err := wire.Decode(line)
	var bad *wire.DecodeError
	if errors.As(err, &bad) {
		return nil, &wire.Error{Code: bad.Code, Message: bad.Reason}, nil
	}
	return message, nil, err
}

// Send queues messages, in order: all parts of one set, or one of any other
// kind. They must not be changed any more. A server that lets the queue fill up
// is not waited for: the link ends.
func (l *Link) Send(messages ...wire.Message) {
	if !l.out.put(messages) {
		l.lose(errSlow)
	}
}

func (l *Link) writeQueue() {
	for {
		group := l.out.take(l.lost)
		if group == nil {
			l.lose(net.ErrClosed)
			return
		}
		for _, message := range group {
			// Not before: as lines a set takes its size once more.
			if err := l.write(wire.Encode(message)); err != nil {
				l.lose(err)
				return
			}
		}
	}
}

func (l *Link) write(line []byte) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(ioTimeout)); err != nil {
		return err
	}
	_, err := l.conn.Write(line)
	return err
}

// Leave says shutdown behind all that is queued, and closes the link. It waits
// for a server that reads, but not for long.
func (l *Link) Leave() {
	l.Send(&wire.Shutdown{})
	l.out.close()
	timer := time.AfterFunc(closeTimeout, func() { l.lose(net.ErrClosed) })
	defer timer.Stop()
	l.writer.Wait()
	l.lose(net.ErrClosed)
}

// lose closes the connection for good; the first reason counts.
func (l *Link) lose(reason error) {
	l.lostOnce.Do(func() {
		l.reason = reason
		l.conn.Close()
		close(l.lost)
	})
}
