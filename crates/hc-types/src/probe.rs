//! What a probe does at its target.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{DialogueProbe, HttpConditions, HttpRequest, RawBytes, Secret, StatusCodes, Tls};

/// What a probe does, and what it takes for an answer. The eight types of Seesaw (`healthcheck/`),
/// TCP and HTTP each with and without TLS, and what only files of checks can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProbeSpec {
    /// ICMP or ICMPv6 echo.
    Icmp,
    /// One datagram out, one datagram back.
    Udp(Box<UdpProbe>),
    /// Connect, perhaps TLS, perhaps send, perhaps receive.
    Tcp(TcpProbe),
    /// TCP, half open: a SYN out, a SYN with ACK back, and the connection is never made.
    HalfOpen,
    /// One HTTP exchange, perhaps over TLS.
    Http(Box<HttpProbe>),
    /// One DNS question, asked of the target itself.
    Dns(Box<DnsProbe>),
    /// One RADIUS Access-Request.
    Radius(Box<RadiusProbe>),
    /// One RADIUS Status-Server.
    RadiusStatus(Box<RadiusStatusProbe>),
    /// A dialogue over TCP, by steps of one's own or those of a known protocol.
    Dialogue(Box<DialogueProbe>),
    /// One call of gRPC's health service.
    Grpc(Box<GrpcProbe>),
}

impl ProbeSpec {
    /// The `checker_type` of the protocol, also the label of metrics.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            ProbeSpec::Icmp => "icmp",
            ProbeSpec::Udp(_) => "udp",
            ProbeSpec::Tcp(_) => "tcp",
            ProbeSpec::HalfOpen => "syn",
            ProbeSpec::Http(_) => "http",
            ProbeSpec::Dns(_) => "dns",
            ProbeSpec::Radius(_) | ProbeSpec::RadiusStatus(_) => "radius",
            ProbeSpec::Dialogue(probe) => probe.dialogue.type_name(),
            ProbeSpec::Grpc(_) => "grpc",
        }
    }

    /// Every word that [`type_name`](Self::type_name) can give.
    pub const TYPE_NAMES: &'static [&'static str] = &[
        "icmp",
        "udp",
        "tcp",
        "syn",
        "http",
        "dns",
        "radius",
        "redis",
        "smtp",
        "postgresql",
        "mysql",
        "ldap",
        "agent",
        "grpc",
    ];

    /// Whether the probe makes a TCP connection for all that it does.
    #[must_use]
    pub fn is_over_tcp(&self) -> bool {
        !matches!(
            self,
            ProbeSpec::Icmp
                | ProbeSpec::HalfOpen
                | ProbeSpec::Udp(_)
                | ProbeSpec::Dns(_)
                | ProbeSpec::Radius(_)
                | ProbeSpec::RadiusStatus(_)
        )
    }
}

/// UDP: `send` goes out as one datagram (an empty one too), and the first datagram that comes back
/// must begin with `receive`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UdpProbe {
    /// Payload of the datagram.
    pub send: RawBytes,
    /// Prefix of the answer. Empty accepts any datagram, but still needs one.
    pub receive: RawBytes,
}

/// TCP: connect, then TLS if asked, then `send` if any, then as many bytes as `receive` has, which
/// must be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpProbe {
    /// Bytes written after the connection stands. Empty: nothing is written.
    pub send: RawBytes,
    /// Bytes that the peer's first bytes must equal; later bytes are ignored. Empty: nothing is
    /// read.
    pub receive: RawBytes,
    /// TLS over the connection, without ALPN and without SNI (the name is the address).
    pub tls: Option<Tls>,
}

/// HTTP: one exchange; redirects are judged, not followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpProbe {
    /// HTTPS.
    pub tls: Option<Tls>,
    /// The method as it is written in the request: an RFC 9110 token.
    pub method: Box<str>,
    /// The request target (RFC 9112 section 3.2), sent as it stands: a path with a query, or `*`,
    /// or what else a server may take.
    pub request_target: RawBytes,
    /// Status codes that pass. Empty: any.
    pub expected_codes: StatusCodes,
    /// Prefix of the decoded body. Empty: the body is not read.
    pub expected_body: RawBytes,
    /// The backend is an HTTP proxy: a request target that begins with `/` is sent in its absolute
    /// form (RFC 9112 section 3.2.2), and credentials go into `Proxy-Authorization`, too.
    pub proxy: bool,
    /// What replaces the defaults that follow from the address. Few checks need it, so that the
    /// others pay for a pointer only.
    pub overrides: Option<Box<HttpOverrides>>,
    /// What the response must have beyond status and the beginning of its body. Checks of one kind
    /// share it.
    pub conditions: Option<Arc<HttpConditions>>,
}

/// What an HTTP request says in place of the defaults that follow from the address of its target.
///
/// ```
/// use hc_types::{HttpOverrides, HttpProbe, Tls};
///
/// let probe = HttpProbe {
///     tls: Some(Tls::new(true)),
///     request_target: "/healthz".into(),
///     overrides: Some(Box::new(HttpOverrides {
///         host: Some("www.example.com".into()),
///         server_name: Some("www.example.com".into()),
///         ..HttpOverrides::default()
///     })),
///     ..HttpProbe::default()
/// };
/// # assert!(probe.overrides.is_some());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HttpOverrides {
    /// The `Host` field, which may be empty. Default: address and port, as in `192.0.2.1:80`.
    pub host: Option<Box<str>>,
    /// The name in SNI and in the certificate; an address is looked for in the certificate and not
    /// sent. Default: the address of the target. Used with TLS only.
    pub server_name: Option<Box<str>>,
    /// The value of the `Authorization` field, such as `Basic dXNlcjpwYXNz`. Default: no such
    /// field.
    pub authorization: Option<Secret>,
    /// Why the request of this check cannot be sent. The probe then sends nothing and fails with
    /// this text: hc-proxy reports so what Go's HTTP client refuses. Default: it can be sent.
    pub error: Option<Box<str>>,
    /// What the request says beyond method, target and host. Checks of one kind share it. Default:
    /// nothing, in HTTP/1.1.
    pub request: Option<Arc<HttpRequest>>,
}

impl Default for HttpProbe {
    fn default() -> Self {
        Self {
            tls: None,
            method: "GET".into(),
            request_target: "/".into(),
            expected_codes: StatusCodes::default(),
            expected_body: RawBytes::default(),
            proxy: false,
            overrides: None,
            conditions: None,
        }
    }
}

/// gRPC: one call of `grpc.health.v1.Health/Check`, over HTTP/2. Passes if the service is SERVING.
///
/// ```
/// use hc_types::{GrpcProbe, ProbeSpec};
///
/// let probe = GrpcProbe { service: "shop.Orders".into(), ..GrpcProbe::default() };
/// assert_eq!(ProbeSpec::Grpc(Box::new(probe)).type_name(), "grpc");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GrpcProbe {
    /// TLS over the connection, with `h2` in ALPN. Without it HTTP/2 is spoken at once.
    pub tls: Option<Tls>,
    /// The service that is asked about, at most [`GrpcProbe::MAX_SERVICE`] bytes. Empty: the server
    /// as a whole.
    pub service: Box<str>,
    /// The `:authority`. Default: address and port, as in `192.0.2.1:50051`.
    pub host: Option<Box<str>>,
    /// The name in SNI and in the certificate. Default: the address of the target. Used with TLS
    /// only.
    pub server_name: Option<Box<str>>,
}

impl GrpcProbe {
    /// The longest name of a service, in bytes.
    pub const MAX_SERVICE: usize = 1024;
}

/// DNS: one question, asked of the target; recursion is desired unless the options say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsProbe {
    /// The name, with or without its last dot.
    pub query: Box<str>,
    /// The type asked for.
    pub query_type: RecordType,
    /// The class asked for.
    pub query_class: RecordClass,
    /// What the answer section must hold.
    pub expect: DnsExpectation,
    /// What else the question says, and which response codes pass. `None`: the defaults. Few checks
    /// need it, so that the others pay for a pointer only.
    pub options: Option<Box<DnsOptions>>,
}

/// What a DNS question says beyond name, type and class, and which response codes pass. The default
/// is what Seesaw asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsOptions {
    /// A label of 16 random hexadecimal digits stands before the name, another one for each probe,
    /// so that no cache has the answer. Default: off.
    pub fresh_label: bool,
    /// EDNS (RFC 6891) with this size of UDP payload in bytes, at least 512. Default: no EDNS.
    pub edns_payload: Option<u16>,
    /// The DO bit (RFC 3225): signatures are welcome. Needs EDNS, and brings it with a payload size
    /// of [`DnsOptions::EDNS_PAYLOAD`] if there is none. Default: off.
    pub dnssec_ok: bool,
    /// The CD bit (RFC 4035 section 3.2.2): the resolver shall not validate. Default: off.
    pub checking_disabled: bool,
    /// The RD bit (RFC 1035 section 4.1.1). Default: on.
    pub recursion_desired: bool,
    /// The response codes that pass. With any but NOERROR the answer section is not looked at.
    /// Default, and the meaning of an empty list: NOERROR.
    pub expected_rcodes: Box<[Rcode]>,
}

impl DnsOptions {
    /// The payload size that avoids fragments on nearly every path (DNS flag day 2020).
    pub const EDNS_PAYLOAD: u16 = 1232;
}

impl Default for DnsOptions {
    fn default() -> Self {
        Self {
            fresh_label: false,
            edns_payload: None,
            dnssec_ok: false,
            checking_disabled: false,
            recursion_desired: true,
            expected_rcodes: Box::default(),
        }
    }
}

/// What one record of the answer section must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DnsExpectation {
    /// Any record of the asked type.
    Any,
    /// An A or AAAA record with one of these addresses.
    Ips(Box<[IpAddr]>),
    /// A record of the asked type whose data in presentation form (RFC 1035 section 5) is this
    /// text.
    Text(Box<str>),
}

/// RADIUS: one Access-Request with PAP (RFC 2865).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RadiusProbe {
    /// User-Name.
    pub username: RawBytes,
    /// User-Password.
    pub password: Secret,
    /// The secret shared with the server.
    pub secret: Secret,
    /// The code that passes.
    pub expect: RadiusExpectation,
    /// Whether a response without Message-Authenticator fails (CVE-2024-3596). One that has it is
    /// always verified.
    pub require_message_authenticator: bool,
}

/// RADIUS: one Status-Server (RFC 5997), which asks whether the server works and logs nobody in.
/// Access-Accept passes, and so does Accounting-Response, which an accounting port answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RadiusStatusProbe {
    /// The secret shared with the server.
    pub secret: Secret,
    /// Whether a response without Message-Authenticator fails (CVE-2024-3596). One that has it is
    /// always verified.
    pub require_message_authenticator: bool,
}

/// The RADIUS response that passes (`healthcheck/radius.go`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RadiusExpectation {
    /// Access-Accept (2).
    #[default]
    Accept,
    /// Access-Reject (3).
    Reject,
    /// Access-Challenge (11).
    Challenge,
    /// Any code.
    Any,
}

/// A DNS record type by number (RFC 1035 section 3.2.2). Prints as its name, or as `TYPE65` (RFC
/// 3597).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordType(pub u16);

impl RecordType {
    /// An IPv4 address.
    pub const A: Self = Self(1);
    /// An IPv6 address.
    pub const AAAA: Self = Self(28);

    const NAMES: &[(u16, &'static str)] = &[
        (1, "A"),
        (2, "NS"),
        (5, "CNAME"),
        (6, "SOA"),
        (12, "PTR"),
        (15, "MX"),
        (16, "TXT"),
        (28, "AAAA"),
        (33, "SRV"),
        (255, "ANY"),
    ];
}

/// A DNS class by number (RFC 1035 section 3.2.4). Prints as its name, or as `CLASS3` (RFC 3597).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordClass(pub u16);

impl RecordClass {
    /// The Internet.
    pub const IN: Self = Self(1);

    const NAMES: &[(u16, &'static str)] = &[(1, "IN"), (3, "CH"), (4, "HS"), (255, "ANY")];
}

/// A DNS response code by number, extended ones included (RFC 6895 section 2.3). Prints as its
/// name, or as `RCODE12`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rcode(pub u16);

impl Rcode {
    /// No error.
    pub const NOERROR: Self = Self(0);
    /// The highest number: 4 bits in the header, 8 in the OPT record.
    pub const MAX: u16 = 4095;

    const NAMES: &[(u16, &'static str)] = &[
        (0, "NOERROR"),
        (1, "FORMERR"),
        (2, "SERVFAIL"),
        (3, "NXDOMAIN"),
        (4, "NOTIMP"),
        (5, "REFUSED"),
        (6, "YXDOMAIN"),
        (7, "YXRRSET"),
        (8, "NXRRSET"),
        (9, "NOTAUTH"),
        (10, "NOTZONE"),
        (16, "BADVERS"),
        (23, "BADCOOKIE"),
    ];
}

/// A word that names no DNS type, class or response code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is neither a known name nor {prefix} with a number")]
pub struct RecordNameError {
    word: String,
    prefix: &'static str,
}

fn write_name(f: &mut fmt::Formatter<'_>, names: &[(u16, &str)], prefix: &str, number: u16) -> fmt::Result {
    match names.iter().find(|(n, _)| *n == number) {
        Some((_, name)) => f.write_str(name),
        None => write!(f, "{prefix}{number}"),
    }
}

fn parse_name(names: &[(u16, &str)], prefix: &'static str, word: &str) -> Result<u16, RecordNameError> {
    if let Some((number, _)) = names.iter().find(|(_, name)| name.eq_ignore_ascii_case(word)) {
        return Ok(*number);
    }
    let digits =
        word.get(..prefix.len()).filter(|p| p.eq_ignore_ascii_case(prefix)).map(|p| &word[p.len()..]);
    // `u16::from_str` takes a leading plus sign, which no record name has.
    match digits.filter(|d| d.bytes().all(|b| b.is_ascii_digit())).and_then(|d| d.parse().ok()) {
        Some(number) => Ok(number),
        None => Err(RecordNameError { word: word.to_owned(), prefix }),
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, Self::NAMES, "TYPE", self.0)
    }
}

impl fmt::Display for RecordClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, Self::NAMES, "CLASS", self.0)
    }
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, Self::NAMES, "RCODE", self.0)
    }
}

impl fmt::Debug for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for RecordClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RecordType {
    type Err = RecordNameError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        parse_name(Self::NAMES, "TYPE", word).map(Self)
    }
}

impl FromStr for RecordClass {
    type Err = RecordNameError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        parse_name(Self::NAMES, "CLASS", word).map(Self)
    }
}

impl FromStr for Rcode {
    type Err = RecordNameError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let number = parse_name(Self::NAMES, "RCODE", word)?;
        if number > Self::MAX {
            return Err(RecordNameError { word: word.to_owned(), prefix: "RCODE" });
        }
        Ok(Self(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_names_read_back() {
        for (word, number) in [("A", 1), ("AAAA", 28), ("mx", 15), ("TYPE65", 65), ("type1", 1)] {
            assert_eq!(word.parse(), Ok(RecordType(number)), "{word}");
        }
        for number in [0, 1, 28, 65, u16::MAX] {
            assert_eq!(RecordType(number).to_string().parse(), Ok(RecordType(number)));
            assert_eq!(RecordClass(number).to_string().parse(), Ok(RecordClass(number)));
        }
        for word in ["", "TYPE", "TYPE+1", "TYPE65536", "B", "TYPé1"] {
            assert!(word.parse::<RecordType>().is_err(), "{word}");
        }
        assert_eq!(("nxdomain".parse(), "RCODE3841".parse()), (Ok(Rcode(3)), Ok(Rcode(3841))));
        assert!("RCODE4096".parse::<Rcode>().is_err());
    }
}
