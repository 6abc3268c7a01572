//! Health probes for load balancers: TCP, TLS, HTTP(S), DNS, UDP, ICMP and RADIUS, with socket marks and one deadline a probe
