package chaos

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var (
	seed   = flag.Uint64("seed", 0, "seed of everything random; 0 takes one from the clock")
	rounds = flag.Int("rounds", 200, "rounds of kill and restart")
	quick  = flag.Bool("quick", false, "fewer rounds and short troubles")
	soak   = flag.Duration("soak", 0, "how long to soak; 0 leaves the soak out")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := prepare(); err != nil {
		fmt.Fprintf(os.Stderr, "chaos: %v; these tests run by `cargo xtask chaos`\n", err)
		os.Exit(1)
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	if *quick {
		*rounds = min(*rounds, 10)
	}
	fmt.Printf("seed %d\n", *seed)
	code := m.Run()
	printTable()
	os.Exit(code)
}

// prepare looks whether this is the place that the tests are made for.
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
	lo, err := net.InterfaceByName("lo")
	if err != nil || lo.Flags&net.FlagUp == 0 {
		return errors.New("the loopback interface is not up")
	}
	return nil
}

// inPrivateNetwork compares the namespace with that of the first process. Where
// that one cannot be read, having lo alone must do.
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

// eventually asks every few milliseconds until the condition holds, and fails the
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

// pass lets time go by: how long a trouble lasts is what these tests are about.
func pass(length time.Duration) {
	timer := time.NewTimer(length)
	defer timer.Stop()
	<-timer.C
}
