package shadow

import (
	"bufio"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
)

// A reader that stops reading holds up only the report: what hc-server says goes
// on being compared, and the next record that finds room says how many were lost.
func TestReportThatIsNotRead(t *testing.T) {
	in, out := io.Pipe()
	s := New(Options{Out: out})
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.report.run(out)
	}()
	const extra = 500
	compared := make(chan struct{})
	go func() {
		defer close(compared)
		for id := range uint64(queued + extra) {
			s.Rejected([]wire.Rejection{{ID: &id, Reason: "a test"}})
		}
	}()
	select {
	case <-compared:
	case <-time.After(time.Minute):
		t.Fatal("it waits for the reader of the report")
	}

	lines := bufio.NewScanner(in)
	next := func() (r Record) {
		t.Helper()
		if !lines.Scan() {
			t.Fatal("the report ends")
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	// The first ones, in their order.
	for id := range uint64(queued) {
		if r := next(); r.Kind != kindRejected || r.ID != id || r.Dropped != 0 {
			t.Fatalf("record %d: %+v", id, r)
		}
	}
	// One or two more, which were in the hands of the writer.
	last := uint64(1 << 40)
	s.Rejected([]wire.Rejection{{ID: &last, Reason: "a test"}})
	seen, dropped := uint64(queued), uint64(0)
	for {
		r := next()
		if r.ID == last {
			dropped = r.Dropped
			break
		}
		seen++
	}
	if seen+dropped != queued+extra || dropped == 0 {
		t.Errorf("%d records came, and %d are said to be lost, of %d", seen, dropped, queued+extra)
	}
	s.report.close()
	select {
	case <-written:
	case <-time.After(time.Minute):
		t.Fatal("the writer does not end")
	}
}
