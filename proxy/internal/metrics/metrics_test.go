package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTextHasWhatHappened(t *testing.T) {
	m := new(Metrics)
	m.Engine.Up()
	m.Engine.Down()
	m.Engine.Up()
	m.Fetches.Ended(time.Unix(1700000000, 500e6), nil)
	m.Fetches.Ended(time.Unix(1700000001, 0), errors.New("no"))
	m.Checks.Store(12)
	m.Refused[Busy].Add(3)
	text := string(m.Text("1.2.3"))
	for _, want := range []string{
		`hc_proxy_build_info{version="1.2.3",go_version="go`,
		`hc_proxy_connected{peer="engine"} 1`,
		`hc_proxy_connected{peer="hc-server"} 0`,
		`hc_proxy_connections_total{peer="engine"} 2`,
		`hc_proxy_engine_calls_total{method="Healthchecks"} 2`,
		`hc_proxy_engine_call_errors_total{method="Healthchecks"} 1`,
		`hc_proxy_engine_call_last_success_timestamp_seconds{method="Healthchecks"} 1700000000.500`,
		"hc_proxy_checks 12",
		`hc_proxy_batches_refused_total{reason="busy"} 3`,
	} {
		if !strings.Contains(text, "\n"+want) && !strings.HasPrefix(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, `timestamp_seconds{method="HealthState"}`) {
		t.Error("an instant of something that never happened")
	}
}

// get asks for a path over a connection of its own.
func get(t *testing.T, address net.Addr, path string) (int, string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial(address.Network(), address.String())
		},
	}}
	answer, err := client.Get("http://hc-proxy" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestServesOverTCPAndUnix(t *testing.T) {
	for _, text := range []string{"127.0.0.1:0", filepath.Join(t.TempDir(), "metrics.sock")} {
		network, address, err := ParseAddress(text)
		if err != nil {
			t.Fatal(err)
		}
		listener, err := Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		serving.Go(func() { new(Metrics).Serve(ctx, listener, "x") })
		// Those that say nothing hold places, and not all of them.
		for range maxConnections - 1 {
			silent, err := net.Dial(listener.Addr().Network(), listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
		}
		if code, body := get(t, listener.Addr(), "/metrics"); code != 200 || !strings.Contains(body, "hc_proxy_checks 0") {
			t.Errorf("%s: %d\n%s", text, code, body)
		}
		if code, _ := get(t, listener.Addr(), "/other"); code != 404 {
			t.Errorf("%s: /other is answered with %d", text, code)
		}
		cancel()
		serving.Wait()
	}
}

func TestOnlyASocketThatNobodyHasIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.sock")
	first, err := Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix", path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second listener: %v", err)
	}
	first.(*limited).Listener.(*net.UnixListener).SetUnlinkOnClose(false)
	first.Close()
	again, err := Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix", path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("over a file: %v", err)
	}
}

func TestParseAddress(t *testing.T) {
	for _, text := range []string{"9100", "localhost", "unix:/x", "metrics.sock", "[::1"} {
		if network, address, err := ParseAddress(text); err == nil {
			t.Errorf("%q is %s %s", text, network, address)
		}
	}
}
