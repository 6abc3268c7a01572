// Command seesaw-bench-check measures the wall time of Seesaw's TCP check, one
// after the other against one address, and prints the figures as JSON.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
	"github.com/hc-server/hc/proxy/seesawtest/seesawcheck"
)

type figures struct {
	Checks   int   `json:"checks"`
	Failures int   `json:"failures"`
	Min      int64 `json:"min_ns"`
	Median   int64 `json:"median_ns"`
	P99      int64 `json:"p99_ns"`
}

func main() {
	address := flag.String("address", "", "address and port to check, as 127.0.0.1:80")
	checks := flag.Int("n", 10000, "checks that count")
	warmup := flag.Int("warmup", 1000, "checks before them")
	timeout := flag.Duration("timeout", time.Second, "timeout of a check")
	flag.Parse()
	target, err := netip.ParseAddrPort(*address)
	if err != nil || *checks < 1 || *warmup < 0 || *timeout <= 0 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	result, err := measure(target, *warmup, *checks, *timeout)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "seesaw-bench-check:", err)
		os.Exit(1)
	}
}

func measure(target netip.AddrPort, warmup, checks int, timeout time.Duration) (figures, error) {
	checker, err := seesawcheck.New(&wire.Check{
		CheckerType: wire.TypeTCP,
		IP:          target.Addr().String(),
		Port:        int64(target.Port()),
	})
	if err != nil {
		return figures{}, err
	}
	out := figures{Checks: checks}
	times := make([]time.Duration, 0, checks)
	for i := range warmup + checks {
		start := time.Now()
		result := seesawcheck.Run(checker, timeout)
		took := time.Since(start)
		if i < warmup {
			continue
		}
		times = append(times, took)
		if !result.Success {
			out.Failures++
		}
	}
	slices.Sort(times)
	out.Min = times[0].Nanoseconds()
	out.Median = quantile(times, 50).Nanoseconds()
	out.P99 = quantile(times, 99).Nanoseconds()
	return out, nil
}

// quantile is the smallest of the sorted times that percent of them do not
// exceed.
func quantile(sorted []time.Duration, percent int) time.Duration {
	return sorted[(len(sorted)*percent+99)/100-1]
}
