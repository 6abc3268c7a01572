package server

import (
	"sync"

	"github.com/hc-server/hc/proxy/internal/wire"
)

// limit is how many groups of messages wait for a server that reads slowly. A
// set is one group, in however many lines: its length is no sign of a slow
// server. Everything else is one line.
const limit = 128

// queue holds what is to be written, in groups that stay together.
//
// At most one full set waits, however many are put in: a newer one takes the
// place of an older one, and of the deltas to that. One that has begun is still
// written to its end, so that even sets that follow each other faster than the
// server reads get through. So what waits is bounded by limit lines and the size
// of a set.
type queue struct {
	mu     sync.Mutex
	groups [][]wire.Message
	closed bool
	// filled holds a token if there is something new to look at.
	filled chan struct{}
}

func newQueue() *queue { return &queue{filled: make(chan struct{}, 1)} }

// put appends a group. It returns false if too much waits already.
func (q *queue) put(group []wire.Message) bool {
	if len(group) == 0 {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := group[0].(*wire.UpdateConfigs); ok {
		q.groups = withoutSets(q.groups)
	}
	if len(q.groups) >= limit {
		return false
	}
	q.groups = append(q.groups, group)
	q.signal()
	return true
}

// close lets take return nil once all that is in the queue has been taken.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// take returns the next group, in time. It returns nil when there is none and the
// queue or ended is closed. It is for one goroutine.
func (q *queue) take(ended <-chan struct{}) []wire.Message {
	for {
		q.mu.Lock()
		if len(q.groups) > 0 {
			group := q.groups[0]
			q.groups[0] = nil
			q.groups = q.groups[1:]
			q.mu.Unlock()
			return group
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return nil
		}
		select {
		case <-q.filled:
		case <-ended:
			return nil
		}
	}
}

func withoutSets(groups [][]wire.Message) [][]wire.Message {
	var others [][]wire.Message
	for _, group := range groups {
		switch group[0].(type) {
		case *wire.UpdateConfigs, *wire.UpdateDelta:
		default:
			others = append(others, group)
		}
	}
	return others
}
