//! The one request of a probe.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hc_types::{HttpProbe, Target};

use super::{RequestTarget, RequestTargetError, UserInfo, idn};

/// Why a request cannot be made from a check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request of the check is no URL.
    #[error(transparent)]
    Url(#[from] RequestTargetError),
    /// It is neither ASCII nor can it be written so.
    #[error("host name {} has a label that is not in Punycode", hc_types::quote(.0))]
    Host(Vec<u8>),
    /// A proxy cannot do without a valid `Host`.
    #[error("http: invalid Host header")]
    ProxyHost,
}

/// A request, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// All of its bytes.
    pub bytes: Vec<u8>,
    /// The host of the URL without port and brackets, for SNI and verification; `None` means the address of the target.
    pub server_name: Option<String>,
}

const USER_AGENT: &str = concat!("hc-server/", env!("CARGO_PKG_VERSION"));

impl Request {
    /// Makes the request of a probe.
    ///
    /// It asks for no compression: what comes is compared as it is, and the server has less to do. It asks the server to close the
    /// connection, so that TIME_WAIT is left over there, where connections of all clients end anyway.
    ///
    /// # Errors
    /// [`RequestError`] if the probe's request is no URL, or names a host that cannot be named in HTTP.
    pub fn new(probe: &HttpProbe, target: &Target) -> Result<Self, RequestError> {
        let url = RequestTarget::parse(probe.request.as_slice())?;
        let host = host_header(&url, target, probe.proxy)?;
        let method = &*probe.method;
        let mut line = url.origin_form();
        if probe.proxy && url.opaque.is_empty() {
            let scheme: &[u8] = if probe.tls.is_some() { b"https://" } else { b"http://" };
            line = [scheme, &host[..], &line[..]].concat();
        } else if method == "CONNECT" && url.path.is_empty() {
            line = if url.opaque.is_empty() { host.clone() } else { url.opaque.clone() };
        }

        let mut bytes = Vec::with_capacity(128 + line.len() + host.len());
        for part in [method.as_bytes(), b" ", &line, b" HTTP/1.1\r\nHost: ", &host] {
            bytes.extend_from_slice(part);
        }
        for part in ["\r\nUser-Agent: ", USER_AGENT, "\r\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        // RFC 9110 section 8.6: these have a body by their meaning, so one without says so.
        if matches!(method, "POST" | "PUT" | "PATCH") {
            bytes.extend_from_slice(b"Content-Length: 0\r\n");
        }
        if let Some(user) = &url.user {
            add_credentials(&mut bytes, "Authorization", user);
            if probe.proxy {
                add_credentials(&mut bytes, "Proxy-Authorization", user);
            }
        }
        bytes.extend_from_slice(b"Connection: close\r\n\r\n");
        Ok(Self { bytes, server_name: server_name(&url.authority) })
    }
}

/// Basic credentials (RFC 7617).
fn add_credentials(bytes: &mut Vec<u8>, field: &str, user: &UserInfo) {
    let credentials = BASE64.encode([&user.name[..], b":", &user.password[..]].concat());
    bytes.extend_from_slice(format!("{field}: Basic {credentials}\r\n").as_bytes());
}

fn host_header(url: &RequestTarget, target: &Target, proxy: bool) -> Result<Vec<u8>, RequestError> {
    let host = &url.authority[..];
    if host.is_empty() {
        return Ok(target.socket_addr().to_string().into_bytes());
    }
    let translated;
    let host = if host.is_ascii() {
        host
    } else {
        translated = idn::authority(host).ok_or_else(|| RequestError::Host(host.to_vec()))?;
        &translated
    };
    // Bytes that a URL may have and a header may not.
    if host.iter().any(|byte| b"<>\" ".contains(byte)) {
        return if proxy { Err(RequestError::ProxyHost) } else { Ok(Vec::new()) };
    }
    // An empty port is not named. A colon alone stays, as in Go.
    let host = host.strip_suffix(b":").filter(|host| !host.is_empty()).unwrap_or(host);
    // A zone means something on this machine only (RFC 6874 section 4).
    Ok(match (host.starts_with(b"["), host.iter().position(|byte| *byte == b'%')) {
        (true, Some(zone)) => {
            let end = host.iter().rposition(|byte| *byte == b']').unwrap_or(host.len());
            [&host[..zone], &host[end..]].concat()
        }
        _ => host.to_vec(),
    })
}

fn server_name(authority: &[u8]) -> Option<String> {
    if authority.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(authority);
    let port = text.rfind(':').filter(|colon| !text[*colon..].contains(']'));
    let host = &text[..port.unwrap_or(text.len())];
    Some(idn::server_name(host.trim_start_matches('[').trim_end_matches(']')))
}

/// The address that a server name is, if it is one.
pub(super) fn as_address(server_name: &str) -> Option<IpAddr> {
    server_name.split('%').next()?.parse().ok()
}
