package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hc-server/hc/proxy/seesawtest/supervise"
)

func TestMain(m *testing.M) {
	if addresses := os.Getenv(echoEnv); addresses != "" {
		fmt.Fprintf(os.Stderr, "echo: %v\n", echo(strings.Fields(addresses)))
		os.Exit(1)
	}
	if files := os.Getenv(talkersEnv); files != "" {
		fmt.Fprintf(os.Stderr, "talkers: %v\n", talk(strings.Fields(files)))
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

// What all tests of whole programs share.
var (
	program    = supervise.Program
	logDir     = supervise.Logs
	socketDir  = supervise.Sockets
	eventually = supervise.Eventually
)
