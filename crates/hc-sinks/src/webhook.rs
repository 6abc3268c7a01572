//! Events as the body of an HTTP POST.

mod signature;
mod url;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hc_types::{CheckId, Secret};

pub use signature::{SIGNATURE_HEADER, sign};
pub use url::{Url, UrlError};

use crate::backoff::Backoff;
use crate::report::{self, OverrideNews, Report, Sent};
use crate::{Poster, Resolve, SinkError, TlsClient};

/// Where events go.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// `http://…` or `https://…`.
    pub url: Url,
    /// Signs each body ([`sign`]), if there is one.
    pub secret: Option<Secret>,
    /// Deadline of one delivery, from resolving the host to the last byte of the answer.
    pub timeout: Duration,
    /// The name of this machine in the body.
    pub node: String,
}

/// Sends events to a URL. A delivery is done when the answer has a 2xx status; redirects are not
/// followed.
pub struct Webhook {
    poster: Poster,
    secret: Option<Secret>,
    node: String,
    sent: Sent,
    backoff: Backoff,
}

impl Webhook {
    /// A webhook of which nothing has been sent yet.
    #[must_use]
    pub fn new(config: WebhookConfig, tls: TlsClient, resolve: Arc<dyn Resolve>) -> Self {
        let WebhookConfig { url, secret, timeout, node } = config;
        let poster = Poster::new(url, tls, resolve, timeout);
        Self { poster, secret, node, sent: Sent::default(), backoff: Backoff::default() }
    }

    /// Resolves when a delivery may be tried: at once, or after a pause that doubles from 1 s to 60
    /// s with each failure in a row.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn ready(&self) {
        self.backoff.wait().await;
    }

    /// Sends what of `reports` is news for the receiver.
    ///
    /// # Errors
    /// [`SinkError`] when it is not certain that the receiver has it.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; the receiver may have the events or not.
    pub async fn deliver(&self, reports: &[Report]) -> Result<(), SinkError> {
        let events = self.sent.news(reports);
        if events.is_empty() {
            return Ok(());
        }
        let result = self.send(report::body(&self.node, events)).await;
        if result.is_ok() {
            self.sent.delivered(reports);
        }
        result
    }

    /// Sends what is new of overrides.
    ///
    /// # Errors
    /// As [`deliver`](Self::deliver).
    ///
    /// # Cancel safety
    /// As [`deliver`](Self::deliver).
    pub async fn deliver_overrides(&self, news: &[OverrideNews]) -> Result<(), SinkError> {
        self.send(report::override_body(&self.node, news)).await
    }

    async fn send(&self, body: Vec<u8>) -> Result<(), SinkError> {
        let secret = self.secret.as_ref();
        let signature = secret.map(|secret| (SIGNATURE_HEADER, sign(secret, SystemTime::now(), &body)));
        let result = self.poster.post("application/json", signature, body).await.map(drop);
        self.backoff.note(&result);
        result
    }

    /// These checks are gone.
    pub fn forget(&self, ids: &[CheckId]) {
        self.sent.forget(ids);
    }
}
