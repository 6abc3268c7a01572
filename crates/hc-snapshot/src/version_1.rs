//! The keys in snapshots of version 1: digests of the check as JSON, as protocol 1 wrote it then.
//!
//! Nothing here changes any more: it must give what that program gave.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hc_types::{
    CheckKey, CheckSpec, DnsExpectation, DnsProbe, HttpOverrides, HttpProbe, Mode, ProbeSpec,
    RadiusExpectation, RadiusProbe, RecordClass, RecordType, TcpProbe, Tls, UdpProbe,
};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use sha2::{Digest as _, Sha256};

/// The version of these keys.
pub(crate) const VERSION: u8 = 1;

/// The key that a snapshot of version 1 has for this check, or `None` if there was no such check
/// then.
///
/// Give it to whoever looks for a check among the records that [`read`](crate::read) found: those
/// of version 1 have a [`CheckKey::version`] of 1.
#[must_use]
pub fn version_1_key(spec: &CheckSpec) -> Option<CheckKey> {
    let json = serde_json::to_vec(&Subject(spec)).ok()?;
    Some(CheckKey::from_digest(VERSION, Sha256::digest(&json).into()))
}

/// Why a check has no key of version 1.
const LATER: &str = "there was no such check in version 1";

/// Target and probe, defaults left out.
struct Subject<'a>(&'a CheckSpec);

impl Serialize for Subject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        write_target(&mut map, self.0)?;
        match self.0.probe() {
            ProbeSpec::Icmp => {}
            ProbeSpec::Udp(udp) => {
                let UdpProbe { send, receive } = &**udp;
                write_exchange(&mut map, send.as_slice(), receive.as_slice())?;
            }
            ProbeSpec::Tcp(TcpProbe { send, receive, tls }) => {
                write_exchange(&mut map, send.as_slice(), receive.as_slice())?;
                write_tls(&mut map, tls.as_ref())?;
            }
            ProbeSpec::Http(http) => write_http(&mut map, http)?,
            ProbeSpec::Dns(dns) => write_dns(&mut map, dns)?,
            ProbeSpec::Radius(radius) => write_radius(&mut map, radius)?,
            ProbeSpec::HalfOpen
            | ProbeSpec::RadiusStatus(_)
            | ProbeSpec::Dialogue(_)
            | ProbeSpec::Grpc(_) => {
                return Err(S::Error::custom(LATER));
            }
        }
        map.end()
    }
}

fn write_target<M: SerializeMap>(map: &mut M, spec: &CheckSpec) -> Result<(), M::Error> {
    if spec.host_name().is_some() || spec.target().way().is_some() {
        return Err(M::Error::custom(LATER));
    }
    let target = spec.target();
    map.serialize_entry("checker_type", spec.probe().type_name())?;
    map.serialize_entry("ip", &target.ip())?;
    if target.port() != 0 {
        map.serialize_entry("port", &target.port())?;
    }
    match target.mode() {
        Mode::Plain => {}
        Mode::Dsr => map.serialize_entry("mode", "dsr")?,
        Mode::Tun => map.serialize_entry("mode", "tun")?,
    }
    if let Some(mark) = target.mark() {
        map.serialize_entry("mark", &mark.get())?;
    }
    if let Some(host) = target.host() {
        map.serialize_entry::<_, IpAddr>("host", &host)?;
    }
    Ok(())
}

fn write_exchange<M: SerializeMap>(map: &mut M, send: &[u8], receive: &[u8]) -> Result<(), M::Error> {
    write_unless_empty(map, "send", send)?;
    write_unless_empty(map, "receive", receive)
}

fn write_tls<M: SerializeMap>(map: &mut M, tls: Option<&Tls>) -> Result<(), M::Error> {
    let Some(Tls { verify, old_versions, rsa_key_exchange, sha1, options }) = tls else { return Ok(()) };
    map.serialize_entry("secure", &true)?;
    if options.is_some() {
        return Err(M::Error::custom(LATER));
    }
    if !verify {
        map.serialize_entry("tls_verify", &false)?;
    }
    for (field, on) in
        [("tls_old_versions", old_versions), ("tls_rsa_key_exchange", rsa_key_exchange), ("tls_sha1", sha1)]
    {
        if *on {
            map.serialize_entry(field, &true)?;
        }
    }
    Ok(())
}

fn write_http<M: SerializeMap>(map: &mut M, http: &HttpProbe) -> Result<(), M::Error> {
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
    if conditions.is_some() {
        return Err(M::Error::custom(LATER));
    }
    write_tls(map, tls.as_ref())?;
    if &**method != "GET" {
        map.serialize_entry("method", method)?;
    }
    if request_target.as_slice() != b"/" {
        map.serialize_entry("path", &Bytes(request_target.as_slice()))?;
    }
    // In version 1 a path named these, too. Such a check starts without health, and must not take
    // that of another one.
    if let Some(overrides) = overrides {
        let HttpOverrides { host, server_name, authorization, error, request } = &**overrides;
        if request.is_some() {
            return Err(M::Error::custom(LATER));
        }
        let authorization = authorization.as_ref().map(|secret| Bytes(secret.expose()));
        map.serialize_entry("overrides", &(host, server_name, authorization, error))?;
    }
    if !expected_codes.is_empty() {
        let codes: Vec<u16> = expected_codes.ranges().flatten().collect();
        map.serialize_entry("expected_codes", &codes)?;
    }
    write_unless_empty(map, "expected_body", expected_body.as_slice())?;
    if *proxy {
        map.serialize_entry("proxy", &true)?;
    }
    Ok(())
}

fn write_dns<M: SerializeMap>(map: &mut M, dns: &DnsProbe) -> Result<(), M::Error> {
    let DnsProbe { query, query_type, query_class, expect, options } = dns;
    if options.is_some() {
        return Err(M::Error::custom(LATER));
    }
    map.serialize_entry("query", query)?;
    if *query_type != RecordType::A {
        map.serialize_entry("query_type", &query_type.to_string())?;
    }
    if *query_class != RecordClass::IN {
        map.serialize_entry("query_class", &query_class.to_string())?;
    }
    match expect {
        DnsExpectation::Any => Ok(()),
        DnsExpectation::Ips(ips) => map.serialize_entry("expected_ips", ips),
        DnsExpectation::Text(text) => map.serialize_entry("expected_answer", text),
    }
}

fn write_radius<M: SerializeMap>(map: &mut M, radius: &RadiusProbe) -> Result<(), M::Error> {
    let RadiusProbe { username, password, secret, expect, require_message_authenticator } = radius;
    map.serialize_entry("username", &Bytes(username.as_slice()))?;
    write_unless_empty(map, "password", password.expose())?;
    map.serialize_entry("secret", &Bytes(secret.expose()))?;
    let expected = match expect {
        RadiusExpectation::Accept => None,
        RadiusExpectation::Reject => Some("reject"),
        RadiusExpectation::Challenge => Some("challenge"),
        RadiusExpectation::Any => Some("any"),
    };
    if let Some(expected) = expected {
        map.serialize_entry("expected_response", expected)?;
    }
    if *require_message_authenticator {
        map.serialize_entry("require_message_authenticator", &true)?;
    }
    Ok(())
}

fn write_unless_empty<M: SerializeMap>(map: &mut M, field: &str, bytes: &[u8]) -> Result<(), M::Error> {
    if bytes.is_empty() { Ok(()) } else { map.serialize_entry(field, &Bytes(bytes)) }
}

/// A string where the bytes are UTF-8, `{"base64":"…"}` where not.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(self.0) {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &BASE64.encode(self.0))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hc_types::{Dialogue, DialogueProbe, DnsOptions, Mark, RadiusStatusProbe, Target, Timing};

    use super::*;

    /// The key of a check, without its first byte, which was one more byte of the digest then.
    #[track_caller]
    fn check(target: Target, probe: ProbeSpec, expected: &str) {
        let second = Duration::from_secs(1);
        let spec = CheckSpec::new(target, probe, Timing::every(second).timeout(second)).unwrap();
        assert_eq!(version_1_key(&spec).unwrap().to_string()[2..], expected[2..]);
    }

    fn at(ip: &str, port: u16) -> Target {
        Target::plain(ip.parse().unwrap(), port)
    }

    /// What the program of version 1 (commit 34e9b75) derived; the same checks as in the upgrade
    /// test of hc-server.
    #[test]
    fn keys_are_those_of_version_1() {
        let backend = || at("127.83.67.1", 1);
        let tcp = |send: &[u8], receive: &[u8], tls| {
            ProbeSpec::Tcp(TcpProbe { send: send.into(), receive: receive.into(), tls })
        };
        check(at("127.83.67.1", 0), ProbeSpec::Icmp, "8d5b45cf81b445b3d6a9670068d72d60");
        let udp = UdpProbe { send: "ping".into(), receive: "pong".into() };
        check(backend(), ProbeSpec::Udp(Box::new(udp)), "9581e864fd98df5256fe2fca9651bfc4");
        check(backend(), tcp(b"", b"", None), "8ec074f016cb26c62888f59bb9e440eb");
        let unverified = tcp(b"\x00\xff", b"220 ", Some(Tls::new(false)));
        check(backend(), unverified, "47541da830dae962938c167f347faa69");
        let old = Tls { old_versions: true, rsa_key_exchange: true, sha1: true, ..Tls::new(true) };
        check(at("127.83.67.2", 1), tcp(b"", b"", Some(old)), "396e3f1038de3088cdc7adeadbc99485");
        check(backend(), ProbeSpec::Http(Box::default()), "3fcd421cf3c7a4ea5a46fe6e87a7677e");
        let http = HttpProbe {
            tls: Some(Tls::new(true)),
            method: "HEAD".into(),
            request_target: "/health?full=\"1\"&name=é".into(),
            expected_codes: [200, 204].into(),
            expected_body: "ok\n".into(),
            proxy: true,
            overrides: None,
            conditions: None,
        };
        check(backend(), ProbeSpec::Http(Box::new(http)), "0e42ee3006f52d83b35614d25c83d1e8");
        let marked = |vip: &str, mode, mark, host: &str| {
            let mark = Mark::new(mark).unwrap();
            Target::marked(vip.parse().unwrap(), 1, mode, mark, Some(host.parse().unwrap()))
        };
        let dsr = marked("127.83.67.3", Mode::Dsr, 65536, "127.83.67.4");
        check(dsr, tcp(b"", b"", None), "856cb95e1019af17447f6046c0efc11e");
        let tun = marked("2001:db8::1", Mode::Tun, 65537, "127.83.67.5");
        check(tun, tcp(b"", b"", None), "c7e3048bd4f7715d18f12f2e8561d966");
    }

    #[test]
    fn keys_of_dns_and_radius_are_those_of_version_1() {
        let backend = || at("127.83.67.1", 1);
        let dns = |query: &str, query_type, query_class, expect| {
            ProbeSpec::Dns(Box::new(DnsProbe {
                query: query.into(),
                query_type,
                query_class,
                expect,
                options: None,
            }))
        };
        let ips = ["192.0.2.7".parse().unwrap(), "192.0.2.8".parse().unwrap()];
        let ips = dns("www.example.com", RecordType::A, RecordClass::IN, DnsExpectation::Ips(ips.into()));
        check(backend(), ips, "86da17a5838c07ce85480058d4f43f18");
        let text = DnsExpectation::Text("10 mail.example.com.".into());
        let text = dns("example.com.", RecordType(15), RecordClass(3), text);
        check(backend(), text, "afdbb98315ec5ae8367e204ca502ed04");
        let radius = |password: &str, expect, require_message_authenticator| {
            ProbeSpec::Radius(Box::new(RadiusProbe {
                username: "probe".into(),
                password: password.into(),
                secret: "key".into(),
                expect,
                require_message_authenticator,
            }))
        };
        let accept = radius("pass", RadiusExpectation::Accept, false);
        check(backend(), accept, "08f2544f90a3105b2cd237d2c4ddec6a");
        let reject = radius("", RadiusExpectation::Reject, true);
        check(backend(), reject, "02b033beea1fef95e31bf60c48772bb1");
    }
    #[test]
    fn what_there_was_not_then_has_no_key() {
        let key = |probe| {
            let second = Duration::from_secs(1);
            let timing = Timing::every(second).timeout(second);
            version_1_key(&CheckSpec::new(at("127.83.67.1", 1), probe, timing).unwrap())
        };
        let status = RadiusStatusProbe { secret: "key".into(), require_message_authenticator: false };
        assert_eq!(key(ProbeSpec::RadiusStatus(Box::new(status))), None);
        let agent = DialogueProbe { tls: None, dialogue: Dialogue::Agent { send: "".into() } };
        assert_eq!(key(ProbeSpec::Dialogue(Box::new(agent))), None);
        let dns = |options| {
            ProbeSpec::Dns(Box::new(DnsProbe {
                query: "example.com".into(),
                query_type: RecordType::A,
                query_class: RecordClass::IN,
                expect: DnsExpectation::Any,
                options,
            }))
        };
        let fresh = DnsOptions { fresh_label: true, ..DnsOptions::default() };
        assert_eq!(key(dns(Some(Box::new(fresh)))), None);
        assert!(key(dns(None)).is_some());
    }
}
