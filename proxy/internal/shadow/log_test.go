package shadow

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLogLines(t *testing.T) {
	now := time.Date(2026, time.January, 1, 0, 0, 5, 0, time.UTC)
	const head = "I1231 23:59:58.123456   12345 core.go:319] "
	at := time.Date(2025, time.December, 31, 23, 59, 58, 123456000, time.UTC)
	for _, c := range []struct {
		line string
		want logEvent
		ok   bool
	}{
		{head + "18446744073709551615: (TCP 192.0.2.1:80 PLAIN) SUCCESS: TCP connect to 192.0.2.1:80",
			logEvent{at, 1<<64 - 1, logPassed, "TCP connect to 192.0.2.1:80"}, true},
		{head + "7: (HTTP GET /a) b [code 200] [2001:db8::1]:80 DSR (via 2001:db8::2 mark 65536)) FAILURE: Timed out",
			logEvent{at, 7, logFailed, "Timed out"}, true},
		{head + "Starting healthchecker for 7 (PING 192.0.2.1)", logEvent{at, 7, logStarted, ""}, true},
		{head + "7: Failure 1 - retrying...", logEvent{at: at}, true},
		{head + "99999999999999999999: (x) SUCCESS: y", logEvent{at: at, id: 1<<64 - 1, message: "y"}, true},
		{"I0101 00:00:04.000000 1 core.go:514] Getting healthchecks from engine...",
			logEvent{at: time.Date(2026, time.January, 1, 0, 0, 4, 0, time.UTC)}, true},
		{"Log file created at: 2026/01/01 00:00:00", logEvent{}, false},
		{"I1331 00:00:00.000000 1 x.go:1] y", logEvent{}, false},
		{"", logEvent{}, false},
	} {
		got, ok := parseLogLine([]byte(c.line), now)
		if ok != c.ok || !got.at.Equal(c.want.at) || got.about != c.want.about || got.id != c.want.id || got.message != c.want.message {
			t.Errorf("%s:\n%+v, %v", c.line, got, ok)
		}
	}
}

// The rows of the table in docs/seesaw-parity.md, and what a log that is read from
// its middle does not tell.
func TestTheMachineIsSeesaws(t *testing.T) {
	for _, c := range []struct {
		fresh   bool
		retries int
		results string
		want    string
	}{
		{true, 0, "+-+", "HUH"},
		{true, 5, "-", "U"},
		{true, 2, "+--+---+-", "HHHHHHUHH"},
		{true, -1, "+----", "HHHHH"},
		{false, 0, "-+", "UH"},
		{false, 2, "--+", "??H"},
		{false, 2, "---+", "??UH"},
	} {
		m := newMachine(c.fresh)
		got := ""
		for _, result := range c.results {
			got += map[State]string{Healthy: "H", Unhealthy: "U", Unknown: "?"}[m.result(result == '+', c.retries)]
		}
		if got != c.want {
			t.Errorf("fresh %v, %d retries, %s: %s, want %s", c.fresh, c.retries, c.results, got, c.want)
		}
	}
}

func TestALogIsFollowedToItsNextFile(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "seesaw_healthcheck.INFO")
	add := func(name, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = f.WriteString(text)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	point := func(name string) {
		t.Helper()
		os.Remove(link)
		if err := os.Symlink(name, link); err != nil {
			t.Fatal(err)
		}
	}
	var lines []string
	f := follower{path: link, line: func(line []byte) { lines = append(lines, string(line)) }}
	defer f.close()
	expect := func(atEnd bool, want ...string) {
		t.Helper()
		lines = nil
		if err := f.poll(atEnd); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(lines, want) {
			t.Fatalf("read %q, want %q", lines, want)
		}
	}
	add("first", "of before\n")
	point("first")
	expect(true)
	add("first", "one\ntwo")
	expect(false, "one")
	add("first", " and more\n")
	expect(false, "two and more")
	os.Remove(link)
	expect(false)
	add("first", "last\n")
	add("second", "new\n")
	point("second")
	expect(false, "last", "new")
	expect(false)
	if err := os.Truncate(filepath.Join(dir, "second"), 0); err != nil {
		t.Fatal(err)
	}
	expect(false)
	add("second", "after the cut\n")
	expect(false, "after the cut")
}

func TestALogThatIsMissingIsWaitedFor(t *testing.T) {
	f := follower{path: filepath.Join(t.TempDir(), "none"), line: func(line []byte) { t.Errorf("%q", line) }}
	if err := f.poll(true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestTheHealthcheckerOfThisEngine(t *testing.T) {
	proc := t.TempDir()
	process := func(pid string, words ...string) {
		t.Helper()
		dir := filepath.Join(proc, pid)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		line := strings.Join(words, "\x00")
		if len(words) > 0 {
			line += "\x00"
		}
		if err := os.WriteFile(filepath.Join(dir, "cmdline"), []byte(line), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const standard, other = "/var/run/seesaw/engine/engine.sock", "/tmp/engine.sock"
	expect := func(socket string, want int) {
		t.Helper()
		if pid, err := findHealthchecker(proc, socket); err != nil || pid != want {
			t.Errorf("%s: pid %d, %v, want %d", socket, pid, err, want)
		}
	}
	process("net")
	process("1", "/sbin/init")
	process("2") // a zombie
	process("3", "vi", "seesaw_healthcheck")
	expect(standard, 0)
	process("40", "seesaw_healthcheck", "-log_dir=/var/log/seesaw")
	process("41", "/usr/local/seesaw/seesaw_healthcheck", "--engine", other)
	expect(standard, 40)
	expect(other, 41)
	process("41", "/x/seesaw_healthcheck", "-engine="+other, "-log_dir", "/y")
	expect(other, 41)
	expect("/elsewhere.sock", 0)
}
