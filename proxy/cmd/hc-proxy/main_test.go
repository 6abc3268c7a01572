package main

import (
	"bytes"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/internal/peertest"
)

// The test binary is also the program, so that exit codes and signals are the
// real ones.
func TestMain(m *testing.M) {
	if os.Getenv("HC_PROXY_TEST_MAIN") != "" {
		// The testing package's flags would not be missed, but -v is glog's.
		main()
	}
	os.Exit(m.Run())
}

func program(args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "HC_PROXY_TEST_MAIN=1", "NOTIFY_SOCKET=",
		// Otherwise the race detector adds a second to every exit.
		"GORACE=atexit_sleep_ms=0")
	output := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = output, output
	return cmd, output
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-version"}, 0, "hc-proxy " + version},
		{[]string{"-help"}, 0, "-max_failures"},
		{[]string{"-help"}, 0, "-log_dir"},
		{[]string{"-no_such_flag"}, 2, "flag provided but not defined: -no_such_flag"},
		{[]string{"stray"}, 2, `unexpected argument "stray"`},
		{[]string{"-fetch_interval=0"}, 2, "-fetch_interval must be above 0"},
		{[]string{"-fetch_interval=-1s"}, 2, "-fetch_interval must be above 0"},
		{[]string{"-notify_interval=0s"}, 2, "-notify_interval must be above 0"},
		{[]string{"-metrics=9100"}, 2, `-metrics: "9100" is neither host:port nor`},
		{[]string{"-metrics=192.0.2.1:1", "-logtostderr"}, 1, "Cannot serve metrics"},
		{[]string{"-shadow", "-dry_run"}, 2, "exclude each other"},
		{[]string{"-shadow_log=/x"}, 2, "-shadow_log needs -shadow"},
		{[]string{"-shadow", "-shadow_tolerance=-1s"}, 2, "must not be negative"},
		{[]string{"-shadow", "-shadow_output=/no/such/place", "-logtostderr"}, 1, "Cannot write the report"},
		{[]string{"-batch_size=many"}, 2, `invalid value "many"`},
	} {
		cmd, output := program(c.args...)
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(output.String(), c.want) {
			t.Errorf("%v: exit %d, want %d; %q in:\n%s", c.args, code, c.code, c.want, output)
		}
	}
}

// The man page has every flag, and no other.
func TestTheManPageHasTheFlags(t *testing.T) {
	text, err := os.ReadFile("../../../packaging/man/hc-proxy.8")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && (fields[0] == ".B" || fields[0] == ".BI") && strings.HasPrefix(fields[1], `\-`) {
			documented = append(documented, strings.ReplaceAll(strings.TrimPrefix(fields[1], `\-`), `\-`, "-"))
		}
	}
	flags := flag.NewFlagSet("hc-proxy", flag.ContinueOnError)
	parse(flags, nil)
	flag.CommandLine.VisitAll(func(f *flag.Flag) {
		// glog's; those of the testing package are there as well.
		if !strings.HasPrefix(f.Name, "test.") {
			flags.Var(f.Value, f.Name, f.Usage)
		}
	})
	flags.VisitAll(func(f *flag.Flag) {
		if !slices.Contains(documented, f.Name) {
			t.Errorf("packaging/man/hc-proxy.8 lacks -%s", f.Name)
		}
		documented = slices.DeleteFunc(documented, func(name string) bool { return name == f.Name })
	})
	if len(documented) > 0 {
		t.Errorf("packaging/man/hc-proxy.8 has flags that are none: %v", documented)
	}
}

func TestSeesawsFlagsAreTaken(t *testing.T) {
	flags := flag.NewFlagSet("hc-proxy", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	s, code := parse(flags, []string{
		"-engine=/e", "-batch_delay=1s", "--batch_size", "7", "-channel_size=8", "-max_failures=9", "-retry_delay=3s",
		"-notify_interval=4s", "-fetch_interval=5s",
	})
	if s == nil {
		t.Fatalf("exit %d", code)
	}
	want := []string{"batch_delay", "batch_size", "channel_size", "max_failures", "notify_interval", "retry_delay"}
	if s.engineSocket != "/e" || s.fetchInterval != 5*time.Second || !slices.Equal(s.ignored, want) {
		t.Errorf("%+v", s)
	}
	flags = flag.NewFlagSet("hc-proxy", flag.ContinueOnError)
	s, _ = parse(flags, []string{"-dry_run", "-notify_interval=4s"})
	if len(s.ignored) > 0 || !s.dryRun || s.notifyInterval != 4*time.Second {
		t.Errorf("%+v", s)
	}
}

// readySocket is what systemd gives a service of Type=notify.
func readySocket(t *testing.T) (path string, await func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return path, func() {
		t.Helper()
		buf := make([]byte, 100)
		conn.SetReadDeadline(time.Now().Add(peertest.Within))
		if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
			t.Fatalf("systemd heard %q, %v", buf[:n], err)
		}
	}
}

// systemd's watchdog is fed, without an engine and without an hc-server, and by
// the process alone that it is meant for.
func TestTheWatchdogOfSystemdIsFed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "notify.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cmd, output := program("-logtostderr", "-engine="+dir+"/none", "-socket="+dir+"/none2")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=80000", "WATCHDOG_PID=")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"} {
		buf := make([]byte, 1000)
		conn.SetReadDeadline(time.Now().Add(peertest.Within))
		n, err := conn.Read(buf)
		first, rest, _ := strings.Cut(string(buf[:n]), "\n")
		if err != nil || first != want || want != "READY=1" && rest != "STATUS=engine away, hc-server away, 0 healthchecks" {
			t.Fatalf("systemd heard %q, %v; want %q\n%s", buf[:n], err, want, output)
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// Without an engine, and without an hc-server, it is ready, stays, and goes at
// once when told to.
func TestSignalsEndItWithZero(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
		dir := t.TempDir()
		cmd, output := program("-logtostderr", "-batch_size=5", "-engine="+dir+"/none", "-socket="+dir+"/none2")
		notify, await := readySocket(t)
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+notify)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		await()
		began := time.Now()
		cmd.Process.Signal(signal)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v\n%s", signal, err, output)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("%v: took %v", signal, took)
		}
		for _, want := range []string{"-batch_size does nothing here", "initiating shutdown"} {
			if !strings.Contains(output.String(), want) {
				t.Errorf("%v: no %q in the log:\n%s", signal, want, output)
			}
		}
	}
}

// An engine that takes connections and answers nothing does not hold it up, and
// hc-server is told.
func TestATermSignalWithAHungEngine(t *testing.T) {
	engine, err := net.Listen("unix", filepath.Join(t.TempDir(), "engine.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	server := peertest.Listen(t)
	cmd, output := program("-logtostderr", "-engine="+engine.Addr().String(), "-socket="+server.Socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := server.Accept()
	p.Say(peertest.Ready)
	p.Expect(`{"type":"hello","protocol":1,"version":"` + version + `","capabilities":["keep"]}`)
	// It reads on, so the handshake is behind it.
	p.Say("garbage")
	p.Expect(`{"type":"error","code":"malformed"`)
	conn, err := engine.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The first bytes of its fetch.
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	cmd.Process.Signal(syscall.SIGTERM)
	p.Expect(`{"type":"shutdown"}`)
	p.ExpectEnd()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v", took)
	}
}
