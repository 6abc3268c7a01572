package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/engine"
	"github.com/hc-server/hc/proxy/internal/seesaw"
)

// printChecks writes the engine's checks as hc-server would be told of them, in
// the order of their ids, and returns the exit status.
func printChecks(ctx context.Context, socket string, out io.Writer) int {
	checks, err := fetchOnce(ctx, socket)
	if err != nil {
		fmt.Fprintf(os.Stderr, "hc-proxy: cannot fetch the checks: %v\n", err)
		return 1
	}
	set, leftOut := convert.ToSet(checks.Configs)
	for _, id := range slices.Sorted(maps.Keys(leftOut)) {
		fmt.Fprintf(os.Stderr, "hc-proxy: healthcheck %d is left out: %s\n", id, leftOut[id])
	}
	lines := bufio.NewWriter(out)
	for _, id := range slices.Sorted(maps.Keys(set)) {
		lines.Write(set[id])
		lines.WriteByte('\n')
	}
	if err := lines.Flush(); err != nil {
		fmt.Fprintf(os.Stderr, "hc-proxy: cannot print the checks: %v\n", err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "hc-proxy: %d healthchecks, %d left out\n", len(set), len(leftOut))
	return 0
}

// fetchOnce asks again while the engine is being built, and after it has had a
// checker of a type that is not known here.
func fetchOnce(ctx context.Context, socket string) (*seesaw.Checks, error) {
	until := time.Now().Add(engine.BuildTime)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		checks, err := fetch(ctx, socket)
		switch {
		case err == nil && (checks.Configs != nil || time.Now().After(until)):
			return checks, nil
		case seesaw.LearnUnknown(err) != "":
			continue
		case err != nil:
			return nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.New("ended by a signal")
		}
	}
}

func fetch(ctx context.Context, socket string) (*seesaw.Checks, error) {
	conn, err := engine.Dial(ctx, socket, engine.Timeout)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Healthchecks()
}
