//! Responses.

use std::convert::Infallible;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use hc_api::Problem;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) const JSON: &str = "application/json";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

pub(crate) fn bytes(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    body_of(status, kind, Full::new(body.into()).boxed_unsync())
}

pub(crate) fn body_of(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // What is shown is true for a moment only.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => bytes(status, JSON, body),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

pub(crate) fn problem(status: StatusCode, error: impl Into<String>) -> Response<Body> {
    // Strings can be written as JSON.
    let body = serde_json::to_vec(&Problem::new(error)).unwrap_or_default();
    bytes(status, JSON, body)
}

/// The same, compressed for a reader that takes it: a tenth of the bytes for some milliseconds a
/// megabyte.
pub(crate) fn large_json<T: Serialize>(value: &T, headers: &HeaderMap) -> Response<Body> {
    let body = match serde_json::to_vec(value) {
        Ok(body) => body,
        Err(error) => return problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let mut response = if takes_gzip(headers) {
        let mut response = bytes(StatusCode::OK, JSON, gzip(&body, 1));
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        bytes(StatusCode::OK, JSON, body)
    };
    response.headers_mut().insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
    response
}

/// Whether the request takes gzip (RFC 9110, section 12.5.3).
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    fields.flat_map(|field| field.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().trim_start_matches("q=").parse::<f32>();
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight| weight > 0.0)
    })
}

/// Compressed at this level, 1 to 9.
pub(crate) fn gzip(content: &[u8], level: u32) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    // Writing to a Vec cannot fail.
    let _ = encoder.write_all(content);
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_whom_takes_it() {
        let check = |value: &'static str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(takes_gzip(&headers), expected, "{value}");
        };
        check("gzip", true);
        check("br;q=1.0, GZIP;q=0.5", true);
        check("identity, gzip;q=0", false);
        check("xgzip", false);
        check("", false);
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
