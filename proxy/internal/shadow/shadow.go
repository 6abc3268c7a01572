// Package shadow compares what hc-server says with what Seesaw believes, while
// seesaw_healthcheck is the one that the engine listens to (docs/shadow.md).
//
// Seesaw is asked in two ways. The engine's Vservers call tells the health of each
// destination, from snapshots that are up to 15 s old; nothing in the engine tells
// that of a check. The log of seesaw_healthcheck has every result of every check
// under its id, to the microsecond, from which the same states follow as in
// seesaw_healthcheck itself.
package shadow

import (
	"context"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	log "github.com/golang/glog"

	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/engine"
	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

const (
	// snapshotAge is how old the engine's snapshots may be: its StatsInterval,
	// which no flag changes (engine/vserver.go).
	snapshotAge = 15 * time.Second
	// pollEngine is how often the engine and the table of processes are looked at.
	pollEngine = 5 * time.Second
	// silence is how long the log of a healthchecker that lives may rest: it
	// fetches every 15 s, and glog writes its buffer every 30 s.
	silence = 60 * time.Second
	// lastWords is how long the end waits for whoever reads the report.
	lastWords = 2 * time.Second
	// listed is how many checks of a backend are named in a record.
	listed = 5
)

// Options say what to compare.
type Options struct {
	// EngineSocket is the engine's; its Vservers call is made over connections of
	// their own.
	EngineSocket string
	// Log is the path of seesaw_healthcheck's log, "" for none.
	Log string
	// Slack is how long a difference in a check may last beyond one interval and
	// one timeout of the check.
	Slack time.Duration
	// Out gets the report.
	Out io.Writer
}

// Shadow compares. Its methods may be called concurrently.
type Shadow struct {
	options Options
	report  *reporter
	began   time.Time

	mu        sync.Mutex
	checks    map[uint64]*check
	backends  map[netip.Addr][]uint64
	rejected  map[uint64]string
	batches   uint64
	mixed     int
	byCheck   *comparer[uint64]
	byBackend *comparer[netip.Addr]
	tallies   struct{ check, backend Tally }

	// What hc-server said waits here for the log to come to the same time.
	waiting []change
	// seen is the time of the log's last line, heard when it came.
	seen, heard time.Time

	healthchecker string
	pid           int
	ended         uint64
}

// check is one of the engine's checks.
type check struct {
	text      string
	backend   netip.Addr
	retries   int
	tolerance time.Duration
	machine   *machine
	said      string
	server    State
	message   string
}

type change struct {
	id    uint64
	state State
	at    time.Time
}

// New begins with nothing known.
func New(options Options) *Shadow {
	s := &Shadow{
		options: options, report: newReporter(), began: time.Now(),
		checks: make(map[uint64]*check), backends: make(map[netip.Addr][]uint64), rejected: make(map[uint64]string),
		healthchecker: "unknown",
	}
	s.byCheck = newComparer(func(id uint64) time.Duration {
		if c := s.checks[id]; c != nil {
			return c.tolerance
		}
		return options.Slack
	})
	s.byBackend = newComparer(func(backend netip.Addr) time.Duration {
		longest := options.Slack
		for _, id := range s.backends[backend] {
			longest = max(longest, s.checks[id].tolerance)
		}
		return longest + snapshotAge + pollEngine
	})
	return s
}

// Run looks at Seesaw until the context ends, and then writes the last summary. It
// must be called once: it is what writes the report.
func (s *Shadow) Run(ctx context.Context) {
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.report.run(s.options.Out)
	}()
	var tasks sync.WaitGroup
	if s.options.Log != "" {
		tasks.Go(func() {
			follow(ctx, s.options.Log, s.logLine, func(err error) {
				log.Warningf("The log of %s cannot be read now: %v", healthchecker, err)
			})
		})
	}
	tasks.Go(func() { s.pollEngine(ctx) })
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			s.tick(time.Now())
		case <-ctx.Done():
		}
	}
	tasks.Wait()
	s.Summarize()
	s.report.close()
	select {
	case <-written:
	case <-time.After(lastWords):
		log.Errorf("The report of the shadow mode is not read: its last %d lines are lost", s.report.left())
	}
}

// Checks takes the set that hc-server is told of.
func (s *Shadow) Checks(configs map[uint64]*seesaw.Config) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.checks
	s.checks, s.backends = make(map[uint64]*check, len(configs)), make(map[netip.Addr][]uint64)
	for id, config := range configs {
		converted, err := convert.ToWire(id, config)
		if err != nil {
			continue // left out, and logged as such
		}
		c := newCheck(converted, s.options.Slack)
		// Ids of another engine may be the same and mean something else.
		if old := before[id]; old != nil && old.text == c.text && old.backend == c.backend {
			c.machine, c.said, c.server, c.message = old.machine, old.said, old.server, old.message
		}
		s.checks[id] = c
		s.backends[c.backend] = append(s.backends[c.backend], id)
	}
	gone := make(map[uint64]bool)
	for id, old := range before {
		if c := s.checks[id]; c == nil || c.text != old.text || c.backend != old.backend {
			delete(s.rejected, id)
			gone[id] = true
			// In the words of the old check.
			c, s.checks[id] = s.checks[id], old
			s.checkFindings(s.byCheck.forget(id, now))
			if s.checks[id] = c; c == nil {
				delete(s.checks, id)
			}
		}
	}
	if len(gone) > 0 {
		s.waiting = slices.DeleteFunc(s.waiting, func(c change) bool { return gone[c.id] })
	}
	for backend := range s.byBackend.subjects {
		if s.backends[backend] == nil {
			s.backendFindings(s.byBackend.forget(backend, now))
		}
	}
}

func newCheck(c *wire.Check, slack time.Duration) *check {
	text := strings.ToUpper(c.CheckerType) + " "
	if c.CheckerType == wire.TypeICMP {
		text += c.IP
	} else {
		text += net.JoinHostPort(c.IP, strconv.FormatInt(c.Port, 10))
	}
	host := c.IP
	if c.Host != "" {
		host = c.Host
		text += " via " + host
	}
	backend, _ := netip.ParseAddr(host) // ToWire wrote it
	return &check{
		text: text, backend: backend, retries: int(c.Retries),
		tolerance: time.Duration(c.Interval) + time.Duration(c.Timeout) + slack,
		machine:   newMachine(false), server: Unknown,
	}
}

// Batch takes what hc-server would have told the engine.
func (s *Shadow) Batch(notifications []wire.Notification) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches++
	for i := range notifications {
		n := &notifications[i]
		c := s.checks[n.ID]
		if c == nil {
			continue
		}
		delete(s.rejected, n.ID)
		c.message = string(n.Status.Message)
		state := State(n.Status.State)
		if state == c.server {
			continue
		}
		c.server = state
		// When the probe ended that decided, unless others have come since.
		at := n.Status.LastCheck.Add(time.Duration(n.Status.Duration))
		if n.Status.LastCheck.IsZero() || at.After(now) {
			at = now
		}
		s.waiting = append(s.waiting, change{n.ID, state, at})
	}
	s.release(s.seen)
}

// Rejected takes the checks that hc-server does not run.
func (s *Shadow) Rejected(rejections []wire.Rejection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rejections {
		if r.ID == nil || s.rejected[*r.ID] == r.Reason {
			continue
		}
		s.rejected[*r.ID] = r.Reason
		record := Record{Kind: kindRejected, ID: *r.ID, Reason: r.Reason}
		if c := s.checks[*r.ID]; c != nil {
			record.Check, record.Backend = c.text, c.backend.String()
		}
		s.write(record)
	}
}

// release compares by check what hc-server has said up to a time.
func (s *Shadow) release(until time.Time) {
	if s.options.Log == "" {
		s.waiting = nil
		return
	}
	s.waiting = slices.DeleteFunc(s.waiting, func(c change) bool {
		// Without a log that goes on nothing is worth waiting for.
		if s.healthchecker == "running" && c.at.After(until) {
			return false
		}
		if s.checks[c.id] != nil {
			s.checkFindings(s.byCheck.set(c.id, HCServer, c.state, c.at))
		}
		return true
	})
}

// logLine takes a line of the healthchecker's log.
func (s *Shadow) logLine(line []byte) {
	now := time.Now()
	event, ok := parseLogLine(line, now)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = now
	if event.at.After(s.seen) {
		s.seen = event.at
	}
	s.release(event.at)
	c := s.checks[event.id]
	if c == nil || event.about == logOther {
		return
	}
	if event.about == logStarted {
		c.machine = newMachine(true)
		s.checkFindings(s.byCheck.set(event.id, Seesaw, Unknown, event.at))
		return
	}
	c.said = event.message
	state := c.machine.result(event.about == logPassed, c.retries)
	s.checkFindings(s.byCheck.set(event.id, Seesaw, state, event.at))
}

// tick reports what has lasted too long.
func (s *Shadow) tick(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkFindings(s.byCheck.advance(s.seen))
	s.backendFindings(s.byBackend.advance(now))
	if s.options.Log != "" && s.healthchecker == "running" && !s.heard.IsZero() && now.Sub(s.heard) > silence {
		s.becomes("silent", s.pid, now)
	}
}

// pollEngine asks the engine and looks for the healthchecker.
func (s *Shadow) pollEngine(ctx context.Context) {
	tick := time.NewTicker(pollEngine)
	defer tick.Stop()
	for {
		vservers, err := askEngine(ctx, s.options.EngineSocket)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			log.V(1).Infof("The engine does not tell its view: %v", err)
			vservers = new(seesaw.VserverMap)
		}
		pid, err := findHealthchecker("/proc", s.options.EngineSocket)
		if err != nil {
			log.Warningf("Whether %s runs cannot be told: %v", healthchecker, err)
		} else {
			s.process(pid, time.Now())
		}
		s.engineView(ofBackends(vservers), time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func askEngine(ctx context.Context, socket string) (*seesaw.VserverMap, error) {
	conn, err := engine.Dial(ctx, socket, engine.Timeout)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Vservers()
}

// engineView compares by backend.
func (s *Shadow) engineView(view map[netip.Addr]destinations, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mixed = 0
	for backend, ids := range s.backends {
		states := make([]State, len(ids))
		for i, id := range ids {
			states[i] = s.checks[id].server
		}
		engine := view[backend]
		if engine.healthy > 0 && engine.unhealthy > 0 {
			s.mixed++
		}
		engineSays, serverSays := judge(engine, states)
		s.backendFindings(s.byBackend.set(backend, HCServer, serverSays, now))
		s.backendFindings(s.byBackend.set(backend, Seesaw, engineSays, now))
	}
}

// process takes the pid of the healthchecker, 0 for none.
func (s *Shadow) process(pid int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case pid == 0 && s.healthchecker != "gone":
		s.becomes("gone", s.pid, now)
	case pid != 0 && pid != s.pid:
		if s.healthchecker == "running" || s.healthchecker == "silent" {
			s.becomes("gone", s.pid, now)
		}
		s.heard = now
		s.becomes("running", pid, now)
	case s.healthchecker == "silent" && now.Sub(s.heard) <= silence:
		s.becomes("running", pid, now)
	}
	s.pid = pid
}

// becomes reports the healthchecker's new state. What its log said of the checks
// stands no more once it has stopped.
func (s *Shadow) becomes(state string, pid int, now time.Time) {
	was := s.healthchecker
	s.healthchecker = state
	s.write(Record{Kind: kindHealthchecker, State: state, Pid: pid})
	if state == "running" || was == "unknown" {
		return
	}
	if state == "gone" {
		s.ended++
	}
	s.release(now)
	for id, c := range s.checks {
		c.machine = newMachine(false)
		s.checkFindings(s.byCheck.set(id, Seesaw, Unknown, now))
	}
}

func (s *Shadow) checkFindings(findings []Finding[uint64]) {
	for _, f := range findings {
		count(&s.tallies.check, f)
		record := Record{View: "check", ID: f.Key}
		if c := s.checks[f.Key]; c != nil {
			record.Check, record.Backend = c.text, c.backend.String()
			record.SeesawMessage, record.HCServerMessage = c.said, c.message
		}
		s.write(of(f, record))
	}
}

func (s *Shadow) backendFindings(findings []Finding[netip.Addr]) {
	for _, f := range findings {
		count(&s.tallies.backend, f)
		record := Record{View: "backend", Backend: f.Key.String(), Within: (snapshotAge + pollEngine).Seconds()}
		for _, id := range slices.Sorted(slices.Values(s.backends[f.Key])) {
			c := s.checks[id]
			if len(record.Checks) < listed && (f.Kind != Verdict || f.HCServer == Healthy || c.server == Unhealthy) {
				record.Checks = append(record.Checks, CheckRecord{id, c.text, c.server, c.message})
			}
		}
		s.write(of(f, record))
	}
}

// write adds what is the same in every record.
func (s *Shadow) write(record Record) {
	record.Time = time.Now()
	if record.Kind != kindHealthchecker && record.View != "" && s.healthchecker != "running" {
		record.State = s.healthchecker
	}
	s.report.write(record)
}

// Summarize writes all in numbers.
func (s *Shadow) Summarize() {
	s.mu.Lock()
	defer s.mu.Unlock()
	summary := &Summary{
		Since: s.began, Checks: len(s.checks), Batches: s.batches, Mixed: s.mixed,
		Healthchecker: s.healthchecker, HealthcheckerEnded: s.ended,
		ByBackend: filled(s.tallies.backend, s.byBackend),
	}
	for id := range maps.Keys(s.checks) {
		switch {
		case s.rejected[id] != "":
			summary.Rejected++
		case s.checks[id].server == Unknown:
			summary.Unknown++
		}
	}
	if s.options.Log != "" {
		tally := filled(s.tallies.check, s.byCheck)
		summary.ByCheck = &tally
	}
	s.write(Record{Kind: kindSummary, Summary: summary})
}
