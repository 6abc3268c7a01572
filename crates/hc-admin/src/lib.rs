//! The admin API of hc-server over HTTP/1.1: `/livez`, `/readyz`, `/metrics` and `/api/v1/…`; and
//! at `/` the page that shows it in a browser.
//!
//! It shows what a [`Reader`] has and does what [`Actions`] can. Whoever connects over TCP may read
//! only. It knows no shard, no consumer and no source, and runs in a runtime of the server's
//! choice, beside the probes and not among them.
//!
//! - At most so many connections as [`Admin::serve`] is given; the oldest makes room. A request has
//!   10 s for its head of at most 32 KiB, and 10 s for its body of at most 64 KiB. A peer that
//!   takes nothing for 30 s is cut off.
//! - Lists come in pages of at most 1,000.

mod answer;
mod events;
mod openapi;
mod page;
mod reader;
mod routes;
mod server;
mod service;

pub use reader::{Action, ActionError, Actions, BoxFuture, Caller, MetricsFormat, Reader};
pub use server::{Admin, Connections};

/// The OpenAPI 3.1 document of the API, as JSON.
#[must_use]
pub fn openapi() -> String {
    openapi::document()
}
