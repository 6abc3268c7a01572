seesaw_vip: < fqdn: "vip." ipv4: "127.0.0.100/8" status: PRODUCTION >
node: < fqdn: "node1." ipv4: "127.0.0.1/8" status: PRODUCTION >
vlan: < vlan_id: 1 host: < fqdn: "v." > > vlan: < vlan_id: 65537 host: < fqdn: "v." > >
