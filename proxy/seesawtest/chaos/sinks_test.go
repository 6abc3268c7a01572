package chaos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
)

// sinks are the consumers of hc-server beside the engine, each with a judge of its
// own. HAProxy, which knows no probes, is held against the truth when it is still.
type sinks struct {
	rig                    *rig
	webhook, command, file *judge
	receiver               *httptest.Server
	haproxy                *exec.Cmd

	mu    sync.Mutex
	hangs chan struct{} // closed when the webhook is to answer again; nil while it does
	stop  chan struct{}
	tasks sync.WaitGroup
}

// event is a check in a state file, in the body of a webhook, in the input of a command.
type event struct {
	ID        string     `json:"id"`
	Health    wire.State `json:"health"`
	Message   string     `json:"message"`
	LastCheck time.Time  `json:"last_check"`
}

// events is what all of these hold.
type events struct {
	SentAt    time.Time `json:"sent_at"`
	WrittenAt time.Time `json:"written_at"`
	Events    []event   `json:"events"`
	Checks    []event   `json:"checks"`
}

// config makes what hc-server is to tell to whom.
func (s *sinks) config(r *rig) string {
	s.rig = r
	for _, judge := range []**judge{&s.webhook, &s.command, &s.file} {
		*judge = newJudge(r.fleet)
		(*judge).isLate = true
		r.judge.followers = append(r.judge.followers, *judge)
	}
	s.receiver = httptest.NewServer(http.HandlerFunc(s.post))
	script := fmt.Sprintf(`if [ -e %[1]s/hang ]; then sleep 1000; fi; cat >> %[1]s/command.out && echo >> %[1]s/command.out`, r.dir)
	return fmt.Sprintf(`
[[sink]]
name = "webhook"
kind = "webhook"
url = "%[1]s/"
timeout = "2s"
[[sink]]
name = "command"
kind = "command"
run = "batch"
timeout = "2s"
command = ["/bin/sh", "-c", "%[2]s"]
[[sink]]
name = "state"
kind = "state-file"
path = "%[3]s/state/health.json"
write_interval = "100ms"
[[sink]]
name = "haproxy"
kind = "haproxy"
socket = "%[3]s/haproxy.sock"
server = "b/{ip}"
`, s.receiver.URL, script, r.dir)
}

// begin starts what hears.
func (s *sinks) begin(t *testing.T) {
	s.startHAProxy(t)
	s.tasks.Go(s.followCommand)
	s.tasks.Go(s.followFile)
	t.Cleanup(func() {
		close(s.stop)
		s.answer()
		s.tasks.Wait()
		s.receiver.Close()
		s.haproxy.Process.Kill()
		s.haproxy.Wait()
	})
}

// hear takes events that were written at a time.
func (s *sinks) hear(j *judge, told []event, at time.Time) {
	byID := *s.rig.byID.Load()
	for _, event := range told {
		id, err := strconv.ParseUint(event.ID, 10, 64)
		if b := byID[id]; err == nil && b != nil {
			j.hear(b, event.Health, event.Message, event.LastCheck, at)
		} else {
			j.stray(id)
		}
	}
}

func (s *sinks) post(w http.ResponseWriter, request *http.Request) {
	s.mu.Lock()
	hangs := s.hangs
	s.mu.Unlock()
	body, err := io.ReadAll(request.Body)
	if hangs != nil {
		<-hangs
		panic(http.ErrAbortHandler) // to return would be to answer 200
	}
	var told events
	if err == nil {
		err = json.Unmarshal(body, &told)
	}
	if err != nil {
		s.rig.t.Errorf("a webhook posted %q: %v", body, err)
		return
	}
	s.hear(s.webhook, told.Events, told.SentAt)
	w.WriteHeader(http.StatusNoContent)
}

func (s *sinks) hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs = make(chan struct{})
}

func (s *sinks) answer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hangs != nil {
		close(s.hangs)
		s.hangs = nil
	}
}

// every calls step again and again until the end.
func (s *sinks) every(step func()) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			step()
		case <-s.stop:
			return
		}
	}
}

// followCommand reads what the command was given, a line a run.
func (s *sinks) followCommand() {
	var offset int64
	s.every(func() {
		file, err := os.Open(s.rig.path("command.out"))
		if err != nil {
			return // it has not run yet
		}
		defer file.Close()
		if _, err := file.Seek(offset, io.SeekStart); err != nil {
			s.rig.t.Error(err)
			return
		}
		lines := bufio.NewReader(file)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return // half a line is read again
			}
			offset += int64(len(line))
			var told events
			if err := json.Unmarshal(line, &told); err != nil {
				s.rig.t.Errorf("a command was given %q: %v", line, err)
				return
			}
			s.hear(s.command, told.Events, told.SentAt)
		}
	})
}

// followFile reads the state file, which must be whole at any moment.
func (s *sinks) followFile() {
	var latest time.Time
	s.every(func() {
		data, err := os.ReadFile(s.rig.path("state/health.json"))
		if err != nil {
			return // it was not written yet
		}
		var told events
		if err := json.Unmarshal(data, &told); err != nil {
			s.rig.t.Errorf("the state file is not whole: %v", err)
			return
		}
		if told.WrittenAt.After(latest) {
			latest = told.WrittenAt
			s.hear(s.file, told.Checks, told.WrittenAt)
		}
	})
}

// startHAProxy starts HAProxy with a server for each backend, all of them up.
func (s *sinks) startHAProxy(t *testing.T) {
	t.Helper()
	var config strings.Builder
	fmt.Fprintf(&config, "global\n  stats socket %s mode 600 level admin\n  maxconn 100\ndefaults\n  mode tcp\n"+
		"  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nbackend b\n", s.rig.path("haproxy.sock"))
	for _, b := range s.rig.fleet.backends {
		fmt.Fprintf(&config, "  server %s %s\n", b.address, b.hostPort())
	}
	write(t, s.rig.path("haproxy.cfg"), config.String())
	s.haproxy = exec.Command("haproxy", "-db", "-f", s.rig.path("haproxy.cfg"))
	if err := s.haproxy.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, wholeLimit, "HAProxy answers", func() bool {
		_, err := s.servers()
		return err == nil
	})
}

func (s *sinks) killHAProxy(t *testing.T) {
	if err := s.haproxy.Process.Kill(); err != nil {
		t.Error(err)
	}
	s.haproxy.Wait()
}

// servers is which servers HAProxy holds to be up, by address.
func (s *sinks) servers() (map[string]bool, error) {
	connection, err := net.Dial("unix", s.rig.path("haproxy.sock"))
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	fmt.Fprintln(connection, "show servers state b")
	answer, err := io.ReadAll(connection)
	if err != nil {
		return nil, err
	}
	up := map[string]bool{}
	for line := range strings.Lines(string(answer)) {
		// be_id be_name srv_id srv_name srv_addr srv_op_state …
		if fields := strings.Fields(line); len(fields) > 5 && fields[1] == "b" {
			up[fields[3]] = fields[5] == "2"
		}
	}
	return up, nil
}

// haproxyIsRight reports whether HAProxy has every server as it is.
func (s *sinks) haproxyIsRight() bool {
	up, err := s.servers()
	if err != nil || len(up) != len(s.rig.fleet.backends) {
		return false
	}
	for _, b := range s.rig.fleet.backends {
		if up[b.address] != b.isUp.Load() {
			return false
		}
	}
	return true
}

// neverRead asks for server-sent events and reads none of them.
func neverRead(t *testing.T, socket string) {
	t.Helper()
	connection, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	fmt.Fprint(connection, "GET /api/v1/events HTTP/1.1\r\nHost: h\r\n\r\n")
}

// TestSinks lets each sink fail while backends flip. The engine and the sinks that
// work must hear everything in time meanwhile, and the one that failed afterwards.
func TestSinks(t *testing.T) {
	s := &sinks{stop: make(chan struct{})}
	r := startRig(t, options{checks: 500, interval: time.Second, flippers: 50, hold: 2 * time.Second, config: s.config})
	s.begin(t)
	for range 10 {
		neverRead(t, r.path("hc-admin.sock"))
	}
	troubles := []struct {
		name       string
		of         *judge // nil for HAProxy, which has none
		begin, end func()
		said       string
	}{
		{"a webhook that hangs", s.webhook, s.hang, s.answer, "consumer=\"webhook\""},
		{
			"a command that never ends", s.command,
			func() { write(t, r.path("hang"), "") },
			func() { os.Remove(r.path("hang")) },
			"consumer=\"command\"",
		},
		{
			"HAProxy killed", nil, func() { s.killHAProxy(t) }, func() { s.startHAProxy(t) }, "consumer=\"haproxy\"",
		},
		{"a full disk under the state file", s.file, r.fillDisk, r.clearDisk, "the state file cannot be written"},
		{
			"kill -9 of hc-server with sinks", nil,
			func() { r.server.Kill() },
			func() { r.server.Start() },
			"",
		},
	}
	s.awaitAll(t, "at the start")
	hold := 20 * time.Second
	if *quick {
		hold = 4 * time.Second
	}
	for _, trouble := range troubles {
		m := r.measure(fmt.Sprintf("%s, %v", trouble.name, hold))
		logged := len(r.server.Log())
		everybody := trouble.said == ""
		s.during(trouble.of, everybody, (*judge).troubleBegins)
		trouble.begin()
		pass(hold)
		trouble.end()
		s.during(trouble.of, everybody, (*judge).troubleEnds)
		began := time.Now()
		s.awaitAll(t, trouble.name)
		m.done(t, time.Since(began))
		if said := string(r.server.Log()[logged:]); !strings.Contains(said, trouble.said) {
			t.Errorf("%s: hc-server did not say %q", trouble.name, trouble.said)
		}
		if t.Failed() {
			return
		}
	}
}

// during tells judges of a trouble: that of one sink, or all.
func (s *sinks) during(of *judge, everybody bool, tell func(*judge)) {
	for _, j := range append([]*judge{s.rig.judge}, s.rig.judge.followers...) {
		if everybody || j == of {
			tell(j)
		}
	}
}

// awaitAll waits until everybody was told the truth, and fails the test for what
// was false or lost at any of them.
func (s *sinks) awaitAll(t *testing.T, what string) {
	t.Helper()
	r := s.rig
	r.judge.still(true)
	defer r.judge.still(false)
	r.awaitSettled(what, wall())
	names := map[*judge]string{s.webhook: "the webhook", s.command: "the command", s.file: "the state file"}
	for j, name := range names {
		eventually(t, wholeLimit, fmt.Sprintf("%s: %s was told every flip", what, name), func() bool { return j.settled(wall()) })
		for _, wrong := range j.wrongs(0) {
			t.Errorf("%s, %s: %s", what, name, wrong)
		}
		if v := j.verdicts(); v.heard == 0 {
			t.Errorf("%s: %s heard nothing", what, name)
		}
	}
	eventually(t, wholeLimit, what+": HAProxy has every server as it is", s.haproxyIsRight)
}
