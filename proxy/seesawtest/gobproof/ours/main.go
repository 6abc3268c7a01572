// Command ours is hc-proxy's side of the proof: it has hc-proxy's types linked
// in and the test has Seesaw's. One program cannot have both, since both register
// their checkers with gob under the same names.
//
//	ours schema        prints the fields of every type as JSON
//	ours make TYPE     writes a filled value
//	ours equal TYPE    reads a value and exits 1 unless it is the filled one
//	ours echo TYPE     reads a value and writes it again
//	ours wire          reads Checks and writes them as hc-proxy hands them on
//	ours vservers      reads a VserverMap and writes what hc-proxy reads of it as JSON
package main

import (
	"bufio"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"

	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/seesaw"
	"github.com/hc-server/hc/proxy/seesawtest/gobproof/fill"
)

// values are the types by the names that Seesaw has for them.
var values = map[string]any{
	"Context":       seesaw.Context{},
	"Peer":          seesaw.Peer{},
	"User":          seesaw.User{},
	"Checks":        seesaw.Checks{},
	"Config":        seesaw.Config{},
	"Target":        seesaw.Target{},
	"PingChecker":   seesaw.PingChecker{},
	"UDPChecker":    seesaw.UDPChecker{},
	"TCPChecker":    seesaw.TCPChecker{},
	"HTTPChecker":   seesaw.HTTPChecker{},
	"DNSChecker":    seesaw.DNSChecker{},
	"RADIUSChecker": seesaw.RADIUSChecker{},
	"HealthState":   seesaw.HealthState{},
	"Notification":  seesaw.Notification{},
	"Status":        seesaw.Status{},
}

// checkers are in the order of the other side's list.
var checkers = []reflect.Type{
	reflect.TypeFor[seesaw.DNSChecker](),
	reflect.TypeFor[seesaw.HTTPChecker](),
	reflect.TypeFor[seesaw.PingChecker](),
	reflect.TypeFor[seesaw.RADIUSChecker](),
	reflect.TypeFor[seesaw.TCPChecker](),
	reflect.TypeFor[seesaw.UDPChecker](),
}

func main() {
	seesaw.RegisterGob()
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("no command")
	}
	switch args[0] {
	case "schema":
		schema := make(map[string][]fill.Field)
		for name, value := range values {
			schema[name] = fill.Describe(reflect.TypeOf(value))
		}
		return json.NewEncoder(out).Encode(schema)
	case "wire":
		return writeWire(in, out)
	case "vservers":
		return writeVservers(in, out)
	}
	if len(args) != 2 || values[args[1]] == nil {
		return fmt.Errorf("no type in %q", args)
	}
	t := reflect.TypeOf(values[args[1]])
	filled := reflect.New(t)
	(&fill.Filler{Checkers: checkers}).Fill(filled.Interface())
	if args[0] == "make" {
		return gob.NewEncoder(out).Encode(filled.Interface())
	}
	read := reflect.New(t)
	if err := gob.NewDecoder(in).Decode(read.Interface()); err != nil {
		return err
	}
	switch args[0] {
	case "echo":
		return gob.NewEncoder(out).Encode(read.Interface())
	case "equal":
		if !reflect.DeepEqual(read.Interface(), filled.Interface()) {
			return fmt.Errorf("read\n%s\nwant\n%s", fill.Text(read.Interface()), fill.Text(filled.Interface()))
		}
		return nil
	}
	return fmt.Errorf("no command %q", args[0])
}

// writeWire writes one check a line, in no order.
func writeWire(in io.Reader, out io.Writer) error {
	var checks seesaw.Checks
	if err := gob.NewDecoder(in).Decode(&checks); err != nil {
		return err
	}
	set, dropped := convert.ToSet(checks.Configs)
	for id, reason := range dropped {
		return fmt.Errorf("check %d was dropped: %s", id, reason)
	}
	buffered := bufio.NewWriter(out)
	for _, check := range set {
		buffered.Write(check)
		buffered.WriteByte('\n')
	}
	return buffered.Flush()
}

func writeVservers(in io.Reader, out io.Writer) error {
	var vservers seesaw.VserverMap
	if err := gob.NewDecoder(in).Decode(&vservers); err != nil {
		return err
	}
	var lines []string
	for name, vserver := range vservers.Vservers {
		for key, service := range vserver.Services {
			for host, d := range service.Destinations {
				lines = append(lines, fmt.Sprint(name, vserver.Enabled, key.AF, key.Proto, key.Port, host,
					d.Enabled, d.Healthy, d.Backend.Host.IPv4Addr, d.Backend.Host.IPv6Addr))
			}
		}
	}
	slices.Sort(lines)
	return json.NewEncoder(out).Encode(lines)
}
