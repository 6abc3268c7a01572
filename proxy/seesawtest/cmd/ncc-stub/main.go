// Command ncc-stub stands in for seesaw_ncc so that the real seesaw_engine runs
// without IPVS: it keeps the table in memory and prints every change as one
// JSON line.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hc-server/hc/proxy/seesawtest/ncc"
)

func main() {
	socket := flag.String("socket", "", "Unix socket to listen on for the engine")
	flag.Parse()
	if *socket == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*socket); err != nil {
		fmt.Fprintln(os.Stderr, "ncc-stub:", err)
		os.Exit(1)
	}
}

func run(socket string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)

	out := json.NewEncoder(os.Stdout)
	failed := make(chan error, 1)
	table := ncc.NewTable(func(e ncc.Event) {
		if err := out.Encode(e); err != nil {
			select {
			case failed <- err:
			default: // the first error ends the program, the rest say the same
			}
		}
	})
	server, err := ncc.Serve(socket, table)
	if err != nil {
		return err
	}
	select {
	case <-signals:
		return server.Close()
	case err := <-failed:
		server.Close()
		return err
	}
}
