package gobproof

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/seesaw/common/ipc"
	"github.com/google/seesaw/healthcheck"
	"github.com/hc-server/hc/proxy/seesawtest/gobproof/fill"
)

// values are all of Seesaw's types that travel between the engine and its
// healthchecker.
var values = map[string]any{
	"Context":       ipc.Context{},
	"Peer":          ipc.Peer{},
	"User":          ipc.User{},
	"Checks":        healthcheck.Checks{},
	"Config":        healthcheck.Config{},
	"Target":        healthcheck.Target{},
	"PingChecker":   healthcheck.PingChecker{},
	"UDPChecker":    healthcheck.UDPChecker{},
	"TCPChecker":    healthcheck.TCPChecker{},
	"HTTPChecker":   healthcheck.HTTPChecker{},
	"DNSChecker":    healthcheck.DNSChecker{},
	"RADIUSChecker": healthcheck.RADIUSChecker{},
	"HealthState":   healthcheck.HealthState{},
	"Notification":  healthcheck.Notification{},
	"Status":        healthcheck.Status{},
}

var checkers = []reflect.Type{
	reflect.TypeFor[healthcheck.DNSChecker](),
	reflect.TypeFor[healthcheck.HTTPChecker](),
	reflect.TypeFor[healthcheck.PingChecker](),
	reflect.TypeFor[healthcheck.RADIUSChecker](),
	reflect.TypeFor[healthcheck.TCPChecker](),
	reflect.TypeFor[healthcheck.UDPChecker](),
}

// oursPath is the program with hc-proxy's types.
var oursPath string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "gobproof")
	if err == nil {
		oursPath = filepath.Join(dir, "ours")
		build := exec.Command("go", "build", "-o", oursPath, "./ours")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stderr = os.Stderr
		err = build.Run()
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, "build hc-proxy's side:", err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// ours runs hc-proxy's side and returns what it wrote.
func ours(t *testing.T, in []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(oursPath, args...)
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("hc-proxy's side, %q: %v\n%s", args, err, stderr.Bytes())
	}
	return out
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := gob.NewEncoder(&out).Encode(value); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func decode(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func filled(name string) any {
	value := reflect.New(reflect.TypeOf(values[name]))
	(&fill.Filler{Checkers: checkers}).Fill(value.Interface())
	return value.Interface()
}

func TestFieldsAreTheSame(t *testing.T) {
	var schema map[string][]fill.Field
	if err := json.Unmarshal(ours(t, nil, "schema"), &schema); err != nil {
		t.Fatal(err)
	}
	if len(schema) != len(values) {
		t.Errorf("hc-proxy has %d types, Seesaw %d", len(schema), len(values))
	}
	for name, value := range values {
		want, got := fill.Describe(reflect.TypeOf(value)), schema[name]
		// A wider number holds what a narrower one sends.
		for i := range min(len(want), len(got)) {
			if got[i].Bits > want[i].Bits {
				got[i].Bits = want[i].Bits
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s of hc-proxy has\n%v\nSeesaw's has\n%v", name, got, want)
		}
	}
}

func TestSeesawEncodesOursDecodes(t *testing.T) {
	for name := range values {
		ours(t, encode(t, filled(name)), "equal", name)
	}
}

func TestOursEncodesSeesawDecodes(t *testing.T) {
	for name, value := range values {
		got := reflect.New(reflect.TypeOf(value)).Interface()
		decode(t, ours(t, nil, "make", name), got)
		if want := filled(name); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: decoded\n%s\nwant\n%s", name, fill.Text(got), fill.Text(want))
		}
	}
}

// A map of checks must show every checker type, or the proof above is hollow.
func TestFilledChecksHoldEveryChecker(t *testing.T) {
	seen := make(map[reflect.Type]bool)
	checks := filled("Checks").(*healthcheck.Checks)
	for id, config := range checks.Configs {
		if uint64(id) < 1<<63 || uint64(config.Id) < 1<<63 {
			t.Errorf("ids %d and %d are below 2^63", id, config.Id)
		}
		seen[reflect.TypeOf(config.Checker).Elem()] = true
	}
	for _, checker := range checkers {
		if !seen[checker] {
			t.Errorf("no %v in the map", checker)
		}
	}
}

// echo is a value through hc-proxy's decoder and encoder.
func echo[T any](t *testing.T, name string, value T) T {
	t.Helper()
	var got T
	decode(t, ours(t, encode(t, &value), "echo", name), &got)
	return got
}

func TestOddValuesSurvive(t *testing.T) {
	checks := healthcheck.Checks{Configs: map[healthcheck.Id]*healthcheck.Config{
		0:          {Id: 0, Interval: -time.Second, Timeout: -1, Retries: -1, Checker: &healthcheck.PingChecker{}},
		1<<64 - 1:  {Id: 1<<64 - 1, Checker: &healthcheck.TCPChecker{Receive: "\x00\xff", Send: "\xff\xfe\x00"}},
		1 << 63:    {Id: 1 << 63, Checker: &healthcheck.UDPChecker{Target: healthcheck.Target{IP: net.IP{127, 0, 0, 1}, Port: -1}}},
		1<<53 + 1:  {Id: 5},
		1234567890: {Id: 1234567890, Interval: 1<<63 - 1, Checker: &healthcheck.HTTPChecker{ResponseCode: -7}},
	}}
	if got := echo(t, "Checks", checks); !reflect.DeepEqual(got, checks) {
		t.Errorf("got\n%s\nwant\n%s", fill.Text(got), fill.Text(checks))
	}

	state := healthcheck.HealthState{
		Ctx: &ipc.Context{AuthType: ipc.ATTrusted},
		Notifications: []*healthcheck.Notification{
			{Id: 1<<64 - 1, Status: healthcheck.Status{State: healthcheck.StateHealthy, Failures: 1<<64 - 1, Message: "\x00\xff"}},
			{Id: 0, Status: healthcheck.Status{LastCheck: time.Unix(1, 999_999_999).UTC(), Duration: -1}},
		},
	}
	if got := echo(t, "HealthState", state); !reflect.DeepEqual(got, state) {
		t.Errorf("got\n%s\nwant\n%s", fill.Text(got), fill.Text(state))
	}
}

// The engine sends no map when it is not ready and an empty one when there is
// nothing to check; hc-proxy tells them apart.
func TestNilAndEmptyMapsStayApart(t *testing.T) {
	if got := echo(t, "Checks", healthcheck.Checks{}); got.Configs != nil {
		t.Error("nil became an empty map")
	}
	empty := healthcheck.Checks{Configs: map[healthcheck.Id]*healthcheck.Config{}}
	if got := echo(t, "Checks", empty); got.Configs == nil {
		t.Error("an empty map became nil")
	}
}
