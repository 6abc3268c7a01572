package supervise

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FileServer is an hc-server with checks from a file, without hc-proxy.
type FileServer struct {
	*Process
	t   testing.TB
	dir string
}

// FileServerOptions are how it differs from the usual.
type FileServerOptions struct {
	// Source has more keys of [source].
	Source string
	// Env is added to its environment.
	Env []string
	// Enter changes the command, to run it in a namespace. nil leaves it as it is.
	Enter func(Spec) Spec
}

// StartWithFile starts hc-server with these checks and returns when it answers.
func StartWithFile(t testing.TB, logs, checks string, options FileServerOptions) *FileServer {
	t.Helper()
	s := &FileServer{t: t, dir: Sockets(t)}
	s.write("checks.toml", checks)
	s.write("hc-server.toml", fmt.Sprintf("[source]\nkind = \"file\"\nfiles = [%q]\n%s\n", s.Path("checks.toml"), options.Source))
	spec := Server(t, s.Path("hc.sock"), t.TempDir())
	spec.Args = append(spec.Args, "--config", s.Path("hc-server.toml"))
	spec.Env = options.Env
	if options.Enter != nil {
		spec = options.Enter(spec)
	}
	s.Process = Start(t, logs, spec)
	Eventually(t, fileServerLimit, "hc-server answers", func() bool {
		text, _ := s.Hcctl("status", "--json")
		return json.Valid([]byte(text))
	})
	return s
}

const fileServerLimit = 20 * time.Second

// Path is that of a file in its directory.
func (s *FileServer) Path(name string) string { return filepath.Join(s.dir, name) }

func (s *FileServer) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.Path(name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// Hcctl asks the server. An exit status of 1 says that a check is not healthy.
func (s *FileServer) Hcctl(args ...string) (string, error) {
	command := exec.Command(Program(s.t, "hcctl"), append([]string{"--socket", s.Path("hc-admin.sock")}, args...)...)
	out, err := command.Output()
	return string(out), err
}

// Shown is what hcctl says of a check.
type Shown struct {
	Health      string `json:"health"`
	Successes   uint64 `json:"successes"`
	Failures    uint64 `json:"failures"`
	LastFailure *struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
		Answer  string `json:"answer"`
	} `json:"last_failure"`
}

// Show asks for a check, and returns the text of the answer as well. There may be
// no such check.
func (s *FileServer) Show(check string) (Shown, string) {
	text, _ := s.Hcctl("show", check, "--json")
	var out Shown
	_ = json.Unmarshal([]byte(text), &out)
	return out, text
}

// Listed is what hcctl lists of a check.
type Listed struct {
	Name      string `json:"name"`
	Health    string `json:"health"`
	Successes uint64 `json:"successes"`
	Failures  uint64 `json:"failures"`
}

// Checks are all checks.
func (s *FileServer) Checks() []Listed {
	s.t.Helper()
	text, _ := s.Hcctl("status", "--json")
	var out []Listed
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		s.t.Fatalf("hcctl status: %v: %q", err, text)
	}
	return out
}

// Changes is how often each check has changed its health, by name, its first health
// included. The journal must not have begun anew.
func (s *FileServer) Changes() map[string]int {
	s.t.Helper()
	client := http.Client{Timeout: fileServerLimit, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.Path("hc-admin.sock"))
		},
	}}
	answer, err := client.Get("http://hc-server/api/v1/transitions")
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	var journal struct {
		Transitions []struct {
			Name string `json:"name"`
		} `json:"transitions"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&journal); err != nil {
		s.t.Fatal(err)
	}
	out := map[string]int{}
	for _, transition := range journal.Transitions {
		out[transition.Name]++
	}
	return out
}

// AwaitHealth waits until a check is found "healthy" or "unhealthy"; "" is one that
// there is not.
func (s *FileServer) AwaitHealth(check, health string) {
	s.t.Helper()
	Eventually(s.t, fileServerLimit, fmt.Sprintf("%s is %q", check, health), func() bool {
		got, _ := s.Show(check)
		return got.Health == health
	})
}

// AwaitFailure waits until the latest failure of a check has this reason, this in its
// message and that in its answer, in JSON and for people.
func (s *FileServer) AwaitFailure(check, reason, message, answer string) {
	s.t.Helper()
	var text string
	right := func() bool {
		var got Shown
		got, text = s.Show(check)
		failure := got.LastFailure
		return failure != nil && failure.Reason == reason && strings.Contains(failure.Message, message) &&
			strings.Contains(failure.Answer, answer)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(fileServerLimit); !right(); <-tick.C {
		if time.Now().After(deadline) {
			s.t.Errorf("%s: want the reason %s, the message %q and the answer %q in:\n%s", check, reason, message, answer, text)
			return
		}
	}
	explained, _ := s.Hcctl("explain", check)
	if !strings.Contains(explained, message) || !strings.Contains(explained, answer) {
		s.t.Errorf("%s: hcctl explain does not say %q and %q:\n%s", check, message, answer, explained)
	}
}
