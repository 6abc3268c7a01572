//! The way from a node of a fleet to etcd.
//!
//! [`Store`] carries out what a node asks of the store that all nodes share (`hc_fleet::Request`), and
//! tells it what happens there (`hc_fleet::StoreEvent`). It decides nothing about checks. Members
//! that do not answer are left for others, and everything has a deadline. [`CheckStore`] has the
//! checks that all nodes of a fleet have in common.
//!
//! Etcd is spoken to in its own protocol, gRPC over HTTP/2, by the crates h2 and prost.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use hc_etcd::{EtcdConfig, Store};
//! use hc_fleet::NodeName;
//! use tokio::sync::mpsc;
//! use tokio_util::sync::CancellationToken;
//!
//! let mut config = EtcdConfig::default();
//! config.endpoints = vec!["http://etcd1:2379".into(), "http://etcd2:2379".into()];
//! let store = Store::new(config, NodeName::new("lb1")?)?;
//! let (requests, to_store) = mpsc::channel(16);
//! let (from_store, mut events) = mpsc::channel(16);
//! let stop = CancellationToken::new();
//! let (running, node) = (store.run(to_store, from_store, stop.clone()), async {
//!     requests.send(hc_fleet::Request::Grant).await?;
//!     while let Some(event) = events.recv().await {
//!         println!("{event:?}");
//!     }
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! });
//! tokio::join!(running, node).1
//! # }
//! ```

mod carry;
mod checks;
mod client;
mod config;
mod connection;
mod endpoint;
mod error;
mod follow;
mod message;
mod position;
mod store;
mod tls;
mod txn;
mod upkeep;

pub use checks::{ApplyError, CheckFile, CheckStore, Head};
pub use config::{EtcdConfig, EtcdConfigError};
pub use endpoint::Resolve;
pub use error::EtcdError;
pub use store::Store;

/// The version of the keys below the prefix and of their values: what the key `schema` has.
pub const SCHEMA: &str = "1";
