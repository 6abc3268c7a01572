package gobproof

import (
	"encoding/json"
	"net"
	"slices"
	"testing"

	"github.com/google/seesaw/common/seesaw"
)

// What the shadow mode reads of the engine's view arrives, over both families and
// beside all that it passes over.
func TestVserversAreRead(t *testing.T) {
	backend := &seesaw.Backend{
		Host: seesaw.Host{
			Hostname: "b.", IPv4Addr: net.IPv4(192, 0, 2, 1).To4(), IPv4Mask: net.CIDRMask(24, 32),
			IPv6Addr: net.ParseIP("2001:db8::1"), IPv6Mask: net.CIDRMask(64, 128),
		},
		Weight: 3, Enabled: true, InService: true,
	}
	services := make(map[seesaw.ServiceKey]*seesaw.Service)
	for _, af := range seesaw.AFs() {
		for _, port := range []uint16{80, 443} {
			key := seesaw.ServiceKey{AF: af, Proto: seesaw.IPProtoTCP, Port: port}
			services[key] = &seesaw.Service{
				ServiceKey: key, IP: net.IPv4(192, 0, 2, 9), Healthy: true, Active: true, HighWatermark: 0.5,
				Stats: &seesaw.ServiceStats{},
				Destinations: map[string]*seesaw.Destination{"b.": {
					Name: "v/b", VserverName: "v", Weight: 3, Stats: &seesaw.DestinationStats{}, Backend: backend,
					Enabled: true, Healthy: port == 443, Active: true,
				}},
			}
		}
	}
	view := seesaw.VserverMap{Vservers: map[string]*seesaw.Vserver{"v": {
		Name: "v", Entries: []*seesaw.VserverEntry{{Port: 80, Proto: seesaw.IPProtoTCP}}, FWM: map[seesaw.AF]uint32{seesaw.IPv4: 1},
		Host: backend.Host, Services: services, Enabled: true, ConfigEnabled: true, Warnings: []string{"w"},
	}}}
	var got []string
	if err := json.Unmarshal(ours(t, encode(t, &view), "vservers"), &got); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"vtrue 10 6 443b.true true 192.0.2.1 2001:db8::1",
		"vtrue 10 6 80b.true false 192.0.2.1 2001:db8::1",
		"vtrue 2 6 443b.true true 192.0.2.1 2001:db8::1",
		"vtrue 2 6 80b.true false 192.0.2.1 2001:db8::1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("hc-proxy read %q", got)
	}
}
