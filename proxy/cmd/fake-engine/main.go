// Fake-engine stands in for the Seesaw Engine: it serves checks from a file over
// the engine's own RPC and prints every fetch and every notification as a JSON
// line on standard output.
//
// Exit status: 0 after SIGTERM or SIGINT, 2 for wrong usage or a file of checks
// that cannot be read at the start, 1 for the rest.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/hc-server/hc/proxy/internal/fakeengine"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("fake-engine", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var behavior fakeengine.Behavior
	socket := flags.String("socket", "", "`path` of the Unix socket to listen on (needed)")
	checks := flags.String("checks", "", "`file` with a JSON array of checks as in docs/protocol.md, read again when it changes (needed)")
	flags.DurationVar(&behavior.Delay, "delay", 0, "answer HealthState so much later")
	flags.StringVar(&behavior.Fail, "fail", "", "answer HealthState with this error `text`")
	flags.DurationVar(&behavior.NilFor, "nil_for", 0, "have no map of checks for so long after the start, like a young engine")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *socket == "" || *checks == "" || flags.NArg() > 0 {
		fmt.Fprintln(stderr, "fake-engine: -socket and -checks are needed, and nothing else without a dash")
		flags.Usage()
		return 2
	}
	file := fakeengine.NewFile(*checks)
	configs, err := file.Read()
	if err != nil {
		fmt.Fprintln(stderr, "fake-engine:", err)
		return 2
	}
	events := fakeengine.NewEvents(stdout)
	engine, err := fakeengine.Listen(*socket, behavior, configs, events)
	if err != nil {
		fmt.Fprintln(stderr, "fake-engine:", err)
		return 1
	}
	events.Listening(*socket, len(configs))
	// Neither is waited for at the end: both may be stuck in printing to someone
	// who does not read, and have nothing to lose.
	go file.Follow(ctx, engine, events)
	<-ctx.Done()
	engine.Close()
	return 0
}
