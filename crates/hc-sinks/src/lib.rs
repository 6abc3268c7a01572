//! Tells the health of backends to others: [HAProxy](haproxy), [webhooks](Webhook),
//! [commands](command::Command) and [files](mod@file).
//!
//! Each sink has `ready`, which waits out the pause after a failure, and `deliver`, which says
//! whether the consumer has the reports. Whoever drives a sink keeps what was not delivered and
//! delivers what is true by then: every sink is content with the latest state of each check.
//!
//! ```
//! # use hc_sinks::haproxy::{Agent, AgentConfig};
//! let agent = Agent::new(AgentConfig { name: "{name}".parse()? });
//! agent.deliver(&[])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backoff;
mod board;
pub mod command;
mod error;
pub mod file;
pub mod haproxy;
mod post;
mod report;
mod template;
#[cfg(test)]
mod testing;
mod tls;
mod webhook;

pub use error::SinkError;
pub use post::{Poster, Resolve};
pub use report::{OverrideNews, Report};
pub use template::{Template, TemplateError};
pub use tls::{TlsClient, TlsClientError};
pub use webhook::{SIGNATURE_HEADER, Url, UrlError, Webhook, WebhookConfig, sign};
