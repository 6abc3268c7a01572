//! The syntaxes of strings that are neither targets nor ranges.

use std::net::{IpAddr, Ipv6Addr};

use hc_types::{Jitter, Pattern, Rcode, RecordClass, RecordType, StreamPattern};

use crate::form::Value;
use crate::range::TargetItem;

/// A string of the file for an error: quoted, and not longer than a line.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The longest name of a check, in bytes: names stand in logs, labels and tables.
pub(crate) const MAX_NAME: usize = 200;

pub(crate) fn any(text: &str) -> Result<Value, String> {
    Ok(Value::Text(text.to_owned()))
}

pub(crate) fn check_name(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Err("a check needs a name".to_owned());
    }
    if text.len() > MAX_NAME {
        return Err(format!("has {} bytes; a name has at most {MAX_NAME}", text.len()));
    }
    if let Some(character) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("has {character:?}; a name has neither blanks nor control characters"));
    }
    any(text)
}

/// Addresses of a host name are not known here, so a name excludes nothing.
pub(crate) fn exclusion(text: &str) -> Result<Value, String> {
    match TargetItem::read(text)? {
        TargetItem::Host(..) => Err(format!("{} is a host name; name its addresses", quoted(text))),
        item => Ok(Value::Target(item)),
    }
}

pub(crate) fn address(text: &str) -> Result<Value, String> {
    let ip: IpAddr = text.parse().map_err(|_| format!("{} is not an IP address", quoted(text)))?;
    Ok(Value::Address(ip.to_canonical()))
}

/// A share of the interval, or a duration.
pub(crate) fn jitter(text: &str) -> Result<Jitter, String> {
    if let Some(share) = text.strip_suffix('%') {
        let share: Option<u8> = share.trim_end().parse().ok().filter(|share| *share <= 50);
        return share.map(Jitter::Percent).ok_or(format!("{} is not a share from 0% to 50%", quoted(text)));
    }
    let time = humantime::parse_duration(text);
    time.map(Jitter::Time)
        .map_err(|_| format!("{} is neither a share (\"10%\") nor a duration", quoted(text)))
}

/// For the schema: RFC 9110 section 5.6.2.
pub(crate) const TOKEN: &str = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

/// Whether it is a token (RFC 9110 section 5.6.2), as methods and names of header fields are.
pub(crate) fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

pub(crate) fn field_name(text: &str) -> Result<Value, String> {
    if !is_token(text) {
        return Err(format!("{} is not the name of a header field", quoted(text)));
    }
    any(text)
}

pub(crate) fn pattern(text: &str) -> Result<Value, String> {
    Pattern::new(text).map(Value::Pattern).map_err(|error| error.to_string())
}

pub(crate) fn method(text: &str) -> Result<Value, String> {
    if !is_token(text) {
        return Err(format!("{} is not an HTTP method", quoted(text)));
    }
    any(text)
}

pub(crate) fn path(text: &str) -> Result<Value, String> {
    if !text.starts_with('/') {
        return Err(format!("{} does not begin with a slash", quoted(text)));
    }
    if let Some(character) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(format!("has {character:?}; write it percent-encoded"));
    }
    if text.contains('#') {
        return Err("has a fragment, which is not sent; write %23 for the character".to_owned());
    }
    any(text)
}

/// `www.example.com`, `www.example.com:8080`, `192.0.2.1`, `[2001:db8::1]:8080`.
pub(crate) fn host(text: &str) -> Result<Value, String> {
    let name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = bracketed.map_or_else(|| name(host), |host| host.parse::<Ipv6Addr>().is_ok());
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let port_fits = port.is_none_or(|port| digits(port) && port.parse::<u16>().is_ok());
    if !host_fits || !port_fits {
        return Err(format!("{} is not a host; names beyond ASCII are written in Punycode", quoted(text)));
    }
    any(text)
}

/// `www.example.com`, `192.0.2.1`, `2001:db8::1`.
pub(crate) fn host_name(text: &str) -> Result<Value, String> {
    let name = || text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if text.is_empty() || !(text.parse::<IpAddr>().is_ok() || name()) {
        return Err(format!(
            "{} is not a host name; names beyond ASCII are written in Punycode",
            quoted(text)
        ));
    }
    any(text)
}

/// `sha256/…` or `sha256//…` with base64, or hexadecimal digits, perhaps with colons.
pub(crate) fn read_pin(text: &str) -> Option<[u8; 32]> {
    use base64::Engine as _;
    if let Some(rest) = text.strip_prefix("sha256/") {
        let digits = rest.strip_prefix('/').filter(|rest| rest.len() == 44).unwrap_or(rest);
        return base64::engine::general_purpose::STANDARD.decode(digits).ok()?.try_into().ok();
    }
    let digits = text.replace(':', "");
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut pin = [0; 32];
    for (byte, at) in pin.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(pin)
}

pub(crate) fn pin(text: &str) -> Result<Value, String> {
    match read_pin(text) {
        Some(_) => any(text),
        None => Err(format!(
            "{} is not the SHA-256 of a key: sha256/ with base64, or 64 hexadecimal digits",
            quoted(text)
        )),
    }
}

pub(crate) fn alpn(text: &str) -> Result<Value, String> {
    match text.len() {
        1..=255 => any(text),
        length => Err(format!("has {length} bytes; the name of a protocol has 1 to 255")),
    }
}

pub(crate) fn record_type(text: &str) -> Result<Value, String> {
    text.parse::<RecordType>().map_err(|error| error.to_string())?;
    any(text)
}

pub(crate) fn record_class(text: &str) -> Result<Value, String> {
    text.parse::<RecordClass>().map_err(|error| error.to_string())?;
    any(text)
}

pub(crate) fn stream_pattern(text: &str) -> Result<Value, String> {
    StreamPattern::new(text).map_err(|error| error.to_string())?;
    any(text)
}

/// One word of printable ASCII.
pub(crate) fn graphic(text: &str) -> Result<Value, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "{} is empty, or has a blank, a control character or one outside ASCII",
            quoted(text)
        ));
    }
    any(text)
}

pub(crate) fn rcode(text: &str) -> Result<Value, String> {
    text.parse::<Rcode>().map_err(|error| error.to_string())?;
    any(text)
}

pub(crate) fn file(text: &str) -> Result<Value, String> {
    if text.is_empty() || text.contains('\0') {
        return Err(format!("{} is not the path of a file", quoted(text)));
    }
    any(text)
}

/// Whether a label may have this name: a name of Prometheus' labels.
pub(crate) fn is_label_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
