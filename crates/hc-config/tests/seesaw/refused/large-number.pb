seesaw_vip: < fqdn: "vip." ipv4: "127.0.0.100/8" status: PRODUCTION >
node: < fqdn: "node1." ipv4: "127.0.0.1/8" status: PRODUCTION >
vserver: < name: "x" rp: "x" entry_address: < fqdn: "x." > vserver_entry: < protocol: TCP port: 2147483648 > >
