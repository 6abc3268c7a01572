# Every type of check, on IPv4 and IPv6.
seesaw_vip: < fqdn: "vip." ipv4: "127.0.0.100/8" status: PRODUCTION >
node: < fqdn: "node1." ipv4: "127.0.0.1/8" status: PRODUCTION >
vserver: <
  name: "kinds" rp: "x"
  entry_address: < fqdn: "kinds." ipv4: "192.0.2.1/32" ipv6: "2001:db8:1::1/128" status: PRODUCTION >
  vserver_entry: <
    protocol: TCP port: 80
    healthcheck: < type: TCP >
    healthcheck: < type: TCP port: 8080 send: "a" receive: "b" interval: 2 timeout: 1 retries: 3 >
    healthcheck: < type: HTTP >
    healthcheck: < type: HTTP port: 8081 send: "/healthz?x=1" receive: "ok" code: 204 method: "HEAD" >
    healthcheck: < type: HTTP port: 8082 send: "/proxied" proxy: true tls_verify: false >
    healthcheck: < type: HTTPS port: 443 >
    healthcheck: < type: HTTPS port: 444 tls_verify: false send: "/s" >
    healthcheck: < type: TCP_TLS port: 445 >
    healthcheck: < type: TCP_TLS port: 446 tls_verify: false send: "x" >
    healthcheck: < type: ICMP_PING >
  >
  vserver_entry: <
    protocol: UDP port: 53 mode: NAT scheduler: RR
    healthcheck: < type: UDP send: "\x00\xff" receive: "\377" >
    healthcheck: < type: DNS method: "a" send: "www.example.com" receive: "192.0.2.10" >
    healthcheck: < type: DNS method: "AAAA" send: "www.example.com." receive: "2001:db8::10" >
    healthcheck: < type: DNS method: "mx" send: "example.com" receive: "10 mail.example.com." >
    healthcheck: < type: DNS method: "TLSA" send: "example.com" >
    healthcheck: < type: RADIUS port: 1812 send: "user:pass:secret" >
    healthcheck: < type: RADIUS port: 1813 send: "user::secret" receive: "reject" >
  >
  healthcheck: < type: HTTP port: 9000 send: "/vserver" >
  healthcheck: < type: ICMP_PING >
  backend: < host: < fqdn: "b1." ipv4: "10.0.0.1/24" ipv6: "2001:db8::1/64" status: PRODUCTION > weight: 1 >
  backend: < host: < fqdn: "b2." ipv4: "10.0.0.2/24" status: TESTING > >
>
metadata: < last_updated: 1 >
