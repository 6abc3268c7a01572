//! What an HTTP request says beyond method, target and host, and over what it goes.

use crate::{RawBytes, Secret};

/// The version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 (RFC 9113): over TLS agreed by ALPN, otherwise with prior knowledge.
    Http2,
}

/// What a request says beyond method, target and host.
///
/// ```
/// use std::sync::Arc;
/// use hc_types::{HeaderField, HttpOverrides, HttpProbe, HttpRequest};
///
/// let request = HttpRequest {
///     headers: [HeaderField { name: "X-Token".into(), value: "t0ken".into() }].into(),
///     body: r#"{"deep": true}"#.into(),
///     ..HttpRequest::default()
/// };
/// let probe = HttpProbe {
///     method: "POST".into(),
///     overrides: Some(Box::new(HttpOverrides {
///         request: Some(Arc::new(request)),
///         ..HttpOverrides::default()
///     })),
///     ..HttpProbe::default()
/// };
/// # assert!(probe.overrides.is_some());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HttpRequest {
    /// The version that is spoken.
    pub version: HttpVersion,
    /// The `User-Agent` field. Default: that of the checker. Empty: no such field.
    pub user_agent: Option<Box<str>>,
    /// Further fields, in this order, at most [`HttpRequest::MAX_HEADERS`].
    pub headers: Box<[HeaderField]>,
    /// The body, at most [`HttpRequest::MAX_BODY`] bytes, sent with its Content-Length. Empty:
    /// none.
    pub body: RawBytes,
    /// So many probes in a row go over one connection, at most [`HttpRequest::MAX_REUSE`]. HTTP/1.1
    /// only. Default 0, which is the same as 1: each probe makes its own.
    pub reuse: u16,
}

impl HttpRequest {
    /// The most header fields.
    pub const MAX_HEADERS: usize = 64;

    /// The most bytes that names and values of all header fields have together: 16 KiB.
    pub const MAX_HEADER_BYTES: usize = 16 * 1024;

    /// The longest body, in bytes: 64 KiB.
    pub const MAX_BODY: usize = 64 * 1024;

    /// The most probes in a row over one connection.
    pub const MAX_REUSE: u16 = 1000;
}

/// A field of a request. Values are often tokens, so they are secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderField {
    /// The name, sent as it stands (in lower case with HTTP/2).
    pub name: Box<str>,
    /// The value, which may be empty.
    pub value: Secret,
}

/// Why a request field of this name is refused, in words. The checker writes these fields itself,
/// or they would change how the connection is used (RFC 9110 section 7.6.1, RFC 9113 section
/// 8.2.2).
pub(crate) fn field_problem(name: &str) -> Option<&'static str> {
    const OWN: &[(&str, &str)] = &[
        ("host", "is made of the address or of `host`"),
        ("user-agent", "is set by `user_agent`"),
        ("content-length", "is made of the body"),
        ("transfer-encoding", "is not used: a body has a Content-Length"),
        ("connection", "is about the connection, which serves one request"),
        ("keep-alive", "is about the connection, which serves one request"),
        ("proxy-connection", "is about the connection, which serves one request"),
        ("upgrade", "is about the connection, which serves one request"),
        ("http2-settings", "is about the connection, which serves one request"),
        ("te", "would ask for trailers, which are not read"),
        ("trailer", "would announce trailers, which are not sent"),
        ("expect", "would make the server wait"),
    ];

    OWN.iter().find(|(own, _)| name.eq_ignore_ascii_case(own)).map(|(_, problem)| *problem)
}
