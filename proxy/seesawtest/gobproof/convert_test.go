package gobproof

import (
	"bytes"
	"encoding/json"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/google/seesaw/common/seesaw"
	"github.com/google/seesaw/healthcheck"
	"github.com/hc-server/hc/proxy/internal/wire"
	"github.com/hc-server/hc/proxy/seesawtest/gobproof/fill"
	"github.com/hc-server/hc/proxy/seesawtest/seesawcheck"
	"github.com/miekg/dns"
)

// engineConfigs are checks as the engine makes them (engine/healthcheck.go):
// every type, over both families, in every mode, with each field used once.
func engineConfigs() map[healthcheck.Id]*healthcheck.Config {
	configs := make(map[healthcheck.Id]*healthcheck.Config)
	add := func(checker healthcheck.Checker) {
		id := healthcheck.Id(1<<63) + healthcheck.Id(len(configs))
		configs[id] = &healthcheck.Config{
			Id:       id,
			Interval: time.Duration(1+len(configs)) * time.Second,
			Timeout:  time.Duration(1+len(configs)) * time.Second / 2,
			Retries:  len(configs),
			Checker:  checker,
		}
	}
	v4, v6 := net.ParseIP("192.0.2.1"), net.ParseIP("2001:db8::1")
	for _, ip := range []net.IP{v4, v6} {
		ping := healthcheck.NewPingChecker(ip)
		ping.Host = ip
		add(ping)
		for _, mode := range []seesaw.HealthcheckMode{seesaw.HCModePlain, seesaw.HCModeDSR, seesaw.HCModeTUN} {
			for _, checker := range checkersFor(ip) {
				target := reflect.ValueOf(checker).Elem().FieldByName("Target").Addr().Interface().(*healthcheck.Target)
				target.Host, target.Mode = ip, mode
				if mode != seesaw.HCModePlain {
					target.Host = append(net.IP(nil), ip...)
					target.Host[15]++
					target.Mark = 65536 + len(configs)
				}
				add(checker)
			}
		}
	}
	return configs
}

func checkersFor(ip net.IP) []healthcheck.Checker {
	udp := healthcheck.NewUDPChecker(ip, 9001)
	udp.Send, udp.Receive = "x\x00", "\x00\xff"
	tcp := healthcheck.NewTCPChecker(ip, 80)
	talk := healthcheck.NewTCPChecker(ip, 65535)
	talk.Send, talk.Receive = "\xff\xfe", "<&>\u2028"
	secure := healthcheck.NewTCPChecker(ip, 443)
	secure.Secure = true
	verified := healthcheck.NewTCPChecker(ip, 443)
	verified.Secure, verified.TLSVerify = true, true
	http := healthcheck.NewHTTPChecker(ip, 80)
	http.ResponseCode = 200
	full := healthcheck.NewHTTPChecker(ip, 8443)
	full.Secure, full.TLSVerify, full.Proxy = true, false, true
	full.Method, full.Request, full.Response, full.ResponseCode = "POST", "http://www.example.com/\xe9", "\x00ok\xff", 418
	any := healthcheck.NewHTTPChecker(ip, 80)
	any.Secure, any.ResponseCode = true, 0
	question := func(name string, qtype, class uint16, answer string) healthcheck.Checker {
		d := healthcheck.NewDNSChecker(ip, 53)
		d.Question.Name, d.Question.Qtype, d.Question.Qclass, d.Answer = name, qtype, class, answer
		return d
	}
	radius := healthcheck.NewRADIUSChecker(ip, 1812)
	radius.Username, radius.Password, radius.Secret = "user", "pass\xff", "\x00secret"
	rejected := healthcheck.NewRADIUSChecker(ip, 1812)
	rejected.Username, rejected.Secret, rejected.Response = "u", "s", "reject"
	return []healthcheck.Checker{
		udp, tcp, talk, secure, verified, http, full, any, radius, rejected,
		question("www.example.com", dns.TypeA, dns.ClassINET, "192.0.2.1"),
		question("Example.com.", dns.TypeAAAA, dns.ClassINET, "2001:db8::5"),
		question("example.com", dns.TypeMX, dns.ClassCHAOS, "10 mail.example.com."),
		question("example.com", 65, 7, ""),
	}
}

// TestConversionKeepsEveryField: a check of the engine goes through hc-proxy's
// gob types and conversion to the wire, is read from there by another conversion
// into Seesaw's own types, and is what it was.
func TestConversionKeepsEveryField(t *testing.T) {
	configs := engineConfigs()
	out := ours(t, encode(t, &healthcheck.Checks{Configs: configs}), "wire")
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if len(lines) != len(configs) {
		t.Fatalf("%d checks became %d lines", len(configs), len(lines))
	}
	for _, line := range lines {
		var c wire.Check
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		want := configs[healthcheck.Id(c.ID)]
		if want == nil {
			t.Fatalf("%s: no such id", line)
		}
		checker, err := seesawcheck.New(&c)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if ping, ok := checker.(*healthcheck.PingChecker); ok {
			// The echo id is the prober's own business and does not travel.
			ping.ID = want.Checker.(*healthcheck.PingChecker).ID
		}
		got := &healthcheck.Config{
			Id:       healthcheck.Id(c.ID),
			Interval: time.Duration(c.Interval),
			Timeout:  time.Duration(c.Timeout),
			Retries:  int(c.Retries),
			Checker:  checker,
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nis\n%s\nnot\n%s", line, fill.Text(got), fill.Text(want))
		}
	}
}
