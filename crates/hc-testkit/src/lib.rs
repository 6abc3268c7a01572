//! Scripted backends that misbehave on command, and the programs of the hc health checker as
//! processes, for its tests.
//!
//! Everything listens on a free port and ends when it is dropped. Nothing here ships.
//!
//! ```
//! use std::io::Read as _;
//! use hc_testkit::backend::Backend;
//! use hc_testkit::script::Step;
//!
//! let backend = Backend::start("127.0.0.1".parse()?, vec![Step::send("220 ready\r\n")])?;
//! let mut banner = String::new();
//! std::net::TcpStream::connect(backend.address())?.read_to_string(&mut banner)?;
//! assert_eq!(banner, "220 ready\r\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod admin;
pub mod backend;
pub mod certificate;
pub mod chain;
pub mod datagram;
pub mod dns;
pub mod etcd;
pub mod icmp;
pub mod network;
pub mod openssl;
pub mod outcome;
pub mod port;
pub mod process;
pub mod radius;
pub mod script;
pub mod syn;
