//! The health check server of a layer-4 load balancer, as a library that the binary is a few lines around.
//!
//! It joins the cores, which know `hc-types` and not each other: `hc-ipc` brings sets of checks in, `hc-manager` runs
//! them with the probes of `hc-checkers`, `hc-notifier` tells through `hc-ipc` what was found. Here is only what belongs
//! to the whole process: configuration, wiring, signals, the order of shutdown.

pub mod cli;
pub mod config;
pub mod limits;
pub mod logging;

pub use config::{Config, ConfigError};
