//! Makes the probe of a check of its table.

use std::sync::Arc;

use hc_types::{
    BodyCondition, DnsExpectation, DnsOptions, DnsProbe, GrpcProbe, HeaderCondition, HeaderField, HeaderTest,
    HttpConditions, HttpOverrides, HttpProbe, HttpRequest, HttpVersion, JsonCondition, ProbeSpec,
    RadiusExpectation, RadiusProbe, RadiusStatusProbe, RawBytes, RecordClass, RecordType, Secret, TcpProbe,
    Tls, UdpProbe,
};

use crate::build::SecretFiles;
use crate::diagnostic::{Report, Span};
use crate::form::{Key, Located, Settings, Value};
use crate::inherit::Layer;
use crate::{keys, tls};

mod dialogue;

/// Reads the table of a kind of probe. `None` if something is missing or wrong.
pub(crate) fn read(
    kind: &'static Key,
    layer: &Layer,
    secrets: &SecretFiles<'_>,
    report: &mut Report,
) -> Option<ProbeSpec> {
    let Located { value: Value::Table(settings), at } = layer.settings.get(kind)? else { return None };
    let mut reader =
        Reader { kind: kind.name, settings, at: *at, incomplete: layer.incomplete, secrets, report };
    match kind.name {
        "icmp" => Some(ProbeSpec::Icmp),
        "udp" => Some(ProbeSpec::Udp(Box::new(reader.udp()))),
        "tcp" if settings.word(&keys::TCP_PROBE) == Some("syn") => reader.half_open(),
        "tcp" if settings.has(&keys::dialogue::STEPS) => reader.dialogue(),
        "tcp" => Some(ProbeSpec::Tcp(reader.tcp())),
        "http" => Some(ProbeSpec::Http(Box::new(reader.http()?))),
        "grpc" => Some(ProbeSpec::Grpc(Box::new(reader.grpc()))),
        "dns" => Some(ProbeSpec::Dns(Box::new(reader.dns()?))),
        "radius" => reader.radius(),
        "redis" | "smtp" | "postgresql" | "mysql" | "ldap" | "agent" => reader.dialogue(),
        _ => None,
    }
}

/// A host for `Host`, and for SNI and verification.
pub(crate) fn host_overrides(host: &str) -> HttpOverrides {
    let (host, server_name) = (Some(host.into()), Some(without_port(host).into()));
    HttpOverrides { host, server_name, ..HttpOverrides::default() }
}

/// The host without its port, and an IPv6 address without its brackets.
fn without_port(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        return address;
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

/// What an entry of `expected_headers` asks for.
fn header_test(table: &Settings) -> HeaderTest {
    let bytes = |key| table.bytes(key).map(RawBytes::from);
    if let Some(value) = bytes(&keys::HEADER_EQUALS) {
        return HeaderTest::Equals(value);
    }
    if let Some(part) = bytes(&keys::HEADER_CONTAINS) {
        return HeaderTest::Contains(part);
    }
    match table.get(&keys::HEADER_MATCHES).map(|located| &located.value) {
        Some(Value::Pattern(pattern)) => HeaderTest::Matches(pattern.clone()),
        _ if table.flag(&keys::HEADER_PRESENT) == Some(false) => HeaderTest::Absent,
        _ => HeaderTest::Present,
    }
}

struct Reader<'a> {
    kind: &'static str,
    settings: &'a Settings,
    at: Span,
    incomplete: bool,
    secrets: &'a SecretFiles<'a>,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn bytes(&self, key: &Key) -> RawBytes {
        self.settings.bytes(key).map(RawBytes::from).unwrap_or_default()
    }

    fn missing(&mut self, key: &Key, problem: &str) {
        // What is there and wrong has been reported.
        if !self.incomplete && !self.settings.has(key) {
            self.report.add(self.at, format!("check.{}.{}", self.kind, key.name), problem);
        }
    }

    fn udp(&self) -> UdpProbe {
        UdpProbe { send: self.bytes(&keys::UDP_SEND), receive: self.bytes(&keys::UDP_RECEIVE) }
    }

    fn tls(&mut self) -> Option<Tls> {
        tls::read(self.kind, self.settings, self.secrets, self.report)
    }

    fn tcp(&mut self) -> TcpProbe {
        TcpProbe { send: self.bytes(&keys::SEND), receive: self.bytes(&keys::RECEIVE), tls: self.tls() }
    }

    /// A SYN has nothing to say beyond itself.
    fn half_open(&mut self) -> Option<ProbeSpec> {
        let more = [&keys::SEND, &keys::RECEIVE, &keys::dialogue::STEPS, &keys::tls::TLS];
        let is_asked = |key: &&&'static Key| match key.name {
            "tls" => tls::is_asked_for(self.settings),
            _ => self.settings.has(key),
        };
        let Some(key) = more.iter().find(is_asked) else { return Some(ProbeSpec::HalfOpen) };
        let at = self.settings.get(key).map_or(self.at, |located| located.at);
        let problem = "not together with `probe = \"syn\"`, which makes no connection";
        self.report.add(at, format!("check.tcp.{}", key.name), problem);
        None
    }

    fn http(&mut self) -> Option<HttpProbe> {
        let request = self.request();
        let conditions = self.conditions()?;
        let named = self.settings.text(&keys::HOST).map(host_overrides).unwrap_or_default();
        let overrides = HttpOverrides { request: Some(Arc::new(request)), ..named };
        let ranges = self.settings.items(&keys::EXPECTED_CODES).iter().filter_map(|item| match &item.value {
            Value::Codes(codes) => Some(codes.clone()),
            _ => None,
        });
        let expected_codes = match self.settings.has(&keys::EXPECTED_CODES) {
            true => ranges.collect(),
            false => [200].into(),
        };
        Some(HttpProbe {
            tls: self.tls(),
            method: self.settings.text(&keys::METHOD).unwrap_or("GET").into(),
            request_target: self.settings.text(&keys::PATH).unwrap_or("/").into(),
            expected_codes,
            expected_body: self.bytes(&keys::EXPECTED_BODY),
            proxy: self.settings.flag(&keys::PROXY).unwrap_or(false),
            overrides: Some(Box::new(overrides)),
            conditions: Some(Arc::new(conditions)),
        })
    }

    fn grpc(&mut self) -> GrpcProbe {
        let host = self.settings.text(&keys::GRPC_HOST);
        GrpcProbe {
            tls: self.tls(),
            service: self.settings.text(&keys::SERVICE).unwrap_or_default().into(),
            host: host.map(Into::into),
            server_name: host.and_then(|host| host_overrides(host).server_name),
        }
    }

    fn request(&self) -> HttpRequest {
        let headers = self.settings.labels(&keys::HEADERS).into_iter().flatten();
        let reuse = self.settings.integer(&keys::REUSE).and_then(|probes| u16::try_from(probes).ok());
        HttpRequest {
            version: match self.settings.word(&keys::VERSION) {
                Some("2") => HttpVersion::Http2,
                _ => HttpVersion::Http1,
            },
            user_agent: self.settings.text(&keys::USER_AGENT).map(Into::into),
            headers: headers
                .map(|(name, value)| HeaderField { name: name.as_str().into(), value: value.as_str().into() })
                .collect(),
            body: self.bytes(&keys::BODY),
            // Checks with 1 and without the key share what is equal.
            reuse: reuse.filter(|probes| *probes > 1).unwrap_or_default(),
        }
    }

    fn conditions(&mut self) -> Option<HttpConditions> {
        let settings = self.settings;
        let limit = settings.integer(&keys::BODY_LIMIT).and_then(|limit| u32::try_from(limit).ok());
        let contains = settings.items(&keys::BODY_CONTAINS).iter().filter_map(|item| match &item.value {
            Value::Bytes(bytes) => Some(BodyCondition::Contains(bytes.as_slice().into())),
            _ => None,
        });
        let matches = settings.items(&keys::BODY_MATCHES).iter().filter_map(|item| match &item.value {
            Value::Pattern(pattern) => Some(BodyCondition::Matches(pattern.clone())),
            _ => None,
        });
        let mut body: Vec<BodyCondition> = contains.chain(matches).collect();
        for item in settings.items(&keys::BODY_JSON) {
            let Value::Table(table) = &item.value else { continue };
            let Some(pointer) = table.text(&keys::POINTER) else {
                self.lacks(&keys::BODY_JSON, item.at, "pointer");
                return None;
            };
            let equals = match table.get(&keys::JSON_EQUALS).map(|located| &located.value) {
                Some(Value::Scalar(scalar)) => Some(scalar.clone()),
                _ => None,
            };
            body.push(BodyCondition::Json(Box::new(JsonCondition { pointer: pointer.into(), equals })));
        }
        let mut headers = Vec::new();
        for item in settings.items(&keys::EXPECTED_HEADERS) {
            let Value::Table(table) = &item.value else { continue };
            let Some(name) = table.text(&keys::HEADER_NAME) else {
                self.lacks(&keys::EXPECTED_HEADERS, item.at, "name");
                return None;
            };
            // As the spec has it, so that all checks of a table share the conditions.
            let name = name.to_ascii_lowercase().into();
            headers.push(HeaderCondition { name, test: header_test(table) });
        }
        Some(HttpConditions {
            headers: headers.into(),
            body: body.into(),
            body_limit: limit.unwrap_or(HttpConditions::DEFAULT_BODY_LIMIT),
        })
    }

    /// A table that stands in a list lacks a key.
    fn lacks(&mut self, list: &Key, at: Span, key: &str) {
        if !self.incomplete {
            self.report.add(at, format!("check.{}.{}", self.kind, list.name), format!("needs `{key}`"));
        }
    }

    fn dns(&mut self) -> Option<DnsProbe> {
        let Some(query) = self.settings.text(&keys::QUERY) else {
            self.missing(&keys::QUERY, "a DNS check needs a name to ask for");
            return None;
        };
        let ips = self.settings.items(&keys::EXPECTED_IPS).iter().filter_map(|item| match item.value {
            Value::Address(ip) => Some(ip),
            _ => None,
        });
        let expect = match self.settings.text(&keys::EXPECTED_ANSWER) {
            Some(text) => DnsExpectation::Text(text.into()),
            None if self.settings.items(&keys::EXPECTED_IPS).is_empty() => DnsExpectation::Any,
            None => DnsExpectation::Ips(ips.collect()),
        };
        let query_type = self.settings.text(&keys::QUERY_TYPE).and_then(|word| word.parse().ok());
        let query_class = self.settings.text(&keys::QUERY_CLASS).and_then(|word| word.parse().ok());
        let options = self.dns_options();
        Some(DnsProbe {
            query: query.into(),
            query_type: query_type.unwrap_or(RecordType::A),
            query_class: query_class.unwrap_or(RecordClass::IN),
            expect,
            options: (options != DnsOptions::default()).then(|| Box::new(options)),
        })
    }

    fn dns_options(&self) -> DnsOptions {
        let flag = |key| self.settings.flag(key).unwrap_or(false);
        let codes = self.settings.items(&keys::EXPECTED_RCODES).iter().filter_map(|item| match &item.value {
            Value::Text(word) => word.parse().ok(),
            _ => None,
        });
        let payload = self.settings.integer(&keys::EDNS_PAYLOAD);
        DnsOptions {
            fresh_label: flag(&keys::FRESH_LABEL),
            edns_payload: payload.and_then(|size| u16::try_from(size).ok()),
            dnssec_ok: flag(&keys::DNSSEC_OK),
            checking_disabled: flag(&keys::CHECKING_DISABLED),
            recursion_desired: self.settings.flag(&keys::RECURSION_DESIRED).unwrap_or(true),
            expected_rcodes: codes.collect(),
        }
    }

    fn radius(&mut self) -> Option<ProbeSpec> {
        let password = self.secret(&keys::PASSWORD, &keys::PASSWORD_FILE);
        let secret = self.secret(&keys::SECRET, &keys::SECRET_FILE);
        if !self.settings.has(&keys::SECRET_FILE) {
            self.missing(&keys::SECRET, "a RADIUS check needs a secret, here or in a file (`secret_file`)");
        }
        let require_message_authenticator =
            self.settings.flag(&keys::REQUIRE_MESSAGE_AUTHENTICATOR).unwrap_or(false);
        if self.settings.flag(&keys::STATUS_SERVER) == Some(true) {
            return self.radius_status(secret??, require_message_authenticator);
        }
        self.missing(&keys::USERNAME, "a RADIUS check needs a user, or `status_server = true`");
        let expect = match self.settings.word(&keys::EXPECTED_RESPONSE) {
            Some("reject") => RadiusExpectation::Reject,
            Some("challenge") => RadiusExpectation::Challenge,
            Some("any") => RadiusExpectation::Any,
            _ => RadiusExpectation::Accept,
        };
        Some(ProbeSpec::Radius(Box::new(RadiusProbe {
            username: self.settings.bytes(&keys::USERNAME)?.into(),
            password: password?.unwrap_or_default(),
            secret: secret??,
            expect,
            require_message_authenticator,
        })))
    }

    fn radius_status(&mut self, secret: Secret, require_message_authenticator: bool) -> Option<ProbeSpec> {
        // One of these would be a login that somebody believes to be tested.
        let of_login = [&keys::USERNAME, &keys::PASSWORD, &keys::PASSWORD_FILE, &keys::EXPECTED_RESPONSE];
        if let Some(key) = of_login.into_iter().find(|key| self.settings.has(key)) {
            let at = self.settings.get(key).map_or(self.at, |located| located.at);
            let problem = "not together with `status_server`, which logs nobody in";
            self.report.add(at, format!("check.{}.{}", self.kind, key.name), problem);
            return None;
        }
        Some(ProbeSpec::RadiusStatus(Box::new(RadiusStatusProbe { secret, require_message_authenticator })))
    }

    /// A secret that stands in the table or in a file; `None` if the file cannot be read.
    #[expect(clippy::option_option, reason = "wrong is another thing than absent")]
    fn secret(&mut self, key: &Key, file_key: &Key) -> Option<Option<Secret>> {
        if let Some(bytes) = self.settings.bytes(key) {
            return Some(Some(RawBytes::from(bytes).into()));
        }
        let Some(Located { value: Value::Text(name), at }) = self.settings.get(file_key) else {
            return Some(None);
        };
        match self.secrets.read(name, *at) {
            Ok(bytes) => Some(Some(RawBytes::from(bytes).into())),
            Err(problem) => {
                self.report.add(*at, format!("check.{}.{}", self.kind, file_key.name), problem);
                None
            }
        }
    }
}
