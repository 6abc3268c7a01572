// Package convert turns the checks of the Seesaw Engine into those of the wire
// and back, and the statuses of the wire into those of the engine.
//
// What hc-server can judge goes to hc-server: a negative interval, a port of 0,
// an odd method arrive there as they are, and it rejects that one check with a
// reason. Only what the wire cannot say is refused here.
package convert

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// ToWire converts one check of the engine. The id is the one it is filed under
// in the engine's map, since that is the one the engine looks up again.
//
// It fails if there is no check or no checker, if the checker is of a type that
// Seesaw does not have, or if an address is neither 4 nor 16 bytes long.
func ToWire(id uint64, config *seesaw.Config) (*wire.Check, error) {
	if config == nil {
		return nil, fmt.Errorf("there is no configuration")
	}
	c := &wire.Check{
		ID:       id,
		Interval: wire.Period(config.Interval),
		Timeout:  wire.Period(config.Timeout),
		Retries:  int64(config.Retries),
	}
	var err error
	switch checker := config.Checker.(type) {
	case nil:
		return nil, fmt.Errorf("there is no checker")
	case *seesaw.PingChecker:
		c.CheckerType = wire.TypeICMP
		err = setTarget(c, &checker.Target)
		c.Port = 0
	case *seesaw.UDPChecker:
		c.CheckerType = wire.TypeUDP
		err = setTarget(c, &checker.Target)
		c.Send, c.Receive = wire.Bytes(checker.Send), wire.Bytes(checker.Receive)
	case *seesaw.TCPChecker:
		c.CheckerType = wire.TypeTCP
		err = setTarget(c, &checker.Target)
		c.Send, c.Receive = wire.Bytes(checker.Send), wire.Bytes(checker.Receive)
		setTLS(c, checker.Secure, checker.TLSVerify)
	case *seesaw.HTTPChecker:
		c.CheckerType = wire.TypeHTTP
		if err = setTarget(c, &checker.Target); err == nil {
			setTLS(c, checker.Secure, checker.TLSVerify)
			setHTTP(c, checker)
		}
	case *seesaw.DNSChecker:
		c.CheckerType = wire.TypeDNS
		err = setTarget(c, &checker.Target)
		setDNS(c, checker)
	case *seesaw.RADIUSChecker:
		c.CheckerType = wire.TypeRADIUS
		err = setTarget(c, &checker.Target)
		setRADIUS(c, checker)
	default:
		return nil, fmt.Errorf("checker type %s is not known", seesaw.UnknownName(checker))
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func setTarget(c *wire.Check, t *seesaw.Target) error {
	ip, ok := netip.AddrFromSlice(t.IP)
	if !ok {
		return fmt.Errorf("the target's address has %d bytes, not 4 or 16", len(t.IP))
	}
	c.IP = ip.Unmap().String()
	c.Port, c.Mark = int64(t.Port), int64(t.Mark)
	switch t.Mode {
	case seesaw.ModePlain:
	case seesaw.ModeDSR:
		c.Mode = wire.ModeDSR
	case seesaw.ModeTUN:
		c.Mode = wire.ModeTUN
	default:
		c.Mode = strconv.Itoa(t.Mode)
	}
	if len(t.Host) == 0 {
		return nil
	}
	host, ok := netip.AddrFromSlice(t.Host)
	if !ok {
		return fmt.Errorf("the backend's address has %d bytes, not 4 or 16", len(t.Host))
	}
	// A plain check's host is its target, which need not be said twice.
	if t.Mode != seesaw.ModePlain || host.Unmap() != ip.Unmap() {
		c.Host = host.Unmap().String()
	}
	return nil
}

// TLSVerify means nothing without Secure; the engine sets it anyway.
func setTLS(c *wire.Check, secure, verify bool) {
	c.Secure = secure
	if secure && !verify {
		c.TLSVerify = &verify
	}
}

func setHTTP(c *wire.Check, h *seesaw.HTTPChecker) {
	if h.Method != "GET" {
		c.Method = wire.Bytes(h.Method)
	}
	if h.Request != "/" {
		c.Path = wire.Bytes(h.Request)
	}
	if h.ResponseCode != 0 {
		c.ExpectedCodes = []int64{int64(h.ResponseCode)}
	}
	c.ExpectedBody = wire.Bytes(h.Response)
	c.Proxy = h.Proxy
	setRequest(c, h, net.JoinHostPort(c.IP, strconv.Itoa(h.Port)))
}

func setDNS(c *wire.Check, d *seesaw.DNSChecker) {
	c.Query = pointer(wire.Bytes(d.Question.Name))
	if d.Question.Qtype != dnsTypeA {
		c.QueryType = recordName(dnsTypes, "TYPE", d.Question.Qtype)
	}
	if d.Question.Qclass != dnsClassIN {
		c.QueryClass = recordName(dnsClasses, "CLASS", d.Question.Qclass)
	}
	switch d.Question.Qtype {
	case dnsTypeA, dnsTypeAAAA:
		// Also when it is no address: an empty list would accept any answer,
		// where Seesaw's check never passes.
		c.ExpectedIPs = []wire.Bytes{wire.Bytes(d.Answer)}
	default:
		c.ExpectedAnswer = wire.Bytes(d.Answer)
	}
}

func setRADIUS(c *wire.Check, r *seesaw.RADIUSChecker) {
	c.Username, c.Secret = pointer(wire.Bytes(r.Username)), pointer(wire.Bytes(r.Secret))
	c.Password = wire.Bytes(r.Password)
	if r.Response != radiusAccept {
		c.ExpectedResponse = pointer(wire.Bytes(r.Response))
	}
}

const radiusAccept = "accept"

// RFC 1035 sections 3.2.2 and 3.2.4, RFC 3596, RFC 2782.
const (
	dnsTypeA    = 1
	dnsTypeAAAA = 28
	dnsClassIN  = 1
)

var (
	dnsTypes = map[uint16]string{
		dnsTypeA: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", dnsTypeAAAA: "AAAA", 33: "SRV",
	}
	dnsClasses = map[uint16]string{dnsClassIN: "IN", 3: "CH", 4: "HS", 255: "ANY"}
)

// recordName falls back to the notation of RFC 3597, "TYPE65".
func recordName(names map[uint16]string, prefix string, number uint16) string {
	if name, ok := names[number]; ok {
		return name
	}
	return prefix + strconv.Itoa(int(number))
}

// ToSeesaw converts the statuses of a batch for the engine.
func ToSeesaw(batch []wire.Notification) []*seesaw.Notification {
	out := make([]*seesaw.Notification, len(batch))
	for i := range batch {
		s := &batch[i].Status
		out[i] = &seesaw.Notification{Id: batch[i].ID, Status: seesaw.Status{
			LastCheck: s.LastCheck,
			Duration:  time.Duration(s.Duration),
			Failures:  s.Failures,
			Successes: s.Successes,
			State:     states[s.State],
			Message:   string(s.Message),
		}}
	}
	return out
}

var states = map[wire.State]int{
	wire.StateUnknown:   seesaw.StateUnknown,
	wire.StateUnhealthy: seesaw.StateUnhealthy,
	wire.StateHealthy:   seesaw.StateHealthy,
}

// FromSeesaw is the inverse of ToSeesaw for one notification. A state that
// Seesaw does not have is unknown to the engine too.
func FromSeesaw(n *seesaw.Notification) wire.Notification {
	state := wire.StateUnknown
	for word, number := range states {
		if number == n.Status.State {
			state = word
		}
	}
	return wire.Notification{ID: n.Id, Status: wire.Status{
		LastCheck: n.Status.LastCheck.UTC(),
		Duration:  wire.Elapsed(n.Status.Duration),
		Failures:  n.Status.Failures,
		Successes: n.Status.Successes,
		State:     state,
		Message:   wire.Bytes(n.Status.Message),
	}}
}

func pointer[T any](v T) *T { return &v }

// address is in the form that the engine uses: always 16 bytes.
func address(text string) (net.IP, error) {
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" {
		return nil, fmt.Errorf("%q is not an IP address", text)
	}
	bytes := ip.As16()
	return bytes[:], nil
}
