package bridge

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// Once in four looks it would be 15 s; a call may take as long as six times the
// engine's timeout.
func TestACallThatNeverEndsIsStuck(t *testing.T) {
	p := newProgress(5*time.Second, 10*time.Second)
	for i := range 13 {
		if what := p.look(true, i%2 == 0); what != "" {
			t.Fatalf("look %d: %s", i, what)
		}
	}
	if p.look(true, false) == "" {
		t.Error("a fetch that never ends is not stuck")
	}
	if p.look(false, false) != "" {
		t.Error("it has ended")
	}
	for i := range 100 {
		// Each look finds another call.
		if what := p.look(true, true); what != "" {
			t.Fatalf("look %d: %s", i, what)
		}
		p.fetched()
		p.told()
	}
	for range 13 {
		p.look(false, true)
	}
	if p.look(false, true) == "" {
		t.Error("a delivery that never ends is not stuck")
	}
}

// The loop feeds it for as long as it runs, without an engine and without an
// hc-server, and not afterwards.
func TestTheLoopFeedsTheWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		fed, last := 0, ""
		done := make(chan struct{})
		go func() {
			defer close(done)
			Run(ctx, Options{
				EngineSocket:  filepath.Join(t.TempDir(), "none"),
				EngineTimeout: 10 * time.Second,
				FetchInterval: 15 * time.Second,
				DialServer:    func(context.Context) (net.Conn, error) { return nil, errors.New("none") },
				Watchdog: Watchdog{
					Every:  7500 * time.Millisecond,
					Feed:   func(status string) { fed++; last = status },
					Starve: func(what string) { t.Error(what) },
				},
			})
		}()
		time.Sleep(time.Minute + time.Second)
		cancel()
		<-done
		if fed != 8 {
			t.Errorf("fed %d times in a minute", fed)
		}
		if want := "engine away, hc-server away, 0 healthchecks"; last != want {
			t.Errorf("%q, want %q", last, want)
		}
	})
}
