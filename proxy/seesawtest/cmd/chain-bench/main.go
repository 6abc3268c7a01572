// Command chain-bench measures the wall time of one TCP check through the whole
// of hc-server: from the line that adds the check to the parsed notification
// about it. It also measures what of that is the socket and what is JSON.
//
// hc-server should run with a batch delay of zero, which is the wait that an
// operator chooses and not work that is done. It prints the figures as JSON.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
)

type figures struct {
	Median int64 `json:"median_ns"`
	P99    int64 `json:"p99_ns"`
}

type report struct {
	Checks  int     `json:"checks"`
	Chain   figures `json:"chain"`
	Parse   figures `json:"parse"`
	Encode  figures `json:"encode"`
	Socket  figures `json:"socket"`
	Failure int     `json:"failures"`
}

func main() {
	socket := flag.String("socket", "", "hc-server's socket")
	target := flag.String("address", "", "address and port to check, as 127.0.0.1:80; each check takes the next address")
	checks := flag.Int("n", 5000, "checks that count")
	warmup := flag.Int("warmup", 500, "checks before them")
	flag.Parse()
	first, err := netip.ParseAddrPort(*target)
	if err != nil || *socket == "" || *checks < 1 || *warmup < 0 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	result, err := measure(*socket, first, *warmup, *checks)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chain-bench:", err)
		os.Exit(1)
	}
}

// peer is a connection to hc-server as hc-proxy would have it.
type peer struct {
	conn       net.Conn
	lines      *wire.LineReader
	generation uint64
}

func dial(socket string) (*peer, error) {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return nil, err
	}
	p := &peer{conn: conn, lines: wire.NewLineReader(conn), generation: 1}
	if _, err := p.lines.Read(); err != nil {
		return nil, err
	}
	p.send(&wire.Hello{Protocol: 1, Version: "bench"})
	return p, p.write([]byte(`{"type":"update_configs","configs":[],"generation":1}` + "\n"))
}

func (p *peer) write(line []byte) error {
	_, err := p.conn.Write(line)
	return err
}

func (p *peer) send(message wire.Message) error { return p.write(wire.Encode(message)) }

// check adds one check, waits for the notification about it, and removes it
// with the next one.
func (p *peer) check(id uint64, target netip.AddrPort) (took time.Duration, line []byte, healthy bool, err error) {
	p.generation++
	delta := fmt.Appendf(nil, `{"type":"update_delta","generation":%d,"base":%d,"upsert":[{"id":%d,"interval":"1h",`+
		`"timeout":"1s","retries":0,"checker_type":"tcp","ip":"%s","port":%d}],"remove":[%d]}`+"\n",
		p.generation, p.generation-1, id, target.Addr(), target.Port(), id-1)
	start := time.Now()
	if err := p.write(delta); err != nil {
		return 0, nil, false, err
	}
	for {
		line, err := p.lines.Read()
		if err != nil {
			return 0, nil, false, err
		}
		message, err := wire.Decode(line)
		if err != nil {
			return 0, nil, false, err
		}
		batch, ok := message.(*wire.NotificationBatch)
		if !ok {
			continue
		}
		took = time.Since(start)
		if err := p.send(&wire.Ack{Seq: *batch.Seq}); err != nil {
			return 0, nil, false, err
		}
		for _, notification := range batch.Batch.Notifications {
			if notification.ID == id {
				return took, slices.Clone(line), notification.Status.State == "healthy", nil
			}
		}
	}
}

func measure(socket string, target netip.AddrPort, warmup, checks int) (*report, error) {
	p, err := dial(socket)
	if err != nil {
		return nil, err
	}
	defer p.conn.Close()
	out := &report{Checks: checks}
	var chain []time.Duration
	var line []byte
	address := target.Addr()
	for i := range warmup + checks {
		// Another address each time: one that was checked before would be
		// remembered, and told before it is probed.
		took, got, healthy, err := p.check(uint64(i)+2, netip.AddrPortFrom(address, target.Port()))
		if err != nil {
			return nil, err
		}
		address = address.Next()
		if i < warmup {
			continue
		}
		if !healthy {
			out.Failure++
		}
		chain, line = append(chain, took), got
	}
	out.Chain = summary(chain)
	out.Parse = repeat(checks, func() error { _, err := wire.Decode(line); return err })
	message, err := wire.Decode(line)
	if err != nil {
		return nil, err
	}
	out.Encode = repeat(checks, func() error { wire.Encode(message); return nil })
	out.Socket, err = roundTrips(checks, line)
	return out, err
}

func repeat(times int, work func() error) figures {
	var took []time.Duration
	for range times {
		start := time.Now()
		if work() != nil {
			continue
		}
		took = append(took, time.Since(start))
	}
	return summary(took)
}

// roundTrips sends a line over a Unix socket and back, and takes half of the
// time.
func roundTrips(times int, line []byte) (figures, error) {
	dir, err := os.MkdirTemp("", "chain-bench")
	if err != nil {
		return figures{}, err
	}
	defer os.RemoveAll(dir)
	listener, err := net.Listen("unix", dir+"/echo.sock")
	if err != nil {
		return figures{}, err
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, _ = io.Copy(conn, conn)
		}
	}()
	conn, err := net.Dial("unix", dir+"/echo.sock")
	if err != nil {
		return figures{}, err
	}
	defer conn.Close()
	line = append(slices.Clone(line), '\n')
	reader := bufio.NewReader(conn)
	var took []time.Duration
	for range times {
		start := time.Now()
		if _, err := conn.Write(line); err != nil {
			return figures{}, err
		}
		if _, err := reader.ReadBytes('\n'); err != nil {
			return figures{}, err
		}
		took = append(took, time.Since(start)/2)
	}
	return summary(took), nil
}

func summary(times []time.Duration) figures {
	slices.Sort(times)
	at := func(percent int) int64 { return times[(len(times)*percent+99)/100-1].Nanoseconds() }
	return figures{Median: at(50), P99: at(99)}
}
