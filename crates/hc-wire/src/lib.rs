//! The protocol between hc-proxy and hc-server, version 1: one JSON object a line, over a Unix
//! stream socket.
//!
//! `docs/protocol.md` is the reference; `wire/v1/*.json` in the repository holds one example of
//! every message, which the Rust and the Go tests read and write back. This crate turns lines into
//! values and values into lines; the socket, the handshake and the order of messages are in
//! `hc-ipc`.
//!
//! ```
//! use hc_wire::{ToServer, decode};
//!
//! let line = br#"{"type":"update_configs","configs":[{"id":1,"interval":"5s","timeout":"1s","retries":2,
//!     "checker_type":"tcp","ip":"192.0.2.1","port":80},{"id":2,"interval":"0s","timeout":"1s",
//!     "checker_type":"tcp","ip":"192.0.2.1","port":80}]}"#;
//! let ToServer::UpdateConfigs(update) = decode(line)? else { panic!() };
//! let (good, bad) = (&update.configs[0], &update.configs[1]);
//! assert!(good.is_ok());
//! assert_eq!(bad.as_ref().unwrap_err().reason, "interval: must be above 0");
//! # Ok::<(), hc_wire::DecodeError>(())
//! ```

pub mod bytes;
mod check;
mod message;
mod print;
mod split;
mod status;
mod texts;

pub use check::{CheckEntry, CheckLine, parse_check};
pub use message::{
    Ack, BatchBody, DecodeError, ErrorCode, ErrorMessage, Hello, KEEP, Message, NotificationBatch, Ready,
    RefreshMessage, Rejected, RequestConfigs, RequestStatus, Shutdown, StatusResponse, ToProxy, ToServer,
    UpdateConfigs, UpdateDelta, decode, encode,
};
pub use split::{Element, fitting, pieces, writable};
pub use status::{Notification, StatusLine};
pub use texts::{CONFIGS_BEGIN, ConfigTexts};

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;

/// The longest line in bytes, its `\n` included, in either direction.
pub const MAX_LINE: usize = 1024 * 1024;
