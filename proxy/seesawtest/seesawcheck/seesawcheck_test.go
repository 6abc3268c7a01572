package seesawcheck

import (
	"encoding/json"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/seesaw/common/seesaw"
	"github.com/google/seesaw/healthcheck"
	"github.com/hc-server/hc/proxy/internal/wire"
	"github.com/miekg/dns"
)

func read(t *testing.T, text string) *wire.Check {
	t.Helper()
	var c wire.Check
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return &c
}

var backend, vip = net.ParseIP("192.0.2.1"), net.ParseIP("2001:db8::1")

func plain(port int, proto seesaw.IPProto) healthcheck.Target {
	return healthcheck.Target{IP: backend, Host: backend, Port: port, Proto: proto}
}

// The expected checkers are what the engine builds, with Seesaw's defaults where
// the protocol page has the same.
func TestNew(t *testing.T) {
	tcp, udp := plain(80, seesaw.IPProtoTCP), plain(53, seesaw.IPProtoUDP)
	for text, want := range map[string]healthcheck.Checker{
		`{"checker_type":"tcp","ip":"192.0.2.1","port":80}`: &healthcheck.TCPChecker{Target: tcp},
		`{"checker_type":"tcp","ip":"192.0.2.1","port":80,"secure":true,"send":{"base64":"AP8="},"receive":"ok"}`: &healthcheck.TCPChecker{
			Target: tcp, Secure: true, TLSVerify: true, Send: "\x00\xff", Receive: "ok",
		},
		`{"checker_type":"tcp","ip":"2001:db8::1","port":80,"mode":"dsr","mark":65536,"host":"192.0.2.1"}`: &healthcheck.TCPChecker{
			Target: healthcheck.Target{IP: vip, Host: backend, Port: 80, Mark: 65536, Mode: seesaw.HCModeDSR, Proto: seesaw.IPProtoTCP},
		},
		`{"checker_type":"udp","ip":"192.0.2.1","port":53,"send":"q","receive":"a"}`: &healthcheck.UDPChecker{
			Target: udp, Send: "q", Receive: "a",
		},
		`{"checker_type":"http","ip":"192.0.2.1","port":80}`: &healthcheck.HTTPChecker{
			Target: tcp, TLSVerify: true, Method: "GET", Request: "/",
		},
		`{"checker_type":"http","ip":"192.0.2.1","port":80,"secure":true,"tls_verify":false,"method":"HEAD","path":"/h","expected_codes":[204],"expected_body":"b","proxy":true}`: &healthcheck.HTTPChecker{
			Target: tcp, Secure: true, Method: "HEAD", Request: "/h", Response: "b", ResponseCode: 204, Proxy: true,
		},
		`{"checker_type":"dns","ip":"192.0.2.1","port":53,"query":"a.example","expected_ips":["192.0.2.7"]}`: &healthcheck.DNSChecker{
			Target: udp, Answer: "192.0.2.7",
			Question: dns.Question{Name: "a.example", Qtype: dns.TypeA, Qclass: dns.ClassINET},
		},
		`{"checker_type":"dns","ip":"192.0.2.1","port":53,"query":"a.example","query_type":"TYPE65","query_class":"CLASS7","expected_answer":"x"}`: &healthcheck.DNSChecker{
			Target: udp, Answer: "x",
			Question: dns.Question{Name: "a.example", Qtype: 65, Qclass: 7},
		},
		`{"checker_type":"radius","ip":"192.0.2.1","port":53,"username":"u","password":"p","secret":"s"}`: &healthcheck.RADIUSChecker{
			Target: udp, Username: "u", Password: "p", Secret: "s", Response: "accept",
		},
		`{"checker_type":"radius","ip":"192.0.2.1","port":53,"username":"u","secret":"s","expected_response":"any"}`: &healthcheck.RADIUSChecker{
			Target: udp, Username: "u", Secret: "s", Response: "any",
		},
	} {
		got, err := New(read(t, text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nis  %+v\nnot %+v", text, got, want)
		}
	}
}

func TestNewPing(t *testing.T) {
	for ip, proto := range map[string]seesaw.IPProto{"192.0.2.1": seesaw.IPProtoICMP, "2001:db8::1": seesaw.IPProtoICMPv6} {
		checker, err := New(&wire.Check{CheckerType: wire.TypeICMP, IP: ip})
		if err != nil {
			t.Fatal(err)
		}
		ping := checker.(*healthcheck.PingChecker)
		if ping.Proto != proto || ping.IP.String() != ip || ping.Seqnum != 0 {
			t.Errorf("%s is %+v", ip, ping)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for text, reason := range map[string]string{
		`{"checker_type":"smtp","ip":"192.0.2.1"}`:                                                   "checker_type",
		`{"checker_type":"tcp","ip":"example.com"}`:                                                  "ip",
		`{"checker_type":"tcp","ip":"192.0.2.1","host":"x"}`:                                         "host",
		`{"checker_type":"tcp","ip":"192.0.2.1","mode":"nat"}`:                                       "mode",
		`{"checker_type":"http","ip":"192.0.2.1","expected_codes":[200,204]}`:                        "expected_codes",
		`{"checker_type":"dns","ip":"192.0.2.1","query":"a"}`:                                        "expected_ips",
		`{"checker_type":"dns","ip":"192.0.2.1","query":"a","query_type":"NONE"}`:                    "query_type",
		`{"checker_type":"dns","ip":"192.0.2.1","query":"a","query_type":"A","query_class":"TYPE1"}`: "query_class",
	} {
		if _, err := New(read(t, text)); err == nil || !strings.HasPrefix(err.Error(), reason) {
			t.Errorf("%s: error %v, want one about %s", text, err, reason)
		}
	}
}

// stub is a checker that does what its function does.
type stub struct {
	check func(time.Duration) *healthcheck.Result
}

func (s stub) Check(timeout time.Duration) *healthcheck.Result { return s.check(timeout) }
func (s stub) String() string                                  { return "stub" }

func TestRun(t *testing.T) {
	never := make(chan struct{})
	defer close(never)
	for name, c := range map[string]struct {
		timeout time.Duration
		check   func(time.Duration) *healthcheck.Result
		want    Result
	}{
		"a result": {
			time.Minute,
			func(d time.Duration) *healthcheck.Result {
				return &healthcheck.Result{Message: "fine in " + d.String(), Success: true, Duration: 7}
			},
			Result{Success: true, Message: "fine in 1m0s", Duration: 7},
		},
		"an error replaces the message": {
			time.Minute,
			func(time.Duration) *healthcheck.Result {
				return &healthcheck.Result{Message: "lost", Err: net.ErrClosed}
			},
			Result{Message: net.ErrClosed.Error()},
		},
		"the timer wins": {
			time.Millisecond,
			func(time.Duration) *healthcheck.Result { <-never; return nil },
			Result{Message: "Timed out", Duration: time.Millisecond},
		},
		"a panic": {
			time.Minute,
			func(time.Duration) *healthcheck.Result { panic("no interval") },
			Result{Panic: "no interval"},
		},
	} {
		if got := Run(stub{c.check}, c.timeout); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
