package chaos

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hc-server/hc/proxy/seesawtest/supervise"
	"github.com/miekg/dns"
)

// resolver is a name server that can be anything but right.
type resolver struct {
	t       *testing.T
	address string
	answer  atomic.Pointer[func(w dns.ResponseWriter, query *dns.Msg)]
	asked   atomic.Int64
	udp     *dns.Server // nil while it is away
	tcp     *dns.Server
}

// The name that it is asked for, and the addresses of its backends.
const hostName = "backends.example.com."

var right = []string{"127.50.0.1", "127.50.0.2", "127.50.0.3"}

func startResolver(t *testing.T) *resolver {
	t.Helper()
	r := &resolver{t: t, address: "127.0.0.1:5353"}
	r.says(addresses(right...))
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *resolver) start() {
	r.t.Helper()
	packets, err := net.ListenPacket("udp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		r.asked.Add(1)
		(*r.answer.Load())(w, query)
	})
	r.udp = &dns.Server{PacketConn: packets, Handler: handler}
	r.tcp = &dns.Server{Listener: listener, Handler: handler}
	for _, server := range []*dns.Server{r.udp, r.tcp} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go server.ActivateAndServe()
		<-started
	}
}

func (r *resolver) stop() {
	if r.udp != nil {
		r.udp.Shutdown()
		r.tcp.Shutdown()
		r.udp, r.tcp = nil, nil
	}
}

func (r *resolver) says(answer func(w dns.ResponseWriter, query *dns.Msg)) { r.answer.Store(&answer) }

// addresses answers questions for A with these, and all others with nothing.
func addresses(all ...string) func(dns.ResponseWriter, *dns.Msg) {
	return func(w dns.ResponseWriter, query *dns.Msg) {
		reply := new(dns.Msg).SetReply(query)
		for _, address := range all {
			if query.Question[0].Qtype == dns.TypeA {
				header := dns.RR_Header{Name: query.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}
				reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: net.ParseIP(address)})
			}
		}
		w.WriteMsg(reply)
	}
}

// with changes what is right.
func with(change func(*dns.Msg)) func(dns.ResponseWriter, *dns.Msg) {
	return func(w dns.ResponseWriter, query *dns.Msg) {
		reply := new(dns.Msg).SetReply(query)
		change(reply)
		w.WriteMsg(reply)
	}
}

// resolved is what TestResolver looks at: the server and the backends behind the name.
type resolved struct {
	*supervise.FileServer
	t        *testing.T
	resolver *resolver
	backends map[string]net.Listener
}

func (r *resolved) up(address string) {
	r.t.Helper()
	listener, err := net.Listen("tcp", address+":2525")
	if err != nil {
		r.t.Fatal(err)
	}
	r.backends[address] = listener
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(connection, "220 ready\r\n")
			connection.Close()
		}
	}()
}

func (r *resolved) down(address string) { r.backends[address].Close() }

// failIfTold fails the test if a check has changed more or less often than this.
func (r *resolved) failIfTold(what string, before map[string]int) {
	r.t.Helper()
	now := r.Changes()
	for check, changes := range before {
		if now[check] != changes {
			_, text := r.Show(check)
			r.t.Errorf("%s: %s has changed %d times, want %d:\n%s", what, check, now[check], changes, text)
		}
	}
}

// awaitAsked waits until the resolver was asked again so many times.
func (r *resolved) awaitAsked(times int64) {
	r.t.Helper()
	asked := r.resolver.asked.Load()
	eventually(r.t, wholeLimit, "the resolver is asked", func() bool { return r.resolver.asked.Load() >= asked+times })
}

// TestResolver: whatever a name server does wrong, no verdict comes of it, and what
// happens to backends meanwhile is told.
func TestResolver(t *testing.T) {
	r := &resolved{t: t, resolver: startResolver(t), backends: map[string]net.Listener{}}
	for _, address := range right {
		r.up(address)
	}
	t.Cleanup(func() {
		for _, address := range right {
			r.down(address)
		}
	})
	checks := "[defaults]\ninterval = \"100ms\"\ntimeout = \"5s\"\nretries = 0\n" +
		fmt.Sprintf("[[check]]\nname = \"by-address\"\ntarget = \"%s:2525\"\ntcp = { receive = \"220 \" }\n", right[0])
	host := strings.TrimSuffix(hostName, ".")
	for _, rule := range []string{"each", "any", "all"} {
		checks += fmt.Sprintf("[[check]]\nname = %q\ntarget = \"%s:2525\"\nresolve = %q\ntcp = { receive = \"220 \" }\n", rule, host, rule)
	}
	r.FileServer = supervise.StartWithFile(t, supervise.Logs(t), checks, supervise.FileServerOptions{
		Source: fmt.Sprintf("dns_servers = [%q]\ndns_min_age = \"200ms\"\ndns_max_age = \"200ms\"\ndns_retry = \"200ms\"", r.resolver.address),
	})
	all := []string{"by-address", "any", "all"}
	for _, address := range right {
		all = append(all, "each/"+address)
	}
	for _, check := range all {
		r.AwaitHealth(check, "healthy")
	}
	// What is no answer changes nothing, and a backend that dies meanwhile is told.
	for _, trouble := range []struct {
		name  string
		says  func(dns.ResponseWriter, *dns.Msg)
		asked int64
	}{
		{"SERVFAIL", with(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }), 8},
		{"REFUSED", with(func(m *dns.Msg) { m.Rcode = dns.RcodeRefused }), 8},
		{"no word", func(dns.ResponseWriter, *dns.Msg) {}, 4},
		{"garbage", func(w dns.ResponseWriter, _ *dns.Msg) { w.Write([]byte(strings.Repeat("garbage ", 50))) }, 4},
		{"another id", with(func(m *dns.Msg) { m.Id++ }), 4},
		{"another question", with(func(m *dns.Msg) { m.Question[0].Name = "other.example.com." }), 4},
		{"truncated, over TCP too", with(func(m *dns.Msg) { m.Truncated = true }), 4},
		{"a name that is not there, once", nil, 0},
		{"away", nil, 0},
	} {
		before := r.Changes()
		switch trouble.name {
		case "away":
			r.resolver.stop()
		case "a name that is not there, once":
			// Of both families, which are asked for at once.
			nowhere := with(func(m *dns.Msg) { m.Rcode = dns.RcodeNameError })
			var first atomic.Int64
			r.resolver.says(func(w dns.ResponseWriter, query *dns.Msg) {
				if first.Add(1) <= 2 {
					nowhere(w, query)
				} else {
					addresses(right...)(w, query)
				}
			})
			r.awaitAsked(6)
		default:
			r.resolver.says(trouble.says)
			r.awaitAsked(trouble.asked)
		}
		r.failIfTold(trouble.name, before)
		dying := right[1]
		r.down(dying)
		r.AwaitHealth("all", "unhealthy")
		r.AwaitHealth("each/"+dying, "unhealthy")
		r.up(dying)
		r.AwaitHealth("all", "healthy")
		r.AwaitHealth("each/"+dying, "healthy")
		want := map[string]int{}
		for check, changes := range before {
			want[check] = changes
			if check == "all" || check == "each/"+dying {
				want[check] += 2
			}
		}
		r.failIfTold(trouble.name, want)
		r.resolver.says(addresses(right...))
		if trouble.name == "away" {
			r.resolver.start()
		}
		r.awaitAsked(4)
		r.failIfTold("after "+trouble.name, want)
		if t.Failed() {
			return
		}
	}

	// Addresses that no backend can have are left out.
	before := r.Changes()
	r.resolver.says(addresses(append([]string{"0.0.0.0", "224.0.0.1", "255.255.255.255"}, right...)...))
	r.awaitAsked(8)
	r.failIfTold("impossible addresses beside right ones", before)
	r.resolver.says(addresses("0.0.0.0", "224.0.0.1"))
	r.awaitAsked(8)
	r.failIfTold("impossible addresses alone", map[string]int{
		"by-address": before["by-address"], "any": before["any"], "all": before["all"],
	})
	r.resolver.says(addresses(right...))
	for _, address := range right {
		r.AwaitHealth("each/"+address, "healthy")
	}

	// Wrong addresses that somebody could have are believed, since nobody can tell. The
	// truth returns with the right ones; who was not lied about hears nothing.
	before = r.Changes()
	lied := wall()
	r.resolver.says(addresses("127.66.0.1", "127.66.0.2"))
	for _, check := range []string{"any", "all"} {
		r.AwaitHealth(check, "unhealthy")
	}
	r.resolver.says(addresses(right...))
	for _, check := range all {
		r.AwaitHealth(check, "healthy")
	}
	if took := wall().Sub(lied); took > time.Minute {
		t.Errorf("a lie lasted %v", took)
	}
	r.failIfTold("a lie", map[string]int{
		"by-address": before["by-address"], "any": before["any"] + 2, "all": before["all"] + 2,
	})

	// A name that is away for good ends its checks of each address, and leaves the others as they are.
	r.resolver.says(with(func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }))
	r.AwaitHealth("each/"+right[0], "")
	r.failIfTold("the name is gone", map[string]int{
		"by-address": before["by-address"], "any": before["any"] + 2, "all": before["all"] + 2,
	})
	r.resolver.says(addresses(right...))
	for _, check := range all {
		r.AwaitHealth(check, "healthy")
	}
}
