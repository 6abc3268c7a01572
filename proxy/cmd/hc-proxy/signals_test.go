package main

import (
	"strings"
	"syscall"
	"testing"
)

// No signal but the three of Seesaw ends it. 9 and 19 cannot be caught; 32 to 34
// are kept by Go for the C library.
func TestOtherSignalsDoNotEndIt(t *testing.T) {
	dir := t.TempDir()
	cmd, output := program("-logtostderr", "-engine="+dir+"/none", "-socket="+dir+"/none2")
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
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	for _, want := range []string{"nothing to reload", "which is ignored", "goroutine stack dump", "initiating shutdown"} {
		if !strings.Contains(output.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, output)
		}
	}
}
