package main

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestMeasure(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := listener.Addr().(*net.TCPAddr).AddrPort()
	got, err := measure(target, 2, 20, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if got.Checks != 20 || got.Failures != 0 || got.Min <= 0 || got.Median < got.Min || got.P99 < got.Median {
		t.Errorf("an open port gave %+v", got)
	}
	listener.Close()
	if got, err = measure(target, 0, 3, 5*time.Second); err != nil || got.Failures != 3 {
		t.Errorf("a closed port gave %+v, error %v", got, err)
	}
	if _, err := measure(netip.AddrPort{}, 0, 1, time.Second); err == nil {
		t.Error("no address gave no error")
	}
}

func TestQuantile(t *testing.T) {
	var times []time.Duration
	for i := range 200 {
		times = append(times, time.Duration(i+1))
	}
	for percent, want := range map[int]time.Duration{50: 100, 99: 198, 100: 200} {
		if got := quantile(times, percent); got != want {
			t.Errorf("percent %d is %d, want %d", percent, got, want)
		}
	}
	if got := quantile(times[:1], 50); got != 1 {
		t.Errorf("median of one is %d", got)
	}
}
