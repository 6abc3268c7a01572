package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	if os.Getenv("HC_BIN") == "" {
		return errors.New("HC_BIN is not set")
	}
	private, err := inPrivateNetwork()
	if err != nil {
		return err
	}
	if !private {
		return errors.New("this is not a network namespace of its own")
	}
	// Servers and network tools are not on the path of everyone.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return err
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil || lo.Flags&net.FlagUp == 0 {
		return errors.New("the loopback interface is not up")
	}
	out, err := exec.Command("ip", "-6", "route", "replace", "local", "fd00::/64", "dev", "lo").CombinedOutput()
	if err != nil {
		return fmt.Errorf("make fd00::/64 local: %v: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// inPrivateNetwork compares the namespace with that of the first process. In a
// user namespace that one cannot be read; then having lo alone must do.
func inPrivateNetwork() (bool, error) {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return false, err
	}
	first, err := os.Readlink("/proc/1/ns/net")
	if err == nil {
		return own != first, nil
	}
	interfaces, err := net.Interfaces()
	return len(interfaces) == 1, err
}

// program returns the path of a program in HC_BIN.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(os.Getenv("HC_BIN"), name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%s is not built: %v", name, err)
	}
	return path
}

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
