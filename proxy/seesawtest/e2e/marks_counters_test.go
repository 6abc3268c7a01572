package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hc-server/hc/proxy/internal/wire"
)

// The service's address. The backend has it as well; the load balancer reaches it
// there with a mark, and nobody without.
const vip4, vip6 = "192.0.2.100", "2001:db8::100"

// firstMark is where the Seesaw Engine begins (seesaw: engine/healthcheck.go). Marks of
// one test have the bit of it in common, by which they are routed.
const firstMark = 1 << 16

// addVIP gives the backend the service's address. On the load balancer packets to
// it go the way of their mark: with one to the backend, without into the void.
func (n *network) addVIP() {
	n.t.Helper()
	// What goes in at the one end comes out at the other, where nobody takes it.
	n.lb.run(n.t, "ip link add void type veth peer name nobody")
	// No question who is there: packets leave, and are lost.
	n.lb.run(n.t, "ip link set void arp off up")
	n.lb.run(n.t, "ip link set nobody up")
	for _, vip := range []struct{ family, ip, backend string }{{"-4", vip4, backend4}, {"-6", vip6, backend6}} {
		n.addAddress(vip.ip)
		n.lb.run(n.t, fmt.Sprintf("ip %s rule add fwmark %#x/%#x lookup 100", vip.family, firstMark, firstMark))
		n.lb.run(n.t, fmt.Sprintf("ip %s route add %s via %s table 100", vip.family, vip.ip, vip.backend))
		n.lb.run(n.t, fmt.Sprintf("ip %s route add %s dev void", vip.family, vip.ip))
	}
}

// transports are the protocols by which a check talks.
func transports(c *wire.Check) []string {
	switch c.CheckerType {
	case wire.TypeICMP:
		return []string{"icmp"}
	case wire.TypeUDP, wire.TypeRADIUS:
		return []string{"udp"}
	case wire.TypeDNS:
		if *c.Query == bigQuery {
			return []string{"udp", "tcp"}
		}
		return []string{"udp"}
	}
	return []string{"tcp"}
}

// counterOf names the counter of a check's packets.
func counterOf(c *wire.Check, transport string) string {
	return fmt.Sprintf("mark_%d_%s", c.Mark, transport)
}

// count begins to count every packet that the load balancer itself sends to the
// service, the kernel's own answers and repetitions included. A packet counts for
// a check if it has its mark, its protocol and its port; all others are strays.
func (n *network) count(checks []*wire.Check) {
	n.t.Helper()
	var counters, rules strings.Builder
	for _, c := range checks {
		for _, transport := range transports(c) {
			name := counterOf(c, transport)
			fmt.Fprintf(&counters, "  counter %s { }\n", name)
			match := fmt.Sprintf("%s dport %d", transport, c.Port)
			if transport == "icmp" {
				match = "meta l4proto { icmp, ipv6-icmp }"
			}
			fmt.Fprintf(&rules, "    meta mark %d %s counter name %q return\n", c.Mark, match, name)
		}
	}
	n.lb.feed(n.t, fmt.Sprintf(`table inet marks {
%s
  set stray_tcp { typeof tcp dport . meta mark . tcp flags; flags dynamic; size 4096; counter; }
  set stray_udp { typeof udp dport . meta mark; flags dynamic; size 4096; counter; }
  set stray_others { typeof meta l4proto . meta mark; flags dynamic; size 4096; counter; }
  chain output {
    type filter hook output priority raw
    ip daddr %s jump vip
    ip6 daddr %s jump vip
  }
  chain vip {
%s
    meta l4proto tcp update @stray_tcp { tcp dport . meta mark . tcp flags } return
    meta l4proto udp update @stray_udp { udp dport . meta mark } return
    update @stray_others { meta l4proto . meta mark }
  }
}
`, counters.String(), vip4, vip6, rules.String()), "nft", "-f", "-")
}

// counts are packets: by counter, and strays by their set and what they were, as
// in `stray_tcp [8400,0,"rst"]`.
type counts struct{ marked, strays map[string]int }

func (n *network) counts() counts {
	n.t.Helper()
	var listing struct {
		Nftables []struct {
			Counter *struct {
				Name    string
				Packets int
			}
			Set *struct {
				Name string
				Elem []struct {
					Elem struct {
						Val     struct{ Concat json.RawMessage }
						Counter struct{ Packets int }
					}
				}
			}
		}
	}
	text := n.lb.run(n.t, "nft -j list table inet marks")
	if err := json.Unmarshal([]byte(text), &listing); err != nil {
		n.t.Fatalf("what nft listed: %v: %s", err, text)
	}
	out := counts{make(map[string]int), make(map[string]int)}
	for _, item := range listing.Nftables {
		if item.Counter != nil {
			out.marked[item.Counter.Name] = item.Counter.Packets
		}
		if item.Set == nil {
			continue
		}
		for _, e := range item.Set.Elem {
			what := strings.ReplaceAll(string(e.Elem.Val.Concat), ", ", ",")
			out.strays[item.Set.Name+" "+what] = e.Elem.Counter.Packets
		}
	}
	return out
}

// failOnStrays fails the test if a packet went to the service without the mark of
// the check that it belongs to.
func (n *network) failOnStrays(what string) {
	n.t.Helper()
	var texts []string
	for stray, packets := range n.counts().strays {
		texts = append(texts, fmt.Sprintf("%d of %s", packets, stray))
	}
	if len(texts) > 0 {
		slices.Sort(texts)
		n.t.Errorf("%s: packets without their mark (port, mark, flags):\n%s", what, strings.Join(texts, "\n"))
	}
}

// losePackets loses one segment of every TCP connection to the service on its way,
// the second to the fifth, by the connection's port, and every fourth SYN, so that
// each side has to repeat something. Resets arrive: after a lost one there is no
// socket any more, and the kernel answers what the backend repeats for nobody,
// without a mark.
func (n *network) losePackets() {
	n.t.Helper()
	n.backend.set(n.t, "net/netfilter/nf_conntrack_acct", "1")
	var rules strings.Builder
	for i := range 4 {
		for _, vip := range []string{"ip daddr " + vip4, "ip6 daddr " + vip6} {
			fmt.Fprintf(&rules, "    %s tcp sport & 6 == %d tcp flags & rst == 0 ct original packets %d drop\n", vip, 2*i, i+2)
		}
	}
	// Not by its number: the kernel forgets a connection of which nothing arrived.
	for _, vip := range []string{"ip daddr " + vip4, "ip6 daddr " + vip6} {
		fmt.Fprintf(&rules, "    %s tcp flags & (syn | ack) == syn numgen inc mod 4 == 0 drop\n", vip)
	}
	n.backend.feed(n.t, fmt.Sprintf(`table inet loss {
  chain input {
    type filter hook input priority filter
%s  }
}
`, rules.String()), "nft", "-f", "-")
}

func (n *network) losePacketsNoMore() {
	n.t.Helper()
	n.backend.run(n.t, "nft delete table inet loss")
}
