package e2e

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

// proxyMetricsAreGood reads the metrics of an hc-proxy between an engine and an
// hc-server, and has Prometheus' own tool judge them.
func proxyMetricsAreGood(t *testing.T, socket string) {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	answer, err := client.Get("http://hc-proxy/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`hc_proxy_connected{peer="engine"} 1`,
		`hc_proxy_connected{peer="hc-server"} 1`,
		`hc_proxy_engine_call_last_success_timestamp_seconds{method="Healthchecks"} `,
		`hc_proxy_engine_call_last_success_timestamp_seconds{method="HealthState"} `,
		"hc_proxy_checks_left_out 0",
		"hc_proxy_checks_rejected 0",
	} {
		if !bytes.Contains(text, []byte("\n"+want)) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	promtool := exec.Command("promtool", "check", "metrics")
	promtool.Stdin = bytes.NewReader(text)
	if said, err := promtool.CombinedOutput(); err != nil || strings.TrimSpace(string(said)) != "" {
		t.Errorf("promtool: %v\n%s", err, said)
	}
}
