//! What Seesaw calls the request of a check: a URL reference, read as Go's `net/url` reads it.

use std::fmt;

use hc_types::quote;

/// A URL reference in its parts. What is not sent (scheme, fragment) is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTarget {
    /// User name and password before the host, decoded.
    pub user: Option<UserInfo>,
    /// Host and perhaps port, decoded; empty for a reference without one.
    pub authority: Vec<u8>,
    /// What comes after `scheme:` where that is no path; empty otherwise.
    pub opaque: Vec<u8>,
    /// The path, encoded where it must be.
    pub path: Vec<u8>,
    /// What comes after the question mark, if there is one, as written.
    pub query: Option<Vec<u8>>,
}

/// User name and password of a URL.
#[derive(Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// The name.
    pub name: Vec<u8>,
    /// The password; empty if there is none.
    pub password: Vec<u8>,
}

impl fmt::Debug for UserInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserInfo(..)")
    }
}

/// Why a text is no URL reference, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parse {}: {problem}", shown(url))]
pub struct RequestTargetError {
    url: Vec<u8>,
    problem: UrlProblem,
}

impl RequestTargetError {
    /// The text of it goes into logs and to the engine, so what may be a password does not go into the text.
    fn new(url: &[u8], problem: UrlProblem) -> Self {
        let authority = url.windows(2).position(|two| two == b"//").map(|slashes| slashes + 2);
        let shown = authority.and_then(|start| {
            let end = url[start..]
                .iter()
                .position(|byte| b"/?#".contains(byte))
                .map_or(url.len(), |end| start + end);
            let at = url[start..end].iter().rposition(|byte| *byte == b'@')?;
            Some([&url[..start], b"***", &url[start + at..]].concat())
        });
        Self { url: shown.unwrap_or_else(|| url.to_vec()), problem }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum UrlProblem {
    #[error("net/url: invalid control character in URL")]
    ControlCharacter,
    #[error("missing protocol scheme")]
    MissingScheme,
    #[error("first path segment in URL cannot contain colon")]
    ColonInFirstSegment,
    #[error("invalid URL escape {}", quote(.0))]
    Escape(Vec<u8>),
    #[error("net/url: invalid userinfo")]
    UserInfo,
    #[error("invalid IP-literal")]
    IpLiteral,
    #[error("missing ']' in host")]
    MissingBracket,
    #[error("invalid port {} after host", shown(.0))]
    Port(Vec<u8>),
    #[error("invalid host: ParseAddr({}): unable to parse IP", shown(.0))]
    Address(Vec<u8>),
    #[error("invalid character {} in host name", quote(&[*.0]))]
    HostCharacter(u8),
}

/// A quote, of the beginning alone where it is long: a backend may name a URL of any length, and quoting costs more than parsing.
fn shown(text: &[u8]) -> String {
    const SHOWN: usize = 512;
    quote(&text[..text.len().min(SHOWN)])
}

impl RequestTarget {
    /// Reads a reference (RFC 3986 section 4.1) as leniently as Go does: a path without a slash, a query alone, `*`, and spaces
    /// are fine.
    ///
    /// # Errors
    /// [`RequestTargetError`] where Go's `url.Parse` has one.
    pub fn parse(reference: &[u8]) -> Result<Self, RequestTargetError> {
        let (url, fragment) = cut(reference, b'#');
        let parsed = parse_url(url).map_err(|problem| RequestTargetError::new(url, problem))?;
        decode(fragment.unwrap_or_default(), Part::Other)
            .map_err(|problem| RequestTargetError::new(reference, problem))?;
        Ok(parsed)
    }

    /// The target of a request line in its origin form (RFC 9112 section 3.2.1), whatever Go makes of that.
    #[must_use]
    pub fn origin_form(&self) -> Vec<u8> {
        let mut form = if self.opaque.is_empty() { self.path.clone() } else { self.opaque.clone() };
        if form.is_empty() {
            form.push(b'/');
        }
        if let Some(query) = &self.query {
            form.push(b'?');
            form.extend_from_slice(query);
        }
        form
    }
}

fn parse_url(url: &[u8]) -> Result<RequestTarget, UrlProblem> {
    if url.iter().any(u8::is_ascii_control) {
        return Err(UrlProblem::ControlCharacter);
    }
    let mut target = RequestTarget {
        user: None,
        authority: Vec::new(),
        opaque: Vec::new(),
        path: Vec::new(),
        query: None,
    };
    let (scheme, rest) = split_scheme(url)?;
    let (rest, query) = cut(rest, b'?');
    target.query = query.map(<[u8]>::to_vec);
    if !rest.starts_with(b"/") {
        if !scheme.is_empty() {
            target.opaque = rest.to_vec();
            return Ok(target);
        }
        if cut(rest, b'/').0.contains(&b':') {
            return Err(UrlProblem::ColonInFirstSegment);
        }
    }
    let mut path = rest;
    if rest.starts_with(b"//") && (!scheme.is_empty() || !rest.starts_with(b"///")) {
        let after = &rest[2..];
        let end = after.iter().position(|byte| *byte == b'/').unwrap_or(after.len());
        let authority = &after[..end];
        path = &after[end..];
        (target.user, target.authority) = parse_authority(scheme, authority)?;
    }
    target.path = encoded_path(path)?;
    Ok(target)
}

/// The scheme, empty if there is none, and what follows it. A colon may also stand in a path.
fn split_scheme(url: &[u8]) -> Result<(&[u8], &[u8]), UrlProblem> {
    let is_scheme_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let length = url.iter().take_while(|byte| is_scheme_byte(byte)).count();
    match url.get(length) {
        Some(b':') if length == 0 => Err(UrlProblem::MissingScheme),
        Some(b':') if url[0].is_ascii_alphabetic() => Ok((&url[..length], &url[length + 1..])),
        _ => Ok((b"", url)),
    }
}

fn parse_authority(scheme: &[u8], authority: &[u8]) -> Result<(Option<UserInfo>, Vec<u8>), UrlProblem> {
    let Some(at) = authority.iter().rposition(|byte| *byte == b'@') else {
        return Ok((None, parse_host(scheme, authority)?));
    };
    let host = parse_host(scheme, &authority[at + 1..])?;
    let user = &authority[..at];
    if !user.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(byte)) {
        return Err(UrlProblem::UserInfo);
    }
    let (name, password) = cut(user, b':');
    let name = decode(name, Part::Other)?;
    let password = decode(password.unwrap_or_default(), Part::Other)?;
    Ok((Some(UserInfo { name, password }), host))
}

fn parse_host(scheme: &[u8], host: &[u8]) -> Result<Vec<u8>, UrlProblem> {
    match host.iter().rposition(|byte| *byte == b'[') {
        Some(0) => return parse_ip_literal(host),
        Some(_) => return Err(UrlProblem::IpLiteral),
        None => {}
    }
    // With these two schemes all that follows the first colon must be a port.
    let strict = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let is_colon = |byte: &u8| *byte == b':';
    let colon = if strict { host.iter().position(is_colon) } else { host.iter().rposition(is_colon) };
    check_port(&host[colon.unwrap_or(host.len())..])?;
    decode(host, Part::Host)
}

fn parse_ip_literal(host: &[u8]) -> Result<Vec<u8>, UrlProblem> {
    let end = host.iter().rposition(|byte| *byte == b']').ok_or(UrlProblem::MissingBracket)?;
    let port = &host[end + 1..];
    check_port(port)?;
    let inner = &host[1..end];
    let zone = inner.windows(3).position(|window| window == b"%25").unwrap_or(inner.len());
    let mut address = decode(&inner[..zone], Part::Host)?;
    let ip = std::str::from_utf8(&address).ok().map(str::parse::<std::net::IpAddr>);
    let ip_is_v6 = match ip {
        Some(Ok(ip)) => ip.is_ipv6(),
        _ => return Err(UrlProblem::Address(address)),
    };
    if !ip_is_v6 {
        return Err(UrlProblem::IpLiteral);
    }
    address.extend(decode(&inner[zone..], Part::Zone)?);
    Ok([b"[", &address[..], b"]", port].concat())
}

fn check_port(port: &[u8]) -> Result<(), UrlProblem> {
    match port {
        [] => Ok(()),
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => Ok(()),
        other => Err(UrlProblem::Port(other.to_vec())),
    }
}

/// The path as it is sent: as written where every byte may stand in a path, decoded and encoded anew otherwise.
fn encoded_path(path: &[u8]) -> Result<Vec<u8>, UrlProblem> {
    let decoded = decode(path, Part::Other)?;
    if path.iter().all(|byte| is_plain_in_path(*byte) || b"!'()*[]%".contains(byte)) {
        return Ok(path.to_vec());
    }
    let mut encoded = Vec::with_capacity(path.len() + 16);
    for byte in decoded {
        if is_plain_in_path(byte) {
            encoded.push(byte);
        } else {
            encoded.push(b'%');
            encoded.extend([byte >> 4, byte & 15].map(|digit| b"0123456789ABCDEF"[usize::from(digit)]));
        }
    }
    Ok(encoded)
}

fn is_plain_in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte)
}

fn may_stand_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Host,
    Zone,
    Other,
}

/// Undoes percent-encoding.
fn decode(text: &[u8], part: Part) -> Result<Vec<u8>, UrlProblem> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        if *first != b'%' {
            if part != Part::Other && first.is_ascii() && !may_stand_in_host(*first) {
                return Err(UrlProblem::HostCharacter(*first));
            }
            decoded.push(*first);
            rest = after;
            continue;
        }
        let escape = || UrlProblem::Escape(rest[..rest.len().min(3)].to_vec());
        let [high, low, after @ ..] = after else { return Err(escape()) };
        let byte = hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low).ok_or_else(escape)?;
        let allowed = match part {
            Part::Other => true,
            // RFC 3986 section 3.2.2: in a host only what is not ASCII is encoded; RFC 6874 adds the percent sign.
            Part::Host => byte >= 0x80 || byte == b'%',
            Part::Zone => byte == b'%' || byte == b' ' || may_stand_in_host(byte),
        };
        if !allowed {
            return Err(escape());
        }
        decoded.push(byte);
        rest = after;
    }
    Ok(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn cut(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == separator) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}
