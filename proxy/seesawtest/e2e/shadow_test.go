package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/shadow"
	"github.com/hc-server/hc/proxy/seesawtest/supervise"
	"github.com/miekg/dns"
)

const (
	portShadowTCP = 8401
	portShadowDNS = 8402
)

// TestShadow: hc-proxy -shadow beside the real seesaw_healthcheck on the real
// engine tells the engine nothing, and tells where the two differ.
func TestShadow(t *testing.T) {
	dir := logDir(t)
	c := cluster{
		{name: "tcp", number: 31, port: portShadowTCP, backends: 6, interval: 1, timeout: 1, retries: 1,
			checks: []string{fmt.Sprintf("type: TCP send: %q receive: %q", question, answer)}},
		{name: "dns", number: 32, port: portShadowDNS, backends: 2, interval: 1, timeout: 1,
			checks: []string{`type: DNS send: "www.example.com" receive: "192.0.2.1" method: "a"`}},
	}
	tcp, names := c.named("tcp"), c.named("dns")
	var backends []*answerer
	for i := range tcp.backends {
		backends = append(backends, startAnswerer(t, net.JoinHostPort(tcp.backend4(i).String(), strconv.Itoa(portShadowTCP))))
	}
	liar := startNameServer(t, names.backend4(0).String(), portShadowDNS)
	startNameServer(t, names.backend4(1).String(), portShadowDNS)

	w := newChain(t, dir, c)
	// It then writes who calls what.
	w.engineSpec.Args = append(w.engineSpec.Args, "-v=2")
	w.startEngine()
	logs := filepath.Join(dir, "seesaw")
	if err := os.Mkdir(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the engine listens", func() bool {
		_, err := os.Stat(w.engineSocket)
		return err == nil
	})
	seesaw := supervise.Start(t, dir, supervise.Spec{
		Name: "seesaw_healthcheck", Path: program(t, "seesaw_healthcheck"),
		Args: []string{"-engine", w.engineSocket, "-fetch_interval", "1s", "-log_dir", logs, "-logbuflevel=-1"},
	})
	r := &shadowReport{t: t, file: filepath.Join(dir, "report.jsonl")}
	w.startPair("-shadow", "-shadow_output", r.file, "-shadow_log", filepath.Join(logs, "seesaw_healthcheck.INFO"))
	r.proxy = w.proxy
	w.awaitPresent(c.entries(), w.engine.StartedAt(), 10*time.Second, "Seesaw's start")

	// Equal fleets: no difference. The engine's own view comes after 15 s.
	agreed := func(s *shadow.Summary) bool {
		return s.ByCheck.Compared == 8 && s.ByBackend.Compared == 8 && s.ByCheck.Differing+s.ByBackend.Differing == 0
	}
	r.awaitSummary(35*time.Second, "both views agree", agreed)
	r.none("verdict")
	if summary := r.summary(); summary.Checks != 8 || summary.Batches == 0 || summary.Healthchecker != "running" {
		t.Errorf("%+v", summary)
	}

	// Both see a death, one of them first.
	death := time.Now()
	backends[0].down()
	w.awaitLeave(tcp, tcp.entries()[:1], death)
	timing := r.await(15*time.Second, "a difference of timing", func(record shadow.Record) bool {
		return record.Kind == "timing" && record.View == "check" && record.Backend == tcp.backend4(0).String()
	})
	if timing.Ending != "followed" || *timing.Seconds > 4 || timing.First == "" || timing.HCServerMessage == "" || timing.SeesawMessage == "" {
		t.Errorf("%+v", timing)
	}
	backends[0].up()

	// A name server that answers under another id satisfies Seesaw, and not us.
	liar.lies.Store(true)
	verdict := r.await(20*time.Second, "a difference of verdict", func(record shadow.Record) bool {
		return record.Kind == "verdict" && record.View == "check" && record.Backend == names.backend4(0).String()
	})
	if verdict.Seesaw != shadow.Healthy || verdict.HCServer != shadow.Unhealthy || verdict.First != "hc-server" {
		t.Errorf("%+v", verdict)
	}
	r.awaitSummary(15*time.Second, "the engine's view differs in the same backend", func(s *shadow.Summary) bool {
		return s.ByBackend.Differing >= 1 && s.ByCheck.Differing == 1 && s.ByCheck.Verdicts == 1
	})
	liar.lies.Store(false)
	r.await(15*time.Second, "its end", func(record shadow.Record) bool {
		return record.Kind == "verdict_over" && record.ID == verdict.ID && record.Ending == "changed back"
	})

	// The healthchecker dies, and comes back.
	pid := seesaw.Pid()
	seesaw.Kill()
	r.await(15*time.Second, "the end of seesaw_healthcheck", func(record shadow.Record) bool {
		return record.Kind == "healthchecker" && record.State == "gone" && record.Pid == pid
	})
	seesaw.Start()
	r.await(15*time.Second, "its return", func(record shadow.Record) bool {
		return record.Kind == "healthchecker" && record.State == "running" && record.Pid == seesaw.Pid()
	})
	r.awaitSummary(45*time.Second, "all agree again", agreed)

	ours := w.proxy.Pid()
	w.proxy.Stop()
	if records := r.records(); records[len(records)-1].Kind != "summary" {
		t.Errorf("the last record is %+v", records[len(records)-1])
	}
	calls := func(method string, pid int) int {
		return bytes.Count(w.engine.Log(), fmt.Appendf(nil, "SeesawEngine.%s called by peer healthcheck [pid %d]", method, pid))
	}
	if calls("Healthchecks", ours) == 0 || calls("Vservers", ours) == 0 || calls("HealthState", pid) == 0 {
		t.Error("the engine's log does not tell its callers as this test expects")
	}
	if n := calls("HealthState", ours); n > 0 {
		t.Errorf("hc-proxy told the engine something, %d times", n)
	}
}

// shadowReport reads what hc-proxy -shadow writes.
type shadowReport struct {
	t     *testing.T
	file  string
	proxy *supervise.Process
}

func (r *shadowReport) records() []shadow.Record {
	r.t.Helper()
	data, err := os.ReadFile(r.file)
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	var records []shadow.Record
	for line := range bytes.Lines(data) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // being written
		}
		var record shadow.Record
		if err := json.Unmarshal(line, &record); err != nil {
			r.t.Fatalf("%s: %v", line, err)
		}
		records = append(records, record)
	}
	return records
}

// await waits for a record.
func (r *shadowReport) await(limit time.Duration, what string, wanted func(shadow.Record) bool) shadow.Record {
	r.t.Helper()
	var found shadow.Record
	eventually(r.t, limit, what, func() bool {
		for _, record := range r.records() {
			if wanted(record) {
				found = record
				return true
			}
		}
		return false
	})
	return found
}

func (r *shadowReport) none(kind string) {
	r.t.Helper()
	for _, record := range r.records() {
		if record.Kind == kind {
			r.t.Errorf("%+v", record)
		}
	}
}

// summary asks for one.
func (r *shadowReport) summary() *shadow.Summary {
	r.t.Helper()
	last := func() (n int, summary *shadow.Summary) {
		for _, record := range r.records() {
			if record.Kind == "summary" {
				n, summary = n+1, record.Summary
			}
		}
		return n, summary
	}
	before, _ := last()
	r.proxy.Signal(syscall.SIGUSR1)
	var summary *shadow.Summary
	eventually(r.t, patience, "a summary", func() bool {
		var n int
		n, summary = last()
		return n > before
	})
	return summary
}

func (r *shadowReport) awaitSummary(limit time.Duration, what string, wanted func(*shadow.Summary) bool) {
	r.t.Helper()
	var last *shadow.Summary
	defer func() {
		if r.t.Failed() {
			r.t.Logf("the last summary: %+v %+v", last, last.ByCheck)
		}
	}()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	eventually(r.t, limit, what, func() bool {
		<-tick.C
		last = r.summary()
		return wanted(last)
	})
}

// nameServer answers every question for an A record with 192.0.2.1.
type nameServer struct{ lies atomic.Bool }

func startNameServer(t *testing.T, address string, port int) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(s.answer)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.ActivateAndServe() }) // ends when the socket is closed
	t.Cleanup(func() {
		conn.Close()
		serving.Wait()
	})
	return s
}

func (s *nameServer) answer(w dns.ResponseWriter, question *dns.Msg) {
	reply := new(dns.Msg)
	reply.SetReply(question)
	if s.lies.Load() {
		reply.Id++
	}
	reply.Answer = []dns.RR{&dns.A{
		Hdr: dns.RR_Header{Name: question.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1},
		A:   net.IPv4(192, 0, 2, 1),
	}}
	_ = w.WriteMsg(reply) // a checker that has gone is no fault
}
