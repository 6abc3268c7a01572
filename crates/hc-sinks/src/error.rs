//! Why a delivery failed.

use std::time::Duration;

/// It is not certain that the consumer has what was sent. It is sent again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The consumer cannot be reached.
    #[error("cannot connect to {place}: {source}")]
    Connect {
        /// A URL, an address or a path.
        place: String,
        /// Why.
        source: std::io::Error,
    },
    /// The host of a URL has no address, or nobody could be asked.
    #[error("cannot resolve {host}: {problem}")]
    Resolve {
        /// The host.
        host: String,
        /// Why.
        problem: String,
    },
    /// The exchange with the consumer broke.
    #[error("{place}: {problem}")]
    Exchange {
        /// A URL, an address or a path.
        place: String,
        /// What happened.
        problem: String,
    },
    /// The consumer took too long.
    #[error("{place}: no answer within {}", humantime(*timeout))]
    Timeout {
        /// A URL, an address, a path or a command.
        place: String,
        /// How long it had.
        timeout: Duration,
    },
    /// The consumer answered that it does not have it.
    #[error("{place}: {answer}")]
    Refused {
        /// A URL, an address, a path or a command.
        place: String,
        /// The status of an answer over HTTP.
        status: Option<u16>,
        /// What it said.
        answer: String,
        /// How long it wants to be left alone (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or its directory.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl SinkError {
    pub(crate) fn exchange(place: &str, problem: impl ToString) -> Self {
        Self::Exchange { place: place.to_owned(), problem: problem.to_string() }
    }

    /// The status of an answer over HTTP that refused what was sent.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => *status,
            _ => None,
        }
    }

    /// How long a consumer wants to be left alone (`Retry-After`).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn humantime(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
