//! Checks as a TOML file.

use std::net::SocketAddr;

use hc_types::{
    BodyCondition, CheckSpec, DnsExpectation, DnsOptions, DnsProbe, GrpcProbe, HeaderCondition, HeaderField,
    HeaderTest, HttpConditions, HttpOverrides, HttpProbe, HttpRequest, HttpVersion, JsonCondition,
    JsonScalar, Mode, OpinionKeys, ProbeSpec, ProxyProtocol, Quorum, RadiusExpectation, RadiusProbe,
    RadiusStatusProbe, RecordClass, RecordType, Tls, TlsOptions,
};
use toml::{Table, Value};

use self::dialogue::put_dialogue;
use crate::probe::host_overrides;
use crate::range::TargetItem;
use crate::{Checks, DependsOn, HostCheck, Labels, Resolve, timing, words};

mod dialogue;

/// Why a check has no form in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrintError {
    /// The name of the check.
    pub name: String,
    /// What a file cannot say.
    pub problem: String,
}

impl std::fmt::Display for PrintError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.problem)
    }
}

impl std::error::Error for PrintError {}

/// Writes checks as a TOML file from which [`parse`](crate::parse) makes the same checks, one
/// `[[check]]` each: what a `cluster.pb`, or a file with templates and ranges, comes to.
///
/// The file holds all secrets in plain text.
///
/// # Errors
/// [`PrintError`] for a check that only a `cluster.pb` can hold, such as an HTTP request target
/// with a blank in it.
pub fn print(checks: &Checks) -> Result<String, PrintError> {
    let mut out = String::new();
    let error = |name: &str, problem| PrintError { name: name.to_owned(), problem };
    let of_checks = checks.checks.iter().map(|check| {
        let table = table(&check.name, &check.labels, &check.spec);
        let table = table.map(|table| beside(table, &check.depends_on, check.metrics, check.opinions));
        table.map_err(|problem| error(&check.name, problem))
    });
    let of_hosts =
        checks.hosts.iter().map(|host| host_table(host).map_err(|problem| error(&host.name, problem)));
    for table in of_checks.chain(of_hosts) {
        let table = table?;
        let mut file = Table::new();
        file.insert("check".to_owned(), Value::Array(vec![Value::Table(table)]));
        out.push_str(&file.to_string());
        out.push('\n');
    }
    Ok(out)
}

/// Enters what is known of a check beside its spec.
fn beside(mut table: Table, on: &DependsOn, metrics: bool, opinions: OpinionKeys) -> Table {
    if let Some(number) = opinions.opinions {
        put(&mut table, "opinions", i64::from(number));
    }
    match opinions.quorum {
        Some(Quorum::AtLeast(number)) => put(&mut table, "quorum", i64::from(number)),
        Some(rule) => put(&mut table, "quorum", rule.to_string()),
        None => {}
    }
    if metrics {
        put(&mut table, "metrics", true);
    }
    if !on.is_empty() {
        put(&mut table, "depends_on", on.iter().map(|name| Value::from(&**name)).collect::<Vec<Value>>());
    }
    table
}

fn host_table(check: &HostCheck) -> Result<Table, String> {
    let table = table(&check.name, &check.labels, &check.template)?;
    let mut table = beside(table, &check.depends_on, check.metrics, check.opinions);
    let target = TargetItem::Host(check.host.clone(), (check.port != 0).then_some(check.port));
    put(&mut table, "target", target.to_string());
    let resolve = match check.resolve {
        Resolve::Each => "each",
        Resolve::Any => "any",
        Resolve::All => "all",
    };
    put(&mut table, "resolve", resolve);
    let sources: Vec<Value> = check.ways.sources().map(|source| Value::from(source.to_string())).collect();
    if !sources.is_empty() {
        put(&mut table, "source", sources);
    }
    if !check.excluded.is_empty() {
        let excluded = check.excluded.iter().map(|item| Value::from(item.to_string()));
        put(&mut table, "exclude", excluded.collect::<Vec<Value>>());
    }
    Ok(table)
}

fn table(name: &str, labels: &Labels, spec: &CheckSpec) -> Result<Table, String> {
    words::check_name(name).map_err(|problem| format!("the name {problem}"))?;
    let mut table = Table::new();
    put(&mut table, "name", name);
    timing::put(&mut table, &spec.timing());
    if !labels.is_empty() {
        let labels = labels.iter().map(|(name, value)| (name.to_string(), Value::from(&**value)));
        put(&mut table, "labels", labels.collect::<Table>());
    }
    put_target(&mut table, spec)?;
    let mut probe = Table::new();
    match spec.probe() {
        ProbeSpec::Icmp => {}
        ProbeSpec::Udp(udp) => put_exchange(&mut probe, udp.send.as_slice(), udp.receive.as_slice()),
        ProbeSpec::Tcp(tcp) => {
            put_exchange(&mut probe, tcp.send.as_slice(), tcp.receive.as_slice());
            put_tls(&mut probe, tcp.tls.as_ref())?;
        }
        ProbeSpec::HalfOpen => put(&mut probe, "probe", "syn"),
        ProbeSpec::Http(http) => put_http(&mut probe, http)?,
        ProbeSpec::Dns(dns) => put_dns(&mut probe, dns)?,
        ProbeSpec::Radius(radius) => put_radius(&mut probe, radius),
        ProbeSpec::RadiusStatus(status) => put_radius_status(&mut probe, status),
        ProbeSpec::Dialogue(dialogue) => put_dialogue(&mut probe, dialogue)?,
        ProbeSpec::Grpc(grpc) => put_grpc(&mut probe, grpc)?,
    }
    let kind = if *spec.probe() == ProbeSpec::HalfOpen { "tcp" } else { spec.probe().type_name() };
    put(&mut table, kind, probe);
    Ok(table)
}

fn put(table: &mut Table, key: &str, value: impl Into<Value>) {
    table.insert(key.to_owned(), value.into());
}

/// Text where the bytes are text.
fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Value::Table([("hex".to_owned(), digits.into())].into_iter().collect())
        }
    }
}

fn put_bytes(table: &mut Table, key: &str, value: &[u8]) {
    if !value.is_empty() {
        put(table, key, bytes(value));
    }
}

fn put_target(table: &mut Table, spec: &CheckSpec) -> Result<(), String> {
    let target = spec.target();
    let text = match spec.probe() {
        ProbeSpec::Icmp if target.port() != 0 => return Err("an ICMP check with a port".to_owned()),
        ProbeSpec::Icmp => target.ip().to_string(),
        _ => SocketAddr::new(target.ip(), target.port()).to_string(),
    };
    put(table, "target", text);
    match target.mode() {
        Mode::Plain => {}
        Mode::Dsr => put(table, "mode", "dsr"),
        Mode::Tun => put(table, "mode", "tun"),
    }
    match (target.mark(), target.host()) {
        (Some(mark), _) => put(table, "mark", i64::from(mark.get())),
        (None, Some(_)) => return Err("a backend without a mark".to_owned()),
        (None, None) => {}
    }
    if let Some(backend) = target.host() {
        put(table, "backend", backend.to_string());
    }
    if let Some(source) = target.source() {
        put(table, "source", source.to_string());
    }
    if let Some(device) = target.device() {
        put(table, "device", device);
    }
    if let Some(header) = target.proxy_protocol() {
        let word = match header {
            ProxyProtocol::V1 => "v1",
            ProxyProtocol::V2 => "v2",
            ProxyProtocol::V2Local => "v2-local",
        };
        put(table, "proxy_protocol", word);
    }
    Ok(())
}

fn put_exchange(table: &mut Table, send: &[u8], receive: &[u8]) {
    put_bytes(table, "send", send);
    put_bytes(table, "receive", receive);
}

fn put_tls(table: &mut Table, tls: Option<&Tls>) -> Result<(), String> {
    let Some(tls) = tls else { return Ok(()) };
    let mut settings = Table::new();
    if let Some(options) = &tls.options {
        let TlsOptions { sni, verify_name, resume, .. } = &**options;
        let mut named = TlsOptions::default();
        (named.sni, named.verify_name, named.resume) = (sni.clone(), verify_name.clone(), *resume);
        if **options != named {
            return Err("options of TLS, of which some stand in files".to_owned());
        }
        for (key, name) in [("sni", sni), ("verify_name", verify_name)] {
            if let Some(name) = name {
                put(&mut settings, key, &**name);
            }
        }
        if *resume > 0 {
            put(&mut settings, "resume", i64::from(*resume));
        }
    }
    for (key, value, default) in [
        ("verify", tls.verify, true),
        ("old_versions", tls.old_versions, false),
        ("rsa_key_exchange", tls.rsa_key_exchange, false),
        ("sha1", tls.sha1, false),
    ] {
        if value != default {
            put(&mut settings, key, value);
        }
    }
    put(table, "tls", settings);
    Ok(())
}

fn put_http(table: &mut Table, http: &HttpProbe) -> Result<(), String> {
    put_tls(table, http.tls.as_ref())?;
    put(table, "method", &*http.method);
    put_request(table, http)?;
    let codes = http.expected_codes.ranges().map(|range| match range.into_inner() {
        (first, last) if first == last => Value::from(i64::from(first)),
        (first, last) => Value::from(format!("{first}-{last}")),
    });
    put(table, "expected_codes", codes.collect::<Vec<Value>>());
    put_bytes(table, "expected_body", http.expected_body.as_slice());
    if let Some(conditions) = &http.conditions {
        put_conditions(table, conditions)?;
    }
    put(table, "proxy", http.proxy);
    Ok(())
}

fn put_grpc(table: &mut Table, grpc: &GrpcProbe) -> Result<(), String> {
    let GrpcProbe { tls, service, host, server_name } = grpc;
    put_tls(table, tls.as_ref())?;
    put(table, "service", &**service);
    let named = host.as_deref().map(host_overrides).unwrap_or_default();
    if *server_name != named.server_name.filter(|_| tls.is_some()) {
        return Err("another server name than the host".to_owned());
    }
    if let Some(host) = host {
        words::host(host)?;
        put(table, "host", &**host);
    }
    Ok(())
}

fn put_request(table: &mut Table, http: &HttpProbe) -> Result<(), String> {
    let path = std::str::from_utf8(http.request_target.as_slice())
        .map_err(|_| "a request target that is not text")?;
    let overrides = http.overrides.as_deref().cloned().unwrap_or_default();
    if let Some(host) = overrides.host.as_deref() {
        words::host(host)?;
        put(table, "host", host);
    }
    let mut expected = overrides.host.as_deref().map(host_overrides).unwrap_or_default();
    expected.server_name.take_if(|_| http.tls.is_none());
    if overrides != (HttpOverrides { request: overrides.request.clone(), ..expected }) {
        return Err(
            "another server name than the Host, credentials, or a request that cannot be sent".to_owned()
        );
    }
    if let Some(request) = &overrides.request {
        put_request_parts(table, request)?;
    }
    words::path(path).map_err(|problem| format!("the request target {problem}"))?;
    put(table, "path", path);
    Ok(())
}

fn put_request_parts(table: &mut Table, request: &HttpRequest) -> Result<(), String> {
    let HttpRequest { version, user_agent, headers, body, reuse } = request;
    match version {
        HttpVersion::Http1 => {}
        HttpVersion::Http2 => put(table, "version", "2"),
        _ => return Err("a version of HTTP that a file cannot name".to_owned()),
    }
    if let Some(user_agent) = user_agent {
        put(table, "user_agent", &**user_agent);
    }
    let mut fields = Table::new();
    for HeaderField { name, value } in headers {
        let value = std::str::from_utf8(value.expose()).map_err(|_| "a header that is not text")?;
        put(&mut fields, name, value);
    }
    if !fields.is_empty() {
        put(table, "headers", fields);
    }
    put_bytes(table, "body", body.as_slice());
    if *reuse > 0 {
        put(table, "reuse", i64::from(*reuse));
    }
    Ok(())
}

fn put_conditions(table: &mut Table, conditions: &HttpConditions) -> Result<(), String> {
    let HttpConditions { headers, body, body_limit } = conditions;
    let mut expected: Vec<Value> = Vec::new();
    for HeaderCondition { name, test } in headers {
        let mut one = Table::new();
        put(&mut one, "name", &**name);
        match test {
            HeaderTest::Present => {}
            HeaderTest::Absent => put(&mut one, "present", false),
            HeaderTest::Equals(value) => put(&mut one, "equals", bytes(value.as_slice())),
            HeaderTest::Contains(part) => put(&mut one, "contains", bytes(part.as_slice())),
            HeaderTest::Matches(pattern) => put(&mut one, "matches", pattern.as_str()),
            _ => return Err("a condition that a file cannot say".to_owned()),
        }
        expected.push(one.into());
    }
    let (mut contains, mut matches, mut json): (Vec<Value>, Vec<Value>, Vec<Value>) = Default::default();
    for condition in body {
        match condition {
            BodyCondition::Contains(part) => contains.push(bytes(part.as_slice())),
            BodyCondition::Matches(pattern) => matches.push(pattern.as_str().into()),
            BodyCondition::Json(condition) => json.push(json_condition(condition)?),
            _ => return Err("a condition that a file cannot say".to_owned()),
        }
    }
    let lists = [
        ("expected_headers", expected),
        ("body_contains", contains),
        ("body_matches", matches),
        ("body_json", json),
    ];
    for (key, list) in lists {
        if !list.is_empty() {
            put(table, key, list);
        }
    }
    put(table, "body_limit", i64::from(*body_limit));
    Ok(())
}

fn json_condition(condition: &JsonCondition) -> Result<Value, String> {
    let JsonCondition { pointer, equals } = condition;
    let mut table = Table::new();
    put(&mut table, "pointer", &**pointer);
    match equals {
        None => {}
        Some(JsonScalar::String(text)) => put(&mut table, "equals", &**text),
        Some(JsonScalar::Bool(value)) => put(&mut table, "equals", *value),
        Some(JsonScalar::Number(number)) => match number.as_integer().map(i64::try_from) {
            Some(Ok(integer)) => put(&mut table, "equals", integer),
            Some(Err(_)) => return Err("an integer that does not fit into 64 bits with a sign".to_owned()),
            None => put(&mut table, "equals", number.as_f64()),
        },
        Some(JsonScalar::Null) => return Err("a JSON value that must be null".to_owned()),
    }
    Ok(table.into())
}

fn put_dns(table: &mut Table, dns: &DnsProbe) -> Result<(), String> {
    put(table, "query", &*dns.query);
    if dns.query_type != RecordType::A {
        put(table, "query_type", dns.query_type.to_string());
    }
    if dns.query_class != RecordClass::IN {
        put(table, "query_class", dns.query_class.to_string());
    }
    match &dns.expect {
        DnsExpectation::Any => {}
        DnsExpectation::Ips(ips) if ips.is_empty() => return Err("an expectation of no address".to_owned()),
        DnsExpectation::Ips(ips) => {
            let ips = ips.iter().map(|ip| Value::from(ip.to_string()));
            put(table, "expected_ips", ips.collect::<Vec<Value>>());
        }
        DnsExpectation::Text(text) => put(table, "expected_answer", &**text),
    }
    if let Some(options) = &dns.options {
        put_dns_options(table, options);
    }
    Ok(())
}

fn put_dns_options(table: &mut Table, options: &DnsOptions) {
    for (key, value, default) in [
        ("fresh_label", options.fresh_label, false),
        ("dnssec_ok", options.dnssec_ok, false),
        ("checking_disabled", options.checking_disabled, false),
        ("recursion_desired", options.recursion_desired, true),
    ] {
        if value != default {
            put(table, key, value);
        }
    }
    if let Some(size) = options.edns_payload {
        put(table, "edns_payload", i64::from(size));
    }
    if !options.expected_rcodes.is_empty() {
        let codes = options.expected_rcodes.iter().map(|code| Value::from(code.to_string()));
        put(table, "expected_rcodes", codes.collect::<Vec<Value>>());
    }
}

fn put_radius_status(table: &mut Table, status: &RadiusStatusProbe) {
    put(table, "status_server", true);
    put(table, "secret", bytes(status.secret.expose()));
    put(table, "require_message_authenticator", status.require_message_authenticator);
}

fn put_radius(table: &mut Table, radius: &RadiusProbe) {
    put(table, "username", bytes(radius.username.as_slice()));
    put_bytes(table, "password", radius.password.expose());
    put(table, "secret", bytes(radius.secret.expose()));
    let expected = match radius.expect {
        RadiusExpectation::Accept => "accept",
        RadiusExpectation::Reject => "reject",
        RadiusExpectation::Challenge => "challenge",
        RadiusExpectation::Any => "any",
    };
    put(table, "expected_response", expected);
    put(table, "require_message_authenticator", radius.require_message_authenticator);
}
