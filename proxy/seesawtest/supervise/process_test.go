package supervise

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// recorder stands in for the test that a Process reports to.
type recorder struct {
	testing.TB
	cleanups []func()
	errors   []string
	logs     []string
}

func (r *recorder) Helper()           {}
func (r *recorder) Cleanup(f func())  { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Failed() bool      { return len(r.errors) > 0 }
func (r *recorder) Fatal(args ...any) { r.TB.Fatal(args...) }
func (r *recorder) Error(args ...any) { r.errors = append(r.errors, fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(f, args...))
}
func (r *recorder) Logf(f string, args ...any) { r.logs = append(r.logs, fmt.Sprintf(f, args...)) }

func (r *recorder) finish() {
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
}

func shell(name, script string) Spec {
	return Spec{Name: name, Path: "/bin/sh", Args: []string{"-c", script}}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestEndOfTestKillsTheProgram(t *testing.T) {
	r := &recorder{TB: t}
	p := Start(r, t.TempDir(), shell("sleeper", "exec sleep 1000"))
	pid := p.Pid()
	if !p.Running() || !alive(pid) {
		t.Fatal("program does not run")
	}
	r.finish()
	if alive(pid) {
		t.Error("program outlives its test")
	}
	if r.Failed() {
		t.Errorf("errors %q", r.errors)
	}
}

func TestKillAndStartAgain(t *testing.T) {
	lines := make(chan string, 10)
	spec := shell("again", "echo $PLACE; exec sleep 1000")
	spec.Env = []string{"PLACE=here"}
	spec.Line = func(line []byte) { lines <- string(line) }
	p := Start(t, t.TempDir(), spec)
	for i := range 2 {
		if got := <-lines; got != "here" {
			t.Errorf("line %q", got)
		}
		p.Kill()
		if p.Running() {
			t.Error("runs after Kill")
		}
		if i == 0 {
			before := p.StartedAt()
			p.Start()
			if !p.StartedAt().After(before) {
				t.Error("start time is the old one")
			}
		}
	}
	if got := strings.Count(string(p.Log()), "here\n"); got != 2 {
		t.Errorf("log holds %d lines of 2:\n%s", got, p.Log())
	}
}

func TestStopWantsExitZero(t *testing.T) {
	for status, failed := range map[int]bool{0: false, 3: true} {
		ready := make(chan struct{})
		spec := shell("stopped", fmt.Sprintf("trap 'exit %d' TERM; echo; sleep 1000 >/dev/null & wait", status))
		spec.Line = func([]byte) { close(ready) }
		r := &recorder{TB: t}
		p := Start(r, t.TempDir(), spec)
		<-ready
		p.Stop()
		r.finish()
		if r.Failed() != failed {
			t.Errorf("exit status %d gave errors %q", status, r.errors)
		}
	}
}

func TestUnaskedEndFailsTheTestAndShowsTheLog(t *testing.T) {
	r := &recorder{TB: t}
	p := Start(r, t.TempDir(), shell("dying", "echo last words; exit 4"))
	<-p.run.done
	r.finish()
	if len(r.errors) != 1 || !strings.Contains(r.errors[0], "exit status 4") {
		t.Errorf("errors %q", r.errors)
	}
	if len(r.logs) != 1 || !strings.Contains(r.logs[0], "last words") {
		t.Errorf("logs %q", r.logs)
	}
}

// The test binary runs itself as a parent that dies by SIGKILL, which leaves it
// no chance to clean up: the kernel must.
func TestProgramsDieWithTheTestProcess(t *testing.T) {
	if os.Getenv("SUPERVISE_PARENT") != "" {
		p := Start(t, t.TempDir(), shell("orphan", "exec sleep 1000"))
		fmt.Printf("pid=%d\n", p.Pid())
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestProgramsDieWithTheTestProcess$")
	cmd.Env = append(os.Environ(), "SUPERVISE_PARENT=1")
	out, _ := cmd.Output() // it dies by design
	pid := 0
	for _, line := range strings.Split(string(out), "\n") {
		fmt.Sscanf(line, "pid=%d", &pid)
	}
	if pid == 0 {
		t.Fatalf("no child in %q", out)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for running(pid) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("child outlives its killed parent")
		}
	}
}

// running is false for a zombie too: in a container nobody may reap it.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	return fields[0] != "Z"
}

func TestTail(t *testing.T) {
	for _, c := range []struct {
		text  string
		lines int
		want  string
	}{
		{"", 2, ""},
		{"a\nb\nc\n", 2, "b\nc"},
		{"a\nb\nc", 3, "a\nb\nc"},
		{"a\nb", 9, "a\nb"},
	} {
		if got := string(Tail([]byte(c.text), c.lines)); got != c.want {
			t.Errorf("tail of %q is %q, want %q", c.text, got, c.want)
		}
	}
}
