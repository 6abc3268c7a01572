package main

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/fakeengine"
	"github.com/hc-server/hc/proxy/internal/seesaw"
)

// serve is an engine with these checks, until the test ends.
func serve(t *testing.T, configs map[uint64]*seesaw.Config, behavior fakeengine.Behavior) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "engine.sock")
	engine, err := fakeengine.Listen(socket, behavior, configs, fakeengine.NewEvents(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		engine.Close()
		engine.Wait()
	})
	return socket
}

func tcpCheck(id uint64, ip net.IP) *seesaw.Config {
	return &seesaw.Config{Id: id, Interval: time.Second, Timeout: time.Second,
		Checker: &seesaw.TCPChecker{Target: seesaw.Target{IP: ip, Host: ip, Port: 80, Proto: seesaw.ProtoTCP}}}
}

// The checks go to standard output and nothing else does: a check that is left
// out is named on standard error.
func TestPrintChecks(t *testing.T) {
	socket := serve(t, map[uint64]*seesaw.Config{
		7:       tcpCheck(7, net.IP{192, 0, 2, 7}),
		1 << 63: tcpCheck(1<<63, net.ParseIP("2001:db8::1")),
		9:       tcpCheck(9, net.IP{1, 2, 3}),
	}, fakeengine.Behavior{NilFor: 300 * time.Millisecond})
	cmd, _ := program("-print-checks", "-engine="+socket)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	want := `{"id":7,"interval":"1s","timeout":"1s","retries":0,"checker_type":"tcp","ip":"192.0.2.7","port":80}
{"id":9223372036854775808,"interval":"1s","timeout":"1s","retries":0,"checker_type":"tcp","ip":"2001:db8::1","port":80}
`
	if out.String() != want {
		t.Errorf("printed\n%s", &out)
	}
	for _, want := range []string{"healthcheck 9 is left out: the target's address has 3 bytes", "2 healthchecks, 1 left out"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("no %q in\n%s", want, &said)
		}
	}
}

func TestPrintChecksWithoutAnEngine(t *testing.T) {
	cmd, output := program("-print-checks", "-engine="+t.TempDir()+"/none")
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(output.String(), "cannot fetch the checks: dial unix") {
		t.Errorf("exit %d:\n%s", code, output)
	}
}
