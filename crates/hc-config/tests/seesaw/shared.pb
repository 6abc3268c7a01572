# Checks that vservers share, names that collide, and what the engine leaves out.
seesaw_vip: < fqdn: "vip." ipv4: "127.0.0.100/8" status: PRODUCTION >
node: < fqdn: "node1." ipv4: "127.0.0.1/8" status: PRODUCTION >
vserver: <
  name: "one" rp: "x"
  entry_address: < fqdn: "one." ipv4: "192.0.2.1/32" status: PRODUCTION >
  vserver_entry: <
    protocol: TCP port: 80
    healthcheck: < type: TCP >
    healthcheck: < type: HTTP port: 8080 send: "/b" >
    healthcheck: < type: HTTP port: 8080 send: "/a" >
  >
  backend: < host: < fqdn: "b1." ipv4: "10.0.0.1/24" status: PRODUCTION > >
  backend: < host: < fqdn: "b2." ipv4: "10.0.0.2/24" status: DISABLED > >
  backend: < host: < fqdn: "b3." ipv4: "10.0.0.3/24" > >
  backend: < host: < fqdn: "b4." ipv4: "not an address" status: PRODUCTION > >
  backend: < host: < fqdn: "b1." ipv4: "10.0.0.9/24" status: PRODUCTION > >
>
vserver: <
  # The TCP check is that of "one"; the HTTP check has another name there.
  name: "two" rp: "x"
  entry_address: < fqdn: "two." ipv4: "192.0.2.2/32" status: TESTING >
  vserver_entry: <
    protocol: TCP port: 80
    healthcheck: < type: TCP >
    healthcheck: < type: HTTP port: 8080 send: "/b" >
  >
  backend: < host: < fqdn: "b1." ipv4: "10.0.0.1/24" status: PRODUCTION > >
>
vserver: <
  name: "disabled" rp: "x"
  entry_address: < fqdn: "disabled." ipv4: "192.0.2.3/32" status: DISABLED >
  vserver_entry: < protocol: TCP port: 81 healthcheck: < type: TCP > >
  backend: < host: < fqdn: "b1." ipv4: "10.0.0.1/24" status: PRODUCTION > >
>
vserver: <
  # HTTP and HTTPS on one port have one name, and so have TCP and TCP_TLS: the engine drops the second.
  name: "collide" rp: "x"
  entry_address: < fqdn: "collide." ipv4: "192.0.2.4/32" status: PRODUCTION >
  vserver_entry: <
    protocol: TCP port: 443
    healthcheck: < type: HTTPS >
    healthcheck: < type: HTTP >
    healthcheck: < type: TCP_TLS >
    healthcheck: < type: TCP send: "later in the order, but another type" >
  >
  vserver_entry: < protocol: TCP port: 443 healthcheck: < type: UDP > >
  vserver_entry: < protocol: UDP port: 443 healthcheck: < type: UDP > >
  backend: < host: < fqdn: "b5." ipv4: "10.0.0.5/24" status: PRODUCTION > >
>
vserver: <
  name: "fwm" rp: "x" use_fwm: true
  entry_address: < fqdn: "fwm." ipv4: "192.0.2.5/32" status: PRODUCTION >
  vserver_entry: < protocol: TCP port: 1000 healthcheck: < type: TCP > >
  vserver_entry: < protocol: UDP port: 1001 healthcheck: < type: UDP > >
  healthcheck: < type: TCP port: 1002 >
  backend: < host: < fqdn: "b6." ipv4: "10.0.0.6/24" status: PRODUCTION > >
>
vserver: <
  name: "no-entry" rp: "x"
  entry_address: < fqdn: "no-entry." ipv4: "192.0.2.6/32" status: PRODUCTION >
  healthcheck: < type: TCP port: 1003 >
  backend: < host: < fqdn: "b7." ipv4: "10.0.0.7/24" status: PRODUCTION > >
>
vserver: <
  name: "no-port" rp: "x"
  entry_address: < fqdn: "no-port." ipv4: "192.0.2.7/32" status: PRODUCTION >
  vserver_entry: < protocol: TCP port: 82 >
  healthcheck: < type: TCP >
  healthcheck: < type: ICMP_PING >
  backend: < host: < fqdn: "b8." ipv4: "10.0.0.8/24" status: PRODUCTION > >
>
vserver: <
  name: "one" rp: "a second one of this name"
  entry_address: < fqdn: "one." ipv4: "192.0.2.8/32" status: PRODUCTION >
  vserver_entry: < protocol: TCP port: 83 healthcheck: < type: TCP > >
  backend: < host: < fqdn: "b1." ipv4: "10.0.0.1/24" status: PRODUCTION > >
>
metadata: < last_updated: 1 >
