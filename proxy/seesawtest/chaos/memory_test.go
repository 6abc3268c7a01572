package chaos

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// usage is what the two programs that ship use at a moment.
type usage struct {
	server, proxy resources
}

// resources are those of one process. RSS is in KiB.
type resources struct {
	rss, threads, files, sockets int
}

// memory samples the resources of hc-server and hc-proxy and keeps the peak.
type memory struct {
	rig           *rig
	server, proxy atomic.Int64 // process ids
	end           chan struct{}
	done          sync.WaitGroup

	mu   sync.Mutex
	peak usage
}

const sampleEvery = 250 * time.Millisecond

func watchMemory(r *rig) *memory {
	m := &memory{rig: r, end: make(chan struct{})}
	m.follow()
	m.done.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				m.take(m.now())
			case <-m.end:
				return
			}
		}
	})
	return m
}

// follow takes the processes as they are now. To be called by the goroutine of the
// test after it has started one again.
func (m *memory) follow() {
	m.server.Store(int64(m.rig.server.Pid()))
	m.proxy.Store(int64(m.rig.proxy.Pid()))
}

func (m *memory) now() usage { return usage{read(m.server.Load()), read(m.proxy.Load())} }

func (m *memory) take(u usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peak.server = larger(m.peak.server, u.server)
	m.peak.proxy = larger(m.peak.proxy, u.proxy)
}

func larger(a, b resources) resources {
	return resources{max(a.rss, b.rss), max(a.threads, b.threads), max(a.files, b.files), max(a.sockets, b.sockets)}
}

// begin forgets the peak and returns what is used now.
func (m *memory) begin() usage {
	m.follow()
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peak = now
	return now
}

func (m *memory) highest() usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peak
}

func (m *memory) stop() {
	close(m.end)
	m.done.Wait()
}

// read looks at a process; one that is gone uses nothing.
func read(pid int64) (out resources) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return out
	}
	for line := range strings.Lines(string(status)) {
		name, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		value, _ := strconv.Atoi(fields[0])
		switch name {
		case "VmRSS":
			out.rss = value
		case "Threads":
			out.threads = value
		}
	}
	directory := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(directory)
	out.files = len(entries)
	for _, entry := range entries {
		if target, err := os.Readlink(directory + "/" + entry.Name()); err == nil && strings.HasPrefix(target, "socket:") {
			out.sockets++
		}
	}
	return out
}
