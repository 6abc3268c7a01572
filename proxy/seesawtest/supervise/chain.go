package supervise

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Server describes hc-server on a socket, with a directory for its state.
func Server(t testing.TB, socket, state string) Spec {
	t.Helper()
	return Spec{Name: "hc-server", Path: Program(t, "hc-server"), Args: []string{"--socket", socket, "--state-dir", state}}
}

// Proxy describes hc-proxy between the sockets of an engine and of hc-server,
// with further arguments.
func Proxy(t testing.TB, engine, server string, args ...string) Spec {
	t.Helper()
	return Spec{
		Name: "hc-proxy", Path: Program(t, "hc-proxy"),
		Args: append([]string{"-engine", engine, "-socket", server, "-logtostderr"}, args...),
	}
}

// Logs is where the programs of a test write: a directory of the test, or one
// below HC_LOGS if that is set, which stays.
func Logs(t testing.TB) string {
	t.Helper()
	keep := os.Getenv("HC_LOGS")
	if keep == "" {
		return t.TempDir()
	}
	// Absolute, since programs have directories of their own.
	keep, err := filepath.Abs(keep)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(keep, strings.ReplaceAll(t.Name(), "/", "-")+"-")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Sockets is a directory for sockets. Its path is short: that of a Unix socket
// has 107 bytes at most, and a test's own directory bears its name.
func Sockets(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Eventually asks every few milliseconds until the condition holds, and fails the
// test when it does not within the limit. It returns the time that it took.
func Eventually(t testing.TB, limit time.Duration, what string, condition func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Since(start) > limit {
			t.Fatalf("%s: not within %v", what, limit)
		}
		<-tick.C
	}
	return time.Since(start)
}
