// Package backoff spaces out attempts.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff doubles a pause from Min to Max. The zero pause comes never; each is
// drawn between half and the whole of its step, so that two processes that lost
// the same peer do not return in step.
type Backoff struct {
	Min, Max time.Duration
	step     time.Duration
}

// Next is the pause before the next attempt.
func (b *Backoff) Next() time.Duration {
	b.step = min(max(b.step*2, b.Min), b.Max)
	return b.step/2 + rand.N(b.step/2+1)
}

// Reset begins again at Min.
func (b *Backoff) Reset() { b.step = 0 }

// Slow goes on at Max.
func (b *Backoff) Slow() { b.step = b.Max }

// Wait pauses, and reports false at once when the context ends.
func (b *Backoff) Wait(ctx context.Context) bool {
	timer := time.NewTimer(b.Next())
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
