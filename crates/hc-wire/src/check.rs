//! Checks as they travel.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hc_types::{
    CheckId, CheckSpec, DnsExpectation, DnsProbe, HttpOverrides, HttpProbe, Mark, Mode, ProbeSpec,
    RadiusExpectation, RadiusProbe, RawBytes, RecordClass, RecordNameError, RecordType, Rejection, Secret,
    SpecError, Target, TcpProbe, Timing, Tls, UdpProbe,
};
use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serializer};
use serde_json::value::RawValue;

use crate::bytes::{JsonBytes, SecretBytes};

/// One check of a set: its id and what it checks, or why it does not run.
pub type CheckEntry = Result<CheckLine, Rejection>;

/// A check and its id.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckLine {
    /// The id.
    pub id: CheckId,
    /// What is checked.
    pub spec: Arc<CheckSpec>,
}

/// Reads one check from its JSON object. This is also the way from a file of checks, so that a
/// check means the same wherever it comes from.
///
/// # Errors
/// [`Rejection`], with the id if there is one, and a reason that names the field.
pub fn parse_check(json: &str) -> CheckEntry {
    let raw = match RawCheck::parse(json) {
        Ok(raw) => raw,
        Err(reason) => return Err(Rejection { id: find_id(json), reason }),
    };
    let Some(id) = raw.id else {
        return Err(Rejection { id: None, reason: "id: missing".to_owned() });
    };
    match raw.into_spec() {
        Ok(spec) => Ok(CheckLine { id, spec: Arc::new(spec) }),
        Err(error) => Err(Rejection { id: Some(id), reason: error.to_string() }),
    }
}

/// The id of an object whose other fields are wrong.
fn find_id(json: &str) -> Option<CheckId> {
    #[derive(Deserialize)]
    struct OnlyId {
        id: CheckId,
    }
    serde_json::from_str::<OnlyId>(json).ok().map(|only| only.id)
}

/// Why an object is no check.
#[derive(Debug, thiserror::Error)]
enum FieldError {
    /// A field that is missing or cannot be read.
    #[error("{field}: {problem}")]
    Unreadable { field: &'static str, problem: String },
    /// Fields that can be read and make no sense.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl FieldError {
    fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Unreadable { field, problem: problem.into() }
    }
}

/// The object, its fields not yet judged.
#[derive(Deserialize)]
struct RawCheck<'a> {
    id: Option<CheckId>,
    #[serde(borrow)]
    interval: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timeout: Option<Cow<'a, str>>,
    retries: Option<i64>,
    #[serde(borrow)]
    checker_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ip: Option<Cow<'a, str>>,
    port: Option<i64>,
    mode: Option<Mode>,
    mark: Option<i64>,
    #[serde(borrow)]
    host: Option<Cow<'a, str>>,
    send: Option<JsonBytes>,
    receive: Option<JsonBytes>,
    secure: Option<bool>,
    tls_verify: Option<bool>,
    tls_old_versions: Option<bool>,
    tls_rsa_key_exchange: Option<bool>,
    tls_sha1: Option<bool>,
    method: Option<Box<str>>,
    path: Option<JsonBytes>,
    request_target: Option<JsonBytes>,
    http_host: Option<Box<str>>,
    server_name: Option<Box<str>>,
    authorization: Option<SecretBytes>,
    request_error: Option<Box<str>>,
    expected_codes: Option<Vec<i64>>,
    expected_body: Option<JsonBytes>,
    proxy: Option<bool>,
    query: Option<Box<str>>,
    #[serde(borrow)]
    query_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    query_class: Option<Cow<'a, str>>,
    #[serde(borrow)]
    expected_ips: Option<Vec<Cow<'a, str>>>,
    expected_answer: Option<Box<str>>,
    username: Option<JsonBytes>,
    password: Option<SecretBytes>,
    secret: Option<SecretBytes>,
    #[serde(borrow)]
    expected_response: Option<Cow<'a, str>>,
    require_message_authenticator: Option<bool>,
}

impl<'a> RawCheck<'a> {
    fn parse(json: &'a str) -> Result<Self, String> {
        serde_json::from_str(json).or_else(|_| {
            // Once more, slower, to learn which field is wrong.
            let mut deserializer = serde_json::Deserializer::from_str(json);
            serde_path_to_error::deserialize(&mut deserializer).map_err(|e| {
                if e.path().iter().next().is_none() { e.inner().to_string() } else { e.to_string() }
            })
        })
    }

    fn into_spec(self) -> Result<CheckSpec, FieldError> {
        let interval = period("interval", self.interval.as_deref())?;
        let timeout = period("timeout", self.timeout.as_deref())?;
        let retries = number::<u32>("retries", self.retries.unwrap_or(0), "0 to 4294967295")?;
        let target = self.target()?;
        // A path stands for the request target, and what is wrong with it is told under its name.
        let names_target = self.request_target.is_some();
        let probe = self.probe()?;
        let timing = Timing::every(interval).timeout(timeout).retries(retries);
        CheckSpec::new(target, probe, timing).map_err(|error| match error {
            SpecError::RequestTarget { quoted, problem } if !names_target => {
                FieldError::new("path", format!("{quoted} {problem}"))
            }
            error => error.into(),
        })
    }

    fn target(&self) -> Result<Target, FieldError> {
        let ip = self.ip.as_deref().ok_or_else(|| FieldError::new("ip", "missing"))?;
        if ip.contains('%') {
            return Err(FieldError::new("ip", format!("{ip:?} names a zone, which a check cannot have")));
        }
        let ip = address("ip", ip)?;
        let port = match self.port {
            Some(port) => number("port", port, "1 to 65535")?,
            None => 0,
        };
        let mark = match self.mark {
            Some(mark) => Mark::new(number("mark", mark, "1 to 4294967295")?),
            None => None,
        };
        let host = self.host.as_deref().map(|host| address("host", host)).transpose()?;
        Ok(Target::from_parts(ip, port, self.mode.unwrap_or_default(), mark, host))
    }

    fn tls(&self) -> Option<Tls> {
        self.secure.unwrap_or(false).then(|| Tls {
            verify: self.tls_verify.unwrap_or(true),
            old_versions: self.tls_old_versions.unwrap_or(false),
            rsa_key_exchange: self.tls_rsa_key_exchange.unwrap_or(false),
            sha1: self.tls_sha1.unwrap_or(false),
            options: None,
        })
    }

    fn probe(self) -> Result<ProbeSpec, FieldError> {
        let kind = self.checker_type.clone().ok_or_else(|| FieldError::new("checker_type", "missing"))?;
        Ok(match &*kind {
            "icmp" => ProbeSpec::Icmp,
            "udp" => ProbeSpec::Udp(Box::new(UdpProbe { send: raw(self.send), receive: raw(self.receive) })),
            "tcp" => {
                let tls = self.tls();
                let (send, receive) = (raw(self.send), raw(self.receive));
                ProbeSpec::Tcp(TcpProbe { send, receive, tls })
            }
            "http" => ProbeSpec::Http(Box::new(self.http()?)),
            "dns" => ProbeSpec::Dns(Box::new(self.dns()?)),
            "radius" => ProbeSpec::Radius(Box::new(self.radius()?)),
            other => return Err(FieldError::new("checker_type", format!("{other:?} is not known"))),
        })
    }

    fn http(self) -> Result<HttpProbe, FieldError> {
        let tls = self.tls();
        let codes = self.expected_codes.unwrap_or_default();
        let codes = codes.into_iter().map(|code| number::<u16>("expected_codes", code, "100 to 999"));
        let request_target = match (self.request_target, self.path) {
            (Some(JsonBytes(target)), _) => target,
            // Nothing is sent, and the path is perhaps what cannot be.
            (None, _) if self.request_error.is_some() => "/".into(),
            (None, Some(JsonBytes(path))) if !path.is_empty() => literal_path(path)?,
            (None, _) => "/".into(),
        };
        let overrides = HttpOverrides {
            host: self.http_host,
            server_name: self.server_name,
            authorization: self.authorization.map(|SecretBytes(secret)| secret),
            error: self.request_error,
            request: None,
        };
        Ok(HttpProbe {
            tls,
            method: self.method.filter(|m| !m.is_empty()).unwrap_or_else(|| "GET".into()),
            request_target,
            expected_codes: codes.collect::<Result<_, _>>()?,
            expected_body: raw(self.expected_body),
            proxy: self.proxy.unwrap_or(false),
            overrides: (overrides != HttpOverrides::default()).then(|| Box::new(overrides)),
            conditions: None,
        })
    }

    fn dns(self) -> Result<DnsProbe, FieldError> {
        let query_type = record_name("query_type", self.query_type.as_deref(), RecordType::A)?;
        let query_class = record_name("query_class", self.query_class.as_deref(), RecordClass::IN)?;
        let ips = self.expected_ips.unwrap_or_default();
        let expect = match self.expected_answer {
            Some(_) if !ips.is_empty() => {
                return Err(FieldError::new("expected_answer", "not together with expected_ips"));
            }
            Some(text) => DnsExpectation::Text(text),
            None if ips.is_empty() => DnsExpectation::Any,
            None => DnsExpectation::Ips(
                ips.iter().map(|ip| address("expected_ips", ip)).collect::<Result<_, _>>()?,
            ),
        };
        let query = self.query.ok_or_else(|| FieldError::new("query", "missing"))?;
        Ok(DnsProbe { query, query_type, query_class, expect, options: None })
    }

    fn radius(self) -> Result<RadiusProbe, FieldError> {
        let expect = match self.expected_response.as_deref() {
            None | Some("accept") => RadiusExpectation::Accept,
            Some("reject") => RadiusExpectation::Reject,
            Some("challenge") => RadiusExpectation::Challenge,
            Some("any") => RadiusExpectation::Any,
            Some(other) => {
                let problem = format!("{other:?} is none of accept, reject, challenge, any");
                return Err(FieldError::new("expected_response", problem));
            }
        };
        Ok(RadiusProbe {
            username: self.username.ok_or_else(|| FieldError::new("username", "missing"))?.0,
            password: self.password.map_or_else(Secret::default, |SecretBytes(password)| password),
            secret: self.secret.ok_or_else(|| FieldError::new("secret", "missing"))?.0,
            expect,
            require_message_authenticator: self.require_message_authenticator.unwrap_or(false),
        })
    }
}

fn raw(bytes: Option<JsonBytes>) -> RawBytes {
    bytes.map_or_else(RawBytes::default, |JsonBytes(bytes)| bytes)
}

/// A path that is sent as it stands. hc-proxy reads everything else by Go's rules and names the
/// request target itself.
fn literal_path(path: RawBytes) -> Result<RawBytes, FieldError> {
    if path.as_slice().starts_with(b"/") {
        return Ok(path);
    }
    // Not shown: a URL may hold a password.
    Err(FieldError::new("path", "does not begin with '/': name request_target and http_host instead"))
}

fn period(field: &'static str, text: Option<&str>) -> Result<Duration, FieldError> {
    let text = text.ok_or_else(|| FieldError::new(field, "missing"))?;
    if text.starts_with('-') {
        return Err(FieldError::new(field, "must be above 0"));
    }
    humantime::parse_duration(text)
        .map_err(|e| FieldError::new(field, format!("{text:?} is not a duration: {e}")))
}

fn record_name<T>(field: &'static str, word: Option<&str>, default: T) -> Result<T, FieldError>
where
    T: FromStr<Err = RecordNameError>,
{
    word.map_or(Ok(default), |word| {
        word.parse().map_err(|e: RecordNameError| FieldError::new(field, e.to_string()))
    })
}

fn number<T: TryFrom<i64>>(field: &'static str, value: i64, range: &str) -> Result<T, FieldError> {
    T::try_from(value).map_err(|_| FieldError::new(field, format!("{value} is not in {range}")))
}

fn address(field: &'static str, text: &str) -> Result<IpAddr, FieldError> {
    text.parse().map_err(|_| FieldError::new(field, format!("{text:?} is not an IP address")))
}

/// Serde for the checks of a set: each entry is read on its own, so that an invalid one does not
/// affect the others.
pub(crate) mod entries {
    use super::*;

    struct Entry(CheckEntry);

    impl<'de> Deserialize<'de> for Entry {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let raw = <&RawValue>::deserialize(deserializer)?;
            Ok(Self(parse_check(raw.get())))
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<CheckEntry>, D::Error> {
        let entries = Vec::<Entry>::deserialize(deserializer)?;
        Ok(entries.into_iter().map(|entry| entry.0).collect())
    }

    /// A rejected entry cannot be written: nobody sends a check that it knows to be wrong.
    pub(crate) fn serialize<S: Serializer>(entries: &[CheckEntry], serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(entries.len()))?;
        for entry in entries {
            match entry {
                Ok(line) => seq.serialize_element(line)?,
                Err(rejection) => {
                    return Err(S::Error::custom(format_args!("rejected: {}", rejection.reason)));
                }
            }
        }
        seq.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(fields: &str) -> Result<Arc<CheckSpec>, String> {
        let json = format!(
            r#"{{"id":1,"interval":"5s","timeout":"1s","checker_type":"http","ip":"192.0.2.1","port":443,{fields}}}"#
        );
        parse_check(&json).map(|line| line.spec).map_err(|rejection| rejection.reason)
    }

    #[track_caller]
    fn same(one: &str, other: &str) {
        assert_eq!(http(one).unwrap(), http(other).unwrap());
    }

    #[test]
    fn a_request_target_counts_for_more_than_a_path() {
        // What hc-proxy sends, and what names the same request directly.
        same(
            r#""secure":true,"path":"https://a.example/x","request_target":"/x","http_host":"a.example","server_name":"a.example""#,
            r#""secure":true,"path":"/x","http_host":"a.example","server_name":"a.example""#,
        );
        same(r#""path":"/a b#c","request_target":"/a%20b""#, r#""path":"/a%20b""#);
        same(r#""path":"""#, r#""path":"/""#);
        same(r#""path":":foo","request_error":"no""#, r#""request_error":"no""#);
    }

    #[test]
    fn a_path_alone_is_sent_as_it_stands() {
        let rejected = |path: &str, reason: &str| {
            assert_eq!(http(&format!(r#""path":"{path}""#)).unwrap_err(), reason);
        };
        assert!(http(r#""path":"/healthz?x=1""#).is_ok());
        rejected("/a b", r#"path: "/a b" has a blank (write %20)"#);
        for path in ["healthz", "http://a.example/x", "*"] {
            let reason = "does not begin with '/': name request_target and http_host instead";
            rejected(path, &format!("path: {reason}"));
        }
        let reason = http(r#""path":"/x","request_target":"/a b""#).unwrap_err();
        assert_eq!(reason, r#"request_target: "/a b" has a blank (write %20)"#);
    }
}
