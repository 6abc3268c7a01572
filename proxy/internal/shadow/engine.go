package shadow

import (
	"net/netip"

	"github.com/hc-server/hc/proxy/internal/seesaw"
)

// destinations says how the engine finds the destinations of one backend.
type destinations struct{ healthy, unhealthy int }

// ofBackends counts the destinations of each backend address by their health.
// What is disabled is left out: the engine does not check it.
func ofBackends(vservers *seesaw.VserverMap) map[netip.Addr]destinations {
	backends := make(map[netip.Addr]destinations)
	for _, vserver := range vservers.Vservers {
		if vserver == nil || !vserver.Enabled {
			continue
		}
		for key, service := range vserver.Services {
			if service == nil {
				continue
			}
			for _, destination := range service.Destinations {
				if destination == nil || !destination.Enabled || destination.Backend == nil {
					continue
				}
				ip := destination.Backend.Host.IPv4Addr
				if key.AF == seesaw.IPv6 {
					ip = destination.Backend.Host.IPv6Addr
				}
				address, ok := netip.AddrFromSlice(ip)
				if !ok {
					continue
				}
				address = address.Unmap()
				count := backends[address]
				if destination.Healthy {
					count.healthy++
				} else {
					count.unhealthy++
				}
				backends[address] = count
			}
		}
	}
	return backends
}

// judge says what can be compared of a backend, given what hc-server says about
// each of its checks.
//
// A destination is healthy if all of its checks are, but which checks belong to
// which destination the engine does not tell. So there are two sure cases: where
// all destinations are healthy all checks of the backend are, and where none is
// at least one check is not. Of a backend with some of each nothing follows.
func judge(engine destinations, checks []State) (engineSays, serverSays State) {
	switch {
	case engine.healthy > 0 && engine.unhealthy == 0:
		engineSays = Healthy
	case engine.unhealthy > 0 && engine.healthy == 0:
		engineSays = Unhealthy
	default:
		engineSays = Unknown
	}
	serverSays = Healthy
	for _, state := range checks {
		if state == Unknown {
			return engineSays, Unknown
		}
		if state == Unhealthy {
			serverSays = Unhealthy
		}
	}
	if len(checks) == 0 {
		serverSays = Unknown
	}
	return engineSays, serverSays
}
