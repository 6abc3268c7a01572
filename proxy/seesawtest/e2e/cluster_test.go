package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/seesawtest/ncc"
)

// vserver is one load-balanced service of a cluster.pb. Its entry port is the
// port of its checks unless a check has its own.
type vserver struct {
	name     string
	number   int // 1 to 250, makes the addresses
	port     int
	ipv6     bool // as well as IPv4
	backends int
	dsr      bool
	interval int // seconds, as timeout
	timeout  int
	retries  int
	checks   []string // further fields of each check in text form
}

// cluster is what the engine is told to balance. The engine takes ten vservers
// at most from one configuration.
type cluster []vserver

func (v vserver) vip4() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 1, byte(v.number)}) }
func (v vserver) vip6() netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd00::1:%x", v.number))
}

func (v vserver) backend4(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(v.number), byte(i / 250), byte(1 + i%250)})
}

func (v vserver) backend6(i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd00::%x:%x", 0x100+v.number, 1+i))
}

// entries are the destinations that the engine makes of the vserver, all of
// backend 0 first.
func (v vserver) entries() []ncc.Entry {
	var out []ncc.Entry
	for i := range v.backends {
		out = append(out, v.entry(v.vip4(), v.backend4(i)))
		if v.ipv6 {
			out = append(out, v.entry(v.vip6(), v.backend6(i)))
		}
	}
	return out
}

func (v vserver) entry(vip, backend netip.Addr) ncc.Entry {
	return ncc.Entry{
		Service:     ncc.Service{Address: vip, Protocol: syscall.IPPROTO_TCP, Port: uint16(v.port)},
		Destination: netip.AddrPortFrom(backend, uint16(v.port)),
	}
}

// destinationName is how the engine and seesaw_cli call an entry.
func (v vserver) destinationName(e ncc.Entry) string {
	return fmt.Sprintf("%s/%s/TCP", v.name, e.Destination)
}

// machineLimit is what a machine that also runs other tests may add: programs
// start late, and batches wait. How long a death takes where nothing else runs
// is measured by `cargo xtask bench death`. It is well below the refresh of
// 15 s, so that a transition which only the refresh tells fails the tests.
const machineLimit = 2 * time.Second

// leaveLimit is the longest time from the death of a backend to its leaving the
// table; the last term is for the batch delay and the way through the engine.
func (v vserver) leaveLimit() time.Duration {
	return seconds(v.interval*(v.retries+1)+v.timeout) + machineLimit
}

// returnLimit is the same for its return: one success is enough.
func (v vserver) returnLimit() time.Duration {
	return seconds(v.interval+v.timeout) + machineLimit
}

// earliestLeave is the shortest time to a leave that respects the retries.
func (v vserver) earliestLeave() time.Duration { return seconds(v.interval * v.retries) }

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// entries are those of all vservers.
func (c cluster) entries() []ncc.Entry {
	var out []ncc.Entry
	for _, v := range c {
		out = append(out, v.entries()...)
	}
	return out
}

// backendCount is the number of backends, however many addresses each has.
func (c cluster) backendCount() int {
	sum := 0
	for _, v := range c {
		sum += v.backends
	}
	return sum
}

func (c cluster) named(name string) vserver {
	for _, v := range c {
		if v.name == name {
			return v
		}
	}
	panic("no vserver " + name)
}

// write makes the engine's two files and returns their paths.
func (c cluster) write(t *testing.T, dir string) (config, clusterPB string) {
	t.Helper()
	clusterPB = filepath.Join(dir, "cluster.pb")
	if err := os.WriteFile(clusterPB, []byte(c.text()), 0o644); err != nil {
		t.Fatal(err)
	}
	return writeEngineConfig(t, dir), clusterPB
}

func writeEngineConfig(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "seesaw.cfg")
	if err := os.WriteFile(path, []byte(engineConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// The engine binds TCP 10258 on node_ipv4.
const engineConfig = `[cluster]
anycast_enabled = false
name = dev
node_ipv4 = 127.0.0.1
vip_ipv4 = 127.0.0.100
use_vmac = false
[interface]
node = lo
lb = lo
`

func (c cluster) text() string {
	var out strings.Builder
	out.WriteString(`seesaw_vip: < fqdn: "vip." ipv4: "127.0.0.100/8" status: PRODUCTION >
node: < fqdn: "node1." ipv4: "127.0.0.1/8" status: PRODUCTION >
`)
	for _, v := range c {
		vip6, mode, checkMode := "", "NAT", ""
		if v.ipv6 {
			vip6 = fmt.Sprintf(` ipv6: "%s/64"`, v.vip6())
		}
		if v.dsr {
			mode, checkMode = "DSR", " mode: DSR"
		}
		fmt.Fprintf(&out, `vserver: < name: %q rp: "x"
  entry_address: < fqdn: "%s." ipv4: "%s/8"%s status: PRODUCTION >
  vserver_entry: < protocol: TCP port: %d scheduler: RR mode: %s
`, v.name, v.name, v.vip4(), vip6, v.port, mode)
		for _, check := range v.checks {
			fmt.Fprintf(&out, "    healthcheck: < interval: %d timeout: %d retries: %d%s %s >\n",
				v.interval, v.timeout, v.retries, checkMode, check)
		}
		out.WriteString("  >\n")
		for i := range v.backends {
			ip6 := ""
			if v.ipv6 {
				ip6 = fmt.Sprintf(` ipv6: "%s/64"`, v.backend6(i))
			}
			fmt.Fprintf(&out, "  backend: < host: < fqdn: \"%s-%d.\" ipv4: \"%s/8\"%s status: PRODUCTION > weight: 1 >\n",
				v.name, i, v.backend4(i), ip6)
		}
		out.WriteString(">\n")
	}
	out.WriteString("metadata: < last_updated: 1 >\n")
	return out.String()
}
