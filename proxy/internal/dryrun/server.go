// Package dryrun stands in for hc-server when no check is to run: every check is
// healthy (seesaw: healthcheck/core.go, flag -dry_run).
package dryrun

import (
	"context"
	"encoding/json"
	"net"
	"sync"
	"time"

	"github.com/hc-server/hc/proxy/internal/server"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// Message is what every check says; Seesaw's words.
const Message = "dryrun mode; always succeed"

// batchSize is Seesaw's.
const batchSize = 100

// pause comes after a batch that the engine did not take.
const pause = time.Second

// Dialer connects to a server inside this process. It speaks the protocol as far
// as hc-proxy needs it: it takes sets and deltas, tells each check's status when
// it gets a full set, and again after each interval.
func Dialer(interval time.Duration) server.Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		s := &session{conn: far, interval: interval, untold: make(map[uint64]bool)}
		owned := &ownedConn{Conn: near}
		owned.tasks.Go(s.serve)
		return owned, nil
	}
}

// ownedConn waits for the other end's goroutines when it is closed.
type ownedConn struct {
	net.Conn
	tasks sync.WaitGroup
}

func (c *ownedConn) Close() error {
	err := c.Conn.Close()
	c.tasks.Wait()
	return err
}

// session is one connection, seen from the server's side.
type session struct {
	conn     net.Conn
	interval time.Duration

	// successes has every check of the set in effect, next of one that is not
	// complete yet.
	successes, next map[uint64]uint64
	generation      uint64

	// untold has the checks that the engine is to hear of, outstanding those in
	// the batch that it has not answered. After a refused batch none goes out
	// until the pause is over.
	untold      map[uint64]bool
	outstanding []uint64
	seq         uint64
	pause       <-chan time.Time
}

// serve ends when the connection does.
func (s *session) serve() {
	defer s.conn.Close()
	if s.write(&wire.Ready{Protocol: wire.Protocol, Version: "(dry run)"}) != nil {
		return
	}
	messages := make(chan wire.Message)
	done := make(chan struct{})
	var reader sync.WaitGroup
	defer reader.Wait()
	defer s.conn.Close()
	defer close(done)
	reader.Go(func() { s.read(messages, done) })
	refresh := time.NewTicker(s.interval)
	defer refresh.Stop()
	for {
		select {
		case message, ok := <-messages:
			if !ok {
				return
			}
			s.take(message)
		case <-refresh.C:
			s.renew()
		case <-s.pause:
			s.pause = nil
		}
		if err := s.tell(); err != nil {
			return
		}
	}
}

func (s *session) read(messages chan<- wire.Message, done <-chan struct{}) {
	defer close(messages)
	lines := wire.NewLineReader(s.conn)
	for {
		line, err := lines.Read()
		if err != nil {
			return
		}
		message, err := wire.Decode(line)
		if err != nil {
			return
		}
		select {
		case messages <- message:
		case <-done:
			return
		}
	}
}

func (s *session) take(message wire.Message) {
	switch m := message.(type) {
	case *wire.UpdateConfigs:
		if m.Part <= 1 {
			s.next = make(map[uint64]uint64)
		}
		for _, id := range idsOf(m.Configs) {
			s.next[id] = s.successes[id]
		}
		if m.Part == m.Parts {
			s.successes, s.generation = s.next, *m.Generation
			s.renew()
		}
	case *wire.UpdateDelta:
		s.generation = m.Generation
		for _, id := range m.Remove {
			delete(s.successes, id)
		}
		for _, id := range idsOf(m.Upsert) {
			s.successes[id] = 1
			s.untold[id] = true
		}
	case *wire.Ack:
		if m.Error != "" {
			for _, id := range s.outstanding {
				s.untold[id] = true
			}
			s.pause = time.After(pause)
		}
		s.outstanding = nil
	}
}

// renew lets every check succeed once more.
func (s *session) renew() {
	for id := range s.successes {
		s.successes[id]++
		s.untold[id] = true
	}
}

// tell sends a batch, unless one is outstanding.
func (s *session) tell() error {
	if s.outstanding != nil || s.pause != nil {
		return nil
	}
	now := time.Now().UTC()
	batch := &wire.NotificationBatch{Generation: &s.generation}
	for id := range s.untold {
		delete(s.untold, id)
		successes, ok := s.successes[id]
		if !ok {
			continue
		}
		s.outstanding = append(s.outstanding, id)
		batch.Batch.Notifications = append(batch.Batch.Notifications, wire.Notification{ID: id, Status: wire.Status{
			LastCheck: now, Successes: successes, State: wire.StateHealthy, Message: Message,
		}})
		if len(s.outstanding) == batchSize {
			break
		}
	}
	if s.outstanding == nil {
		return nil
	}
	s.seq++
	batch.Seq = &s.seq
	return s.write(batch)
}

func (s *session) write(message wire.Message) error {
	_, err := s.conn.Write(wire.Encode(message))
	return err
}

func idsOf(checks []json.RawMessage) []uint64 {
	ids := make([]uint64, 0, len(checks))
	for _, raw := range checks {
		var check struct {
			ID uint64 `json:"id"`
		}
		if json.Unmarshal(raw, &check) == nil {
			ids = append(ids, check.ID)
		}
	}
	return ids
}
