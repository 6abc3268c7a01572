//! Health probes for load balancers: TCP, TLS, HTTP(S), DNS, UDP, ICMP and RADIUS, with socket marks and one deadline a probe.
//!
//! Each kind is one function that can be used alone:
//!
//! ```
//! use std::time::Duration;
//! use hc_checkers::{CheckersConfig, probe_tcp};
//! use hc_types::{Outcome, Target, TcpProbe};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let backend = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let target = Target::plain("127.0.0.1".parse()?, backend.local_addr()?.port());
//! let outcome = probe_tcp(&TcpProbe::default(), &target, Duration::from_secs(1), &CheckersConfig::default()).await;
//! assert_eq!(outcome, Outcome::PASS);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Checkers`] puts them behind [`hc_types::Prober`], for whoever runs many of them.
//!
//! An error of this machine is never a verdict: it ends in [`Outcome::Inconclusive`](hc_types::Outcome::Inconclusive).
//! No name is ever looked up: a probe goes to the address of its target.

mod config;
mod deadline;
pub mod dns;
mod fault;
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod icmp;
mod incoming;
mod memory;
mod path;
mod prober;
pub mod radius;
mod socket;
mod tcp;
mod tls;
mod udp;

pub use config::{CheckersConfig, Close};
pub use dns::probe_dns;
pub use http::probe_http;
pub use icmp::Pinger;
pub use memory::ProbeMemory;
pub use path::can_observe_paths;
pub use prober::Checkers;
pub use radius::probe_radius;
pub use tcp::probe_tcp;
pub use tls::{Reload, Roots, RootsError, SystemRoots};
pub use udp::probe_udp;
