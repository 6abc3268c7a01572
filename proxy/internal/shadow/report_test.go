package shadow

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"
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
	// Each is more than a thousandth of what may wait: more than that are lost.
	reason := strings.Repeat("x", queued/1000)
	const told = 1500
	compared := make(chan struct{})
	go func() {
		defer close(compared)
		for id := range uint64(told) {
			s.Rejected([]wire.Rejection{{ID: &id, Reason: reason}})
		}
	}()
	select {
	case <-compared:
	case <-time.After(time.Minute):
		t.Fatal("it waits for the reader of the report")
	}

	// Nobody has read so far, but what was in the hands of the writer.
	lines := bufio.NewReader(in)
	next := func() (r Record) {
		t.Helper()
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	// The first ones come in their order.
	for id := range uint64(900) {
		if r := next(); r.Kind != kindRejected || r.ID != id || r.Dropped != 0 {
			t.Fatalf("record %d: %d %d", id, r.ID, r.Dropped)
		}
	}
	last := uint64(1 << 40)
	s.Rejected([]wire.Rejection{{ID: &last, Reason: "a test"}})
	seen, dropped := uint64(900), uint64(0)
	for {
		r := next()
		dropped += r.Dropped
		if r.ID == last {
			break
		}
		seen++
	}
	if seen+dropped != told || dropped == 0 {
		t.Errorf("%d records came, and %d are said to be lost, of %d", seen, dropped, told)
	}
	s.report.close()
	select {
	case <-written:
	case <-time.After(time.Minute):
		t.Fatal("the writer does not end")
	}
}
