package chaos

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const samplesAMinute = 30

// TestSoak runs 2,000 checks a second with flapping backends for as long as
// -soak says, and wants descriptors, memory, threads and sockets flat.
func TestSoak(t *testing.T) {
	if *soak == 0 {
		return
	}
	r := startRig(t, options{checks: 2000, interval: time.Second, flippers: 200, hold: 5 * time.Second})
	m := r.measure(fmt.Sprintf("soak, %v", *soak))
	var samples []usage
	tick := time.NewTicker(time.Minute / samplesAMinute)
	defer tick.Stop()
	over := time.NewTimer(*soak)
	defer over.Stop()
	for running := true; running; {
		select {
		case <-tick.C:
			samples = append(samples, r.memory.now())
		case <-over.C:
			running = false
		}
	}
	r.awaitSettled("soak", wall())
	m.done(t)
	for _, process := range []struct {
		name string
		of   func(usage) resources
	}{
		{"hc-server", func(u usage) resources { return u.server }},
		{"hc-proxy", func(u usage) resources { return u.proxy }},
	} {
		for _, kind := range []struct {
			name  string
			of    func(resources) int
			slack int
		}{
			{"RSS in KiB", func(u resources) int { return u.rss }, 2048},
			{"threads", func(u resources) int { return u.threads }, 4},
			{"descriptors", func(u resources) int { return u.files }, 16},
			{"sockets", func(u resources) int { return u.sockets }, 16},
		} {
			var values []int
			for _, s := range samples {
				values = append(values, kind.of(process.of(s)))
			}
			flat(t, process.name+" "+kind.name, values, kind.slack)
		}
	}
}

// flat wants the last quarter to be like the second one: the first is the
// warm-up. Both are judged by their medians, so that a peak does not matter.
func flat(t testing.TB, what string, values []int, slack int) {
	t.Helper()
	quarter := len(values) / 4
	if quarter == 0 {
		t.Fatalf("%s: a soak of %d samples shows nothing", what, len(values))
	}
	var medians [4]int
	for i := range medians {
		medians[i] = median(values[i*quarter : (i+1)*quarter])
	}
	early, late := medians[1], medians[3]
	fmt.Printf("soak: %s: medians of the quarters %d, %.1f a minute, most %d\n",
		what, medians, slope(values[quarter:])*samplesAMinute, slices.Max(values))
	if late > early+early/20+slack {
		t.Errorf("%s grew from %d to %d", what, early, late)
	}
}

func median(values []int) int {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// slope is that of the line of least squares, a sample.
func slope(values []int) float64 {
	n := float64(len(values))
	var sumX, sumY, sumXY, sumXX float64
	for i, value := range values {
		x, y := float64(i), float64(value)
		sumX, sumY, sumXY, sumXX = sumX+x, sumY+y, sumXY+x*y, sumXX+x*x
	}
	if n < 2 {
		return 0
	}
	return (n*sumXY - sumX*sumY) / (n*sumXX - sumX*sumX)
}
