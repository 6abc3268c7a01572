//! The exchange of an HTTP check in HTTP/2.

use bytes::Bytes;
use hc_types::{Failure, HttpProbe, Pass, Target};
use http::Method;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use tokio::io::{AsyncRead, AsyncWrite};

use super::judge::{self, BodyJudge};
use super::response::is_undone;
use super::{Framing, ResponseHead};
use crate::deadline::Progress;
use crate::fault::{self, ProbeError};
use crate::http2::{self, Exchange, Transcript};
use crate::{ProbeMemory, UserAgent};

/// Sends the request of a probe, and judges the response as one in HTTP/1.1 is judged.
pub(crate) async fn exchange<S>(
    probe: &HttpProbe,
    (target, user_agent): (&Target, &UserAgent),
    stream: &mut S,
    memory: &ProbeMemory,
    progress: &Progress,
) -> Result<Pass, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = request(probe, target, user_agent)?;
    http2::converse(stream, memory, progress, exchange, async |answer| {
        let parts = answer.head().await?;
        progress.answered();
        let head = head(probe, &parts);
        let keep_head = || drop(Transcript::new(progress, &parts));
        judge::check_head(probe, &head, &head.status_text).inspect_err(|_| keep_head())?;
        let body = BodyJudge::new(probe, &head).inspect_err(|_| keep_head())?;
        if let Some(mut body) = body {
            let mut transcript = Transcript::new(progress, &parts);
            loop {
                let piece = answer.data(body.size()).await?;
                let judged = match &piece {
                    Some(piece) => {
                        transcript.content(piece);
                        body.take(piece)?
                    }
                    None => body.end().map(|()| true)?,
                };
                if judged {
                    break;
                }
            }
        }
        Ok(Pass::http(head.status, &head.status_text))
    })
    .await
}

/// The request, unless it cannot be sent. What makes no request was refused with the check; what is
/// left is an odd host.
fn request(probe: &HttpProbe, target: &Target, user_agent: &UserAgent) -> Result<Exchange, ProbeError> {
    let overrides = probe.overrides.as_deref();
    if let Some(error) = overrides.and_then(|overrides| overrides.error.clone()) {
        return Err(Failure::BadRequest(fault::truncate_text(error.into())).into());
    }
    let bad = |what: &str| ProbeError::from(Failure::BadRequest(format!("HTTP/2 cannot send {what}").into()));
    let address = target.socket_addr().to_string();
    let host = overrides.and_then(|overrides| overrides.host.as_deref()).unwrap_or(&address);
    let path =
        PathAndQuery::try_from(probe.request_target.as_slice()).map_err(|_| bad("this request target"))?;
    let method = Method::try_from(&*probe.method).map_err(|_| bad("this method"))?;
    let mut request =
        http2::request(probe.tls.is_some(), method, host, path).ok_or_else(|| bad("this host"))?;

    let own = overrides.and_then(|overrides| overrides.request.as_deref());
    let agent = own.and_then(|own| own.user_agent.as_deref()).unwrap_or(user_agent.as_str());
    let body = own.map_or(&[][..], |own| own.body.as_slice());
    let fields = request.headers_mut();
    let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).map_err(|_| bad("this header"));
    if !agent.is_empty() {
        fields.insert(header::USER_AGENT, value(agent.as_bytes())?);
    }
    // As with HTTP/1.1.
    if !body.is_empty() || matches!(&*probe.method, "POST" | "PUT" | "PATCH") {
        fields.insert(header::CONTENT_LENGTH, body.len().into());
    }
    if let Some(credentials) = overrides.and_then(|overrides| overrides.authorization.as_ref()) {
        fields.insert(header::AUTHORIZATION, value(credentials.expose())?);
    }
    for field in own.map_or(&[][..], |own| &*own.headers) {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| bad("this header"))?;
        fields.insert(name, value(field.value.expose())?);
    }
    let wanted = u32::try_from(judge::body_limit(probe)).unwrap_or(u32::MAX / 4);
    Ok(Exchange { request, body: Bytes::copy_from_slice(body), wanted })
}

/// The head in the form that is judged. HTTP/2 has no text of a status; the usual one is easier to
/// read than a number.
fn head(probe: &HttpProbe, parts: &http::response::Parts) -> ResponseHead {
    let reason = parts.status.canonical_reason().map_or(String::new(), |reason| format!(" {reason}"));
    let encoding = parts.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    let conditions = probe.conditions.iter().flat_map(|conditions| &conditions.headers);
    let mut names: Vec<&str> = conditions.map(|condition| &*condition.name).collect();
    names.sort_unstable();
    names.dedup();
    let values = |name| {
        parts.headers.get_all(name).iter().map(move |value| (Box::from(name), value.as_bytes().into()))
    };
    ResponseHead {
        length: 0,
        status: parts.status.as_u16(),
        status_text: format!("{}{reason}", parts.status.as_u16()).into(),
        framing: Framing::Close,
        persistent: false,
        gzip: encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case(b"gzip")),
        has_location: parts.headers.get(header::LOCATION).is_some_and(|location| !location.is_empty()),
        encoding: encoding.filter(|encoding| !is_undone(encoding)).map(Box::from),
        fields: names.into_iter().flat_map(values).collect(),
    }
}
