//! The health check server of a layer-4 load balancer, as a library that the binary is a few lines
//! around.
//!
//! It joins the cores, which know `hc-types` and not each other: `hc-ipc` brings sets of checks in,
//! `hc-manager` runs them with the probes of `hc-checkers`, `hc-notifier` tells through `hc-ipc`
//! what was found, `hc-snapshot` keeps health on disk. Here is only what belongs to the whole
//! process: configuration, wiring, the order of shutdown.
//!
//! ```no_run
//! use hc_server::{Config, Server};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> anyhow::Result<()> {
//! let config = Config::load(None, std::env::vars())?;
//! Server::new(config).run().await
//! # }
//! ```

mod admin;
mod app;
mod changes;
pub mod cli;
pub mod config;
mod dump;
mod fleet;
mod limits;
pub mod logging;
mod parts;
mod resolver;
mod roots;
mod sandbox;
mod server;
mod service;
mod sets;
mod signals;
pub mod sinks;
mod snapshots;
mod source;
pub mod startup;
mod state;
#[cfg_attr(not(feature = "otlp"), path = "traces/off.rs")]
mod traces;
mod wiring;

pub use config::{Config, ConfigError};
pub use fleet::FleetStore;
pub use server::Server;
pub use signals::Signals;
pub use source::FileChecks;
