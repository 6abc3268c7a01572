//! Checks, written.

use hc_types::{
    CheckSpec, DnsExpectation, DnsProbe, HttpOverrides, HttpProbe, Mode, ProbeSpec, RadiusExpectation,
    RadiusProbe, RawBytes, RecordClass, RecordType, Timing, Tls,
};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::CheckLine;
use crate::bytes::AsJson;

/// The fields stand in the order of `docs/protocol.md`, defaults left out. What a check asks for
/// beyond what a Seesaw engine can is an error.
impl Serialize for CheckLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let spec = &*self.spec;
        let Timing { interval, timeout, retries, .. } = spec.timing();
        if spec.timing() != Timing::every(interval).timeout(timeout).retries(retries) {
            return Err(unsayable("another timing than interval, timeout and retries"));
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("interval", &humantime::format_duration(spec.interval()).to_string())?;
        map.serialize_entry("timeout", &humantime::format_duration(spec.timeout()).to_string())?;
        map.serialize_entry("retries", &spec.retries())?;
        serialize_subject(&mut map, spec)?;
        map.end()
    }
}

/// What is checked, without how often.
fn serialize_subject<M: SerializeMap>(map: &mut M, spec: &CheckSpec) -> Result<(), M::Error> {
    let target = spec.target();
    if spec.host_name().is_some() {
        return Err(unsayable("a host name"));
    }
    if target.way().is_some() {
        return Err(unsayable("a source, a device or a PROXY header"));
    }
    map.serialize_entry("checker_type", spec.probe().type_name())?;
    map.serialize_entry("ip", &target.ip())?;
    if target.port() != 0 {
        map.serialize_entry("port", &target.port())?;
    }
    if target.mode() != Mode::Plain {
        map.serialize_entry("mode", &target.mode())?;
    }
    if let Some(mark) = target.mark() {
        map.serialize_entry("mark", &mark)?;
    }
    if let Some(host) = target.host() {
        map.serialize_entry("host", &host)?;
    }
    match spec.probe() {
        ProbeSpec::Icmp => {}
        ProbeSpec::Udp(udp) => serialize_exchange(map, &udp.send, &udp.receive)?,
        ProbeSpec::Tcp(tcp) => {
            serialize_exchange(map, &tcp.send, &tcp.receive)?;
            serialize_tls(map, tcp.tls.as_ref())?;
        }
        ProbeSpec::Http(http) => serialize_http(map, http)?,
        ProbeSpec::Dns(dns) => serialize_dns(map, dns)?,
        ProbeSpec::Radius(radius) => serialize_radius(map, radius)?,
        ProbeSpec::RadiusStatus(_) => return Err(unsayable("Status-Server")),
        ProbeSpec::Dialogue(_) => return Err(unsayable("a dialogue")),
        ProbeSpec::Grpc(_) => return Err(unsayable("gRPC")),
        ProbeSpec::HalfOpen => return Err(unsayable("a half-open probe")),
    }
    Ok(())
}

/// Protocol 1 has what Seesaw's engine knows, and no more.
fn unsayable<E: serde::ser::Error>(what: &str) -> E {
    E::custom(format_args!("{what} cannot be said in protocol 1"))
}

fn serialize_exchange<M: SerializeMap>(
    map: &mut M,
    send: &RawBytes,
    receive: &RawBytes,
) -> Result<(), M::Error> {
    if !send.is_empty() {
        map.serialize_entry("send", &AsJson(send.as_slice()))?;
    }
    if !receive.is_empty() {
        map.serialize_entry("receive", &AsJson(receive.as_slice()))?;
    }
    Ok(())
}

fn serialize_tls<M: SerializeMap>(map: &mut M, tls: Option<&Tls>) -> Result<(), M::Error> {
    if let Some(tls) = tls {
        if tls.options.is_some() {
            return Err(unsayable("an option of TLS"));
        }
        map.serialize_entry("secure", &true)?;
        if !tls.verify {
            map.serialize_entry("tls_verify", &false)?;
        }
        for (field, on) in [
            ("tls_old_versions", tls.old_versions),
            ("tls_rsa_key_exchange", tls.rsa_key_exchange),
            ("tls_sha1", tls.sha1),
        ] {
            if on {
                map.serialize_entry(field, &true)?;
            }
        }
    }
    Ok(())
}

fn serialize_http<M: SerializeMap>(map: &mut M, http: &HttpProbe) -> Result<(), M::Error> {
    if http.conditions.is_some() {
        return Err(unsayable("such an HTTP check"));
    }
    serialize_tls(map, http.tls.as_ref())?;
    if &*http.method != "GET" {
        map.serialize_entry("method", &http.method)?;
    }
    match http.request_target.as_slice() {
        b"/" => {}
        [b'/', ..] => map.serialize_entry("path", &AsJson(http.request_target.as_slice()))?,
        _ => map.serialize_entry("request_target", &AsJson(http.request_target.as_slice()))?,
    }
    if let Some(overrides) = &http.overrides {
        serialize_overrides(map, overrides)?;
    }
    if !http.expected_codes.is_empty() {
        // The protocol has lists of codes only, with the same meaning.
        let codes: Vec<u16> = http.expected_codes.ranges().flatten().collect();
        map.serialize_entry("expected_codes", &codes)?;
    }
    if !http.expected_body.is_empty() {
        map.serialize_entry("expected_body", &AsJson(http.expected_body.as_slice()))?;
    }
    if http.proxy {
        map.serialize_entry("proxy", &true)?;
    }
    Ok(())
}

fn serialize_overrides<M: SerializeMap>(map: &mut M, overrides: &HttpOverrides) -> Result<(), M::Error> {
    let HttpOverrides { host, server_name, authorization, error, request } = overrides;
    if request.is_some() {
        return Err(unsayable("such an HTTP check"));
    }
    if let Some(host) = host {
        map.serialize_entry("http_host", host)?;
    }
    if let Some(name) = server_name {
        map.serialize_entry("server_name", name)?;
    }
    if let Some(authorization) = authorization {
        map.serialize_entry("authorization", &AsJson(authorization.expose()))?;
    }
    if let Some(error) = error {
        map.serialize_entry("request_error", error)?;
    }
    Ok(())
}

fn serialize_dns<M: SerializeMap>(map: &mut M, dns: &DnsProbe) -> Result<(), M::Error> {
    if dns.options.is_some() {
        return Err(unsayable("a DNS check with options"));
    }
    map.serialize_entry("query", &dns.query)?;
    if dns.query_type != RecordType::A {
        map.serialize_entry("query_type", &dns.query_type.to_string())?;
    }
    if dns.query_class != RecordClass::IN {
        map.serialize_entry("query_class", &dns.query_class.to_string())?;
    }
    match &dns.expect {
        DnsExpectation::Any => Ok(()),
        DnsExpectation::Ips(ips) => map.serialize_entry("expected_ips", ips),
        DnsExpectation::Text(text) => map.serialize_entry("expected_answer", text),
    }
}

fn serialize_radius<M: SerializeMap>(map: &mut M, radius: &RadiusProbe) -> Result<(), M::Error> {
    map.serialize_entry("username", &AsJson(radius.username.as_slice()))?;
    if !radius.password.expose().is_empty() {
        map.serialize_entry("password", &AsJson(radius.password.expose()))?;
    }
    map.serialize_entry("secret", &AsJson(radius.secret.expose()))?;
    if radius.expect != RadiusExpectation::Accept {
        map.serialize_entry("expected_response", &radius.expect)?;
    }
    if radius.require_message_authenticator {
        map.serialize_entry("require_message_authenticator", &true)?;
    }
    Ok(())
}
