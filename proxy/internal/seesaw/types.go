// Package seesaw holds the types that travel between the Seesaw Engine and its
// healthcheck component over net/rpc and gob, without depending on Seesaw.
//
// Gob matches types by the names of their fields and interface values by a
// registered name, so these plain structs and Seesaw's own speak the same bytes
// (common/ipc/ipc.go, healthcheck/core.go, common/seesaw/seesaw.go). The module
// proxy/seesawtest holds every type here against its original.
package seesaw

import (
	"encoding/gob"
	"net"
	"time"
)

// The engine's RPC service (engine/core.go).
const (
	// ServiceName is the name under which the engine serves.
	ServiceName = "SeesawEngine"
	// MethodHealthchecks takes a [Context] and answers [Checks].
	MethodHealthchecks = ServiceName + ".Healthchecks"
	// MethodHealthState takes a [HealthState] and answers an int, always 0.
	MethodHealthState = ServiceName + ".HealthState"
	// MethodVservers takes a [Context] and answers a [VserverMap].
	MethodVservers = ServiceName + ".Vservers"
	// DefaultEngineSocket is where the engine listens (common/seesaw/seesaw.go).
	DefaultEngineSocket = "/var/run/seesaw/engine/engine.sock"
)

// Values of Context.AuthType. The engine takes the two calls above from
// AuthTrusted only.
const (
	AuthNone = iota
	AuthSSO
	AuthTrusted
	AuthUntrusted
)

// ComponentHealthcheck is the Peer.Component of a healthchecker.
const ComponentHealthcheck = 4

// Values of Target.Mode.
const (
	ModePlain = iota
	ModeDSR
	ModeTUN
)

// Values of Target.Proto (IANA protocol numbers).
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
)

// Values of Status.State. The engine takes anything but StateHealthy as down.
const (
	StateUnknown = iota
	StateUnhealthy
	StateHealthy
)

// Context says who calls. See [NewContext].
type Context struct {
	AuthToken string
	AuthType  int
	Groups    []string
	Peer      Peer
	Proxy     Peer
	User      User
}

// Peer is a process of a Seesaw cluster.
type Peer struct {
	Component int
	Identity  string
}

// User is the user that a process runs as.
type User struct {
	Groups   []string
	UID      string
	Username string
}

// Checks is the engine's set of checks. A nil map is left out by gob and stays
// nil; an empty one is sent and decodes to a map that is not nil.
type Checks struct {
	Configs map[uint64]*Config
}

// Config is one check. Checker is a pointer to one of the checker types below,
// nil, or a placeholder for a type that this package does not know
// ([LearnUnknown]).
type Config struct {
	Id       uint64 // named as gob must see it
	Interval time.Duration
	Timeout  time.Duration
	Retries  int
	Checker  any
}

// Target is where a check goes. IP is the backend, or the VIP when Mode is DSR
// or TUN; then Host is the backend. The engine sends 16 bytes per address.
type Target struct {
	IP    net.IP
	Host  net.IP
	Mark  int
	Mode  int
	Port  int
	Proto uint
}

// PingChecker is an ICMP echo.
type PingChecker struct {
	Target
	ID     uint16
	Seqnum uint16
}

// UDPChecker sends one datagram and compares the first that returns. Receive
// and Send are bytes, as are the strings of all checkers.
type UDPChecker struct {
	Target
	Receive string
	Send    string
}

// TCPChecker connects, perhaps with TLS, perhaps sends, perhaps receives.
type TCPChecker struct {
	Target
	Receive   string
	Send      string
	Secure    bool
	TLSVerify bool
}

// HTTPChecker makes one HTTP exchange. ResponseCode 0 accepts any.
type HTTPChecker struct {
	Target
	Secure       bool
	TLSVerify    bool
	Method       string
	Proxy        bool
	Request      string
	Response     string
	ResponseCode int
}

// DNSChecker asks the target one question.
type DNSChecker struct {
	Target
	Question Question
	Answer   string
}

// Question is a DNS question (miekg/dns calls it so, and gob matches fields).
type Question struct {
	Name   string
	Qtype  uint16
	Qclass uint16
}

// RADIUSChecker sends one Access-Request.
type RADIUSChecker struct {
	Target
	Username string
	Password string
	Secret   string
	Response string
}

// HealthState tells the engine what became of checks.
type HealthState struct {
	Ctx           *Context
	Notifications []*Notification
}

// Notification is the status of one check.
type Notification struct {
	Id     uint64 // named as gob must see it
	Status Status
}

// Status is where a check stands. LastCheck is the start of the latest probe,
// Duration how long it took; the counters run since the check began.
type Status struct {
	LastCheck time.Time
	Duration  time.Duration
	Failures  uint64
	Successes uint64
	State     int
	Message   string
}

// Values of ServiceKey.AF, which are the kernel's.
const (
	IPv4 = 2
	IPv6 = 10
)

// VserverMap is the engine's view of its vservers, by name, from snapshots that
// are up to 15 s old. Of these types, unlike of those above, only what is read
// here is here: gob passes over the rest.
type VserverMap struct {
	Vservers map[string]*Vserver
}

// Vserver is one virtual server.
type Vserver struct {
	Services map[ServiceKey]*Service
	Enabled  bool
}

// ServiceKey names a service of a vserver.
type ServiceKey struct {
	AF    int
	Proto uint16
	Port  uint16
}

// Service is one address family, protocol and port of a vserver.
type Service struct {
	Destinations map[string]*Destination
}

// Destination is one backend of a service. It is healthy if the backend is
// enabled and all of its checks are healthy.
type Destination struct {
	Backend *Backend
	Enabled bool
	Healthy bool
}

// Backend is a server behind the load balancer.
type Backend struct {
	Host Host
}

// Host has the addresses of a server.
type Host struct {
	IPv4Addr net.IP
	IPv6Addr net.IP
}

// RegisterGob makes the checkers known to gob under Seesaw's names. Whoever speaks to an engine calls it,
// as often as it likes. An import does not do it, since a program that has Seesaw's own types, which
// take the same names, could then not import this package: gob panics on the second type of a name.
//
// Gob does not expand import paths for pointers, hence the short names.
func RegisterGob() {
	gob.RegisterName("*healthcheck.DNSChecker", &DNSChecker{})
	gob.RegisterName("*healthcheck.HTTPChecker", &HTTPChecker{})
	gob.RegisterName("*healthcheck.PingChecker", &PingChecker{})
	gob.RegisterName("*healthcheck.RADIUSChecker", &RADIUSChecker{})
	gob.RegisterName("*healthcheck.TCPChecker", &TCPChecker{})
	gob.RegisterName("*healthcheck.UDPChecker", &UDPChecker{})
}
