//! The identity of what is checked.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    BodyCondition, CheckSpec, HeaderCondition, HeaderField, HeaderTest, HostName, HttpConditions,
    HttpOverrides, HttpProbe, HttpRequest, HttpVersion, JsonCondition, JsonScalar, KeyPin, Mode, ProbeSpec,
    ProxyProtocol, Rule, Secret, Target, TcpProbe, Tls, TlsIdentity, TlsOptions, TlsVersion, UdpProbe, Via,
};

/// The identity of what is checked: target, probe and what passes, but neither the id nor how
/// often.
///
/// Two checks have the same key exactly if [`CheckSpec::same_key`] holds for them; of different
/// checks two in about 2¹²⁰ have the same one. It is the same in every process, on every machine
/// and in every later version of this program: health is remembered under it, in memory and on
/// disk, and it chooses the shard of a check.
///
/// The first byte is the version of the derivation, [`CheckKey::VERSION`]; the other 15 are the
/// first of a SHA-256 over the encoding in this module. Secrets of a check enter the key only
/// through that digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CheckKey([u8; 16]);

impl CheckKey {
    /// The version of the derivation. Version 1 was the digest of the check as protocol JSON;
    /// snapshots of that time hold such keys (`hc-snapshot` reads them).
    pub const VERSION: u8 = 2;

    /// The key with this version and the beginning of this digest.
    #[must_use]
    pub fn from_digest(version: u8, digest: [u8; 32]) -> Self {
        let [mut key @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = digest;
        key[0] = version;
        Self(key)
    }

    /// A key that was stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The version of the derivation that made it.
    #[must_use]
    pub const fn version(self) -> u8 {
        self.0[0]
    }

    /// The last 64 bits: evenly distributed, and independent of the order of keys, which the bytes
    /// before them decide.
    #[must_use]
    pub const fn low_bits(self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    pub(crate) fn of(spec: &CheckSpec) -> Self {
        let mut encoding = Encoding(Vec::with_capacity(128));
        encoding.target(spec.target(), spec.host_name());
        encoding.probe(spec.probe());
        Self::from_digest(Self::VERSION, Sha256::digest(&encoding.0).into())
    }
}

/// Sixteen bytes in hexadecimal digits.
impl fmt::Display for CheckKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CheckKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The numbers of the fields. A number is never used again for something else.
mod tag {
    pub(super) const IP: u8 = 1;
    pub(super) const PORT: u8 = 2;
    pub(super) const MODE: u8 = 3;
    pub(super) const MARK: u8 = 4;
    pub(super) const HOST: u8 = 5;
    pub(super) const HOST_NAME: u8 = 6;
    pub(super) const ALL_ADDRESSES: u8 = 7;
    pub(super) const SOURCE: u8 = 8;
    pub(super) const DEVICE: u8 = 9;
    pub(super) const PROXY_PROTOCOL: u8 = 10;
    pub(super) const SECOND_SOURCE: u8 = 11;

    pub(super) const KIND: u8 = 16;
    pub(super) const SEND: u8 = 17;
    pub(super) const RECEIVE: u8 = 18;
    pub(super) const TLS: u8 = 19;
    pub(super) const HALF_OPEN: u8 = 20;

    pub(super) const METHOD: u8 = 32;
    pub(super) const REQUEST_TARGET: u8 = 33;
    pub(super) const EXPECTED_CODES: u8 = 34;
    pub(super) const EXPECTED_BODY: u8 = 35;
    pub(super) const PROXY: u8 = 36;
    pub(super) const HTTP_HOST: u8 = 37;
    pub(super) const SERVER_NAME: u8 = 38;
    pub(super) const AUTHORIZATION: u8 = 39;
    pub(super) const REQUEST_ERROR: u8 = 40;
    pub(super) const EXPECTED_RANGES: u8 = 41;
    pub(super) const HTTP_VERSION: u8 = 42;
    pub(super) const USER_AGENT: u8 = 43;
    pub(super) const HEADER: u8 = 44;
    pub(super) const REQUEST_BODY: u8 = 45;
    pub(super) const CONDITION: u8 = 46;
    pub(super) const BODY_LIMIT: u8 = 47;

    pub(super) const QUERY: u8 = 48;
    pub(super) const QUERY_TYPE: u8 = 49;
    pub(super) const QUERY_CLASS: u8 = 50;
    pub(super) const EXPECTED_IPS: u8 = 51;
    pub(super) const EXPECTED_ANSWER: u8 = 52;
    pub(super) const FRESH_LABEL: u8 = 53;
    pub(super) const EDNS_PAYLOAD: u8 = 54;
    pub(super) const DNSSEC_OK: u8 = 55;
    pub(super) const CHECKING_DISABLED: u8 = 56;
    pub(super) const NO_RECURSION: u8 = 57;
    pub(super) const EXPECTED_RCODES: u8 = 58;

    pub(super) const USERNAME: u8 = 64;
    pub(super) const PASSWORD: u8 = 65;
    pub(super) const SECRET: u8 = 66;
    pub(super) const EXPECTED_RESPONSE: u8 = 67;
    pub(super) const REQUIRE_MESSAGE_AUTHENTICATOR: u8 = 68;
    pub(super) const STATUS_SERVER: u8 = 69;

    pub(super) const STEP: u8 = 80;
    pub(super) const ROLE: u8 = 81;
    pub(super) const HELLO: u8 = 82;
    pub(super) const STARTTLS: u8 = 83;
    pub(super) const DATABASE: u8 = 84;

    pub(super) const SERVICE: u8 = 96;

    pub(super) const REUSE: u8 = 112;

    pub(super) const SNI: u8 = 128;
    pub(super) const VERIFY_NAME: u8 = 129;
    pub(super) const ROOT: u8 = 130;
    pub(super) const CLIENT_CERTIFICATE: u8 = 131;
    pub(super) const CLIENT_KEY: u8 = 132;
    pub(super) const KEY_PIN: u8 = 133;
    pub(super) const ALPN: u8 = 134;
    pub(super) const MIN_VERSION: u8 = 135;
    pub(super) const MIN_DAYS_LEFT: u8 = 136;
    pub(super) const WARN_DAYS_LEFT: u8 = 137;
    pub(super) const NO_ROOTS: u8 = 138;
    pub(super) const RESUME: u8 = 139;
}

/// What is hashed: the fields in a fixed order, each as its tag (a byte), its length in
/// bytes (32 bits, most significant byte first), its value. Numbers are written with the most
/// significant byte first.
///
/// A field that has its default value is left out. So a field that is added later changes no key of
/// the checks that do not use it. Each struct is taken apart without `..`, so a new field does not
/// compile before it is written here.
///
/// Example: a TCP check of `192.0.2.1:80` is `01 00000004 c0000201`, `02 00000002 0050`,
/// `10 00000001 03`.
struct Encoding(Vec<u8>);

impl Encoding {
    fn field(&mut self, tag: u8, value: &[u8]) {
        // No field is as long as 4 GiB: a line of the protocol, and any file of checks, is shorter.
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.0.push(tag);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value);
    }

    fn field_unless_empty(&mut self, tag: u8, value: &[u8]) {
        if !value.is_empty() {
            self.field(tag, value);
        }
    }

    fn flag(&mut self, tag: u8, on: bool) {
        if on {
            self.field(tag, &[1]);
        }
    }

    fn ip(&mut self, tag: u8, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.field(tag, &ip.octets()),
            IpAddr::V6(ip) => self.field(tag, &ip.octets()),
        }
    }

    fn target(&mut self, target: &Target, host_name: Option<&HostName>) {
        match host_name {
            None => self.ip(tag::IP, target.ip()),
            // Of a name, whatever its addresses are.
            Some(host) => {
                self.field(tag::HOST_NAME, host.name().as_bytes());
                self.flag(tag::ALL_ADDRESSES, host.rule() == Rule::All);
            }
        }
        if target.port() != 0 {
            self.field(tag::PORT, &target.port().to_be_bytes());
        }
        match target.mode() {
            Mode::Plain => {}
            Mode::Dsr => self.field(tag::MODE, &[1]),
            Mode::Tun => self.field(tag::MODE, &[2]),
        }
        if let Some(mark) = target.mark() {
            self.field(tag::MARK, &mark.get().to_be_bytes());
        }
        if let Some(host) = target.host() {
            self.ip(tag::HOST, host);
        }
        if let Some(way) = target.way() {
            self.way(way);
        }
    }

    fn way(&mut self, way: &Via) {
        let Via { source, second_source, device, proxy_protocol } = way;
        if let Some(source) = source {
            self.ip(tag::SOURCE, *source);
        }
        if let Some(second) = second_source {
            self.ip(tag::SECOND_SOURCE, *second);
        }
        if let Some(device) = device {
            self.field(tag::DEVICE, device.as_bytes());
        }
        if let Some(header) = proxy_protocol {
            let number = match header {
                ProxyProtocol::V1 => 1,
                ProxyProtocol::V2 => 2,
                ProxyProtocol::V2Local => 3,
            };
            self.field(tag::PROXY_PROTOCOL, &[number]);
        }
    }

    fn probe(&mut self, probe: &ProbeSpec) {
        match probe {
            ProbeSpec::Icmp => self.field(tag::KIND, &[1]),
            ProbeSpec::Udp(udp) => {
                let UdpProbe { send, receive } = &**udp;
                self.field(tag::KIND, &[2]);
                self.field_unless_empty(tag::SEND, send.as_slice());
                self.field_unless_empty(tag::RECEIVE, receive.as_slice());
            }
            ProbeSpec::Tcp(TcpProbe { send, receive, tls }) => {
                self.field(tag::KIND, &[3]);
                self.field_unless_empty(tag::SEND, send.as_slice());
                self.field_unless_empty(tag::RECEIVE, receive.as_slice());
                self.tls(tls.as_ref());
            }
            ProbeSpec::HalfOpen => {
                self.field(tag::KIND, &[3]);
                self.flag(tag::HALF_OPEN, true);
            }
            ProbeSpec::Http(http) => self.http(http),
            ProbeSpec::Dns(dns) => self.dns(dns),
            ProbeSpec::Radius(radius) => self.radius(radius),
            ProbeSpec::Dialogue(probe) => self.dialogue(probe),
            ProbeSpec::Grpc(grpc) => self.grpc(grpc),
            ProbeSpec::RadiusStatus(status) => self.radius_status(status),
        }
    }

    /// One byte of flags, then the options.
    fn tls(&mut self, tls: Option<&Tls>) {
        let Some(Tls { verify, old_versions, rsa_key_exchange, sha1, options }) = tls else { return };
        let flags = [verify, old_versions, rsa_key_exchange, sha1];
        let byte = flags.iter().rev().fold(0, |byte, flag| byte << 1 | u8::from(**flag));
        self.field(tag::TLS, &[byte]);
        if let Some(options) = options {
            self.tls_options(options);
        }
    }

    fn tls_options(&mut self, options: &TlsOptions) {
        let TlsOptions {
            sni,
            verify_name,
            roots,
            identity,
            pins,
            alpn,
            min_version,
            min_days_left,
            warn_days_left,
            resume,
        } = options;
        for (tag, name) in [(tag::SNI, sni), (tag::VERIFY_NAME, verify_name)] {
            if let Some(name) = name {
                self.field(tag, name.as_bytes());
            }
        }
        // No roots at all is not the default.
        self.flag(tag::NO_ROOTS, roots.as_ref().is_some_and(|roots| roots.is_empty()));
        for root in roots.iter().flatten() {
            self.field(tag::ROOT, root.as_slice());
        }
        if let Some(TlsIdentity { chain, key }) = identity {
            for certificate in chain {
                self.field(tag::CLIENT_CERTIFICATE, certificate.as_slice());
            }
            self.field(tag::CLIENT_KEY, key.expose());
        }
        for KeyPin(pin) in pins {
            self.field(tag::KEY_PIN, pin);
        }
        for protocol in alpn {
            self.field(tag::ALPN, protocol.as_slice());
        }
        if let Some(version) = min_version {
            let minor = match version {
                TlsVersion::V1_0 => 0,
                TlsVersion::V1_1 => 1,
                TlsVersion::V1_2 => 2,
                TlsVersion::V1_3 => 3,
            };
            self.field(tag::MIN_VERSION, &[minor]);
        }
        for (tag, days) in [(tag::MIN_DAYS_LEFT, min_days_left), (tag::WARN_DAYS_LEFT, warn_days_left)] {
            if let Some(days) = days {
                self.field(tag, &days.to_be_bytes());
            }
        }
        if *resume != 0 {
            self.field(tag::RESUME, &resume.to_be_bytes());
        }
    }

    fn http(&mut self, http: &HttpProbe) {
        let HttpProbe {
            tls,
            method,
            request_target,
            expected_codes,
            expected_body,
            proxy,
            overrides,
            conditions,
        } = http;
        self.field(tag::KIND, &[4]);
        self.tls(tls.as_ref());
        if &**method != "GET" {
            self.field(tag::METHOD, method.as_bytes());
        }
        if request_target.as_slice() != b"/" {
            self.field(tag::REQUEST_TARGET, request_target.as_slice());
        }
        if expected_codes.are_single() {
            let codes = expected_codes.ranges().flat_map(|code| code.start().to_be_bytes());
            self.field_unless_empty(tag::EXPECTED_CODES, &codes.collect::<Vec<u8>>());
        }
        self.field_unless_empty(tag::EXPECTED_BODY, expected_body.as_slice());
        self.flag(tag::PROXY, *proxy);
        if let Some(overrides) = overrides {
            let HttpOverrides { host, server_name, authorization, error, request: _ } = &**overrides;
            // An empty `Host` is not the default, so it is written, too.
            for (tag, value) in [
                (tag::HTTP_HOST, host.as_deref().map(str::as_bytes)),
                (tag::SERVER_NAME, server_name.as_deref().map(str::as_bytes)),
                (tag::AUTHORIZATION, authorization.as_ref().map(Secret::expose)),
                (tag::REQUEST_ERROR, error.as_deref().map(str::as_bytes)),
            ] {
                if let Some(value) = value {
                    self.field(tag, value);
                }
            }
        }
        // One of both tags has all of them, so that their order is kept.
        if !expected_codes.are_single() {
            let ends = expected_codes.ranges().flat_map(|range| [*range.start(), *range.end()]);
            self.field(tag::EXPECTED_RANGES, &ends.flat_map(u16::to_be_bytes).collect::<Vec<u8>>());
        }
        if let Some(request) = overrides.as_deref().and_then(|overrides| overrides.request.as_deref()) {
            self.request(request);
        }
        if let Some(conditions) = conditions {
            self.conditions(conditions);
        }
    }

    fn request(&mut self, request: &HttpRequest) {
        let HttpRequest { version, user_agent, headers, body, reuse } = request;
        match version {
            HttpVersion::Http1 => {}
            HttpVersion::Http2 => self.field(tag::HTTP_VERSION, &[2]),
        }
        if let Some(user_agent) = user_agent {
            self.field(tag::USER_AGENT, user_agent.as_bytes());
        }
        for HeaderField { name, value } in headers {
            self.parts(tag::HEADER, 0, [name.as_bytes(), value.expose()]);
        }
        self.field_unless_empty(tag::REQUEST_BODY, body.as_slice());
        if *reuse != 0 {
            self.field(tag::REUSE, &reuse.to_be_bytes());
        }
    }

    /// Each condition as a field of its own: its kind, then its parts.
    fn conditions(&mut self, conditions: &HttpConditions) {
        let HttpConditions { headers, body, body_limit } = conditions;
        for HeaderCondition { name, test } in headers {
            let (kind, value) = match test {
                HeaderTest::Present => (1, &[][..]),
                HeaderTest::Absent => (2, &[][..]),
                HeaderTest::Equals(value) => (3, value.as_slice()),
                HeaderTest::Contains(value) => (4, value.as_slice()),
                HeaderTest::Matches(pattern) => (5, pattern.as_str().as_bytes()),
            };
            self.parts(tag::CONDITION, kind, [name.as_bytes(), value]);
        }
        for condition in body {
            match condition {
                BodyCondition::Contains(part) => self.parts(tag::CONDITION, 16, [part.as_slice()]),
                BodyCondition::Matches(pattern) => {
                    self.parts(tag::CONDITION, 17, [pattern.as_str().as_bytes()]);
                }
                BodyCondition::Json(json) => {
                    let JsonCondition { pointer, equals } = &**json;
                    let pointer = pointer.as_bytes();
                    match equals {
                        None => self.parts(tag::CONDITION, 18, [pointer]),
                        Some(JsonScalar::Null) => self.parts(tag::CONDITION, 19, [pointer]),
                        Some(JsonScalar::Bool(value)) => {
                            self.parts(tag::CONDITION, 20, [pointer, &[u8::from(*value)]]);
                        }
                        Some(JsonScalar::Number(number)) => {
                            self.parts(tag::CONDITION, 21, [pointer, &number.to_bytes()]);
                        }
                        Some(JsonScalar::String(text)) => {
                            self.parts(tag::CONDITION, 22, [pointer, text.as_bytes()]);
                        }
                    }
                }
            }
        }
        if *body_limit != HttpConditions::DEFAULT_BODY_LIMIT {
            self.field(tag::BODY_LIMIT, &body_limit.to_be_bytes());
        }
    }

    /// A field of a kind (a byte) and parts, each with its length before it.
    fn parts<const N: usize>(&mut self, tag: u8, kind: u8, parts: [&[u8]; N]) {
        let mut value = vec![kind];
        for part in parts {
            value.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            value.extend_from_slice(part);
        }
        self.field(tag, &value);
    }
}

mod dialogue;
mod dns;
mod grpc;
mod radius;
#[cfg(test)]
mod tests;
