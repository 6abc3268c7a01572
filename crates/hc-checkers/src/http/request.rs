//! The one request of a probe.

use hc_types::{HttpProbe, HttpRequest, Target};

use crate::UserAgent;

/// A request, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// All of its bytes.
    pub bytes: Vec<u8>,
}

impl Request {
    /// Makes the request of a probe to `target`. The probe's fields are written as they stand:
    /// [`CheckSpec::new`](hc_types::CheckSpec::new) has refused those that would break the request.
    ///
    /// It asks for no compression: what comes is compared as it is, and the server has less to do.
    /// It asks the server to close the connection, so that TIME_WAIT is left over there, where
    /// connections of all clients end anyway.
    #[must_use]
    pub fn new(probe: &HttpProbe, target: &Target, user_agent: &UserAgent) -> Self {
        Self::with(probe, target, user_agent, b"close")
    }

    /// The same, which asks the server to keep the connection.
    pub(crate) fn keeping(probe: &HttpProbe, target: &Target, user_agent: &UserAgent) -> Self {
        Self::with(probe, target, user_agent, b"keep-alive")
    }

    fn with(probe: &HttpProbe, target: &Target, user_agent: &UserAgent, connection: &[u8]) -> Self {
        let overrides = probe.overrides.as_deref();
        let address = target.socket_addr().to_string();
        let host = overrides.and_then(|overrides| overrides.host.as_deref()).unwrap_or(&address);
        let request: Option<&HttpRequest> = overrides.and_then(|overrides| overrides.request.as_deref());
        let body = request.map_or(&[][..], |request| request.body.as_slice());
        let request_target = probe.request_target.as_slice();

        let mut bytes = Vec::with_capacity(192 + request_target.len() + 2 * host.len() + body.len());
        let mut write = |parts: &[&[u8]]| parts.iter().for_each(|part| bytes.extend_from_slice(part));
        write(&[probe.method.as_bytes(), b" "]);
        if probe.proxy && request_target.starts_with(b"/") {
            let scheme: &[u8] = if probe.tls.is_some() { b"https://" } else { b"http://" };
            write(&[scheme, host.as_bytes()]);
        }
        write(&[request_target, b" HTTP/1.1\r\nHost: ", host.as_bytes(), b"\r\n"]);
        let agent = request.and_then(|request| request.user_agent.as_deref());
        let agent = agent.unwrap_or(user_agent.as_str());
        if !agent.is_empty() {
            write(&[b"User-Agent: ", agent.as_bytes(), b"\r\n"]);
        }
        // RFC 9110 section 8.6: these have a body by their meaning, so one without says so.
        if !body.is_empty() || matches!(&*probe.method, "POST" | "PUT" | "PATCH") {
            write(&[b"Content-Length: ", body.len().to_string().as_bytes(), b"\r\n"]);
        }
        for field in request.map_or(&[][..], |request| &*request.headers) {
            write(&[field.name.as_bytes(), b": ", field.value.expose(), b"\r\n"]);
        }
        if let Some(credentials) = overrides.and_then(|overrides| overrides.authorization.as_ref()) {
            write(&[b"Authorization: ", credentials.expose(), b"\r\n"]);
            if probe.proxy {
                write(&[b"Proxy-Authorization: ", credentials.expose(), b"\r\n"]);
            }
        }
        write(&[b"Connection: ", connection, b"\r\n\r\n", body]);
        Self { bytes }
    }
}
