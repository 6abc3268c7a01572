//! Which HTTP checks make sense.

use std::sync::Arc;

use super::SpecError;
use crate::http::{condition, request};
use crate::{
    BodyCondition, GrpcProbe, HeaderCondition, HeaderField, HttpConditions, HttpOverrides, HttpProbe,
    HttpRequest, HttpVersion, Secret, Tls, text,
};

/// # Errors
/// The first field whose value makes no sense.
pub(super) fn checked(mut http: Box<HttpProbe>) -> Result<Box<HttpProbe>, SpecError> {
    if !is_token(&http.method) {
        return Err(SpecError::Method(http.method.clone()));
    }
    for range in http.expected_codes.ranges() {
        let (first, last) = range.into_inner();
        if let Some(code) = [first, last].into_iter().find(|code| !(100..=999).contains(code)) {
            return Err(SpecError::ExpectedCode(code));
        }
        if first > last {
            return Err(SpecError::ExpectedCodes { first, last });
        }
    }
    if let Some(problem) = request_target_problem(http.request_target.as_slice()) {
        let quoted = text::quote(http.request_target.as_slice()).into();
        return Err(SpecError::RequestTarget { quoted, problem });
    }
    http.tls.as_mut().map_or(Ok(()), Tls::check)?;
    let request = http.overrides.as_ref().and_then(|overrides| overrides.request.as_ref());
    let is_http2 = request.is_some_and(|request| request.version == HttpVersion::Http2);
    check_alpn(http.tls.as_ref(), is_http2)?;
    check_body_conditions(&http)?;
    let has_tls = http.tls.is_some();
    if let Some(overrides) = &mut http.overrides {
        check_overrides(overrides)?;
        // One check has one form, so that it is equal to itself wherever it comes from.
        overrides.server_name.take_if(|_| !has_tls);
        if let Some(request) = overrides.request.as_mut().filter(|request| request.reuse == 1) {
            Arc::make_mut(request).reuse = 0;
        }
        overrides.request.take_if(|request| **request == HttpRequest::default());
    }
    if let Some(request) = http.overrides.as_deref().and_then(|overrides| overrides.request.as_deref()) {
        check_request(request, &http)?;
    }
    if let Some(conditions) = &mut http.conditions {
        lower_case(conditions);
    }
    http.conditions.take_if(|conditions| conditions.headers.is_empty() && conditions.body.is_empty());
    http.overrides = http.overrides.filter(|overrides| **overrides != HttpOverrides::default());
    Ok(http)
}

/// The protocol that is spoken must be among those that are offered, and over HTTP/1.1 no server
/// may choose HTTP/2.
fn check_alpn(tls: Option<&Tls>, is_http2: bool) -> Result<(), SpecError> {
    let Some(options) = tls.and_then(|tls| tls.options.as_ref()) else { return Ok(()) };
    let offers_http2 = options.alpn.iter().any(|name| name.as_slice() == b"h2");
    let problem = match (is_http2, offers_http2) {
        (true, _) if options.alpn.len() > 1 || (!offers_http2 && !options.alpn.is_empty()) => {
            "a check by HTTP/2 offers h2 alone"
        }
        (false, true) => "h2 needs a check by HTTP/2 (`version = \"2\"`)",
        _ => return Ok(()),
    };
    Err(SpecError::TlsOption { field: "alpn", problem })
}

/// # Errors
/// The first field whose value makes no sense.
pub(super) fn checked_grpc(mut grpc: Box<GrpcProbe>) -> Result<Box<GrpcProbe>, SpecError> {
    grpc.tls.as_mut().map_or(Ok(()), Tls::check)?;
    check_alpn(grpc.tls.as_ref(), true)?;
    let length = grpc.service.len();
    if length > GrpcProbe::MAX_SERVICE {
        return Err(SpecError::Service { length });
    }
    let odd = |host: &&str| host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic());
    if let Some(host) = grpc.host.as_deref().filter(odd) {
        return Err(SpecError::Authority(host.into()));
    }
    let has_tls = grpc.tls.is_some();
    grpc.server_name.take_if(|_| !has_tls);
    Ok(grpc)
}

/// What would end the request target early, or the request line. Bytes outside ASCII are let
/// through as Go sends them in a query, and as servers read them.
fn request_target_problem(target: &[u8]) -> Option<&'static str> {
    match target.iter().find(|byte| **byte <= b' ' || **byte == 0x7f || **byte == b'#') {
        None if target.is_empty() => Some("is empty"),
        None => None,
        Some(b' ') => Some("has a blank (write %20)"),
        Some(b'#') => Some("has a fragment, which is not sent (write %23 for '#')"),
        Some(_) => Some("has a control character"),
    }
}

fn check_overrides(overrides: &HttpOverrides) -> Result<(), SpecError> {
    if let Some(host) = overrides.host.as_deref().filter(|host| !host.bytes().all(|b| b.is_ascii_graphic())) {
        return Err(SpecError::HttpHost(host.into()));
    }
    // The value is a secret and must not be quoted.
    let breaks = |secret: &Secret| secret.expose().iter().any(u8::is_ascii_control);
    if overrides.authorization.as_ref().is_some_and(breaks) {
        return Err(SpecError::Authorization);
    }
    Ok(())
}

/// RFC 9110 section 5.6.2.
fn is_token(word: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !word.is_empty() && word.bytes().all(token)
}

/// Whether a field can have this value: no control character but a tab, and no blank at an end,
/// which no receiver would see (RFC 9110 section 5.5).
fn is_field_value(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !blank(value.first())
        && !blank(value.last())
        && value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control())
}

fn check_request(request: &HttpRequest, http: &HttpProbe) -> Result<(), SpecError> {
    let HttpRequest { version, user_agent, headers, body, reuse } = request;
    if let Some(agent) = user_agent.as_deref().filter(|agent| !is_field_value(agent.as_bytes())) {
        return Err(SpecError::UserAgent(agent.into()));
    }
    let bytes = headers.iter().map(|field| field.name.len() + field.value.expose().len()).sum();
    if headers.len() > HttpRequest::MAX_HEADERS || bytes > HttpRequest::MAX_HEADER_BYTES {
        return Err(SpecError::Headers { count: headers.len(), bytes });
    }
    for (i, field) in headers.iter().enumerate() {
        if let Some(problem) = header_problem(field, &headers[..i], http) {
            return Err(SpecError::Header { quoted: text::quote(field.name.as_bytes()).into(), problem });
        }
    }
    if body.len() > HttpRequest::MAX_BODY {
        return Err(SpecError::RequestBody { length: body.len() });
    }
    if *reuse > 0 {
        check_reuse(*reuse, *version, http.tls.as_ref())?;
    }
    match version {
        HttpVersion::Http2 => http2_problem(http).map_or(Ok(()), |problem| Err(SpecError::Http2(problem))),
        HttpVersion::Http1 => Ok(()),
    }
}

fn check_reuse(reuse: u16, version: HttpVersion, tls: Option<&Tls>) -> Result<(), SpecError> {
    if reuse > HttpRequest::MAX_REUSE {
        return Err(SpecError::Reuse("at most 1000 probes go over one connection"));
    }
    if version != HttpVersion::Http1 {
        return Err(SpecError::Reuse("not with HTTP/2"));
    }
    if tls.is_some_and(|tls| tls.old_versions || tls.rsa_key_exchange || tls.sha1) {
        return Err(SpecError::Reuse("not with `old_versions`, `rsa_key_exchange` or `sha1`"));
    }
    Ok(())
}

fn header_problem(field: &HeaderField, before: &[HeaderField], http: &HttpProbe) -> Option<&'static str> {
    let HeaderField { name, value } = field;
    let authorization = http.overrides.as_ref().is_some_and(|overrides| overrides.authorization.is_some());
    if !is_token(name) {
        return Some("is not the name of a header field");
    }
    if !is_field_value(value.expose()) {
        return Some("has a value with a control character, or with a blank at an end");
    }
    if before.iter().any(|other| other.name.eq_ignore_ascii_case(name))
        || (authorization && name.eq_ignore_ascii_case("authorization"))
    {
        return Some("is there twice");
    }
    request::field_problem(name)
}

/// What HTTP/2 cannot send, in words (RFC 9113 section 8.3.1).
fn http2_problem(http: &HttpProbe) -> Option<&'static str> {
    let target = http.request_target.as_slice();
    let host = http.overrides.as_deref().and_then(|overrides| overrides.host.as_deref());
    if http.proxy {
        return Some("a proxy");
    }
    if !target.starts_with(b"/") || !target.iter().all(u8::is_ascii_graphic) {
        return Some("a request target that is not a path in ASCII");
    }
    if host.is_some_and(str::is_empty) {
        return Some("an empty host");
    }
    (&*http.method == "CONNECT").then_some("the method CONNECT")
}

fn check_body_conditions(http: &HttpProbe) -> Result<(), SpecError> {
    let Some(conditions) = http.conditions.as_deref() else { return Ok(()) };
    let HttpConditions { headers, body, body_limit } = conditions;
    if let Some(condition) = headers.iter().find(|condition| !is_token(&condition.name)) {
        return Err(SpecError::ExpectedHeader(text::quote(condition.name.as_bytes()).into()));
    }
    for condition in body {
        match condition {
            BodyCondition::Contains(part) if part.is_empty() => return Err(SpecError::BodyContains),
            BodyCondition::Json(json) => {
                if let Some(problem) = condition::pointer_problem(&json.pointer) {
                    let quoted = text::quote(json.pointer.as_bytes()).into();
                    return Err(SpecError::JsonPointer { quoted, problem });
                }
            }
            BodyCondition::Contains(_) | BodyCondition::Matches(_) => {}
        }
    }
    if !(1..=HttpConditions::MAX_BODY_LIMIT).contains(body_limit) {
        return Err(SpecError::BodyLimit);
    }
    let expected = http.expected_body.len();
    if expected > *body_limit as usize {
        return Err(SpecError::BodyLimitTooLow { limit: *body_limit, expected });
    }
    Ok(())
}

/// Names of fields are compared in lower case.
fn lower_case(conditions: &mut Arc<HttpConditions>) {
    let is_upper = |condition: &HeaderCondition| condition.name.bytes().any(|byte| byte.is_ascii_uppercase());
    if conditions.headers.iter().any(is_upper) {
        for condition in &mut Arc::make_mut(conditions).headers {
            condition.name.make_ascii_lowercase();
        }
    }
}
