package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hc-server/hc/proxy/seesawtest/supervise"
)

// daemon is a server program and the ports by which it is known to be up.
type daemon struct {
	*supervise.Process
	t        *testing.T
	tcp, udp []int
}

// startDaemon runs the program and returns when its ports are bound.
func startDaemon(t *testing.T, dir string, spec supervise.Spec, tcp, udp []int) *daemon {
	t.Helper()
	d := &daemon{supervise.Start(t, dir, spec), t, tcp, udp}
	d.await()
	return d
}

// Start runs the program again and returns when its ports are bound.
func (d *daemon) Start() {
	d.t.Helper()
	d.Process.Start()
	d.await()
}

func (d *daemon) await() {
	d.t.Helper()
	awaitListening(d.t, d.Process, "tcp", d.tcp...)
	awaitListening(d.t, d.Process, "udp", d.udp...)
}

// home makes a directory for the files of a server.
func home(t *testing.T, dir, name string, files map[string]string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(path, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// startHAProxy answers TLS with 200 to whoever shows a certificate of the
// authority, and refuses the handshake of all others. nginx cannot: it completes
// the handshake and answers 400.
func startHAProxy(t *testing.T, dir string, in namespace, own certificate, clients authority) *daemon {
	t.Helper()
	both := filepath.Join(t.TempDir(), "own.pem")
	var pem []byte
	for _, file := range []string{own.chain, own.key} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pem = append(pem, data...)
	}
	if err := os.WriteFile(both, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	var binds strings.Builder
	for port, version := range map[int]string{portStrict12: "TLSv1.2", portStrict13: "TLSv1.3"} {
		fmt.Fprintf(&binds, "  bind 0.0.0.0:%d,[::]:%d v6only ssl crt %s ca-file %s verify required ssl-min-ver %s ssl-max-ver %s\n",
			port, port, both, clients.root, version, version)
	}
	at := home(t, dir, "haproxy", map[string]string{"haproxy.cfg": `global
  nbthread 1
  maxconn 200
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend strict
` + binds.String() + `  http-request return status 200 content-type text/plain string "ok\n"
`})
	return startDaemon(t, dir, in.spec(supervise.Spec{
		Name: "haproxy", Path: "haproxy", Args: []string{"-db", "-f", filepath.Join(at, "haproxy.cfg")},
	}), []int{portStrict12, portStrict13}, nil)
}

// startUnbound serves example.com as local data and chain.example as a zone of
// its own on the addresses, over UDP and TCP.
func startUnbound(t *testing.T, dir string, in namespace, addresses ...string) *daemon {
	t.Helper()
	var config strings.Builder
	at := filepath.Join(dir, "unbound")
	fmt.Fprintf(&config, `server:
  directory: %[1]q
  pidfile: "%[1]s/pid"
  chroot: ""
  username: ""
  use-syslog: no
  logfile: ""
  do-daemonize: no
  num-threads: 1
  module-config: "iterator"
  access-control: 0.0.0.0/0 allow
  access-control: ::/0 allow
  local-zone: "example.com." static
  local-data: "example.com. 60 IN SOA ns1.example.com. admin.example.com. 2026112401 3600 600 86400 60"
  local-data: "example.com. 60 IN NS ns1.example.com."
  local-data: "example.com. 60 IN MX 10 mail.example.com."
  local-data: 'example.com. 60 IN TXT "v=spf1 " "-all"'
  local-data: "www.example.com. 60 IN A 192.0.2.10"
  local-data: "www.example.com. 60 IN AAAA 2001:db8::10"
  local-data: "alias.example.com. 60 IN CNAME www.example.com."
  local-data: "_radius._udp.example.com. 60 IN SRV 1 2 1812 radius.example.com."
  local-data-ptr: "192.0.2.10 60 www.example.com"
`, at)
	for i := range bigAddresses {
		fmt.Fprintf(&config, "  local-data: \"big.example.com. 60 IN A 198.51.100.%d\"\n", i+1)
	}
	fmt.Fprintf(&config, "  local-data: 'big.example.com. 60 IN TXT %s'\n", strings.Repeat(fmt.Sprintf("%q ", bigString), bigStrings))
	for _, address := range addresses {
		fmt.Fprintf(&config, "  interface: %s\n", address)
	}
	fmt.Fprintf(&config, `remote-control:
  control-enable: no
auth-zone:
  name: "chain.example."
  zonefile: "%s/chain.zone"
  for-downstream: yes
  for-upstream: no
  fallback-enabled: no
`, at)
	home(t, dir, "unbound", map[string]string{
		"unbound.conf": config.String(),
		"chain.zone": `$ORIGIN chain.example.
@ 60 IN SOA ns1 admin 1 3600 600 86400 60
@ 60 IN NS ns1
ns1 60 IN A 192.0.2.53
first 60 IN CNAME second
second 60 IN CNAME last
last 60 IN A 192.0.2.77
last 60 IN AAAA 2001:db8::77
`})
	return startDaemon(t, dir, in.spec(supervise.Spec{
		Name: "unbound", Path: "unbound", Args: []string{"-d", "-c", filepath.Join(at, "unbound.conf")},
	}), []int{portDNS}, []int{portDNS})
}

// Answers that are longer than the 512 bytes of DNS over UDP.
const (
	bigAddresses = 60
	bigStrings   = 4
)

var bigString = strings.Repeat("0123456789", 25)

// Of RADIUS: bob's password, and what the load balancer and the server share.
// carol is asked for more (Access-Challenge), whatever she says.
const (
	radiusSecret   = "s3cret"
	radiusPassword = "correct horse"
)

// startRADIUS runs FreeRADIUS on the addresses. Clients of portStrictRADIUS must
// send a Message-Authenticator.
func startRADIUS(t *testing.T, dir string, in namespace, addresses ...string) *daemon {
	t.Helper()
	at := filepath.Join(dir, "freeradius")
	var config strings.Builder
	fmt.Fprintf(&config, `prefix = /usr
name = radiusd
raddbdir = %[1]q
logdir = %[1]q
run_dir = %[1]q
pidfile = "%[1]s/pid"
libdir = /usr/lib/freeradius
max_requests = 1024
hostname_lookups = no
proxy_requests = no
log {
  destination = stdout
}
security {
  max_attributes = 200
  reject_delay = 0
  status_server = no
}
thread pool {
  start_servers = 1
  max_servers = 2
  min_spare_servers = 1
  max_spare_servers = 2
  max_requests_per_server = 0
}
modules {
  pap {
  }
  always handled {
    rcode = handled
  }
}
`, at)
	for port, strict := range map[int]string{portRADIUS: "no", portStrictRADIUS: "yes"} {
		fmt.Fprintf(&config, "clients of%d {\n", port)
		for _, address := range []string{lb4, lb6} {
			fmt.Fprintf(&config, `  client "%[1]s" {
    %[2]s = %[1]s
    secret = %[3]q
    require_message_authenticator = %[4]s
  }
`, address, radiusAddress(address), radiusSecret, strict)
		}
		config.WriteString("}\n")
	}
	config.WriteString("server default {\n")
	for _, address := range addresses {
		for _, port := range []int{portRADIUS, portStrictRADIUS} {
			fmt.Fprintf(&config, `  listen {
    type = auth
    %[1]s = %[2]s
    port = %[3]d
    clients = of%[3]d
  }
`, radiusAddress(address), address, port)
		}
	}
	fmt.Fprintf(&config, `  authorize {
    if (&User-Name == "carol") {
      update control {
        &Auth-Type := Ask
      }
    }
    elsif (&User-Name == "bob") {
      update control {
        &Cleartext-Password := %q
      }
    }
    pap
  }
  authenticate {
    Auth-Type PAP {
      pap
    }
    Auth-Type Ask {
      update control {
        &Response-Packet-Type := Access-Challenge
      }
      handled
    }
  }
}
`, radiusPassword)
	home(t, dir, "freeradius", map[string]string{
		"radiusd.conf": config.String(),
		"dictionary":   "$INCLUDE /usr/share/freeradius/dictionary\n",
	})
	return startDaemon(t, dir, in.spec(supervise.Spec{
		Name: "freeradius", Path: "freeradius", Args: []string{"-f", "-l", "stdout", "-d", at},
	}), nil, []int{portRADIUS, portStrictRADIUS})
}

// radiusAddress is how FreeRADIUS calls an address of its family.
func radiusAddress(ip string) string {
	if net.ParseIP(ip).To4() == nil {
		return "ipv6addr"
	}
	return "ipaddr"
}

// echoEnv makes this program a UDP echo of the addresses in it, divided by blanks.
const echoEnv = "HC_E2E_ECHO"

// startEcho runs this very program again as a UDP echo.
func startEcho(t *testing.T, dir string, in namespace, addresses ...string) *daemon {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, address := range addresses {
		all = append(all, net.JoinHostPort(address, fmt.Sprint(portEcho)))
	}
	return startDaemon(t, dir, in.spec(supervise.Spec{
		Name: "echo", Path: self, Env: []string{echoEnv + "=" + strings.Join(all, " ")},
	}), nil, []int{portEcho})
}

// echo answers every datagram with itself. It returns when it cannot.
func echo(addresses []string) error {
	failed := make(chan error)
	for _, address := range addresses {
		socket, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		go func() {
			buffer := make([]byte, 65535)
			for {
				n, from, err := socket.ReadFrom(buffer)
				if err == nil {
					_, err = socket.WriteTo(buffer[:n], from)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}
