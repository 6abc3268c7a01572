package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/seesawtest/supervise"
)

// namespace names a network namespace; the empty one is that of the tests.
type namespace string

// enter is the command that runs a program there.
func (n namespace) enter(path string, args ...string) (string, []string) {
	if n == "" {
		return path, args
	}
	// It becomes the program, so that a signal to the one is a signal to the other.
	return "nsenter", append([]string{"--net=/run/netns/" + string(n), "--", path}, args...)
}

// spec is the same program, there.
func (n namespace) spec(s supervise.Spec) supervise.Spec {
	s.Path, s.Args = n.enter(s.Path, s.Args...)
	return s
}

// run runs a command there and returns what it printed. Words are divided by
// blanks.
func (n namespace) run(t *testing.T, command string) string {
	t.Helper()
	words := strings.Fields(command)
	return n.feed(t, "", words[0], words[1:]...)
}

// feed is run with an input and words that may hold blanks.
func (n namespace) feed(t *testing.T, input, path string, args ...string) string {
	t.Helper()
	path, args = n.enter(path, args...)
	command := exec.Command(path, args...)
	command.Stdin = strings.NewReader(input)
	var errors strings.Builder
	command.Stderr = &errors
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s%s", command, err, out, errors.String())
	}
	return string(out)
}

// set writes a parameter of the network there, below /proc/sys (sysctl(8)).
func (n namespace) set(t *testing.T, parameter, value string) {
	t.Helper()
	n.feed(t, value, "tee", "/proc/sys/"+parameter)
}

// network is a load balancer and a backend with a cable between them. What the
// load balancer has no other way to goes to the backend, which forwards nothing.
type network struct {
	t           *testing.T
	lb, backend namespace
}

// The two ends of the cable. Every network has the same addresses.
const (
	lb4, lb6           = "10.9.0.1", "fd09::1"
	backend4, backend6 = "10.9.0.2", "fd09::2"
)

var networks atomic.Int64

func newNetwork(t *testing.T) *network {
	t.Helper()
	number := networks.Add(1)
	n := &network{
		t:       t,
		lb:      namespace(fmt.Sprintf("hc-lb-%d", number)),
		backend: namespace(fmt.Sprintf("hc-backend-%d", number)),
	}
	here := namespace("")
	for _, ns := range []namespace{n.lb, n.backend} {
		here.run(t, "ip netns add "+string(ns))
		t.Cleanup(func() { here.run(t, "ip netns del "+string(ns)) })
		ns.run(t, "ip link set lo up")
	}
	const lbLink, backendLink = "02:00:00:00:00:01", "02:00:00:00:00:02"
	n.lb.run(t, "ip link add cable address "+lbLink+" type veth peer name cable address "+backendLink+" netns "+string(n.backend))
	for _, end := range []struct {
		namespace
		own, other [2]string
		otherLink  string
	}{
		{n.lb, [2]string{lb4, lb6}, [2]string{backend4, backend6}, backendLink},
		{n.backend, [2]string{backend4, backend6}, [2]string{lb4, lb6}, lbLink},
	} {
		end.run(t, "ip addr add "+end.own[0]+"/24 dev cable")
		end.run(t, "ip addr add "+end.own[1]+"/64 dev cable nodad")
		// A cable keeps the order of packets; veth does only if one processor takes
		// all that arrives. Else the answer to a packet may come before what the
		// other side had sent before it, to a socket that is gone.
		here.feed(t, "1", "ip", "netns", "exec", string(end.namespace), "tee", "/sys/class/net/cable/queues/rx-0/rps_cpus")
		end.run(t, "ip link set cable up")
		// The other is known, so that no first probe waits for an answer about it.
		for _, ip := range end.other {
			end.run(t, "ip neigh replace "+ip+" lladdr "+end.otherLink+" nud permanent dev cable")
		}
	}
	n.lb.run(t, "ip route add default via "+backend4)
	n.lb.run(t, "ip route add default via "+backend6)
	// The backend says of every packet that nobody takes it, not of one a second.
	n.backend.set(t, "net/ipv4/icmp_ratelimit", "0")
	n.backend.set(t, "net/ipv6/icmp/ratelimit", "0")
	return n
}

// addAddress gives the backend a further address.
func (n *network) addAddress(ip string) { n.address("add", ip) }

// delAddress takes it away.
func (n *network) delAddress(ip string) { n.address("del", ip) }

func (n *network) address(verb, ip string) {
	n.t.Helper()
	if strings.Contains(ip, ":") {
		// Without nodad an address of lo, too, cannot be bound until the kernel's worker has had
		// its turn.
		n.backend.run(n.t, "ip addr "+verb+" "+ip+"/128 dev lo nodad")
	} else {
		n.backend.run(n.t, "ip addr "+verb+" "+ip+"/32 dev lo")
	}
}

// awaitListening returns once every port is bound in the network of the process,
// for both families. The protocol is "tcp" or "udp".
func awaitListening(t *testing.T, p *supervise.Process, protocol string, ports ...int) {
	t.Helper()
	for _, port := range ports {
		for _, family := range []string{"", "6"} {
			eventually(t, 10*time.Second, fmt.Sprintf("port %d of %s%s is bound", port, protocol, family), func() bool {
				if !p.Running() {
					t.Fatalf("the program that should bind port %d has ended", port)
				}
				return bound(p.Pid(), protocol+family, port)
			})
		}
	}
}

// bound looks into the table of sockets that the process sees: of TCP for
// listening ones, of UDP for unconnected ones (proc_pid_net(5)).
func bound(pid int, table string, port int) bool {
	const tcpListen, udpUnconnected = "0A", "07"
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != tcpListen && fields[3] != udpUnconnected {
			continue
		}
		_, local, _ := strings.Cut(fields[1], ":")
		if got, err := strconv.ParseUint(local, 16, 16); err == nil && int(got) == port {
			return true
		}
	}
	return false
}
