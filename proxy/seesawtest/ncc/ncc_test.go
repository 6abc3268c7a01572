package ncc

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/seesaw/common/seesaw"
	"github.com/google/seesaw/ipvs"
	"github.com/google/seesaw/ncc/client"
	ncctypes "github.com/google/seesaw/ncc/types"
)

// The engine's own client speaks to the stub, so a method that the stub lacks or
// takes with another type is an error here and not a dead engine later.
func dial(t *testing.T, table *Table) client.NCC {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "ncc.sock")
	server, err := Serve(socket, table)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	ncc, err := client.NewNCC(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ncc.Close() })
	return ncc
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	vip     = netip.MustParseAddr("127.0.1.1")
	backend = netip.MustParseAddr("127.0.2.1")
	tcp     = Service{Address: vip, Protocol: syscall.IPPROTO_TCP, Port: 8080}
	first   = Entry{tcp, netip.AddrPortFrom(backend, 8080)}
)

func engineService() *ipvs.Service {
	return &ipvs.Service{Address: net.ParseIP("127.0.1.1"), Protocol: syscall.IPPROTO_TCP, Port: 8080, Scheduler: "rr"}
}

func engineDestination() *ipvs.Destination {
	return &ipvs.Destination{Address: net.ParseIP("127.0.2.1"), Port: 8080, Weight: 1}
}

func TestEngineFillsAndEmptiesTheTable(t *testing.T) {
	table := NewTable(nil)
	ncc := dial(t, table)
	must(t, ncc.IPVSFlush())
	must(t, ncc.IPVSAddService(engineService()))
	must(t, ncc.IPVSUpdateService(engineService()))
	must(t, ncc.IPVSAddDestination(engineService(), engineDestination()))
	must(t, ncc.IPVSUpdateDestination(engineService(), engineDestination()))
	if !table.Has(first) {
		t.Fatalf("table is %v, want %v", table.Services(), first)
	}
	must(t, ncc.IPVSDeleteDestination(engineService(), engineDestination()))
	must(t, ncc.IPVSDeleteService(engineService()))
	if len(table.Services()) != 0 {
		t.Fatalf("table is %v, want none", table.Services())
	}
	want := []Op{OpFlush, OpAddService, OpUpdateService, OpAddDestination, OpUpdateDestination, OpDeleteDestination, OpDeleteService}
	events := table.Events(0)
	if len(events) != len(want) {
		t.Fatalf("events are %v", events)
	}
	for i, event := range events {
		if event.Op != want[i] || event.Seq != i || event.Anomaly != "" {
			t.Errorf("event %d is %+v, want %s", i, event, want[i])
		}
		if i > 0 && event.Time.Before(events[i-1].Time) {
			t.Errorf("event %d is before the one ahead of it", i)
		}
	}
}

func TestGetServiceAlwaysHoldsAService(t *testing.T) {
	table := NewTable(nil)
	ncc := dial(t, table)
	svc, err := ncc.IPVSGetService(engineService())
	must(t, err)
	if svc.Statistics == nil {
		t.Error("service without statistics: seesaw_cli would follow a nil pointer")
	}
	table.AddService(tcp, first.Destination)
	svc, err = ncc.IPVSGetService(engineService())
	must(t, err)
	if len(svc.Destinations) != 1 || !svc.Destinations[0].Address.Equal(net.ParseIP("127.0.2.1")) {
		t.Errorf("destinations are %v", svc.Destinations)
	}
	all, err := ncc.IPVSGetServices()
	must(t, err)
	if len(all) != 1 {
		t.Errorf("services are %v", all)
	}
}

func TestMarkServiceBringsItsDestination(t *testing.T) {
	table := NewTable(nil)
	ncc := dial(t, table)
	must(t, ncc.IPVSAddService(&ipvs.Service{
		Address:      net.IPv4zero,
		Scheduler:    "rr",
		FirewallMark: 65536,
		Destinations: []*ipvs.Destination{{Address: net.ParseIP("127.0.2.1"), Weight: 1}},
	}))
	want := Entry{
		Service{Address: netip.IPv4Unspecified(), Mark: 65536},
		netip.AddrPortFrom(backend, 0),
	}
	if !table.Has(want) {
		t.Errorf("table is %v, want %v", table.Services(), want)
	}
}

func TestEveryOtherMethodAnswers(t *testing.T) {
	ncc := dial(t, NewTable(nil))
	must(t, ncc.ARPSendGratuitous(map[string][]net.IP{"lo": {net.IPv4zero}}))
	must(t, ncc.BGPWithdrawAll())
	must(t, ncc.BGPAdvertiseVIP(net.IPv4zero))
	must(t, ncc.BGPWithdrawVIP(net.IPv4zero))
	_, err := ncc.BGPConfig()
	must(t, err)
	_, err = ncc.BGPNeighbors()
	must(t, err)
	_, err = ncc.RouteDefaultIPv4()
	must(t, err)
	lb := ncc.NewLBInterface("lo", &ncctypes.LBConfig{NodeInterface: "lo"})
	must(t, lb.Init())
	must(t, lb.Up())
	must(t, lb.Down())
	vserver := &seesaw.Vserver{Name: "v"}
	must(t, lb.AddVserver(vserver, seesaw.IPv4))
	must(t, lb.DeleteVserver(vserver, seesaw.IPv4))
	address := seesaw.NewVIP(net.ParseIP("127.0.1.1"), nil)
	must(t, lb.AddVIP(address))
	must(t, lb.DeleteVIP(address))
	must(t, lb.AddVLAN(&seesaw.VLAN{ID: 7}))
	must(t, lb.DeleteVLAN(&seesaw.VLAN{ID: 7}))
}

func TestAnomaliesAreRecordedAndSurvived(t *testing.T) {
	table := NewTable(nil)
	table.DeleteDestination(first)
	table.DeleteService(tcp)
	table.UpdateService(tcp)
	table.UpdateDestination(first)
	table.AddDestination(first)
	table.AddDestination(first)
	table.AddService(tcp)
	for _, event := range table.Events(0) {
		if event.Anomaly == "" {
			t.Errorf("%s %v passed as in order", event.Op, event.Entry())
		}
	}
}

func TestWaitWakesOnChange(t *testing.T) {
	table := NewTable(nil)
	go table.AddService(tcp, first.Destination)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	must(t, table.Wait(ctx, func() bool { return table.Has(first) }))
	if got := table.Missing([]Entry{first}); len(got) != 0 {
		t.Errorf("missing %v", got)
	}
	if got := table.Present([]Entry{first}); len(got) != 1 {
		t.Errorf("present %v", got)
	}

	ended, end := context.WithCancel(context.Background())
	end()
	if err := table.Wait(ended, func() bool { return false }); err != context.Canceled {
		t.Errorf("wait on what never comes ended with %v", err)
	}
}

func TestObserverSeesEveryEventInOrder(t *testing.T) {
	var seen []Event
	table := NewTable(func(e Event) { seen = append(seen, e) })
	table.Flush()
	table.AddService(tcp, first.Destination)
	events := table.Events(0)
	if len(seen) != 3 || len(events) != 3 {
		t.Fatalf("observer saw %v, table has %v", seen, events)
	}
	for i := range events {
		if seen[i] != events[i] {
			t.Errorf("observer saw %v, table has %v", seen[i], events[i])
		}
	}
	if got := table.Events(2); len(got) != 1 || table.Mark() != 3 {
		t.Errorf("events from 2 are %v, mark %d", got, table.Mark())
	}
}
