//! Health probes for load balancers: TCP, TLS, HTTP(S), DNS, UDP, ICMP and RADIUS, with socket marks and one deadline a probe.
//!
//! An error of this machine is never a verdict: it ends in [`Outcome::Inconclusive`](hc_types::Outcome::Inconclusive).
//! No name is ever looked up: a probe goes to the address of its target.

mod deadline;
pub mod dns;
mod fault;
pub mod icmp;
pub mod radius;
mod socket;
mod udp;

pub use dns::probe_dns;
pub use icmp::Pinger;
pub use radius::probe_radius;
pub use udp::probe_udp;
