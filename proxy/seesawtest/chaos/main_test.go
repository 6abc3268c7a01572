package chaos

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/seesawtest/supervise"
)

var (
	seed   = flag.Uint64("seed", 0, "seed of everything random; 0 takes one from the clock")
	rounds = flag.Int("rounds", 200, "rounds of kill and restart")
	quick  = flag.Bool("quick", false, "fewer rounds and short troubles")
	soak   = flag.Duration("soak", 0, "how long to soak; 0 leaves the soak out")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := supervise.CheckPlace(); err != nil {
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

// eventually waits for a condition.
var eventually = supervise.Eventually

// pass lets time go by: how long a trouble lasts is what these tests are about.
func pass(length time.Duration) {
	timer := time.NewTimer(length)
	defer timer.Stop()
	<-timer.C
}
