package convert

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/internal/wire"
)

func TestMain(m *testing.M) {
	seesaw.RegisterGob()
	os.Exit(m.Run())
}

// mapped is the 16-byte form in which the engine sends IPv4.
var mapped = net.ParseIP("192.0.2.1")

func plain(proto uint) seesaw.Target {
	return seesaw.Target{IP: mapped, Host: mapped, Port: 80, Proto: proto}
}

// The table reads: what the engine has, and what hc-server is told, behind the
// fields that all checks share. Each row is converted back too.
var rows = map[string]struct {
	checker any
	want    string
}{
	"ping": {
		&seesaw.PingChecker{Target: seesaw.Target{IP: mapped, Host: mapped, Proto: seesaw.ProtoICMP}},
		`"checker_type":"icmp","ip":"192.0.2.1"`,
	},
	"ping6": {
		&seesaw.PingChecker{Target: seesaw.Target{IP: net.ParseIP("2001:db8::1"), Host: net.ParseIP("2001:db8::1"), Proto: seesaw.ProtoICMPv6}},
		`"checker_type":"icmp","ip":"2001:db8::1"`,
	},
	"udp": {
		&seesaw.UDPChecker{Target: plain(seesaw.ProtoUDP), Send: "a\nb", Receive: "\x00\xff"},
		`"checker_type":"udp","ip":"192.0.2.1","port":80,"send":"a\nb","receive":{"base64":"AP8="}`,
	},
	"tcp": {
		&seesaw.TCPChecker{Target: plain(seesaw.ProtoTCP), TLSVerify: true},
		`"checker_type":"tcp","ip":"192.0.2.1","port":80`,
	},
	"tcp over tls": {
		&seesaw.TCPChecker{Target: plain(seesaw.ProtoTCP), Send: "x", Receive: "y", Secure: true, TLSVerify: true},
		`"checker_type":"tcp","ip":"192.0.2.1","port":80,"send":"x","receive":"y","secure":true`,
	},
	"tcp over tls, not verified": {
		&seesaw.TCPChecker{Target: plain(seesaw.ProtoTCP), Secure: true},
		`"checker_type":"tcp","ip":"192.0.2.1","port":80,"secure":true,"tls_verify":false`,
	},
	"http": {
		&seesaw.HTTPChecker{Target: plain(seesaw.ProtoTCP), TLSVerify: true, Method: "GET", Request: "/", ResponseCode: 200},
		`"checker_type":"http","ip":"192.0.2.1","port":80,"expected_codes":[200]`,
	},
	"http, any code": {
		&seesaw.HTTPChecker{Target: plain(seesaw.ProtoTCP), TLSVerify: true, Method: "GE T", Request: "/a<b>\xff", Response: "ok"},
		`"checker_type":"http","ip":"192.0.2.1","port":80,"method":"GE T","path":{"base64":"L2E8Yj7/"},` +
			`"request_error":"net/http: invalid method \"GE T\"","expected_body":"ok"`,
	},
	"https over dsr": {
		&seesaw.HTTPChecker{
			Target: seesaw.Target{IP: net.ParseIP("203.0.113.9"), Host: mapped, Mark: 65536, Mode: seesaw.ModeDSR, Port: 443, Proto: seesaw.ProtoTCP},
			Secure: true, Method: "HEAD", Proxy: true, Request: "https://www.example.com/x", ResponseCode: 204,
		},
		`"checker_type":"http","ip":"203.0.113.9","port":443,"mode":"dsr","mark":65536,"host":"192.0.2.1","secure":true,` +
			`"tls_verify":false,"method":"HEAD","path":"https://www.example.com/x","request_target":"https://www.example.com/x",` +
			`"http_host":"www.example.com","server_name":"www.example.com","expected_codes":[204],"proxy":true`,
	},
	"dns": {
		&seesaw.DNSChecker{Target: plain(seesaw.ProtoUDP), Question: seesaw.Question{Name: "x.example", Qtype: 1, Qclass: 1}, Answer: "192.0.2.9"},
		`"checker_type":"dns","ip":"192.0.2.1","port":80,"query":"x.example","expected_ips":["192.0.2.9"]`,
	},
	"dns, aaaa, class ch, no address": {
		&seesaw.DNSChecker{Target: plain(seesaw.ProtoUDP), Question: seesaw.Question{Qtype: 28, Qclass: 3}},
		`"checker_type":"dns","ip":"192.0.2.1","port":80,"query":"","query_type":"AAAA","query_class":"CH","expected_ips":[""]`,
	},
	"dns, mx": {
		&seesaw.DNSChecker{Target: plain(seesaw.ProtoUDP), Question: seesaw.Question{Name: "x.", Qtype: 15, Qclass: 1}, Answer: "10 m."},
		`"checker_type":"dns","ip":"192.0.2.1","port":80,"query":"x.","query_type":"MX","expected_answer":"10 m."`,
	},
	"dns, numbers": {
		&seesaw.DNSChecker{Target: plain(seesaw.ProtoUDP), Question: seesaw.Question{Name: "\xff", Qtype: 65, Qclass: 9}},
		`"checker_type":"dns","ip":"192.0.2.1","port":80,"query":{"base64":"/w=="},"query_type":"TYPE65","query_class":"CLASS9"`,
	},
	"radius": {
		&seesaw.RADIUSChecker{Target: plain(seesaw.ProtoUDP), Username: "u", Password: "\xff", Secret: "s", Response: "accept"},
		`"checker_type":"radius","ip":"192.0.2.1","port":80,"username":"u","password":{"base64":"/w=="},"secret":"s"`,
	},
	"radius over tun": {
		&seesaw.RADIUSChecker{
			Target:   seesaw.Target{IP: net.ParseIP("2001:db8::9"), Host: net.ParseIP("2001:db8::1"), Mark: 70000, Mode: seesaw.ModeTUN, Port: 1812, Proto: seesaw.ProtoUDP},
			Response: "Reject",
		},
		`"checker_type":"radius","ip":"2001:db8::9","port":1812,"mode":"tun","mark":70000,"host":"2001:db8::1",` +
			`"username":"","secret":"","expected_response":"Reject"`,
	},
	"radius, no word": {
		&seesaw.RADIUSChecker{Target: plain(seesaw.ProtoUDP)},
		`"checker_type":"radius","ip":"192.0.2.1","port":80,"username":"","secret":"","expected_response":""`,
	},
	"odd numbers": {
		&seesaw.TCPChecker{Target: seesaw.Target{IP: mapped, Mark: -1, Mode: 7, Port: -80, Proto: seesaw.ProtoTCP}, TLSVerify: true},
		`"checker_type":"tcp","ip":"192.0.2.1","port":-80,"mode":"7","mark":-1`,
	},
}

func TestChecksBothWays(t *testing.T) {
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			const id = 1<<63 + 5
			config := &seesaw.Config{Id: id, Interval: 1500 * time.Millisecond, Timeout: -time.Second, Retries: -1, Checker: row.checker}
			check, err := ToWire(id, config)
			if err != nil {
				t.Fatal(err)
			}
			got, err := check.Encode()
			want := fmt.Sprintf(`{"id":%d,"interval":"1500ms","timeout":"-1s","retries":-1,%s}`, uint64(id), row.want)
			if err != nil || string(got) != want {
				t.Errorf("got  %s (%v)\nwant %s", got, err, want)
			}
			back, err := FromWire(check)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, config) {
				t.Errorf("came back as %+v\nwant %+v", back.Checker, config.Checker)
			}
		})
	}
}

// The examples of all types, so far as Seesaw can express them.
func TestExamplesBothWays(t *testing.T) {
	line, err := os.ReadFile("../../../wire/v1/update_configs_all_types.json")
	if err != nil {
		t.Fatal(err)
	}
	message, err := wire.Decode(line)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range message.(*wire.UpdateConfigs).Configs {
		check := new(wire.Check)
		if err := json.Unmarshal(raw, check); err != nil {
			t.Fatal(err)
		}
		config, err := FromWire(check)
		if len(check.ExpectedCodes) > 1 {
			if err == nil {
				t.Errorf("Seesaw cannot express %s", raw)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		set, dropped := ToSet(map[uint64]*seesaw.Config{check.ID: config})
		if len(dropped) > 0 || string(set[check.ID]) != string(raw) {
			t.Errorf("got  %s %v\nwant %s", set[check.ID], dropped, raw)
		}
	}
}

func TestShortAddressesAreIPv4Too(t *testing.T) {
	target := seesaw.Target{IP: mapped.To4(), Host: mapped, Port: 1}
	check, err := ToWire(1, &seesaw.Config{Checker: &seesaw.TCPChecker{Target: target}})
	if err != nil || check.IP != "192.0.2.1" || check.Host != "" {
		t.Errorf("%+v, %v", check, err)
	}
}

func TestVerificationMeansNothingWithoutTLS(t *testing.T) {
	for _, checker := range []any{
		&seesaw.TCPChecker{Target: plain(seesaw.ProtoTCP)},
		&seesaw.HTTPChecker{Target: plain(seesaw.ProtoTCP)},
	} {
		if check, err := ToWire(1, &seesaw.Config{Checker: checker}); err != nil || check.TLSVerify != nil {
			t.Errorf("%T: %+v, %v", checker, check, err)
		}
	}
}

func TestTheIDIsTheKeyOfTheMap(t *testing.T) {
	check, err := ToWire(7, &seesaw.Config{Id: 8, Checker: &seesaw.TCPChecker{Target: plain(seesaw.ProtoTCP)}})
	if err != nil || check.ID != 7 {
		t.Errorf("%+v, %v", check, err)
	}
}

func TestABadCheckIsLeftOutAlone(t *testing.T) {
	good := &seesaw.Config{Id: 1, Checker: &seesaw.TCPChecker{Target: plain(seesaw.ProtoTCP)}}
	tcp := func(t seesaw.Target, send string) *seesaw.Config {
		return &seesaw.Config{Checker: &seesaw.TCPChecker{Target: t, Send: send}}
	}
	set, dropped := ToSet(map[uint64]*seesaw.Config{
		1: good,
		2: {Id: 2},
		3: nil,
		4: tcp(seesaw.Target{}, ""),
		5: tcp(seesaw.Target{IP: mapped, Host: net.IP{1, 2, 3}}, ""),
		6: {Checker: "a string"},
		7: tcp(plain(seesaw.ProtoTCP), strings.Repeat("\x01", wire.MaxLine/6)),
	})
	if len(set) != 1 || set[1] == nil {
		t.Errorf("the set is %v", set)
	}
	for id, want := range map[uint64]string{
		2: "there is no checker",
		3: "there is no configuration",
		4: "the target's address has 0 bytes, not 4 or 16",
		5: "the backend's address has 3 bytes, not 4 or 16",
		6: "checker type string is not known",
		7: "more than a line can hold",
	} {
		if !strings.Contains(dropped[id], want) {
			t.Errorf("%d: %q, want %q", id, dropped[id], want)
		}
	}
}

func TestFromWireRefusesWhatSeesawCannotExpress(t *testing.T) {
	for _, c := range []struct{ check, want string }{
		{`{"checker_type":"smtp","ip":"192.0.2.1"}`, `checker_type: "smtp" is not known`},
		{`{"checker_type":"tcp","ip":"fe80::1%eth0"}`, `ip: "fe80::1%eth0" is not an IP address`},
		{`{"checker_type":"tcp","ip":"x"}`, `ip: "x" is not an IP address`},
		{`{"checker_type":"tcp","ip":"192.0.2.1","host":"x"}`, `host: "x" is not an IP address`},
		{`{"checker_type":"tcp","ip":"192.0.2.1","mode":"nat"}`, `mode: "nat" is not known`},
		{`{"checker_type":"http","ip":"192.0.2.1","path":"/x","http_host":"a"}`, `request_target, http_host, `},
		{`{"checker_type":"dns","ip":"192.0.2.1"}`, `query: missing`},
		{`{"checker_type":"dns","ip":"192.0.2.1","query":"x"}`, `expected_ips: Seesaw takes one address for A and AAAA, not 0`},
		{`{"checker_type":"dns","ip":"192.0.2.1","query":"x","query_type":"B"}`, `query_type: "B" is neither`},
		{`{"checker_type":"dns","ip":"192.0.2.1","query":"x","query_class":"CLASS65536"}`, `query_class: "CLASS65536" is neither`},
		{`{"checker_type":"dns","ip":"192.0.2.1","query":"x","query_type":"MX","expected_ips":["192.0.2.1"]}`, `expected_ips: only for`},
	} {
		check := new(wire.Check)
		if err := json.Unmarshal([]byte(c.check), check); err != nil {
			t.Fatal(err)
		}
		if _, err := FromWire(check); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.check, err, c.want)
		}
	}
}

func TestStatusesBothWays(t *testing.T) {
	at := time.Date(2024, 1, 15, 10, 30, 0, 123456789, time.UTC)
	batch := []wire.Notification{
		{ID: 1<<64 - 1, Status: wire.Status{
			LastCheck: at, Duration: wire.Elapsed(1500 * time.Microsecond), Failures: 1<<64 - 1, Successes: 3,
			State: wire.StateUnhealthy, Message: "\x00\xff",
		}},
		{ID: 2, Status: wire.Status{LastCheck: at, State: wire.StateHealthy}},
		{ID: 3, Status: wire.Status{LastCheck: at, State: wire.StateUnknown}},
	}
	got := ToSeesaw(batch)
	want := seesaw.Status{
		LastCheck: at, Duration: 1500 * time.Microsecond, Failures: 1<<64 - 1, Successes: 3, State: 1, Message: "\x00\xff",
	}
	if got[0].Id != 1<<64-1 || got[0].Status != want || got[1].Status.State != 2 || got[2].Status.State != 0 {
		t.Errorf("%+v", got[0])
	}
	for i, n := range got {
		if back := FromSeesaw(n); !reflect.DeepEqual(back, batch[i]) {
			t.Errorf("came back as %+v", back)
		}
	}
}
