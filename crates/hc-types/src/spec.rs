//! One check, valid by construction.

mod host_name;
mod http;
mod shape;
mod way;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use self::shape::Shape;
use crate::timing::{Jitter, Needed, Pace, Packed, PeriodError, Timing};
use crate::{
    AdaptiveTimeout, CheckKey, DnsExpectation, DnsOptions, DnsProbe, HostName, HttpConditions, HttpRequest,
    Mode, Outcome, ProbeSpec, Progress, Rcode, RecordType, Status, Target, Tls, dialogue, impossible_backend,
    text,
};

/// Why a check cannot exist. Each text begins with the field that it is about, named as in
/// `docs/protocol.md` or, where the protocol does not have it, in `docs/checks.md`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The interval makes no sense.
    #[error("interval: {0}")]
    Interval(PeriodError),
    /// The timeout makes no sense.
    #[error("timeout: {0}")]
    Timeout(PeriodError),
    /// No passes are needed to become healthy.
    #[error("rise: must be at least 1")]
    Rise,
    /// The interval while the health changes makes no sense.
    #[error("fast_interval: {0}")]
    FastInterval(PeriodError),
    /// The interval of an unhealthy check makes no sense.
    #[error("down_interval: {0}")]
    DownInterval(PeriodError),
    /// The jitter makes no sense.
    #[error("jitter: {0}")]
    Jitter(PeriodError),
    /// The delay of the first probe makes no sense.
    #[error("start_delay: {0}")]
    StartDelay(PeriodError),
    /// A shorter timeout would decide alone.
    #[error(
        "adaptive_timeout: \"apply\" needs retries of 1 or more: no check fails by a shorter timeout alone"
    )]
    AdaptiveTimeout,
    /// Port 0, for anything but ICMP.
    #[error("port: must be 1 to 65535")]
    Port,
    /// An address that no backend can have.
    #[error("ip: {ip} is {reason}")]
    Address {
        /// The address.
        ip: IpAddr,
        /// Why no backend can have it, in words.
        reason: &'static str,
    },
    /// A source address of the other family, or one that no packet is sent from.
    #[error("source: {source_ip} {problem}")]
    Source {
        /// The address.
        source_ip: IpAddr,
        /// What is wrong with it, in words.
        problem: &'static str,
    },
    /// A name that no interface can have.
    #[error("device: {0:?} is not the name of an interface")]
    Device(Box<str>),
    /// A PROXY header before a probe that makes no TCP connection.
    #[error("proxy_protocol: a check of the kind {0} makes no TCP connection")]
    ProxyProtocol(&'static str),
    /// A host name with more than [`HostName::MAX_ADDRESSES`] addresses.
    #[error(
        "ip: the host name has {0} addresses, and one check probes at most 256 (resolve = \"each\" probes any number)"
    )]
    Addresses(usize),
    /// A half-open probe with a mark, which the kernel's RST would not have.
    #[error(
        "probe: syn is not possible with a mark: the kernel ends the connection with a RST that has none"
    )]
    HalfOpen,
    /// Mode DSR or TUN without a mark.
    #[error("mark: mode dsr and tun need one, from 1 to 4294967295")]
    Mark,
    /// An HTTP method that is no token.
    #[error("method: {0:?} is not an HTTP method")]
    Method(Box<str>),
    /// A request target that would end the request line early, or that is not sent as a whole.
    #[error("request_target: {quoted} {problem}")]
    RequestTarget {
        /// The target in quotes.
        quoted: Box<str>,
        /// What is wrong with it, in words.
        problem: &'static str,
    },
    /// A `Host` with a blank, a control character or one outside ASCII.
    #[error("http_host: {0:?} has a blank, a control character or one outside ASCII")]
    HttpHost(Box<str>),
    /// Credentials with a control character. They are not quoted.
    #[error("authorization: has a control character")]
    Authorization,
    /// An expected HTTP status code outside 100 to 999.
    #[error("expected_codes: {0} is not a status code (100 to 999)")]
    ExpectedCode(u16),
    /// A range of expected HTTP status codes in which there is none.
    #[error("expected_codes: {first}-{last} ends before it begins")]
    ExpectedCodes {
        /// Where it begins.
        first: u16,
        /// Where it ends.
        last: u16,
    },
    /// A header field of the request that is no field, or that the checker writes itself. Its value
    /// is not quoted.
    #[error("headers: {quoted} {problem}")]
    Header {
        /// The name in quotes.
        quoted: Box<str>,
        /// What is wrong with it, in words.
        problem: &'static str,
    },
    /// More header fields than [`HttpRequest::MAX_HEADERS`], or longer ones than
    /// [`HttpRequest::MAX_HEADER_BYTES`] together.
    #[error(
        "headers: {count} fields of {bytes} bytes; at most {} fields of {} bytes",
        HttpRequest::MAX_HEADERS,
        HttpRequest::MAX_HEADER_BYTES
    )]
    Headers {
        /// How many there are.
        count: usize,
        /// How long their names and values are together.
        bytes: usize,
    },
    /// A `User-Agent` with a control character, or with a blank at an end.
    #[error("user_agent: {0:?} has a control character, or a blank at an end")]
    UserAgent(Box<str>),
    /// A body of the request that is longer than [`HttpRequest::MAX_BODY`].
    #[error("body: {length} bytes; at most {}", HttpRequest::MAX_BODY)]
    RequestBody {
        /// Its length in bytes.
        length: usize,
    },
    /// Connections that cannot be used again, or not so often.
    #[error("reuse: {0}")]
    Reuse(&'static str),
    /// A request target, or a use as a proxy, that HTTP/2 does not have.
    #[error("version: {0} is not possible with HTTP/2")]
    Http2(&'static str),
    /// The name of a gRPC service that is longer than
    /// [`GrpcProbe::MAX_SERVICE`](crate::GrpcProbe::MAX_SERVICE).
    #[error("service: {length} bytes; at most {}", crate::GrpcProbe::MAX_SERVICE)]
    Service {
        /// Its length in bytes.
        length: usize,
    },
    /// A host that is empty or has a blank, a control character or one outside ASCII.
    #[error("host: {0:?} is empty or has a blank, a control character or one outside ASCII")]
    Authority(Box<str>),
    /// The name of an expected header field is no token.
    #[error("expected_headers: {0} is not the name of a header field")]
    ExpectedHeader(Box<str>),
    /// A condition that any body meets.
    #[error("body_contains: empty, which any body contains")]
    BodyContains,
    /// A JSON pointer that is none.
    #[error("body_json: the pointer {quoted} {problem}")]
    JsonPointer {
        /// The pointer in quotes.
        quoted: Box<str>,
        /// What is wrong with it, in words.
        problem: &'static str,
    },
    /// A limit of 0, or above [`HttpConditions::MAX_BODY_LIMIT`].
    #[error("body_limit: must be 1 to {}", HttpConditions::MAX_BODY_LIMIT)]
    BodyLimit,
    /// A body is expected to begin with more bytes than are read of it.
    #[error("body_limit: {limit} is below the {expected} bytes of expected_body")]
    BodyLimitTooLow {
        /// The limit.
        limit: u32,
        /// The length of `expected_body`.
        expected: usize,
    },
    /// An IPv6 address that is expected in A records.
    #[error("expected_ips: {0} is not an IPv4 address")]
    ExpectedAddress(IpAddr),
    /// An option of TLS that makes no sense.
    #[error("{field}: {problem}")]
    TlsOption {
        /// The option, named as in `docs/checks.md`.
        field: &'static str,
        /// What is wrong with it, in words.
        problem: &'static str,
    },
    /// Addresses that are expected in records of a type that has none.
    #[error("expected_ips: only for A and AAAA, not for {0}")]
    ExpectedAddressesOf(RecordType),
    /// A text that is expected in A or AAAA records.
    #[error("expected_answer: for A and AAAA use expected_ips")]
    ExpectedAnswer,
    /// A dialogue that cannot be held.
    #[error("{field}: {problem}")]
    Dialogue {
        /// The field.
        field: &'static str,
        /// What is wrong with it, in words.
        problem: Box<str>,
    },
    /// A size of UDP payload below 512, which counts as 512 (RFC 6891 section 6.2.3).
    #[error("edns_payload: {0} is below 512")]
    EdnsPayload(u16),
    /// A number that no response code has.
    #[error("expected_rcodes: {0} is above 4095")]
    ExpectedRcode(u16),
    /// An answer is expected together with response codes that come without one.
    #[error("expected_rcodes: without NOERROR no answer can be expected")]
    ExpectedRcodes,
}

impl SpecError {
    /// The field that it is about, named as in `docs/protocol.md`.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            SpecError::Interval(_) => "interval",
            SpecError::Timeout(_) => "timeout",
            SpecError::Rise => "rise",
            SpecError::FastInterval(_) => "fast_interval",
            SpecError::DownInterval(_) => "down_interval",
            SpecError::Jitter(_) => "jitter",
            SpecError::StartDelay(_) => "start_delay",
            SpecError::AdaptiveTimeout => "adaptive_timeout",
            SpecError::Port => "port",
            SpecError::Address { .. } | SpecError::Addresses(_) => "ip",
            SpecError::HalfOpen => "probe",
            SpecError::Mark => "mark",
            SpecError::Source { .. } => "source",
            SpecError::Device(_) => "device",
            SpecError::ProxyProtocol(_) => "proxy_protocol",
            SpecError::Method(_) => "method",
            SpecError::RequestTarget { .. } => "request_target",
            SpecError::HttpHost(_) => "http_host",
            SpecError::Authorization => "authorization",
            SpecError::ExpectedCode(_) | SpecError::ExpectedCodes { .. } => "expected_codes",
            SpecError::Header { .. } | SpecError::Headers { .. } => "headers",
            SpecError::UserAgent(_) => "user_agent",
            SpecError::RequestBody { .. } => "body",
            SpecError::Reuse(_) => "reuse",
            SpecError::Http2(_) => "version",
            SpecError::Service { .. } => "service",
            SpecError::Authority(_) => "host",
            SpecError::ExpectedHeader(_) => "expected_headers",
            SpecError::BodyContains => "body_contains",
            SpecError::JsonPointer { .. } => "body_json",
            SpecError::BodyLimit | SpecError::BodyLimitTooLow { .. } => "body_limit",
            SpecError::ExpectedAddress(_) | SpecError::ExpectedAddressesOf(_) => "expected_ips",
            SpecError::ExpectedAnswer => "expected_answer",
            SpecError::Dialogue { field, .. } => field,
            SpecError::EdnsPayload(_) => "edns_payload",
            SpecError::ExpectedRcode(_) | SpecError::ExpectedRcodes => "expected_rcodes",
            SpecError::TlsOption { field, .. } => field,
        }
    }
}

/// What is checked, how often, and when failures count: everything about a check but its id.
///
/// What specs have in common apart from their targets is in memory once, so one takes 40 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSpec {
    /// Of a host name: with its first address.
    target: Target,
    shape: Arc<Shape>,
}

impl CheckSpec {
    /// Builds a check.
    ///
    /// # Errors
    /// [`SpecError`] names the first field whose value makes no sense: a period of zero or above
    /// [`MAX_PERIOD`](crate::MAX_PERIOD), an interval below [`MIN_INTERVAL`](crate::MIN_INTERVAL),
    /// a fast interval above the interval, a jitter above half of an interval, a rise of 0, port 0
    /// for anything but ICMP, an address that no backend can have, mode DSR or TUN without a mark, a
    /// half-open probe with one,
    /// an HTTP method that is no token, a request target, a `Host` or credentials that would break
    /// the request, a status code outside 100–999, an expected address that the query type cannot
    /// yield.
    pub fn new(target: Target, probe: ProbeSpec, timing: Timing) -> Result<Self, SpecError> {
        if let Some(reason) = impossible_backend(target.ip()) {
            return Err(SpecError::Address { ip: target.ip(), reason });
        }
        Self::build(target, None, probe, timing)
    }

    fn build(
        target: Target,
        host_name: Option<Box<HostName>>,
        probe: ProbeSpec,
        timing: Timing,
    ) -> Result<Self, SpecError> {
        let timing = Packed::new(timing)?;
        if target.port() == 0 && probe != ProbeSpec::Icmp {
            return Err(SpecError::Port);
        }
        if target.mode() != Mode::Plain && target.mark().is_none() {
            return Err(SpecError::Mark);
        }
        if probe == ProbeSpec::HalfOpen && target.mark().is_some() {
            return Err(SpecError::HalfOpen);
        }
        let own = [target.ip()];
        let ips = host_name.as_ref().map_or(&own[..], |host| host.addresses());
        way::check(&target, ips, &probe)?;
        let probe = match probe {
            ProbeSpec::Http(http) => ProbeSpec::Http(http::checked(http)?),
            ProbeSpec::Dns(dns) => ProbeSpec::Dns(checked_dns(dns)?),
            ProbeSpec::Tcp(mut tcp) => {
                tcp.tls.as_mut().map_or(Ok(()), Tls::check)?;
                ProbeSpec::Tcp(tcp)
            }
            ProbeSpec::Dialogue(mut probe) => {
                dialogue::check(&mut probe)
                    .map_err(|(field, problem)| SpecError::Dialogue { field, problem: problem.into() })?;
                probe.tls.as_mut().map_or(Ok(()), Tls::check)?;
                ProbeSpec::Dialogue(probe)
            }
            ProbeSpec::Grpc(grpc) => ProbeSpec::Grpc(http::checked_grpc(grpc)?),
            other => other,
        };
        Ok(Self { target, shape: Shape { probe, timing, host_name }.shared() })
    }

    /// Where the probe goes. Of a check of a host name: with the first of its addresses, or with
    /// the unspecified one if none is known.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What the probe does.
    #[must_use]
    pub fn probe(&self) -> &ProbeSpec {
        &self.shape.probe
    }

    /// How often it probes, and how many results change its health.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.shape.timing.unpacked()
    }

    /// Time between the starts of two probes, while nothing changes and the check is not down.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.shape.timing.interval()
    }

    /// Time between the starts of two probes at this pace.
    #[must_use]
    pub fn interval_at(&self, pace: Pace) -> Duration {
        self.shape.timing.interval_at(pace)
    }

    /// The longest of its intervals: no two probes are further apart than this and the jitter.
    #[must_use]
    pub fn longest_interval(&self) -> Duration {
        self.interval().max(self.interval_at(Pace::Down))
    }

    /// Deadline of one whole probe, counted from its start.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.shape.timing.timeout()
    }

    /// Consecutive failures that a healthy check survives.
    #[must_use]
    pub fn retries(&self) -> u32 {
        self.shape.timing.retries
    }

    /// Consecutive passes that make an unhealthy check healthy: 1 or more.
    #[must_use]
    pub fn rise(&self) -> u32 {
        self.shape.timing.rise()
    }

    /// How much later than planned a probe may start.
    #[must_use]
    pub fn jitter(&self) -> Jitter {
        self.shape.timing.jitter()
    }

    /// How long after the check begins its first probe starts, at the earliest.
    #[must_use]
    pub fn start_delay(&self) -> Duration {
        self.shape.timing.start_delay()
    }

    /// Whether a shorter timeout follows from how long the passes take.
    #[must_use]
    pub fn adaptive_timeout(&self) -> AdaptiveTimeout {
        self.shape.timing.adaptive_timeout()
    }

    /// What rise and fall still need before the health of this check changes.
    #[must_use]
    pub fn needed(&self, status: &Status, progress: &Progress) -> Needed {
        Needed::of(&self.shape.timing, status, progress)
    }

    /// Whether both check the same thing: the same target in the same way, however often. Health
    /// belongs to what is checked, so it survives a new id, another interval, another number of
    /// retries, other addresses of a host name. Cheaper than comparing keys.
    #[must_use]
    pub fn same_key(&self, other: &Self) -> bool {
        let same_target = match (self.host_name(), other.host_name()) {
            (None, None) => self.target == other.target,
            (Some(host), Some(another)) => {
                host.is_same(another) && self.target.clone().with_ip(other.target.ip()) == other.target
            }
            _ => false,
        };
        same_target && (Arc::ptr_eq(&self.shape, &other.shape) || self.probe() == other.probe())
    }

    /// The identity of what is checked, equal exactly if [`same_key`](Self::same_key) holds, and
    /// the same in every process. Costs a SHA-256 of what is checked, so keep it where it is needed
    /// more than once.
    #[must_use]
    pub fn key(&self) -> CheckKey {
        CheckKey::of(self)
    }

    /// The text of a result, for operators: Seesaw's wording where it says enough, and the cause
    /// where it does not.
    #[must_use]
    pub fn text(&self, outcome: &Outcome) -> String {
        text::render(self, outcome)
    }
}

fn checked_dns(mut dns: Box<DnsProbe>) -> Result<Box<DnsProbe>, SpecError> {
    match (&mut dns.expect, dns.query_type) {
        (DnsExpectation::Ips(ips), RecordType::A) => {
            for ip in ips.iter_mut() {
                *ip = ip.to_canonical();
                if !ip.is_ipv4() {
                    return Err(SpecError::ExpectedAddress(*ip));
                }
            }
        }
        (DnsExpectation::Ips(ips), RecordType::AAAA) => {
            // An AAAA record can hold an IPv4-mapped address; that is what an IPv4 address here
            // means, as in Seesaw.
            for ip in ips.iter_mut() {
                if let IpAddr::V4(v4) = *ip {
                    *ip = IpAddr::V6(v4.to_ipv6_mapped());
                }
            }
        }
        (DnsExpectation::Ips(_), other) => {
            return Err(SpecError::ExpectedAddressesOf(other));
        }
        (DnsExpectation::Text(_), RecordType::A | RecordType::AAAA) => {
            return Err(SpecError::ExpectedAnswer);
        }
        (DnsExpectation::Any | DnsExpectation::Text(_), _) => {}
    }
    if let Some(options) = &mut dns.options {
        check_dns_options(options, &dns.expect)?;
    }
    dns.options = dns.options.filter(|options| **options != DnsOptions::default());
    Ok(dns)
}

/// Brings the options into the one form that they have, so that a check is equal to itself.
fn check_dns_options(options: &mut DnsOptions, expect: &DnsExpectation) -> Result<(), SpecError> {
    if options.dnssec_ok {
        options.edns_payload.get_or_insert(DnsOptions::EDNS_PAYLOAD);
    }
    if let Some(size) = options.edns_payload.filter(|size| *size < 512) {
        return Err(SpecError::EdnsPayload(size));
    }
    let mut codes = std::mem::take(&mut options.expected_rcodes).into_vec();
    codes.sort_unstable();
    codes.dedup();
    if let Some(Rcode(code)) = codes.last().filter(|code| code.0 > Rcode::MAX) {
        return Err(SpecError::ExpectedRcode(*code));
    }
    if codes.first().is_some_and(|code| *code != Rcode::NOERROR) && *expect != DnsExpectation::Any {
        return Err(SpecError::ExpectedRcodes);
    }
    if codes != [Rcode::NOERROR] {
        options.expected_rcodes = codes.into();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
