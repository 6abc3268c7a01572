//! A health check of the engine (`engine/config/types.go`), and the probe that the engine makes of
//! it.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::time::Duration;

use hc_types::{
    CheckSpec, DnsExpectation, DnsProbe, HttpOverrides, HttpProbe, Mark, Mode, ProbeSpec, RadiusExpectation,
    RadiusProbe, RawBytes, RecordClass, RecordType, Target, TcpProbe, Timing, Tls, UdpProbe,
};

use super::record_types::RECORD_TYPES;
use super::text::Node;
use crate::diagnostic::Span;
use crate::probe::host_overrides;
use crate::words::{self, quoted};

/// The type of a check, in the order in which the engine sorts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum CheckType {
    /// A number that Seesaw does not know.
    Unknown,
    Dns,
    Http,
    Https,
    Icmp,
    Radius,
    Tcp,
    TcpTls,
    Udp,
}

impl CheckType {
    fn of(number: i64) -> Self {
        match number {
            1 => Self::Icmp,
            2 => Self::Udp,
            3 => Self::Tcp,
            4 => Self::Http,
            5 => Self::Https,
            6 => Self::Dns,
            7 => Self::TcpTls,
            8 => Self::Radius,
            _ => Self::Unknown,
        }
    }

    /// As the engine prints it: HTTPS as HTTP and TCP_TLS as TCP.
    fn name(self) -> &'static str {
        match self {
            Self::Unknown => "(unknown)",
            Self::Dns => "DNS",
            Self::Http | Self::Https => "HTTP",
            Self::Icmp => "ICMP",
            Self::Radius => "RADIUS",
            Self::Tcp | Self::TcpTls => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// A check of a vserver or of one of its entries. Two are the same to the engine if all of this is
/// equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Healthcheck {
    /// `TYPE/PORT_N`.
    pub(super) name: String,
    pub(super) check_type: CheckType,
    pub(super) mode: Mode,
    pub(super) port: u16,
    interval: i64,
    timeout: i64,
    retries: i64,
    send: Vec<u8>,
    receive: Vec<u8>,
    code: i64,
    proxy: bool,
    method: Vec<u8>,
    tls_verify: bool,
}

/// A check and where it stands.
pub(super) struct Listed {
    pub(super) check: Healthcheck,
    pub(super) at: Span,
}

/// The checks of a list under the names that the engine gives them. It counts those of equal type
/// and port after it has sorted them.
pub(super) fn named<'n>(nodes: impl Iterator<Item = &'n Node>, default_port: u16) -> Vec<Listed> {
    let mut checks: Vec<Listed> =
        nodes.map(|node| Listed { check: Healthcheck::of(node, default_port), at: node.at }).collect();
    // Go's sort is not stable, but its insertion sort is, and that is what it takes for up to
    // twelve.
    checks.sort_by(|a, b| a.check.order(&b.check));
    let mut last = None;
    let mut counter = 0;
    for Listed { check, .. } in &mut checks {
        let kind = (check.check_type, check.port);
        counter = if last == Some(kind) { counter + 1 } else { 0 };
        last = Some(kind);
        check.name = format!("{}/{}_{counter}", check.check_type.name(), check.port);
    }
    checks
}

impl Healthcheck {
    fn of(node: &Node, default_port: u16) -> Self {
        let number = |name| node.integer(name);
        // As the engine cuts it.
        let port = cut(number("port").unwrap_or(0));
        Self {
            name: String::new(),
            check_type: CheckType::of(number("type").unwrap_or(0)),
            mode: match number("mode") {
                Some(2) => Mode::Dsr,
                Some(3) => Mode::Tun,
                _ => Mode::Plain,
            },
            port: if port == 0 { default_port } else { port },
            interval: number("interval").unwrap_or(10),
            timeout: number("timeout").unwrap_or(5),
            retries: number("retries").unwrap_or(0),
            send: node.bytes("send").to_vec(),
            receive: node.bytes("receive").to_vec(),
            code: number("code").unwrap_or(0),
            proxy: node.flag("proxy").unwrap_or(false),
            method: node.bytes("method").to_vec(),
            tls_verify: node.flag("tls_verify").unwrap_or(true),
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |check: &Self| (check.check_type, check.port);
        key(self)
            .cmp(&key(other))
            .then_with(|| self.send.cmp(&other.send))
            .then_with(|| self.receive.cmp(&other.receive))
            .then_with(|| self.method.cmp(&other.method))
            .then_with(|| self.code.cmp(&other.code))
            .then_with(|| self.proxy.cmp(&other.proxy))
            .then_with(|| self.tls_verify.cmp(&other.tls_verify))
            .then_with(|| self.interval.cmp(&other.interval))
            .then_with(|| self.timeout.cmp(&other.timeout))
    }

    /// The check of a backend, as the engine makes it, or why there is none.
    pub(super) fn spec(&self, backend: IpAddr, vip: IpAddr, mark: Option<Mark>) -> Result<CheckSpec, String> {
        if self.check_type == CheckType::Icmp && self.mode != Mode::Plain {
            return Err("ICMP healthchecks cannot be used with DSR or TUN mode".to_owned());
        }
        let probe = self.probe()?;
        let port = if self.check_type == CheckType::Icmp { 0 } else { self.port };
        let target = match (self.mode, mark) {
            (Mode::Plain, _) => Target::plain(backend, port),
            (mode, Some(mark)) => Target::marked(vip, port, mode, mark, Some(backend)),
            (_, None) => return Err("no mark is left: 16,000 backends are probed through VIPs".to_owned()),
        };
        let (interval, timeout) = (period("interval", self.interval)?, period("timeout", self.timeout)?);
        let retries = u32::try_from(self.retries);
        let retries = retries.map_err(|_| format!("retries: {} is below 0", self.retries))?;
        CheckSpec::new(target, probe, Timing::every(interval).timeout(timeout).retries(retries))
            .map_err(|error| error.to_string())
    }

    fn probe(&self) -> Result<ProbeSpec, String> {
        let bytes = |bytes: &[u8]| RawBytes::from(bytes);
        Ok(match self.check_type {
            CheckType::Unknown => return Err("the type of the check is not known".to_owned()),
            CheckType::Icmp => ProbeSpec::Icmp,
            CheckType::Udp => {
                ProbeSpec::Udp(Box::new(UdpProbe { send: bytes(&self.send), receive: bytes(&self.receive) }))
            }
            CheckType::Tcp | CheckType::TcpTls => {
                let tls = (self.check_type == CheckType::TcpTls).then(|| Tls::new(self.tls_verify));
                ProbeSpec::Tcp(TcpProbe { send: bytes(&self.send), receive: bytes(&self.receive), tls })
            }
            CheckType::Http | CheckType::Https => ProbeSpec::Http(Box::new(self.http()?)),
            CheckType::Dns => ProbeSpec::Dns(Box::new(self.dns()?)),
            CheckType::Radius => ProbeSpec::Radius(Box::new(self.radius()?)),
        })
    }

    fn http(&self) -> Result<HttpProbe, String> {
        // Without a code the engine asks for 200.
        let code = if self.code == 0 { 200 } else { self.code };
        let code = u16::try_from(code).map_err(|_| format!("code: {code} is not a status code"))?;
        let (request_target, overrides) = self.request()?;
        Ok(HttpProbe {
            tls: (self.check_type == CheckType::Https).then(|| Tls::new(self.tls_verify)),
            method: if self.method.is_empty() { "GET".into() } else { text("method", &self.method)?.into() },
            request_target,
            expected_codes: [code].into(),
            expected_body: RawBytes::from(&self.receive[..]),
            proxy: self.proxy,
            overrides,
            conditions: None,
        })
    }

    /// What `send` asks for, a path or an `http://` URL with a host. The engine reads it by Go's
    /// rules, which know more forms; those are refused here, and go through hc-proxy.
    fn request(&self) -> Result<(RawBytes, Option<Box<HttpOverrides>>), String> {
        let send = text("send", &self.send)?;
        if send.is_empty() {
            return Ok(("/".into(), None));
        }
        let authority = send.strip_prefix("http://").or_else(|| send.strip_prefix("https://"));
        let Some(authority) = authority else {
            return match send.starts_with('/') && !send.starts_with("//") {
                true => Ok((send.into(), None)),
                false => Err(format!("send: {} is neither a path nor an http URL", quoted(send))),
            };
        };
        let (host, path) = authority.split_at(authority.find('/').unwrap_or(authority.len()));
        words::host(host).map_err(|problem| format!("send: {problem}"))?;
        Ok((if path.is_empty() { "/" } else { path }.into(), Some(Box::new(host_overrides(host)))))
    }

    fn dns(&self) -> Result<DnsProbe, String> {
        let method = text("method", &self.method)?;
        let known = RECORD_TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(method));
        let Some((_, number)) = known else {
            return Err(format!("method: unknown DNS type {}", quoted(method)));
        };
        let query_type = RecordType(*number);
        let answer = text("receive", &self.receive)?;
        let expect = match query_type {
            RecordType::A | RecordType::AAAA => {
                let ip = answer
                    .parse()
                    .map_err(|_| format!("receive: {} is not an IP address", quoted(answer)))?;
                DnsExpectation::Ips([ip].into())
            }
            _ if answer.is_empty() => DnsExpectation::Any,
            _ => DnsExpectation::Text(answer.into()),
        };
        Ok(DnsProbe {
            query: text("send", &self.send)?.into(),
            query_type,
            query_class: RecordClass::IN,
            expect,
            options: None,
        })
    }

    /// `send` is `user:password:secret`.
    fn radius(&self) -> Result<RadiusProbe, String> {
        let parts: Vec<&[u8]> = self.send.split(|byte| *byte == b':').collect();
        let [username, password, secret] = parts[..] else {
            return Err("send: a RADIUS check needs user:password:secret".to_owned());
        };
        let expect = match &self.receive[..] {
            b"" | b"accept" => RadiusExpectation::Accept,
            b"reject" => RadiusExpectation::Reject,
            b"challenge" => RadiusExpectation::Challenge,
            b"any" => RadiusExpectation::Any,
            _ => return Err("receive: expected accept, reject, challenge or any".to_owned()),
        };
        Ok(RadiusProbe {
            username: username.into(),
            password: RawBytes::from(password).into(),
            secret: RawBytes::from(secret).into(),
            expect,
            require_message_authenticator: false,
        })
    }
}

/// The lower 16 bits: how the engine makes a port of a number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cutting is what is meant")]
pub(super) fn cut(port: i64) -> u16 {
    port as u16
}

fn period(field: &str, seconds: i64) -> Result<Duration, String> {
    u64::try_from(seconds).map(Duration::from_secs).map_err(|_| format!("{field}: must be above 0"))
}

fn text<'a>(field: &str, bytes: &'a [u8]) -> Result<&'a str, String> {
    std::str::from_utf8(bytes).map_err(|_| format!("{field}: is not UTF-8"))
}
