package chaos

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// row is a line of the table of results.
type row struct {
	name      string
	checks    int
	length    time.Duration
	verdicts  verdicts
	recovered []time.Duration
	before    usage
	peak      usage
}

var (
	tableMu sync.Mutex
	table   []row
)

// growth is how much more memory a trouble may cost either program: queues are
// bounded, and this is far above what their bounds come to for 1,000 checks.
const growth = 64 << 10 // KiB

// measured is a stretch of a test that becomes a row.
type measured struct {
	rig    *rig
	name   string
	begin  time.Time
	before usage
	start  verdicts
}

func (r *rig) measure(name string) *measured {
	return &measured{r, name, time.Now(), r.memory.begin(), r.judge.verdicts()}
}

// done ends the stretch, fails the test for what must not be, and adds the row,
// whose verdicts it returns.
func (m *measured) done(t *testing.T, recovered ...time.Duration) verdicts {
	t.Helper()
	r := m.rig
	now := r.judge.verdicts()
	v := verdicts{
		heard: now.heard - m.start.heard, reported: now.reported - m.start.reported,
		lost: now.lost - m.start.lost, wrong: now.wrong - m.start.wrong, late: now.late[len(m.start.late):],
	}
	add(row{m.name, len(r.fleet.backends), time.Since(m.begin), v, recovered, m.before, r.memory.highest()})
	for i, wrong := range r.judge.wrongs(m.start.wrong) {
		if i == 20 {
			t.Errorf("%s: and %d more", m.name, v.wrong-i)
			break
		}
		t.Errorf("%s: %s", m.name, wrong)
	}
	peak := r.memory.highest()
	if peak.server.rss > m.before.server.rss+growth {
		t.Errorf("%s: hc-server grew from %d to %d KiB", m.name, m.before.server.rss, peak.server.rss)
	}
	if peak.proxy.rss > m.before.proxy.rss+growth {
		t.Errorf("%s: hc-proxy grew from %d to %d KiB", m.name, m.before.proxy.rss, peak.proxy.rss)
	}
	return v
}

func add(r row) {
	tableMu.Lock()
	defer tableMu.Unlock()
	table = append(table, r)
	fmt.Println(r)
}

const heading = `| trouble | checks | s | words heard | flips reported | lost | false | late p50 / p99 / worst | recovery median / worst | RSS of hc-server | RSS of hc-proxy |
|---|---|---|---|---|---|---|---|---|---|---|`

func (r row) String() string {
	untrue := r.verdicts.wrong - r.verdicts.lost
	recovery := "–"
	if len(r.recovered) > 0 {
		recovery = fmt.Sprintf("%s / %s", seconds(quantile(r.recovered, 0.5)), seconds(largest(r.recovered)))
	}
	return fmt.Sprintf("| %s | %d | %.0f | %d | %d | %d | %d | %s / %s / %s | %s | %s → %s | %s → %s |",
		r.name, r.checks, r.length.Seconds(), r.verdicts.heard, r.verdicts.reported, r.verdicts.lost, untrue,
		seconds(quantile(r.verdicts.late, 0.5)), seconds(quantile(r.verdicts.late, 0.99)), seconds(largest(r.verdicts.late)), recovery,
		mebibytes(r.before.server.rss), mebibytes(r.peak.server.rss), mebibytes(r.before.proxy.rss), mebibytes(r.peak.proxy.rss))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func mebibytes(kib int) string { return fmt.Sprintf("%.1f MiB", float64(kib)/1024) }

func largest(values []time.Duration) time.Duration { return quantile(values, 1) }

// quantile is 0 of nothing.
func quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(q*float64(len(sorted)-1))]
}

func printTable() {
	tableMu.Lock()
	defer tableMu.Unlock()
	if len(table) == 0 {
		return
	}
	fmt.Printf("\n%s\n", heading)
	for _, r := range table {
		fmt.Println(r)
	}
	fmt.Println()
}
