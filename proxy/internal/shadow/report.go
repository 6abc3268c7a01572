package shadow

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"
	"time"

	log "github.com/golang/glog"
)

// The kinds of records beside those of findings; docs/shadow.md describes each.
const (
	kindHealthchecker = "healthchecker"
	kindRejected      = "rejected"
	kindSummary       = "summary"
)

// Record is one line of the report.
type Record struct {
	Time time.Time `json:"time"`
	Kind string    `json:"kind"`

	// View is what was compared: "check" or "backend".
	View     string `json:"view,omitempty"`
	ID       uint64 `json:"id,omitempty"`
	Check    string `json:"check,omitempty"`
	Backend  string `json:"backend,omitempty"`
	Seesaw   State  `json:"seesaw,omitempty"`
	HCServer State  `json:"hc_server,omitempty"`
	// The latest texts of the two about this check.
	SeesawMessage   string `json:"seesaw_message,omitempty"`
	HCServerMessage string `json:"hc_server_message,omitempty"`
	// Checks are those of a backend that matter.
	Checks []CheckRecord `json:"checks,omitempty"`

	Began   *time.Time `json:"began,omitempty"`
	Seconds *float64   `json:"seconds,omitempty"`
	// Within is by how many seconds Seconds may be wrong, 0 for next to none.
	Within float64 `json:"within_seconds,omitempty"`
	First  string  `json:"first,omitempty"`
	// Ending says how a difference ended: "followed", "changed back", "not
	// comparable".
	Ending string `json:"ending,omitempty"`

	// State and Pid are of the healthchecker.
	State  string `json:"state,omitempty"`
	Pid    int    `json:"pid,omitempty"`
	Reason string `json:"reason,omitempty"`

	Summary *Summary `json:"summary,omitempty"`

	// Dropped is how many records between the one before and this one were lost,
	// because whoever reads the report was too slow.
	Dropped uint64 `json:"dropped,omitempty"`
}

// CheckRecord is one check of a backend.
type CheckRecord struct {
	ID              uint64 `json:"id"`
	Check           string `json:"check"`
	HCServer        State  `json:"hc_server"`
	HCServerMessage string `json:"hc_server_message,omitempty"`
}

// Summary is all in numbers.
type Summary struct {
	Since time.Time `json:"since"`
	// Checks is the size of the engine's set; of Rejected ones hc-server says
	// nothing, of Unknown ones nothing yet.
	Checks   int `json:"checks"`
	Rejected int `json:"rejected"`
	Unknown  int `json:"unknown"`
	// Batches came from hc-server; none of them went to the engine.
	Batches uint64 `json:"batches"`
	// The healthchecker: "running", "gone", or "silent" if its log has stopped.
	Healthchecker      string `json:"healthchecker"`
	HealthcheckerEnded uint64 `json:"healthchecker_ended"`

	// ByCheck is missing without a log.
	ByCheck   *Tally `json:"by_check,omitempty"`
	ByBackend Tally  `json:"by_backend"`
	// Mixed backends have healthy and unhealthy destinations, of which nothing
	// follows about their checks.
	Mixed int `json:"backends_mixed"`
}

// Tally counts the findings of one view.
type Tally struct {
	// Compared is in how many both sides are known now, Differing in how many of
	// these they do not agree.
	Compared  int `json:"compared"`
	Differing int `json:"differing"`
	// Verdicts is how often a difference lasted longer than it may.
	Verdicts uint64 `json:"verdict_differences"`
	// Timings are the differences that did not, by who was first.
	Timings [2]TimingTally `json:"-"`

	SeesawFirst   TimingTally `json:"seesaw_first"`
	HCServerFirst TimingTally `json:"hc_server_first"`
}

// TimingTally sums up differences of timing.
type TimingTally struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean_seconds"`
	Max   float64 `json:"max_seconds"`
	sum   float64
}

func (t *TimingTally) add(length time.Duration) {
	t.Count++
	t.sum += length.Seconds()
	t.Mean = t.sum / float64(t.Count)
	t.Max = max(t.Max, length.Seconds())
}

// count adds a finding.
func count[K comparable](t *Tally, f Finding[K]) {
	switch f.Kind {
	case Verdict:
		t.Verdicts++
	case Timing:
		t.Timings[f.First].add(f.Lasted)
	}
}

// filled is the tally as it is reported.
func filled[K comparable](t Tally, c *comparer[K]) Tally {
	t.Compared, t.Differing = c.count()
	t.SeesawFirst, t.HCServerFirst = t.Timings[Seesaw], t.Timings[HCServer]
	return t
}

// queued is how many bytes wait for a reader that is slow: some 100,000 records,
// since there may be one for each check at once.
const queued = 32 << 20

// reporter writes records, one JSON object a line. Nobody waits for whoever reads
// them: a pipe that is not read fills the queue, and what does not fit is counted.
type reporter struct {
	// wake has room for one: something waits, or it is closed.
	wake chan struct{}

	mu      sync.Mutex
	waiting []byte
	dropped uint64
	closed  bool
}

func newReporter() *reporter {
	return &reporter{wake: make(chan struct{}, 1)}
}

// write puts a record into the queue. It does not block.
func (r *reporter) write(record Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	record.Dropped = r.dropped
	line, err := json.Marshal(record)
	if err != nil {
		log.Errorf("A record of the shadow mode is no JSON: %v", err)
		return
	}
	if r.closed {
		return
	}
	if len(r.waiting)+len(line) >= queued {
		if r.dropped == 0 {
			log.Errorf("The report of the shadow mode is not read: from here on lines of it are lost; the next one that is not says how many (dropped)")
		}
		r.dropped++
		return
	}
	r.dropped = 0
	r.waiting = append(append(r.waiting, line...), '\n')
	r.stir()
}

func (r *reporter) stir() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// close lets run end when the queue is empty. What is written later is ignored.
func (r *reporter) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.stir()
}

// left is how many records are lost if nobody reads any more.
func (r *reporter) left() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped + uint64(bytes.Count(r.waiting, []byte("\n")))
}

// run writes what is in the queue, all that waits at once, until it is closed and
// empty. It blocks while nobody reads.
func (r *reporter) run(out io.Writer) {
	failed := false
	for range r.wake {
		r.mu.Lock()
		lines, closed := r.waiting, r.closed
		r.waiting = nil
		r.mu.Unlock()
		if len(lines) > 0 {
			_, err := out.Write(lines)
			if err != nil && !failed {
				log.Errorf("The report of the shadow mode cannot be written, and lines of it are lost: %v", err)
			}
			failed = err != nil
		}
		if closed {
			return
		}
	}
}

// of fills in what a finding says.
func of[K comparable](f Finding[K], record Record) Record {
	began, seconds := f.Began, f.Lasted.Seconds()
	record.Kind, record.Seesaw, record.HCServer = string(f.Kind), f.Seesaw, f.HCServer
	record.Began, record.Seconds = &began, &seconds
	if f.Known {
		record.First = f.First.String()
	}
	if f.Kind != Verdict {
		switch {
		case f.Incomparable:
			record.Ending = "not comparable"
		case f.Followed:
			record.Ending = "followed"
		default:
			record.Ending = "changed back"
		}
	}
	return record
}
