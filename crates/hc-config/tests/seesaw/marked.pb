# Checks through the VIP, by DSR and by tunnel.
seesaw_vip: < fqdn: "vip." ipv4: "127.0.0.100/8" status: PRODUCTION >
node: < fqdn: "node1." ipv4: "127.0.0.1/8" status: PRODUCTION >
vserver: <
  name: "dsr" rp: "x"
  entry_address: < fqdn: "dsr." ipv4: "192.0.2.1/32" ipv6: "2001:db8:1::1/128" status: PRODUCTION >
  vserver_entry: <
    protocol: TCP port: 80
    healthcheck: < type: TCP mode: DSR >
    healthcheck: < type: HTTP mode: TUN port: 8080 send: "/a" >
    healthcheck: < type: HTTPS mode: PLAIN port: 443 >
    # Refused by the engine.
    healthcheck: < type: ICMP_PING mode: DSR >
  >
  healthcheck: < type: UDP port: 53 mode: DSR >
  backend: < host: < fqdn: "b1." ipv4: "10.0.0.1/24" ipv6: "2001:db8::1/64" status: PRODUCTION > >
  backend: < host: < fqdn: "b2." ipv4: "10.0.0.2/24" ipv6: "2001:db8::2/64" status: PRODUCTION > >
>
vserver: <
  name: "dsr2" rp: "x"
  entry_address: < fqdn: "dsr2." ipv4: "192.0.2.2/32" status: TESTING >
  # The same checks as in "dsr", but through another VIP.
  vserver_entry: <
    protocol: TCP port: 80
    healthcheck: < type: TCP mode: DSR >
    healthcheck: < type: HTTP mode: TUN port: 8080 send: "/a" >
  >
  backend: < host: < fqdn: "b1." ipv4: "10.0.0.1/24" status: PRODUCTION > >
>
metadata: < last_updated: 1 >
