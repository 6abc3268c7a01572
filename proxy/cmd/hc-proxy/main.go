// Hc-proxy stands between the Seesaw Engine and hc-server: it takes the engine's
// checks over the engine's RPC to hc-server, and hc-server's news to the engine.
//
// Exit status: 0 after SIGTERM, SIGINT or SIGQUIT, 2 for wrong usage, 1 if what
// was asked for cannot be done: metrics at an address that is taken, or
// -print-checks without an engine. It does not end because the engine or hc-server
// is away.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	log "github.com/golang/glog"

	"github.com/hc-server/hc/proxy/internal/bridge"
	"github.com/hc-server/hc/proxy/internal/dryrun"
	"github.com/hc-server/hc/proxy/internal/engine"
	"github.com/hc-server/hc/proxy/internal/metrics"
	"github.com/hc-server/hc/proxy/internal/server"
	"github.com/hc-server/hc/proxy/internal/shadow"
	"github.com/hc-server/hc/proxy/internal/systemd"
)

// version is set by the linker for a release.
var version = "0.1.0"

func main() {
	// First: most would end the process by default.
	signals := notified()
	settings, code := parse(flag.CommandLine, os.Args[1:])
	if settings == nil {
		os.Exit(code)
	}
	code = run(settings, signals)
	log.Flush()
	os.Exit(code)
}

// signals are those that come, each kind by a way of its own: a channel that is full
// drops what comes, so that many of one kind, or a log that is read slowly, could
// cost the one signal that ends the program. Of those that end it, and of those that
// ask for a look inside, one in a row says it all.
type signals struct {
	ends, shows, others <-chan os.Signal
}

// notified asks for all signals.
func notified() signals {
	ends, shows, others := make(chan os.Signal, 1), make(chan os.Signal, 1), make(chan os.Signal, 16)
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	signal.Notify(shows, syscall.SIGUSR1)
	signal.Notify(others)
	return signals{ends, shows, others}
}

// handle ends the program at the signals that end Seesaw's (common/server/server.go),
// calls show at SIGUSR1, and keeps all others from ending it.
func (s signals) handle(stop, show func()) {
	go func() {
		for received := range s.ends {
			log.Infof("Received %v, initiating shutdown...", received)
			stop()
		}
	}()
	go func() {
		for range s.shows {
			show()
		}
	}()
	go s.ignore()
}

// ignore says of each signal that does nothing that it came.
func (s signals) ignore() {
	for s := range s.others {
		switch s {
		case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1:
			// They have their own ways.
		case syscall.SIGHUP:
			log.Infof("Received %v: nothing to reload", s)
		case syscall.SIGURG, syscall.SIGCHLD, syscall.SIGWINCH, syscall.SIGCONT, syscall.SIGPIPE:
			// Go's own, and those that mean nothing by default.
		default:
			log.Warningf("Received %v, which is ignored", s)
		}
	}
}

func run(settings *settings, signals signals) int {
	ctx, cancel := context.WithCancel(context.Background())
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	if settings.printChecks {
		signals.handle(cancel, dumpStacks)
		return printChecks(ctx, settings.engineSocket, os.Stdout)
	}
	options := bridge.Options{
		EngineSocket:  settings.engineSocket,
		EngineTimeout: engine.Timeout,
		FetchInterval: settings.fetchInterval,
		DialServer:    server.DialUnix(settings.serverSocket),
		Version:       version,
		Keep:          settings.keep,
		Metrics:       new(metrics.Metrics),
	}
	if settings.dryRun {
		options.DialServer = dryrun.Dialer(settings.notifyInterval)
	}
	show := dumpStacks
	if settings.shadow {
		observer, err := newShadow(settings)
		if err != nil {
			log.Errorf("Cannot write the report of the shadow mode: %v", err)
			return 1
		}
		options.Shadow, show = observer, observer.Summarize
		beside.Go(func() { observer.Run(ctx) })
	}
	signals.handle(cancel, show)
	log.Infof("hc-proxy %s begins: engine at %s, hc-server at %s", version, settings.engineSocket, settings.serverName())
	for _, name := range settings.ignored {
		log.Warningf("-%s does nothing here: hc-server.toml has that setting", name)
	}
	if settings.metricsAddress != "" {
		listener, err := metrics.Listen(settings.metricsNetwork, settings.metricsAddress)
		if err != nil {
			log.Errorf("Cannot serve metrics: %v", err)
			return 1
		}
		log.Infof("Metrics are at %s, path /metrics", listener.Addr())
		beside.Go(func() { options.Metrics.Serve(ctx, listener, version) })
	}
	options.Watchdog = watchdog()
	// Ready at once: what it waits for may come and go.
	if err := systemd.Notify("READY=1"); err != nil {
		log.Warningf("systemd cannot be told that hc-proxy is ready: %v", err)
	}
	bridge.Run(ctx, options)
	return 0
}

// watchdog is that of systemd: looked at four times as often as it must be fed. A
// stop does not feed it: it takes less than that.
func watchdog() bridge.Watchdog {
	timeout, err := systemd.WatchdogTimeout()
	if err != nil {
		log.Warningf("The watchdog of systemd is not fed: %v", err)
	}
	return bridge.Watchdog{
		Every: timeout / 4,
		Feed: func(status string) {
			if err := systemd.Notify("WATCHDOG=1\nSTATUS=" + status); err != nil {
				log.Warningf("The watchdog of systemd cannot be fed: %v", err)
			}
		},
		Starve: func(what string) {
			log.Errorf("hc-proxy hangs: %s does not end. The watchdog of systemd is not fed any more", what)
			// The state that a person needs to find out why; SIGKILL is next.
			dumpStacks()
			log.Flush()
		},
	}
}

// newShadow opens the report, to be appended to. It stays open until the process
// ends.
func newShadow(settings *settings) (*shadow.Shadow, error) {
	out, name := os.Stdout, "standard output"
	if settings.shadowOutput != "-" {
		var err error
		if out, err = os.OpenFile(settings.shadowOutput, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
			return nil, err
		}
		name = settings.shadowOutput
	}
	log.Infof("Shadow mode: the engine is told nothing; differences from Seesaw go to %s", name)
	return shadow.New(shadow.Options{
		EngineSocket: settings.engineSocket, Log: settings.shadowLog, Slack: settings.shadowTolerance, Out: out,
	}), nil
}

// dumpStacks is what Seesaw's programs do on SIGUSR1 (common/server/server.go).
func dumpStacks() {
	buf := make([]byte, 64<<10)
	buf = buf[:runtime.Stack(buf, true)]
	log.Infof("=== BEGIN goroutine stack dump ===\n%s\n=== END goroutine stack dump ===", buf)
}

// usage prints to the flag set's output.
func usage(flags *flag.FlagSet, problem string) {
	if problem != "" {
		fmt.Fprintf(flags.Output(), "%s: %s\n", flags.Name(), problem)
	}
	flags.Usage()
}
