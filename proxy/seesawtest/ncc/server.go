package ncc

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/rpc"
	"sync"

	"github.com/google/seesaw/ipvs"
	ncctypes "github.com/google/seesaw/ncc/types"
)

// Server answers the engine's calls on a Unix socket.
type Server struct {
	listener net.Listener
	rpc      *rpc.Server

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
	tasks  sync.WaitGroup
}

// Serve listens on the socket and answers `SeesawNCC` from the table. Stop the
// engine before Close: it does not reconnect and dies without its NCC.
func Serve(socket string, table *Table) (*Server, error) {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listen for the engine: %w", err)
	}
	s := &Server{listener: listener, rpc: rpc.NewServer(), conns: make(map[net.Conn]struct{})}
	if err := s.rpc.RegisterName("SeesawNCC", &service{table}); err != nil {
		listener.Close()
		return nil, fmt.Errorf("register SeesawNCC: %w", err)
	}
	s.tasks.Add(1)
	go s.accept()
	return s, nil
}

// Close ends the listener and every connection, and waits for both.
func (s *Server) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.tasks.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *Server) accept() {
	defer s.tasks.Done()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			conn.Close()
			return
		}
		s.conns[conn] = struct{}{}
		s.tasks.Add(1)
		s.mu.Unlock()
		go func() {
			defer s.tasks.Done()
			s.rpc.ServeConn(conn)
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		}()
	}
}

// service holds the methods that net/rpc exposes. None returns an error: nearly
// every error of the NCC ends the engine.
type service struct{ table *Table }

func (s *service) ARPSendGratuitous(map[string][]net.IP, *int) error { return nil }

func (s *service) BGPConfig(int, *ncctypes.BGPConfig) error       { return nil }
func (s *service) BGPNeighbors(int, *ncctypes.BGPNeighbors) error { return nil }
func (s *service) BGPWithdrawAll(int, *int) error                 { return nil }
func (s *service) BGPAdvertiseVIP(net.IP, *int) error             { return nil }
func (s *service) BGPWithdrawVIP(net.IP, *int) error              { return nil }

func (s *service) LBInterfaceInit(*ncctypes.LBInterface, *int) error                 { return nil }
func (s *service) LBInterfaceUp(*ncctypes.LBInterface, *int) error                   { return nil }
func (s *service) LBInterfaceDown(*ncctypes.LBInterface, *int) error                 { return nil }
func (s *service) LBInterfaceAddVserver(*ncctypes.LBInterfaceVserver, *int) error    { return nil }
func (s *service) LBInterfaceDeleteVserver(*ncctypes.LBInterfaceVserver, *int) error { return nil }
func (s *service) LBInterfaceAddVIP(*ncctypes.LBInterfaceVIP, *int) error            { return nil }
func (s *service) LBInterfaceDeleteVIP(*ncctypes.LBInterfaceVIP, *int) error         { return nil }
func (s *service) LBInterfaceAddVLAN(*ncctypes.LBInterfaceVLAN, *int) error          { return nil }
func (s *service) LBInterfaceDeleteVLAN(*ncctypes.LBInterfaceVLAN, *int) error       { return nil }

func (s *service) RouteDefaultIPv4(_ int, gateway *net.IP) error {
	*gateway = net.IPv4(127, 0, 0, 1)
	return nil
}

func (s *service) IPVSFlush(int, *int) error {
	s.table.Flush()
	return nil
}

func (s *service) IPVSGetServices(_ int, reply *ncctypes.IPVSServices) error {
	for svc, destinations := range s.table.Services() {
		reply.Services = append(reply.Services, fromTable(svc, destinations))
	}
	return nil
}

// IPVSGetService always answers with a service: the engine takes the first of
// the reply without looking whether there is one.
func (s *service) IPVSGetService(in *ipvs.Service, reply *ncctypes.IPVSServices) error {
	svc := toTable(in)
	reply.Services = []*ipvs.Service{fromTable(svc, s.table.Services()[svc])}
	return nil
}

func (s *service) IPVSAddService(in *ipvs.Service, _ *int) error {
	destinations := make([]netip.AddrPort, 0, len(in.Destinations))
	for _, dst := range in.Destinations {
		destinations = append(destinations, destination(dst))
	}
	s.table.AddService(toTable(in), destinations...)
	return nil
}

func (s *service) IPVSUpdateService(in *ipvs.Service, _ *int) error {
	s.table.UpdateService(toTable(in))
	return nil
}

func (s *service) IPVSDeleteService(in *ipvs.Service, _ *int) error {
	s.table.DeleteService(toTable(in))
	return nil
}

func (s *service) IPVSAddDestination(in *ncctypes.IPVSDestination, _ *int) error {
	s.table.AddDestination(entry(in))
	return nil
}

func (s *service) IPVSUpdateDestination(in *ncctypes.IPVSDestination, _ *int) error {
	s.table.UpdateDestination(entry(in))
	return nil
}

func (s *service) IPVSDeleteDestination(in *ncctypes.IPVSDestination, _ *int) error {
	s.table.DeleteDestination(entry(in))
	return nil
}

func entry(in *ncctypes.IPVSDestination) Entry {
	return Entry{toTable(in.Service), destination(in.Destination)}
}

func toTable(in *ipvs.Service) Service {
	return Service{
		Address:  address(in.Address),
		Protocol: uint16(in.Protocol),
		Port:     in.Port,
		Mark:     in.FirewallMark,
	}
}

func destination(in *ipvs.Destination) netip.AddrPort {
	return netip.AddrPortFrom(address(in.Address), in.Port)
}

// address reads 4 and 16 bytes alike; an IPv4-mapped address is the IPv4 one.
func address(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// fromTable fills Statistics because the engine and seesaw_cli follow the
// pointer unasked.
func fromTable(svc Service, destinations []netip.AddrPort) *ipvs.Service {
	out := &ipvs.Service{
		Address:      svc.Address.AsSlice(),
		Protocol:     ipvs.IPProto(svc.Protocol),
		Port:         svc.Port,
		FirewallMark: svc.Mark,
		Statistics:   &ipvs.ServiceStats{},
	}
	for _, dst := range destinations {
		out.Destinations = append(out.Destinations, &ipvs.Destination{
			Address:    dst.Addr().AsSlice(),
			Port:       dst.Port(),
			Weight:     1,
			Statistics: &ipvs.DestinationStats{},
		})
	}
	return out
}
