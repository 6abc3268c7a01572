package main

import (
	"bufio"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/peertest"
)

// No signal but the three of Seesaw ends it. 9 and 19 cannot be caught; 32 to 34
// are kept by Go for the C library.
func TestOtherSignalsDoNotEndIt(t *testing.T) {
	dir := t.TempDir()
	cmd, _ := program("-logtostderr", "-engine="+dir+"/none", "-socket="+dir+"/none2")
	log, output, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	log.SetReadDeadline(time.Now().Add(peertest.Within))
	cmd.Stdout, cmd.Stderr = output, output
	notify, await := readySocket(t)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+notify)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await()
	for s := syscall.Signal(1); s <= 64; s++ {
		switch s {
		case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGSTOP, 32, 33, 34:
			continue
		}
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatalf("it was gone before signal %d: %v", s, err)
		}
	}
	output.Close()
	lines := bufio.NewScanner(log)
	// Each kind is logged by a part of its own, in any order.
	seen := ""
	for _, want := range []string{"nothing to reload", "which is ignored", "goroutine stack dump"} {
		for !strings.Contains(seen, want) {
			if !lines.Scan() {
				t.Fatalf("no %q in the log:\n%s", want, seen)
			}
			seen += lines.Text() + "\n"
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	for lines.Scan() {
		seen += lines.Text() + "\n"
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, seen)
	}
	if !strings.Contains(seen, "initiating shutdown") {
		t.Errorf("the end is not in the log:\n%s", seen)
	}
}

// Whatever else has come, and nobody has looked at yet.
func TestTheEndIsNotLostAmongOtherSignals(t *testing.T) {
	defer signal.Reset()
	came := notified()
	deadline := time.Now().Add(peertest.Within)
	for len(came.others) < cap(came.others) {
		if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
		if time.Now().After(deadline) {
			t.Fatalf("%d signals came", len(came.others))
		}
	}
	for _, want := range []struct {
		signal syscall.Signal
		way    <-chan os.Signal
	}{{syscall.SIGUSR1, came.shows}, {syscall.SIGTERM, came.ends}} {
		if err := syscall.Kill(os.Getpid(), want.signal); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-want.way:
			if got != want.signal {
				t.Errorf("%v, want %v", got, want.signal)
			}
		case <-time.After(peertest.Within):
			t.Errorf("%v was lost", want.signal)
		}
	}
}
