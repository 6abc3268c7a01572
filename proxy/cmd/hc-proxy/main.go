// Hc-proxy stands between the Seesaw Engine and hc-server: it takes the engine's
// checks over the engine's RPC to hc-server, and hc-server's news to the engine.
//
// Exit status: 0 after SIGTERM, SIGINT or SIGQUIT, 2 for wrong usage. It does not
// end because the engine or hc-server is away.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	log "github.com/golang/glog"

	"github.com/hc-server/hc/proxy/internal/bridge"
	"github.com/hc-server/hc/proxy/internal/dryrun"
	"github.com/hc-server/hc/proxy/internal/engine"
	"github.com/hc-server/hc/proxy/internal/server"
	"github.com/hc-server/hc/proxy/internal/systemd"
)

// version is set by the linker for a release.
var version = "0.1.0"

func main() {
	settings, code := parse(flag.CommandLine, os.Args[1:])
	if settings == nil {
		os.Exit(code)
	}
	code = run(settings)
	log.Flush()
	os.Exit(code)
}

func run(settings *settings) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1)
	go func() {
		for s := range signals {
			if s == syscall.SIGUSR1 {
				dumpStacks()
				continue
			}
			log.Infof("Received %v, initiating shutdown...", s)
			cancel()
			return
		}
	}()
	log.Infof("hc-proxy %s: engine %s, hc-server %s", version, settings.engineSocket, settings.serverName())
	for _, name := range settings.ignored {
		log.Warningf("-%s does nothing here: hc-server.toml has that setting", name)
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
