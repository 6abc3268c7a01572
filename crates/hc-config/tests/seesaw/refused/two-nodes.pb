seesaw_vip: < fqdn: "vip." ipv4: "127.0.0.100/8" status: PRODUCTION >
node: < fqdn: "node1." ipv4: "127.0.0.1/8" status: PRODUCTION >
node: < fqdn: "node1." >
