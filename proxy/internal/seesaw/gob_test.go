package seesaw

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	RegisterGob()
	os.Exit(m.Run())
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(value); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func decode(t *testing.T, data []byte) *Checks {
	t.Helper()
	checks := new(Checks)
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(checks); err != nil {
		t.Fatal(err)
	}
	return checks
}

// The whole meaning of an empty fetch hangs on this.
func TestGobTellsNilMapFromEmptyMap(t *testing.T) {
	if got := decode(t, encode(t, &Checks{})); got.Configs != nil {
		t.Errorf("nil became %v", got.Configs)
	}
	got := decode(t, encode(t, &Checks{Configs: map[uint64]*Config{}}))
	if got.Configs == nil || len(got.Configs) != 0 {
		t.Errorf("empty became %#v", got.Configs)
	}
}

func everyChecker() map[uint64]*Config {
	target := Target{
		IP: net.ParseIP("192.0.2.1"), Host: net.ParseIP("2001:db8::1"), Mark: 65536, Mode: ModeTUN, Port: 80, Proto: ProtoTCP,
	}
	const raw = "\x00\xff"
	checkers := []any{
		&PingChecker{Target: target, ID: 7, Seqnum: 8},
		&UDPChecker{Target: target, Receive: raw, Send: raw},
		&TCPChecker{Target: target, Receive: raw, Send: raw, Secure: true, TLSVerify: true},
		&HTTPChecker{Target: target, Secure: true, TLSVerify: true, Method: "PUT", Proxy: true, Request: "/", Response: raw, ResponseCode: 201},
		&DNSChecker{Target: target, Question: Question{Name: "x.", Qtype: 28, Qclass: 3}, Answer: "2001:db8::2"},
		&RADIUSChecker{Target: target, Username: "u", Password: raw, Secret: "s", Response: "reject"},
	}
	configs := make(map[uint64]*Config)
	for i, checker := range checkers {
		id := 1<<63 + uint64(i)
		configs[id] = &Config{Id: id, Interval: -time.Second, Timeout: time.Hour, Retries: -1, Checker: checker}
	}
	return configs
}

func TestEveryCheckerReadsBack(t *testing.T) {
	want := everyChecker()
	if got := decode(t, encode(t, &Checks{Configs: want})); !reflect.DeepEqual(got.Configs, want) {
		t.Errorf("got %+v", got.Configs)
	}
}

type foreignChecker struct {
	Target
	UseQUIC bool
	Extra   struct{ Words []string }
}

// runs makes a name new in each run of the test: gob forgets no type.
var runs int

func TestOneUnknownCheckerDoesNotSpoilTheFetch(t *testing.T) {
	gob.RegisterName("*healthcheck.AlphaChecker", &foreignChecker{})
	configs := everyChecker()
	foreign := &foreignChecker{Target: Target{IP: net.ParseIP("192.0.2.9"), Port: 9}, UseQUIC: true}
	foreign.Extra.Words = []string{"a", "b"}
	configs[1] = &Config{Id: 1, Checker: foreign}
	clear(unknownNames)
	runs++
	name := fmt.Sprintf("*healthcheck.%05dChecker", runs)
	data := bytes.ReplaceAll(encode(t, &Checks{Configs: configs}), []byte("*healthcheck.AlphaChecker"), []byte(name))

	err := gob.NewDecoder(bytes.NewReader(data)).Decode(new(Checks))
	if err == nil {
		t.Fatal("an unregistered type was decoded")
	}
	if got := LearnUnknown(err); got != name {
		t.Fatalf("learned %q from %v", got, err)
	}
	if got := LearnUnknown(err); got != "" {
		t.Errorf("learned %q twice", got)
	}
	got := decode(t, data)
	if UnknownName(got.Configs[1].Checker) != name {
		t.Errorf("the foreign check became %T", got.Configs[1].Checker)
	}
	delete(got.Configs, 1)
	if !reflect.DeepEqual(got.Configs, everyChecker()) {
		t.Errorf("its neighbours became %+v", got.Configs)
	}
}

func TestLearnUnknownLeavesOtherErrorsAlone(t *testing.T) {
	for _, err := range []error{nil, net.ErrClosed} {
		if got := LearnUnknown(err); got != "" {
			t.Errorf("learned %q from %v", got, err)
		}
	}
}

// An engine can say anything in an answer. To register a name for the second
// time would end the process.
func TestWhatTheEngineSaysTeachesNothing(t *testing.T) {
	clear(unknownNames)
	said := rpc.ServerError(`gob: name not registered for interface: "*healthcheck.TCPChecker"`)
	for _, err := range []error{said, fmt.Errorf("SeesawEngine.Healthchecks: %w", said)} {
		if name := LearnUnknown(err); name != "" {
			t.Errorf("learned %s from %v", name, err)
		}
	}
}

func TestLearningIsBounded(t *testing.T) {
	clear(unknownNames)
	for i := range maxUnknown + 1 {
		runs++
		name := fmt.Sprintf("*healthcheck.%05dChecker", runs)
		err := fmt.Errorf("reading body gob: name not registered for interface: %q", name)
		if learned := LearnUnknown(err) == name; learned != (i < maxUnknown) {
			t.Errorf("type %d learned: %v", i, learned)
		}
	}
}

func TestContextIsTrusted(t *testing.T) {
	ctx := NewContext()
	if ctx.AuthType != AuthTrusted || ctx.Peer.Component != ComponentHealthcheck ||
		!strings.HasPrefix(ctx.Peer.Identity, "healthcheck [pid ") || ctx.User.UID == "" {
		t.Errorf("%+v", ctx)
	}
}
