// Package supervise runs programs for a test: each one writes to a log file of
// its own, dies with the test process, is killed when the test ends, and shows
// the end of its log when the test failed. A program that ends unasked fails
// the test.
package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Spec describes a program.
type Spec struct {
	// Name is for the log file and for messages.
	Name string
	// Path is the program, Args what follows it.
	Path string
	Args []string
	// Env is added to the environment of the test.
	Env []string
	// Line is called for every line of standard output if it is set, from one
	// goroutine a run. Standard output goes to the log file as well.
	Line func(line []byte)
}

// Process is a program that can be killed and started again. Its methods belong
// to the goroutine of the test.
type Process struct {
	t       testing.TB
	spec    Spec
	log     *os.File
	run     *run
	started time.Time
}

// run is one life of the program.
type run struct {
	cmd   *exec.Cmd
	begun chan error
	done  chan struct{}
	err   error // valid once done is closed

	mu    sync.Mutex
	asked bool // the test has asked it to end
}

const (
	// grace is how long a program may take to end after a signal.
	grace = 10 * time.Second
	// tailLines is how much of its log a failed test shows.
	tailLines = 40
)

// Start runs the program and stops it when the test ends. Logs go to the
// directory, one file a program. It fails the test if the program cannot run.
func Start(t testing.TB, dir string, spec Spec) *Process {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(dir, spec.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{t: t, spec: spec, log: log}
	t.Cleanup(p.cleanup)
	p.Start()
	return p
}

// Start runs the program again after Kill, Stop or Wait.
func (p *Process) Start() {
	p.t.Helper()
	if p.run != nil && !p.run.ended() {
		p.t.Fatalf("%s runs already", p.spec.Name)
	}
	cmd := exec.Command(p.spec.Path, p.spec.Args...)
	cmd.Env = append(os.Environ(), p.spec.Env...)
	cmd.Stderr = p.log
	cmd.Stdout = p.log
	if p.spec.Line != nil {
		cmd.Stdout = &lineWriter{log: p.log, line: p.spec.Line}
		// A child of the program may hold the pipe open after its death.
		cmd.WaitDelay = time.Second
	}
	// The kernel sends this when the thread that forked ends, hence the locked
	// thread below. Programs of ours must not outlive a test that was killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	r := &run{cmd: cmd, begun: make(chan error, 1), done: make(chan struct{})}
	p.run, p.started = r, time.Now()
	fmt.Fprintf(p.log, "--- %s %s\n", p.spec.Path, strings.Join(p.spec.Args, " "))
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(r.done)
		err := cmd.Start()
		r.begun <- err
		if err != nil {
			r.err = err
			return
		}
		r.err = cmd.Wait()
	}()
	if err := <-r.begun; err != nil {
		p.t.Fatalf("start %s: %v", p.spec.Name, err)
	}
}

// StartedAt is the time just before the program was last started.
func (p *Process) StartedAt() time.Time { return p.started }

// Pid is the process id of the last start.
func (p *Process) Pid() int { return p.run.cmd.Process.Pid }

// Kill ends the program with SIGKILL and waits for its end.
func (p *Process) Kill() {
	p.t.Helper()
	p.end(syscall.SIGKILL)
}

// Stop ends the program with SIGTERM, waits for its end and fails the test if
// the exit status is not 0 or the program does not end.
func (p *Process) Stop() {
	p.t.Helper()
	p.end(syscall.SIGTERM)
	if p.run.err != nil {
		p.t.Errorf("%s after SIGTERM: %v", p.spec.Name, p.run.err)
	}
}

// Signal sends a signal that is not meant to end the program.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.run.cmd.Process.Signal(sig); err != nil {
		p.t.Errorf("send %v to %s: %v", sig, p.spec.Name, err)
	}
}

// Running reports whether the program runs.
func (p *Process) Running() bool { return !p.run.ended() }

// Log returns what all runs have written so far.
func (p *Process) Log() []byte {
	data, err := os.ReadFile(p.log.Name())
	if err != nil {
		p.t.Errorf("log of %s: %v", p.spec.Name, err)
	}
	return data
}

func (p *Process) end(sig syscall.Signal) {
	p.t.Helper()
	r := p.run
	r.mu.Lock()
	if r.ended() && !r.asked {
		p.t.Errorf("%s ended unasked: %v", p.spec.Name, r.err)
	}
	r.asked = true
	r.mu.Unlock()
	if err := r.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("send %v to %s: %v", sig, p.spec.Name, err)
	}
	if sig == syscall.SIGKILL {
		// Children too; the group is gone already when there are none.
		_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-r.done:
	case <-timer.C:
		p.t.Errorf("%s has not ended %v after %v", p.spec.Name, grace, sig)
		r.cmd.Process.Kill()
		<-r.done
	}
}

func (p *Process) cleanup() {
	if p.run != nil && p.run.cmd.Process != nil {
		p.end(syscall.SIGKILL)
	}
	if p.t.Failed() {
		p.t.Logf("the end of %s:\n%s", p.log.Name(), Tail(p.Log(), tailLines))
	}
	p.log.Close()
}

// lineWriter copies to the log and cuts what it is given into lines.
type lineWriter struct {
	log  io.Writer
	line func([]byte)
	rest []byte
}

func (w *lineWriter) Write(data []byte) (int, error) {
	w.log.Write(data)
	w.rest = append(w.rest, data...)
	for {
		end := bytes.IndexByte(w.rest, '\n')
		if end < 0 {
			return len(data), nil
		}
		w.line(bytes.Clone(w.rest[:end]))
		w.rest = w.rest[end+1:]
	}
}

func (r *run) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// Tail returns the last lines of a text.
func Tail(text []byte, lines int) []byte {
	text = bytes.TrimRight(text, "\n")
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == '\n' {
			if lines--; lines == 0 {
				return text[i+1:]
			}
		}
	}
	return text
}
