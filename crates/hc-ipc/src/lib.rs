//! The server's end of the protocol between hc-proxy and hc-server: the Unix socket, frames, the
//! handshake, sets of checks put together from their parts, batches and their acknowledgement.
//!
//! [`Listener`] owns the socket and its file, [`IpcTask`] serves one connection at a time and lets
//! others read statuses, [`IpcEvents`] brings what the peer wants to the owner, and [`IpcHandle`]
//! takes batches to the peer. What is in the sets and what is worth telling is the owner's
//! business. `docs/protocol.md` in the repository is the reference.
//!
//! ```
//! use hc_ipc::{IpcConfig, IpcEvent, memory, serve};
//! use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In memory; `Listener::bind` is the real thing.
//! let (incoming, dialer) = memory();
//! let shutdown = CancellationToken::new();
//! let (task, handle, mut events) = serve(incoming, IpcConfig::new("1.0"), shutdown.clone())?;
//!
//! let peer = async {
//!     let mut peer = BufReader::new(dialer.connect().await.expect("the task runs"));
//!     peer.write_all(b"{\"type\":\"update_configs\",\"generation\":1,\"configs\":[]}\n").await?;
//!     let mut line = String::new();
//!     peer.read_line(&mut line).await?;
//!     assert_eq!(line, "{\"type\":\"ready\",\"protocol\":1,\"version\":\"1.0\",\"capabilities\":[\"keep\"]}\n");
//!     handle.ready().await;
//!     shutdown.cancel();
//!     Ok::<(), std::io::Error>(())
//! };
//! let owner = async {
//!     while let Some(event) = events.recv().await {
//!         if let IpcEvent::Set(proposal) = event {
//!             assert_eq!(proposal.change.generation(), Some(1));
//!             // Here the checks would be started. Then:
//!             proposal.reply.applied(proposal.rejected);
//!         }
//!     }
//! };
//! let ((), (), done) = tokio::join!(task.run(), owner, peer);
//! done?;
//! # Ok(())
//! # }
//! ```

mod accounts;
mod assembly;
mod config;
mod connection;
mod conversation;
mod event;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handle;
mod incoming;
mod listener;
mod outgoing;
mod parser;
mod reader;
mod recall;
mod repeats;
mod seats;
mod session;
mod socket_file;
mod task;
mod throttle;

pub use accounts::AccountError;
pub use assembly::{Assembled, Assembly};
pub use config::{IpcConfig, PeerConfig, SocketConfig};
pub use event::{DisconnectReason, IpcEvent, IpcEvents, StatusReply};
pub use handle::{DeliverError, IpcHandle};
pub use incoming::{Dialer, Incoming, MemoryListener, Peer, memory};
pub use listener::{BindError, Listener};
pub use task::{IpcTask, serve};
