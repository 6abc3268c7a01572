//! The command of hcctl, which runs the very probe.

use std::net::SocketAddr;

use hc_types::{
    CheckSpec, DnsExpectation, DnsProbe, HttpProbe, ProbeSpec, ProxyProtocol, RadiusExpectation, RecordClass,
};

use super::shell::Line;
use super::tools::{bracketed, hex};
use super::{Reproduction, tls};

/// Bytes as a value of TOML: text in the escapes that it shares with JSON.
pub(super) fn toml(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let escaped = text.chars().map(|c| match c {
                '"' => "\\\"".to_owned(),
                '\\' => "\\\\".to_owned(),
                c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
                c => c.to_string(),
            });
            format!("\"{}\"", escaped.collect::<String>())
        }
        Err(_) => format!("{{ hex = \"{}\" }}", hex(bytes)),
    }
}

/// `--set` of a key of the file of checks.
pub(super) fn set(line: &mut Line, key: &str, value: &str) {
    line.word("--set").word(format!("{key}={value}"));
}

fn set_bytes(line: &mut Line, key: &str, bytes: &[u8]) {
    if !bytes.is_empty() {
        set(line, key, &toml(bytes));
    }
}

pub(super) fn command(spec: &CheckSpec) -> Reproduction {
    let target = spec.target();
    let address = target.socket_addr();
    let mut notes = Vec::new();
    let mut line = Line::new("hcctl check -v --timeout");
    line.word(humantime::format_duration(spec.timeout()).to_string().replace(' ', ""));
    if let Some(mark) = target.mark() {
        line.word("--mark").word(mark.get().to_string());
    }
    if let Some(source) = target.source() {
        set(&mut line, "source", &toml(source.to_string().as_bytes()));
    }
    if let Some(device) = target.device() {
        set(&mut line, "device", &toml(device.as_bytes()));
    }
    if let Some(version) = target.proxy_protocol() {
        let version = match version {
            ProxyProtocol::V1 => "v1",
            ProxyProtocol::V2 => "v2",
            ProxyProtocol::V2Local => "v2-local",
        };
        set(&mut line, "proxy_protocol", &toml(version.as_bytes()));
    }
    let url = match spec.probe() {
        ProbeSpec::Icmp => format!("icmp://{}", bracketed(target.ip())),
        ProbeSpec::Tcp(tcp) => {
            set_bytes(&mut line, "tcp.send", tcp.send.as_slice());
            set_bytes(&mut line, "tcp.receive", tcp.receive.as_slice());
            if let Some(tls) = &tcp.tls {
                tls::of_hcctl(&mut line, "tcp", tls, &mut notes);
            }
            format!("{}://{address}", if tcp.tls.is_some() { "tls" } else { "tcp" })
        }
        ProbeSpec::HalfOpen => {
            set(&mut line, "tcp.probe", "\"syn\"");
            format!("tcp://{address}")
        }
        ProbeSpec::Udp(udp) => {
            set_bytes(&mut line, "udp.send", udp.send.as_slice());
            set_bytes(&mut line, "udp.receive", udp.receive.as_slice());
            format!("udp://{address}")
        }
        ProbeSpec::Http(http) => hcctl_http(&mut line, http, address, &mut notes),
        ProbeSpec::Dns(dns) => hcctl_dns(&mut line, dns, address),
        ProbeSpec::Radius(radius) => {
            set_bytes(&mut line, "radius.username", radius.username.as_slice());
            set(&mut line, "radius.password_file", "\"password\"");
            set(&mut line, "radius.secret_file", "\"secret\"");
            let expected = match radius.expect {
                RadiusExpectation::Accept => "accept",
                RadiusExpectation::Reject => "reject",
                RadiusExpectation::Challenge => "challenge",
                RadiusExpectation::Any => "any",
            };
            set(&mut line, "radius.expected_response", &toml(expected.as_bytes()));
            if radius.require_message_authenticator {
                set(&mut line, "radius.require_message_authenticator", "true");
            }
            notes.push(
                "write password and secret of the check into the files `password` and `secret` first; both are secret"
                    .to_owned(),
            );
            format!("radius://{address}")
        }
        ProbeSpec::Dialogue(_) | ProbeSpec::Grpc(_) => {
            notes.push(
                "this connects and no more: `hcctl check --file FILE NAME` runs the whole check".to_owned(),
            );
            format!("tcp://{address}")
        }
        ProbeSpec::RadiusStatus(radius) => {
            set(&mut line, "radius.status_server", "true");
            set(&mut line, "radius.secret_file", "\"secret\"");
            if radius.require_message_authenticator {
                set(&mut line, "radius.require_message_authenticator", "true");
            }
            notes.push("write the secret of the check into the file `secret` first".to_owned());
            format!("radius://{address}")
        }
    };
    line.word(url);
    Reproduction { command: line.finish(), notes }
}

fn hcctl_http(line: &mut Line, http: &HttpProbe, address: SocketAddr, notes: &mut Vec<String>) -> String {
    if &*http.method != "GET" {
        set(line, "http.method", &toml(http.method.as_bytes()));
    }
    let codes: Vec<String> = http
        .expected_codes
        .ranges()
        .map(|range| match range.into_inner() {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("\"{first}-{last}\""),
        })
        .collect();
    set(line, "http.expected_codes", &format!("[{}]", codes.join(", ")));
    set_bytes(line, "http.expected_body", http.expected_body.as_slice());
    if http.proxy {
        set(line, "http.proxy", "true");
    }
    if let Some(tls) = &http.tls {
        tls::of_hcctl(line, "http", tls, notes);
    }
    if let Some(overrides) = http.overrides.as_deref() {
        if let Some(host) = overrides.host.as_deref().or(overrides.server_name.as_deref()) {
            line.word("--host").word(host);
        }
        if overrides.request.is_some() {
            notes.push(
                "the check says more in its request: `hcctl check --file FILE NAME` says it, too".to_owned(),
            );
        }
        if overrides.authorization.is_some() {
            notes.push("the check also sends an Authorization field, which hcctl check cannot".to_owned());
        }
    }
    if http.conditions.is_some() {
        notes.push(
            "the check has conditions on headers or body: `hcctl check --file FILE NAME` has them, too"
                .to_owned(),
        );
    }
    let scheme = if http.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{address}{}", String::from_utf8_lossy(http.request_target.as_slice()))
}

fn hcctl_dns(line: &mut Line, dns: &DnsProbe, address: SocketAddr) -> String {
    match &dns.expect {
        DnsExpectation::Any => {}
        DnsExpectation::Ips(ips) => {
            let ips: Vec<String> = ips.iter().map(|ip| format!("\"{ip}\"")).collect();
            set(line, "dns.expected_ips", &format!("[{}]", ips.join(", ")));
        }
        DnsExpectation::Text(text) => set_bytes(line, "dns.expected_answer", text.as_bytes()),
    }
    if let Some(options) = dns.options.as_deref() {
        for (key, value, usual) in [
            ("fresh_label", options.fresh_label, false),
            ("dnssec_ok", options.dnssec_ok, false),
            ("checking_disabled", options.checking_disabled, false),
            ("recursion_desired", options.recursion_desired, true),
        ] {
            if value != usual {
                set(line, &format!("dns.{key}"), &value.to_string());
            }
        }
        if let Some(payload) = options.edns_payload {
            set(line, "dns.edns_payload", &payload.to_string());
        }
        if !options.expected_rcodes.is_empty() {
            let codes: Vec<String> =
                options.expected_rcodes.iter().map(|code| format!("\"{code}\"")).collect();
            set(line, "dns.expected_rcodes", &format!("[{}]", codes.join(", ")));
        }
    }
    if dns.query_class != RecordClass::IN {
        set(line, "dns.query_class", &toml(dns.query_class.to_string().as_bytes()));
    }
    format!("dns://{address}/{}?type={}", dns.query, dns.query_type)
}
