package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/engine"
	"github.com/hc-server/hc/proxy/internal/peertest"
	"github.com/hc-server/hc/proxy/internal/seesaw"
)

const oneCheck = `[{"id":18446744073709551615,"interval":"1m 30s","timeout":"1s","retries":2,"checker_type":"tcp","ip":"192.0.2.1","port":80,"receive":{"base64":"AP8="}}]`

// running is the program, in process.
type running struct {
	t      *testing.T
	socket string
	checks string
	raw    *io.PipeReader
	events *bufio.Scanner
	stop   func() int
	// stopUnread is stop that leaves the events unread; -1 if it does not end
	// before the context does.
	stopUnread func(context.Context) int
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func startEngine(t *testing.T, args ...string) *running {
	t.Helper()
	dir := t.TempDir()
	r := &running{t: t, socket: filepath.Join(dir, "e.sock"), checks: filepath.Join(dir, "checks.json")}
	write(t, r.checks, oneCheck)
	read, print := io.Pipe()
	r.raw, r.events = read, bufio.NewScanner(read)
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"-socket", r.socket, "-checks", r.checks}, args...), print, io.Discard)
		print.Close()
	}()
	r.stop = func() int {
		cancel()
		// Nobody else reads the last events.
		go io.Copy(io.Discard, read)
		return <-code
	}
	r.stopUnread = func(bound context.Context) int {
		cancel()
		select {
		case c := <-code:
			return c
		case <-bound.Done():
			return -1
		}
	}
	t.Cleanup(cancel)
	r.next("listening")
	return r
}

// next is the next event, which must be of this kind.
func (r *running) next(kind string) map[string]any {
	r.t.Helper()
	if !r.events.Scan() {
		r.t.Fatalf("no more events, want %s", kind)
	}
	decoder := json.NewDecoder(strings.NewReader(r.events.Text()))
	decoder.UseNumber()
	var event map[string]any
	if err := decoder.Decode(&event); err != nil {
		r.t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339Nano, event["time"].(string))
	if event["event"] != kind || err != nil || time.Since(at) > time.Minute {
		r.t.Fatalf("event %v, want %s", event, kind)
	}
	return event
}

func (r *running) dial() *engine.Conn {
	r.t.Helper()
	conn, err := engine.Dial(r.t.Context(), r.socket, peertest.Within)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(conn.Close)
	return conn
}

// aside runs a call whose events the test reads meanwhile.
func aside[T any](call func() (T, error)) func() (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := call()
		done <- result{value, err}
	}()
	return func() (T, error) {
		r := <-done
		return r.value, r.err
	}
}

func TestFetchNotifyAndReload(t *testing.T) {
	r := startEngine(t)
	conn := r.dial()
	fetched := aside(conn.Healthchecks)
	if event := r.next("fetch"); event["checks"] != json.Number("1") {
		t.Errorf("%v", event)
	}
	checks, err := fetched()
	if err != nil || checks.Configs[1<<64-1].Checker.(*seesaw.TCPChecker).Receive != "\x00\xff" {
		t.Errorf("%+v, %v", checks, err)
	}
	at := time.Date(2024, 1, 15, 10, 30, 0, 5, time.UTC)
	told := aside(func() (any, error) {
		return nil, conn.HealthState([]*seesaw.Notification{{Id: 1<<64 - 1, Status: seesaw.Status{
			LastCheck: at, Duration: 1500 * time.Microsecond, Failures: 1, Successes: 1<<64 - 1, State: seesaw.StateHealthy, Message: "a<b",
		}}})
	})
	r.next("notification")
	want := `"id":18446744073709551615,"state":"healthy","last_check":"2024-01-15T10:30:00.000000005Z","duration":"1ms 500us",` +
		`"failures":1,"successes":18446744073709551615,"message":"a<b"}`
	if !strings.HasSuffix(r.events.Text(), want) {
		t.Errorf("printed %s\nwant … %s", r.events.Text(), want)
	}
	if _, err := told(); err != nil {
		t.Error(err)
	}

	write(t, r.checks, "[]")
	if event := r.next("checks"); event["checks"] != json.Number("0") {
		t.Errorf("%v", event)
	}
	write(t, r.checks, `[{"id":1`)
	r.next("error")
	fetched = aside(conn.Healthchecks)
	r.next("fetch")
	if checks, err := fetched(); err != nil || checks.Configs == nil || len(checks.Configs) != 0 {
		t.Errorf("%+v, %v", checks, err)
	}
	write(t, r.checks, oneCheck)
	r.next("checks")
	if code := r.stop(); code != 0 {
		t.Errorf("exit %d", code)
	}
	if _, err := os.Stat(r.socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestTheEnginesErrors(t *testing.T) {
	r := startEngine(t)
	client, err := rpc.Dial("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	trusted := seesaw.NewContext()
	none := &seesaw.Context{AuthType: seesaw.AuthNone}
	for _, c := range []struct {
		method string
		args   any
		reply  any
		want   string
	}{
		{seesaw.MethodHealthchecks, none, new(seesaw.Checks), "insufficient access"},
		{seesaw.MethodHealthState, &seesaw.HealthState{Ctx: none}, new(int), "insufficient access"},
		{seesaw.MethodHealthState, &seesaw.HealthState{}, new(int), "context is nil"},
		{"SeesawEngine.X", trusted, new(int), "rpc: can't find method SeesawEngine.X"},
		{seesaw.MethodHealthState, &seesaw.HealthState{Ctx: trusted}, new(int), ""},
	} {
		var got string
		if err := client.Call(c.method, c.args, c.reply); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.method, got, c.want)
		}
	}
}

func TestItEndsThoughNobodyReadsItsEvents(t *testing.T) {
	r := startEngine(t)
	conn := r.dial()
	// This call hangs in printing all but the first byte.
	fetched := aside(conn.Healthchecks)
	if _, err := r.raw.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), peertest.Within)
	defer cancel()
	if code := r.stopUnread(ctx); code != 0 {
		t.Errorf("exit %d", code)
	}
	if _, err := fetched(); err == nil {
		t.Error("the call was answered")
	}
}

func TestFailAndNil(t *testing.T) {
	r := startEngine(t, "-fail", "no", "-nil_for", "1h", "-delay", "1ms")
	conn := r.dial()
	fetched := aside(conn.Healthchecks)
	r.next("fetch")
	if checks, err := fetched(); err != nil || checks.Configs != nil {
		t.Errorf("%+v, %v", checks, err)
	}
	told := aside(func() (any, error) { return nil, conn.HealthState([]*seesaw.Notification{{Id: 1}}) })
	r.next("notification")
	if _, err := told(); err == nil || !strings.HasSuffix(err.Error(), ": no") {
		t.Errorf("%v", err)
	}
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	good, bad, socket := filepath.Join(dir, "good"), filepath.Join(dir, "bad"), filepath.Join(dir, "s")
	write(t, good, oneCheck)
	listener, err := net.Listen("unix", filepath.Join(dir, "used"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, c := range []struct {
		args []string
		file string
		code int
		want string
	}{
		{[]string{}, "", 2, "-socket and -checks are needed"},
		{[]string{"-x"}, "", 2, "not defined: -x"},
		{[]string{"-socket", socket, "-checks", good, "more"}, "", 2, "-socket and -checks are needed"},
		{[]string{"-socket", socket, "-checks", dir + "/none"}, "", 2, "no such file"},
		{[]string{"-socket", dir + "/used", "-checks", good}, "", 1, "in use"},
		{[]string{"-socket", dir + "/no/dir", "-checks", good}, "", 1, "no such file"},
		{[]string{"-socket", socket, "-checks", bad}, `{}`, 2, "cannot unmarshal"},
		{[]string{"-socket", socket, "-checks", bad}, `[] []`, 2, "something follows"},
		{[]string{"-socket", socket, "-checks", bad}, `[{"ip":"::1"}]`, 2, "check 1 of the file: id: missing"},
		{[]string{"-socket", socket, "-checks", bad}, `[{"id":5,"ip":"x","checker_type":"tcp"}]`, 2, "check 5: ip:"},
		{[]string{"-socket", socket, "-checks", bad}, `[{"id":5,"porto":1}]`, 2, "porto"},
		{[]string{"-socket", socket, "-checks", bad}, `[{"id":5,"ip":"::1","checker_type":"icmp"},{"id":5,"ip":"::1","checker_type":"icmp"}]`, 2, "there twice"},
	} {
		if c.file != "" {
			write(t, bad, c.file)
		}
		var stderr strings.Builder
		code := run(t.Context(), c.args, io.Discard, &stderr)
		if code != c.code || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%v %s: exit %d, want %d, %q in %q", c.args, c.file, code, c.code, c.want, stderr.String())
		}
	}
}

func TestAnOldSocketIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "e.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
	checks := filepath.Join(t.TempDir(), "checks.json")
	write(t, checks, "[]")
	ctx, cancel := context.WithCancel(t.Context())
	read, print := io.Pipe()
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"-socket", path, "-checks", checks}, print, io.Discard) }()
	if _, err := read.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	cancel()
	go io.Copy(io.Discard, read)
	if got := <-code; got != 0 {
		t.Errorf("exit %d", got)
	}
}
