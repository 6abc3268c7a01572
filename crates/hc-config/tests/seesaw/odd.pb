# Odd ways to write it, and values that make no sense.
seesaw_vip { fqdn: 'vip.' ipv4: "127.0.0.100/8"; status: 1 }
node:	[
< fqdn: "node1." ipv4: "127.0.0.1/8" status: PRODUCTION > ]
vserver {
  name: "od" 'd'
    "ities", rp: "\x78"
  entry_address: { fqdn: "odd." ipv4: "192.0.2.1/32" status: 0x2 }
  vserver_entry {
    protocol: 1 port: 0x50
    healthcheck: [ { type: 3 retries: -1 }, < type: TCP port: 010 > ];
    healthcheck { type: TCP port: 65537 }
    healthcheck { type: TCP port: 81 interval: 0 }
    healthcheck { type: TCP port: 82 interval: -1 }
    healthcheck { type: TCP port: 83 timeout: 0 }
    healthcheck { type: TCP port: 84 mode: 77 }
    healthcheck { type: HTTP port: 85 method: "GE T" }
    healthcheck { type: HTTP port: 86 code: 99 }
    healthcheck { type: HTTP port: 87 proxy: t tls_verify: f }
    healthcheck { type: DNS port: 88 send: "a" receive: "b" }
    healthcheck { type: DNS port: 89 method: "A" send: "a" receive: "no address" }
    healthcheck { type: RADIUS port: 90 send: "user:pass" }
    healthcheck { type: RADIUS port: 91 send: "user:pass:secret" receive: "Accept" }
    healthcheck { type: TCP port: 92 send: "caf\303\251 \u00e9 \U0001F600 \a\b\f\n\r\t\v\?\'\"\\" receive: 'it''s' }
    healthcheck { type: 99 port: 93 }
    healthcheck { type: TCP port: 94 retries: 0x7fffffff interval: 86401 timeout: 1_000 }
    healthcheck { type: TCP port: 95 interval: 0xffffffff }
    server_low_watermark: 0.5f server_high_watermark: 1e-1
  }
  vserver_entry { protocol: 9 port: 1 healthcheck { type: TCP } }
  vserver_entry { protocol: TCP port: 2 scheduler: 99 healthcheck { type: TCP } }
  vserver_entry { protocol: TCP port: 3 mode: 99 healthcheck { type: TCP } }
  vserver_entry { protocol: TCP port: -1 healthcheck { type: TCP } }
  backend { host { fqdn: "b1." ipv4: "10.0.0.1/24" ipv6: "::ffff:10.0.0.1/128" status: PRODUCTION } }
  backend { host { fqdn: "b2." ipv4: "2001:db8::2/64" status: PRODUCTION } }
  backend { host { fqdn: "b3." ipv4: "010.0.0.3/24" status: PRODUCTION } }
  backend { host { fqdn: "b4." ipv4: "10.0.0.4" status: PRODUCTION } }
  backend { host { fqdn: "b5." ipv4: "10.0.0.5/33" status: PRODUCTION } }
  backend { host { fqdn: "b6." ipv4: "224.0.0.1/24" status: PRODUCTION } }
  warning: ["a", "b"]
}
misconfigured_vserver: < name: "x" error_message: "y" >
access_groups: < name: "g" member: "m" >
vlan: < vlan_id: 1 host: < fqdn: "v." > >
bgp_remote_asn: 0xFFFFFFFF
bgp_peer: < fqdn: "p." ipv4: "127.0.0.9/8" >
vmac: "00:00:5E:00:01:01"
metadata: < last_updated: 1 attribute: < name: "a" value: "b" > >
dedicated_vip_subnet: "192.168.100.0/26"
