package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/seesawtest/supervise"
)

func TestMain(m *testing.M) {
	if addresses := os.Getenv(echoEnv); addresses != "" {
		fmt.Fprintf(os.Stderr, "echo: %v\n", echo(strings.Fields(addresses)))
		os.Exit(1)
	}
	if err := prepare(); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v; these tests run by `cargo xtask integration`\n", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// prepare looks whether this is the place that the tests are made for, and makes
// fd00::/64 local.
func prepare() error {
	if err := supervise.CheckPlace(); err != nil {
		return err
	}
	// Servers and network tools are not on the path of everyone.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return err
	}
	out, err := exec.Command("ip", "-6", "route", "replace", "local", "fd00::/64", "dev", "lo").CombinedOutput()
	if err != nil {
		return fmt.Errorf("make fd00::/64 local: %v: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

var program = supervise.Program

// logDir is where the programs of a test write.
func logDir(t *testing.T) string {
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

// socketDir is short: a Unix socket's path has 107 bytes at most, and a test's
// own directory bears its name.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// eventually asks every few milliseconds until condition holds, and fails the
// test when it does not within the limit. It returns the time that it took.
func eventually(t *testing.T, limit time.Duration, what string, condition func() bool) time.Duration {
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
