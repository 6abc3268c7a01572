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
	"github.com/hc-server/hc/proxy/internal/systemd"
)

// version is set by the linker for a release.
var version = "0.1.0"

func main() {
	// All of them, and first: most would end the process by default.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	settings, code := parse(flag.CommandLine, os.Args[1:])
	if settings == nil {
		os.Exit(code)
	}
	code = run(settings, signals)
	log.Flush()
	os.Exit(code)
}

// handle ends the program at the signals that end Seesaw's (common/server/server.go),
// and keeps all others from ending it.
func handle(signals <-chan os.Signal, stop func()) {
	for s := range signals {
		switch s {
		case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT:
			log.Infof("Received %v, initiating shutdown...", s)
			stop()
		case syscall.SIGUSR1:
			dumpStacks()
		case syscall.SIGHUP:
			log.Infof("Received %v: nothing to reload", s)
		case syscall.SIGURG, syscall.SIGCHLD, syscall.SIGWINCH, syscall.SIGCONT, syscall.SIGPIPE:
			// Go's own, and those that mean nothing by default.
		default:
			log.Warningf("Received %v, which is ignored", s)
		}
	}
}

func run(settings *settings, signals <-chan os.Signal) int {
	ctx, cancel := context.WithCancel(context.Background())
	go handle(signals, cancel)
	if settings.printChecks {
		return printChecks(ctx, settings.engineSocket, os.Stdout)
	}
	log.Infof("hc-proxy %s: engine %s, hc-server %s", version, settings.engineSocket, settings.serverName())
	for _, name := range settings.ignored {
		log.Warningf("-%s does nothing here: hc-server.toml has that setting", name)
	}
	counts := new(metrics.Metrics)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	if settings.metricsAddress != "" {
		listener, err := metrics.Listen(settings.metricsNetwork, settings.metricsAddress)
		if err != nil {
			log.Errorf("Cannot serve metrics: %v", err)
			return 1
		}
		log.Infof("Metrics are at %s, path /metrics", listener.Addr())
		serving.Go(func() { counts.Serve(ctx, listener, version) })
	}
	dial := server.DialUnix(settings.serverSocket)
	if settings.dryRun {
		dial = dryrun.Dialer(settings.notifyInterval)
	}
	// Ready at once: what it waits for may come and go.
	if err := systemd.Notify("READY=1"); err != nil {
		log.Warningf("Telling systemd: %v", err)
	}
	bridge.Run(ctx, bridge.Options{
		EngineSocket:  settings.engineSocket,
		EngineTimeout: engine.Timeout,
		FetchInterval: settings.fetchInterval,
		DialServer:    dial,
		Version:       version,
		Metrics:       counts,
	})
	return 0
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
