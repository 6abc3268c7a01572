package chaos

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// limitCPU gives a process so many per cent of one CPU, by a control group of
// either version, until the function that it returns is called.
func limitCPU(t *testing.T, pid, percent int) (release func()) {
	t.Helper()
	const period = 100_000
	root, v1 := "/sys/fs/cgroup/cpu", true
	if _, err := os.Stat(filepath.Join(root, "cpu.cfs_quota_us")); err != nil {
		root, v1 = "/sys/fs/cgroup", false
	}
	group := filepath.Join(root, fmt.Sprintf("hc-chaos-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	if v1 {
		write(t, filepath.Join(group, "cpu.cfs_period_us"), strconv.Itoa(period))
		write(t, filepath.Join(group, "cpu.cfs_quota_us"), strconv.Itoa(period*percent/100))
	} else {
		write(t, filepath.Join(root, "cgroup.subtree_control"), "+cpu")
		write(t, filepath.Join(group, "cpu.max"), fmt.Sprintf("%d %d", period*percent/100, period))
	}
	home := homeGroup(t, pid, v1)
	write(t, filepath.Join(group, "cgroup.procs"), strconv.Itoa(pid))
	return func() {
		write(t, filepath.Join(root, home, "cgroup.procs"), strconv.Itoa(pid))
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	}
}

// homeGroup is the control group that the process is in.
func homeGroup(t *testing.T, pid int, v1 bool) string {
	t.Helper()
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && (v1 && fields[1] == "cpu" || !v1 && fields[1] == "") {
			return fields[2]
		}
	}
	// A hierarchy that the process has not been moved in.
	return "/"
}

// limitFiles lets a process open no file whose number is not below the limit,
// until the function that it returns is called.
func limitFiles(t *testing.T, pid, limit int) (release func()) {
	t.Helper()
	target := fmt.Sprintf("--pid=%d", pid)
	before := run(t, "prlimit", target, "--nofile", "--noheadings", "--raw", "--output=SOFT,HARD")
	soft, hard, _ := strings.Cut(before, " ")
	run(t, "prlimit", target, fmt.Sprintf("--nofile=%d:%s", limit, hard))
	return func() { run(t, "prlimit", target, fmt.Sprintf("--nofile=%s:%s", soft, hard)) }
}

// takePorts leaves no port to be given to a socket, until the function that it
// returns is called: the range becomes ten ports, and all are taken.
func takePorts(t *testing.T) (release func()) {
	t.Helper()
	const file, first, last = "/proc/sys/net/ipv4/ip_local_port_range", 61000, 61009
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var taken []interface{ Close() error }
	release = sync.OnceFunc(func() {
		write(t, file, string(before))
		for _, socket := range taken {
			socket.Close()
		}
	})
	// What follows should not suffer when this fails.
	t.Cleanup(release)
	// The ports first: nobody is given one of them until the range is these.
	for port := first; port <= last; port++ {
		stream, err := net.Listen("tcp4", fmt.Sprintf(":%d", port))
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, stream)
		packets, err := net.ListenPacket("udp4", fmt.Sprintf(":%d", port))
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, packets)
	}
	write(t, file, fmt.Sprintf("%d %d", first, last))
	return release
}
