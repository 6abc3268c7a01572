// Command seesaw-check runs Seesaw's own checkers. It reads checks from standard
// input, one JSON object a line with the fields of docs/protocol.md and a number
// of the caller's:
//
//	{"n":1,"timeout":"1s","checker_type":"tcp","ip":"127.0.0.1","port":80}
//
// and prints one line for each, in the order in which they end:
//
//	{"n":1,"success":true,"message":"TCP connect to 127.0.0.1:80","duration_ns":81233}
//
// A line with "convert" is not run: its answer has the check as hc-proxy would send
// it to hc-server, which says how Go reads its request.
//
//	{"n":1,"convert":true,"timeout":"1s","checker_type":"http",...}
//	{"n":1,"check":{...}}
//
// Two more forms say that there is no verdict: "panic" for a check that would
// have ended Seesaw's process, and "error" for one that Seesaw cannot express or
// a line that is no check ("n" is then 0 if it could not be read).
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/wire"
	"github.com/hc-server/hc/proxy/seesawtest/seesawcheck"
)

type request struct {
	N       uint64 `json:"n"`
	Convert bool   `json:"convert"`
	wire.Check
}

type converted struct {
	N     uint64          `json:"n"`
	Check json.RawMessage `json:"check"`
}

type verdict struct {
	N        uint64     `json:"n"`
	Success  bool       `json:"success"`
	Message  wire.Bytes `json:"message"`
	Duration int64      `json:"duration_ns"`
}

type trouble struct {
	N     uint64 `json:"n"`
	Panic string `json:"panic,omitempty"`
	Error string `json:"error,omitempty"`
}

func main() {
	parallel := flag.Int("parallel", 1, "checks at once")
	flag.Parse()
	if *parallel < 1 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(os.Stdin, os.Stdout, *parallel); err != nil {
		fmt.Fprintln(os.Stderr, "seesaw-check:", err)
		os.Exit(1)
	}
}

// run answers every line of in and returns when the last answer is written.
func run(in io.Reader, out io.Writer, parallel int) error {
	lines := wire.NewLineReader(in)
	writer := bufio.NewWriter(out)
	var (
		mu     sync.Mutex
		failed error
		tasks  sync.WaitGroup
	)
	answer := func(v any) {
		mu.Lock()
		defer mu.Unlock()
		encoder := json.NewEncoder(writer)
		encoder.SetEscapeHTML(false)
		// Flushed at once: the caller may wait for it before it asks again.
		if err := errors.Join(encoder.Encode(v), writer.Flush()); err != nil && failed == nil {
			failed = err
		}
	}
	slots := make(chan struct{}, parallel)
	for {
		line, err := lines.Read()
		if errors.Is(err, wire.ErrLineTooLong) {
			answer(trouble{Error: err.Error()})
			continue
		}
		if err != nil {
			tasks.Wait()
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, failed)
		}
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			answer(trouble{N: number(line), Error: err.Error()})
			continue
		}
		slots <- struct{}{}
		tasks.Go(func() {
			answer(check(&r))
			<-slots
		})
	}
}

func check(r *request) any {
	if r.Convert {
		encoded, err := convertCheck(&r.Check)
		if err != nil {
			return trouble{N: r.N, Error: err.Error()}
		}
		return converted{r.N, encoded}
	}
	checker, err := seesawcheck.New(&r.Check)
	if err != nil {
		return trouble{N: r.N, Error: err.Error()}
	}
	result := seesawcheck.Run(checker, time.Duration(r.Timeout))
	if result.Panic != "" {
		return trouble{N: r.N, Panic: result.Panic}
	}
	return verdict{r.N, result.Success, wire.Bytes(result.Message), int64(result.Duration)}
}

// convertCheck goes the way of a check through the engine and hc-proxy.
func convertCheck(c *wire.Check) (json.RawMessage, error) {
	config, err := convert.FromWire(c)
	if err != nil {
		return nil, err
	}
	sent, err := convert.ToWire(config.Id, config)
	if err != nil {
		return nil, err
	}
	return sent.Encode()
}

// number reads what it can of a line that is no check.
func number(line []byte) uint64 {
	var r struct {
		N uint64 `json:"n"`
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return 0
	}
	return r.N
}
