//! The messages, each a struct, and the two directions, each a closed enum.

use std::borrow::Cow;

use hc_types::{CheckId, Refresh, Rejection};
use serde::{Deserialize, Serialize};

use crate::check::entries;
use crate::{CheckEntry, MAX_LINE, Notification};

/// Declares the messages of one direction: the enum, its decoding by `type`, its encoding.
macro_rules! direction {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $word:literal => $variant:ident($body:ty)),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name {
            $($(#[$vdoc])* $variant($body),)+
        }

        impl Message for $name {
            fn decode_as(kind: &str, line: &[u8]) -> Result<Self, DecodeError> {
                match kind {
                    $($word => serde_json::from_slice(line).map(Self::$variant).map_err(DecodeError::Malformed),)+
                    other => Err(DecodeError::UnknownType(other.to_owned())),
                }
            }

            fn encode_body(&self, line: &mut Vec<u8>) -> serde_json::Result<()> {
                match self {
                    $(Self::$variant(body) => serde_json::to_writer(line, body),)+
                }
            }
        }

        $(impl From<$body> for $name {
            fn from(body: $body) -> Self {
                Self::$variant(body)
            }
        })+
    };
}

/// A set of messages that travel in one direction.
pub trait Message: Sized {
    /// Reads the message of this `type`.
    ///
    /// # Errors
    /// As [`decode`].
    fn decode_as(kind: &str, line: &[u8]) -> Result<Self, DecodeError>;

    /// Appends the message as JSON, without a line end.
    ///
    /// # Errors
    /// When a value cannot be written as JSON: an instant outside of the years 1970 to 9999.
    fn encode_body(&self, line: &mut Vec<u8>) -> serde_json::Result<()>;
}

/// Why a line is not a message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or a field is missing or of the wrong kind.
    #[error("{0}")]
    Malformed(#[source] serde_json::Error),
    /// A `type` that this side does not know.
    #[error("unknown message type {0:?}")]
    UnknownType(String),
}

impl DecodeError {
    /// The code that answers such a line.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            DecodeError::Malformed(_) => ErrorCode::Malformed,
            DecodeError::UnknownType(_) => ErrorCode::UnknownType,
        }
    }
}

/// Reads one line, with or without its `\n`. Unknown fields are ignored.
///
/// # Errors
/// [`DecodeError`] when the line is not JSON, has an unknown `type`, or lacks a field that the
/// message needs. A bad *check* inside a set is no error: it becomes a rejected entry of its own.
pub fn decode<M: Message>(line: &[u8]) -> Result<M, DecodeError> {
    #[derive(Deserialize)]
    struct Tag<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    let tag: Tag<'_> = serde_json::from_slice(line).map_err(DecodeError::Malformed)?;
    M::decode_as(&tag.kind, line)
}

/// Appends a message and its `\n` to `line`.
///
/// # Errors
/// When a value cannot be written as JSON; `line` is then as it was.
pub fn encode<M: Message>(message: &M, line: &mut Vec<u8>) -> serde_json::Result<()> {
    let before = line.len();
    match message.encode_body(line) {
        Ok(()) => {
            line.push(b'\n');
            Ok(())
        }
        Err(error) => {
            line.truncate(before);
            Err(error)
        }
    }
}

direction! {
    /// What hc-proxy says.
    ToServer {
        /// The greeting.
        "hello" => Hello(Hello),
        /// The full set, or a part of it.
        "update_configs" => UpdateConfigs(UpdateConfigs),
        /// A change of the set.
        "update_delta" => UpdateDelta(UpdateDelta),
        /// A batch has been delivered, or not.
        "ack" => Ack(Ack),
        /// Asks for the status of every check.
        "request_status" => RequestStatus(RequestStatus),
        /// The proxy leaves on purpose.
        "shutdown" => Shutdown(Shutdown),
        /// Something that hc-server said was wrong.
        "error" => Error(ErrorMessage),
    }
}

direction! {
    /// What hc-server says.
    ToProxy {
        /// The first line of a connection.
        "ready" => Ready(Ready),
        /// Asks for the full set.
        "request_configs" => RequestConfigs(RequestConfigs),
        /// Checks that do not run.
        "rejected" => Rejected(Rejected),
        /// News about checks.
        "notification_batch" => NotificationBatch(NotificationBatch),
        /// What the proxy keeps of some checks is still so.
        "refresh" => Refresh(RefreshMessage),
        /// The status of every check, or a part of it.
        "status_response" => StatusResponse(StatusResponse),
        /// Something that hc-proxy said was wrong.
        "error" => Error(ErrorMessage),
    }
}

/// The capability of a peer that speaks of [`RefreshMessage`], in [`Ready`] and [`Hello`].
pub const KEEP: &str = "keep";

/// First line of every connection. What these fields mean never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "ready")]
pub struct Ready {
    /// Version of the protocol.
    pub protocol: u32,
    /// Version of the server, for logs.
    pub version: String,
    /// What it can do beyond what every peer of this protocol can: words such as [`KEEP`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
}

/// Answer to [`Ready`]. What these fields mean never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "hello")]
pub struct Hello {
    /// Version of the protocol.
    pub protocol: u32,
    /// Version of the proxy, for logs.
    pub version: String,
    /// What it can do beyond what every peer of this protocol can: words such as [`KEEP`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
}

/// The full set of checks, or a part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "update_configs")]
pub struct UpdateConfigs {
    /// The checks, each parsed on its own: an invalid one does not affect the others.
    #[serde(with = "entries")]
    pub configs: Vec<CheckEntry>,
    /// Name of the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Which part of the set this is, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
    /// How many parts the set has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<u32>,
}

/// A change of the set in effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "update_delta")]
pub struct UpdateDelta {
    /// Name of the set that results.
    pub generation: u64,
    /// Name of the set that it changes.
    pub base: u64,
    /// Checks that are new or different.
    #[serde(default, with = "entries")]
    pub upsert: Vec<CheckEntry>,
    /// Checks that stop.
    #[serde(default)]
    pub remove: Vec<CheckId>,
}

/// The server lacks what the last delta or part built upon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "request_configs")]
pub struct RequestConfigs {
    /// Why, for logs.
    pub reason: String,
}

/// Checks that do not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "rejected")]
pub struct Rejected {
    /// The set that they came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Which, and why.
    pub checks: Vec<Rejection>,
}

/// News about checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "notification_batch")]
pub struct NotificationBatch {
    /// The news.
    pub batch: BatchBody,
    /// Number of the batch, to be acknowledged. Absent: no acknowledgement is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The set in effect when the batch was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// The object inside of a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchBody {
    /// The notifications, oldest news first.
    pub notifications: Vec<Notification>,
}

/// What the proxy keeps of the checks in some buckets is still so: the engine is to hear it again.
/// Only to a peer with the capability [`KEEP`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "refresh")]
pub struct RefreshMessage {
    /// Number, to be acknowledged, in one row with those of batches.
    pub seq: u64,
    /// The set in effect when the message was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The first bucket ([`hc_types::bucket`]).
    pub first: u16,
    /// The last one, which belongs to it.
    pub last: u16,
    /// How many checks of these buckets the proxy has acknowledged and therefore keeps.
    pub count: u32,
    /// The digest of their ids and states ([`hc_types::Digest`]).
    pub digest: u64,
}

impl RefreshMessage {
    /// The message with this number.
    #[must_use]
    pub fn new(seq: u64, refresh: &Refresh) -> Self {
        let Refresh { generation, buckets, digest } = refresh;
        let (first, last) = (*buckets.start(), *buckets.end());
        Self { seq, generation: *generation, first, last, count: digest.count, digest: digest.sum }
    }
}

/// A batch has been delivered, or not; or a refresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "ack")]
pub struct Ack {
    /// The batch or refresh.
    pub seq: u64,
    /// Why the engine did not take it. Absent: it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// To a refresh, with an error: the digest is another one. The proxy has dropped what it kept
    /// of these buckets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub differs: bool,
}

/// Asks for the status of every check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "request_status")]
pub struct RequestStatus {}

/// The status of every check, or a part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "status_response")]
pub struct StatusResponse {
    /// Every check once, those not yet probed included.
    pub statuses: Vec<Notification>,
    /// Which part this is, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
    /// How many parts there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<u32>,
}

/// The proxy leaves on purpose. Checks run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "shutdown")]
pub struct Shutdown {}

/// Something that the other side said was wrong. Its shape never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "error")]
pub struct ErrorMessage {
    /// A fixed word.
    pub code: ErrorCode,
    /// What was wrong, for logs.
    pub message: String,
}

/// The fixed words of [`ErrorMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not JSON, or a field is missing or wrong.
    Malformed,
    /// An unknown `type`.
    UnknownType,
    /// Longer than [`MAX_LINE`].
    LineTooLong,
    /// Another version of the protocol.
    Protocol,
    /// A newer connection took this one's place.
    Replaced,
    /// A message that this side does not take now.
    Unexpected,
    /// A fault of the sender's own.
    Internal,
    /// A word of a later version.
    #[serde(other)]
    Other,
}

impl ErrorMessage {
    /// The answer to a line longer than [`MAX_LINE`].
    #[must_use]
    pub fn line_too_long() -> Self {
        Self { code: ErrorCode::LineTooLong, message: format!("a line is longer than {MAX_LINE} bytes") }
    }
}
