package server

import (
	"context"
	"net"
	"time"

	"github.com/hc-server/hc/proxy/internal/backoff"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// Event is what [Keep] reports. With a Message it is one that came in over Link;
// with a Link alone, that this link stands; without a Link, that there is none,
// and why.
type Event struct {
	Link    *Link
	Message wire.Message
	Err     error
}

// Dialer makes a connection to hc-server.
type Dialer func(ctx context.Context) (net.Conn, error)

// DialUnix dials a Unix socket.
func DialUnix(socket string) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		dialer := net.Dialer{Timeout: ioTimeout}
		return dialer.DialContext(ctx, "unix", socket)
	}
}

// steady is how long a link must have stood for the next dial to come at once.
const steady = 2 * time.Second

// Keep holds one link to hc-server until the context ends, and reports each
// link, each message and each end. What is no message is answered here.
//
// Pauses grow from 50 ms: to 500 ms while nobody listens, to 2 s while links end
// soon after they began. A link that another proxy took over is dialled again
// after 2 s only: two proxies at one server shall not fight.
//
// The protocol of hello is filled in here.
//
// Keep waits until each event is taken. When the context ends a link that has
// been reported is left open: it is the receiver's, to Leave it.
func Keep(ctx context.Context, dial Dialer, hello wire.Hello, events chan<- Event) {
	absent := backoff.Backoff{Min: 50 * time.Millisecond, Max: 500 * time.Millisecond}
	broken := backoff.Backoff{Min: 50 * time.Millisecond, Max: 2 * time.Second}
	for ctx.Err() == nil {
		conn, err := dial(ctx)
		pause := &absent
		if err == nil {
			absent.Reset()
			pause = &broken
			began := time.Now()
			var replaced bool
			replaced, err = hold(ctx, conn, hello, events)
			switch {
			case replaced:
				broken.Slow()
			case time.Since(began) >= steady:
				broken.Reset()
			}
		}
		if !send(ctx, events, Event{Err: err}) || !pause.Wait(ctx) {
			return
		}
	}
}

// hold serves one connection to its end.
func hold(ctx context.Context, conn net.Conn, hello wire.Hello, events chan<- Event) (replaced bool, err error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	link, err := greet(conn, hello)
	if !stop() && err == nil {
		link.lose(ctx.Err())
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return false, err
	}
	if !send(ctx, events, Event{Link: link}) {
		link.Leave()
		return false, ctx.Err()
	}
	for {
		message, complaint, err := link.read()
		if err != nil {
			link.lose(err)
			link.writer.Wait()
			return replaced, link.reason
		}
		if complaint != nil {
			link.Send(complaint)
			continue
		}
		if m, ok := message.(*wire.Error); ok && m.Code == wire.CodeReplaced {
			replaced = true
		}
		if !send(ctx, events, Event{Link: link, Message: message}) {
			return replaced, ctx.Err()
		}
	}
}

func send(ctx context.Context, events chan<- Event, event Event) bool {
	select {
	case events <- event:
		return true
	case <-ctx.Done():
		return false
	}
}
