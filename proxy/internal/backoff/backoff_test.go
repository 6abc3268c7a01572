package backoff

import (
	"context"
	"testing"
	"time"
)

func TestPausesDoubleWithinTheirBounds(t *testing.T) {
	const ms = time.Millisecond
	b := Backoff{Min: 100 * ms, Max: 500 * ms}
	for range 100 {
		for i, step := range []time.Duration{100 * ms, 200 * ms, 400 * ms, 500 * ms, 500 * ms} {
			if pause := b.Next(); pause < step/2 || pause > step {
				t.Fatalf("pause %d is %v, want half to the whole of %v", i, pause, step)
			}
		}
		b.Reset()
	}
	b.Slow()
	if pause := b.Next(); pause < 250*ms {
		t.Errorf("slow is %v", pause)
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := Backoff{Min: time.Hour, Max: time.Hour}
	if b.Wait(ctx) {
		t.Error("waited for an hour")
	}
}
