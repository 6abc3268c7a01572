//! Health probes for load balancers: TCP, TLS, HTTP(S), DNS, UDP, ICMP and RADIUS, with socket marks and one deadline a probe.
//!
//! An error of this machine is never a verdict: it ends in [`Outcome::Inconclusive`](hc_types::Outcome::Inconclusive).
//! No name is ever looked up: a probe goes to the address of its target.

mod deadline;
mod fault;
mod socket;
mod udp;

pub use udp::probe_udp;
