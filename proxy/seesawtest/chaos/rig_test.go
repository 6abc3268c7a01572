package chaos

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
	"github.com/hc-server/hc/proxy/seesawtest/supervise"
)

// rig is a running chain under a judge, with backends that flip all the time.
type rig struct {
	t     *testing.T
	fleet *fleet
	judge *judge
	rng   *rand.Rand
	dir   string // sockets and the file of checks

	server, proxy, engine *supervise.Process

	ids  []uint64 // of each backend, in the present life of the engine
	byID atomic.Pointer[map[uint64]*backend]

	// How to end the present trouble.
	quota, files, ports func()
	slow                *slowProxy

	memory  *memory
	flipper chan struct{} // closed to end it
	tasks   sync.WaitGroup
}

// options are how a rig differs from the usual.
type options struct {
	checks   int
	interval time.Duration
	flippers int           // backends that flip; a tenth of all are down for good
	hold     time.Duration // how long a flip lasts on average after it was reported
	files    int           // limit of open files of hc-server, 0 for ours
	// silent has a laborious fleet, of which those flip that fall silent.
	silent bool
	// config is what hc-server is configured with, if anything.
	config func(*rig) string
}

// wholeLimit is when a chain counts as one that does not recover.
const wholeLimit = 4 * time.Minute

// startRig starts everything and waits until the engine knows all.
func startRig(t *testing.T, o options) *rig {
	t.Helper()
	raiseFileLimit(t)
	dir := supervise.Sockets(t)
	kinds := usual
	if o.silent {
		kinds = laborious
	}
	r := &rig{
		t: t, fleet: newFleet(t, o.checks, o.interval, kinds), dir: dir,
		rng: rand.New(rand.NewPCG(*seed, uint64(o.checks))), flipper: make(chan struct{}),
	}
	shuffled := r.rng.Perm(o.checks)
	if o.silent {
		slices.SortStableFunc(shuffled, func(a, b int) int {
			return -cmp.Compare(r.fleet.backends[a].kind, r.fleet.backends[b].kind) // "udp" before "http"
		})
	}
	flippers, down := shuffled[:o.flippers], shuffled[o.flippers:o.flippers+o.checks/10]
	for _, i := range down {
		if err := r.fleet.backends[i].set(false); err != nil {
			t.Fatal(err)
		}
	}
	r.judge = newJudge(r.fleet)
	r.mountState()
	r.newIDs()

	if o.config != nil {
		write(t, r.path("hc-server.toml"), o.config(r))
	}
	begin := wall()
	r.server = supervise.Start(t, r.logs(), r.serverSpec(o.files))
	r.proxy = supervise.Start(t, r.logs(), supervise.Proxy(t, r.path("engine.sock"), r.path("proxy.sock")))
	r.engine = r.startEngine("fake-engine")
	r.memory = watchMemory(r)
	r.awaitWhole("start", begin)
	r.tasks.Go(func() { r.flip(flippers, o.hold) })
	t.Cleanup(func() {
		close(r.flipper)
		r.tasks.Wait()
		r.memory.stop()
	})
	return r
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// logs is where the programs write: HC_LOGS if it is set, to be kept.
func (r *rig) logs() string {
	keep := os.Getenv("HC_LOGS")
	if keep == "" {
		return r.dir
	}
	dir := filepath.Join(keep, r.t.Name())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	return dir
}

// stateSize is that of the disk for snapshots.
const stateSize = 4 << 20

// mountState gives hc-server a disk of its own, which can be filled.
func (r *rig) mountState() {
	r.t.Helper()
	state := r.path("state")
	if err := os.Mkdir(state, 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, fmt.Sprintf("size=%d", stateSize)); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := syscall.Unmount(state, 0); err != nil {
			r.t.Error(err)
		}
	})
}

func (r *rig) serverSpec(files int) supervise.Spec {
	spec := supervise.Server(r.t, r.path("proxy.sock"), r.path("state"))
	if _, err := os.Stat(r.path("hc-server.toml")); err == nil {
		spec.Args = append(spec.Args, "--config", r.path("hc-server.toml"))
	}
	if files > 0 {
		spec.Args = append([]string{fmt.Sprintf("--nofile=%d:%d", files, files), spec.Path}, spec.Args...)
		spec.Path = "/usr/bin/prlimit"
	}
	return spec
}

// startEngine starts an engine with more arguments. Only one may run at a time.
func (r *rig) startEngine(name string, more ...string) *supervise.Process {
	return supervise.Start(r.t, r.logs(), supervise.Spec{
		Name: name, Path: supervise.Program(r.t, "fake-engine"),
		Args: append([]string{"-socket", r.path("engine.sock"), "-checks", r.path("checks.json")}, more...),
		Line: r.line,
	})
}

// line takes what an engine prints. Lines of one that was killed all come before
// Kill returns, so the ids are those of the engine that printed.
func (r *rig) line(data []byte) {
	var event struct {
		Event     string     `json:"event"`
		Time      time.Time  `json:"time"`
		ID        uint64     `json:"id"`
		State     wire.State `json:"state"`
		LastCheck time.Time  `json:"last_check"`
		Message   wire.Bytes `json:"message"`
	}
	if err := json.Unmarshal(data, &event); err != nil {
		r.t.Errorf("an engine printed %q: %v", data, err)
		return
	}
	switch event.Event {
	case "error":
		r.t.Errorf("an engine failed: %s", event.Message)
	case "notification":
		if b := (*r.byID.Load())[event.ID]; b != nil {
			r.judge.hear(b, event.State, string(event.Message), event.LastCheck, event.Time)
		} else {
			r.judge.stray(event.ID)
		}
	}
}

// newIDs gives every backend an id that no engine had before.
func (r *rig) newIDs() {
	ids := make([]uint64, len(r.fleet.backends))
	base := r.rng.Uint64() &^ 0xffff
	for i := range ids {
		ids[i] = base + uint64(i)
	}
	r.setIDs(ids)
}

// shuffleIDs gives the same ids to other backends, as an engine does that comes
// back with the same process id and another configuration.
func (r *rig) shuffleIDs() {
	next := slices.Clone(r.ids)
	r.rng.Shuffle(len(next), func(i, j int) { next[i], next[j] = next[j], next[i] })
	r.setIDs(next)
}

// setIDs writes the file of checks for the next engine. None may run.
func (r *rig) setIDs(ids []uint64) {
	r.t.Helper()
	byID := make(map[uint64]*backend, len(ids))
	var out bytes.Buffer
	separator := byte('[')
	for i, b := range r.fleet.backends {
		byID[ids[i]] = b
		encoded, err := b.check(ids[i]).Encode()
		if err != nil {
			r.t.Fatal(err)
		}
		out.WriteByte(separator)
		out.Write(encoded)
		separator = ','
	}
	out.WriteByte(']')
	write(r.t, r.path("checks.json"), out.String())
	r.ids = ids
	r.byID.Store(&byID)
}

// flip flips each of the backends again and again until the rig ends. The next
// flip of a backend waits until the last one was reported.
func (r *rig) flip(flippers []int, hold time.Duration) {
	rng := rand.New(rand.NewPCG(*seed, 1))
	pause := func() time.Time { return time.Now().Add(hold/2 + rand.N(hold+1)) }
	due := make([]time.Time, len(flippers))
	for i := range due {
		due[i] = time.Now().Add(time.Duration(rng.Int64N(int64(hold) + 1)))
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.flipper:
			return
		}
		r.judge.giveUp()
		now := time.Now()
		for i, index := range flippers {
			b := r.fleet.backends[index]
			switch {
			case r.judge.isPending(b):
				due[i] = time.Time{}
			case due[i].IsZero():
				due[i] = pause()
			case now.After(due[i]) && !r.judge.isStill():
				if err := r.judge.flip(b); err != nil {
					r.t.Errorf("flip %s: %v", b.hostPort(), err)
				}
			}
		}
	}
}

// awaitTold waits until the engine was told of every backend since a moment. It
// returns how long that took for those that are up: what is down loses nothing by
// waiting, and a dead UDP server is found out by nothing but time.
func (r *rig) awaitTold(what string, since time.Time) (took time.Duration) {
	r.t.Helper()
	eventually(r.t, wholeLimit, what+": every backend is spoken of", func() bool {
		up, all := r.judge.silent(since)
		if up == 0 && took == 0 {
			took = time.Since(since)
		}
		return all == 0
	})
	return took
}

// awaitWhole waits for both: everything told, everything true.
func (r *rig) awaitWhole(what string, since time.Time) {
	r.t.Helper()
	r.awaitTold(what, since)
	r.awaitSettled(what, since)
}

// awaitSettled waits until every flip from before a moment was told, and what was
// told last of each backend is true.
func (r *rig) awaitSettled(what string, since time.Time) {
	r.t.Helper()
	eventually(r.t, wholeLimit, what+": every flip is told", func() bool { return r.judge.settled(since) })
}
