//! The texts that operators read: Seesaw's words for what was tried, then the cause.

use std::fmt::{self, Write as _};

use crate::{
    AddressFailure, CheckSpec, DnsProbe, Failure, Heard, LocalFault, Mismatch, Outcome, Pass, ProbeSpec,
    RadiusExpectation, Rcode, TimeoutEvidence, Unreachable,
};

/// The text of a result. Seesaw shows the error alone where there is one (`healthcheck/core.go`),
/// which may be "EOF" alone; here the subject of the check always comes first.
pub(crate) fn render(spec: &CheckSpec, outcome: &Outcome) -> String {
    let mut text = String::with_capacity(64);
    // Writing to a String cannot fail.
    let _ = write_subject(&mut text, spec);
    let _ = match outcome {
        Outcome::Pass(Pass::Plain) => Ok(()),
        Outcome::Pass(pass) => write!(text, "; {pass}"),
        Outcome::Fail(failure) => write_failure(&mut text, spec, failure),
        Outcome::Inconclusive(fault) => write_fault(&mut text, *fault),
    };
    text
}

fn write_subject(text: &mut String, spec: &CheckSpec) -> fmt::Result {
    let target = spec.place();
    match spec.probe() {
        ProbeSpec::Icmp => write!(text, "ICMP ping to host {target}"),
        ProbeSpec::Udp(_) => write!(text, "UDP check to {target}"),
        ProbeSpec::Tcp(_) => write!(text, "TCP connect to {target}"),
        ProbeSpec::HalfOpen => write!(text, "TCP SYN to {target}"),
        ProbeSpec::Http(http) => write!(text, "HTTP {} to {target}", http.method),
        ProbeSpec::Dns(dns) => {
            let DnsProbe { query, query_type, query_class, options, .. } = &**dns;
            let fresh = options.as_ref().is_some_and(|options| options.fresh_label);
            let label = if fresh { "<random>." } else { "" };
            let dot = if query.ends_with('.') { "" } else { "." };
            write!(text, "DNS {label}{query}{dot} {query_class} {query_type} query to {target}")
        }
        ProbeSpec::Radius(_) => write!(text, "RADIUS Access-Request to {target}"),
        ProbeSpec::RadiusStatus(_) => write!(text, "RADIUS Status-Server to {target}"),
        ProbeSpec::Dialogue(probe) => write!(text, "{} {target}", probe.dialogue.subject()),
        ProbeSpec::Grpc(grpc) if grpc.service.is_empty() => write!(text, "gRPC health check to {target}"),
        ProbeSpec::Grpc(grpc) => write!(text, "gRPC health check of {:?} to {target}", grpc.service),
    }
}

fn write_failure(text: &mut String, spec: &CheckSpec, failure: &Failure) -> fmt::Result {
    text.write_str("; ")?;
    if let Failure::OfAddress(of_address) = failure {
        let AddressFailure { address, failure, failed, of } = &**of_address;
        write!(text, "{failed} of {of} addresses failed; {address}: ")?;
        return write_cause(text, spec, failure);
    }
    write_cause(text, spec, failure)
}

fn write_cause(text: &mut String, spec: &CheckSpec, failure: &Failure) -> fmt::Result {
    match failure {
        Failure::InStep(step) => {
            write!(text, "{}: ", step.step)?;
            write_cause(text, spec, &step.failure)
        }
        Failure::Refused => text.write_str("connection refused"),
        Failure::Timeout { evidence: TimeoutEvidence { stray: Some(stray), .. }, .. } => {
            write!(text, "timed out, the only replies {stray}")
        }
        Failure::Timeout { phase, evidence: TimeoutEvidence { adapted: adapted @ 1.., .. } } => {
            write!(text, "timed out {phase} after {adapted}ms, its adaptive timeout")
        }
        Failure::Timeout { phase, .. } => {
            write!(text, "timed out {phase} after {}", humantime::format_duration(spec.timeout()))
        }
        Failure::Reset(phase) => write!(text, "connection reset by peer {phase}"),
        Failure::ResetAfter(heard) => write_cut(text, "connection reset by peer", heard),
        Failure::StreamReset(what) => text.write_str(what),
        Failure::Closed { heard: None } => text.write_str("connection closed before any answer"),
        Failure::Closed { heard: Some(heard) } => write_cut(text, "connection closed", heard),
        Failure::Unreachable(Unreachable::Network) => text.write_str("network is unreachable"),
        Failure::Unreachable(Unreachable::Host) => text.write_str("no route to host"),
        Failure::Unreachable(Unreachable::Protocol) => text.write_str("refused by the network on the way"),
        Failure::PathDown { fault, seconds } => {
            write!(text, "no way to the backend from this node for {seconds} s: {fault}")
        }
        Failure::Tls(reason) => write!(text, "TLS: {reason}"),
        Failure::Status { got } => write_status(text, spec.probe(), got),
        Failure::BodyMismatch(mismatch) | Failure::HeaderMismatch(mismatch) => write_mismatch(text, mismatch),
        Failure::DnsRcode(code) => write_rcode(text, spec.probe(), *code),
        Failure::WrongAnswer(what) => text.write_str(what),
        Failure::RadiusCode(code) => write_radius_code(text, spec.probe(), *code),
        Failure::BadAuthenticator(which) => write!(text, "wrong {which} (incorrect secret?)"),
        Failure::MalformedReply(how) => write!(text, "malformed reply: {how}"),
        Failure::BadRequest(why) => write!(text, "cannot make the request: {why}"),
        Failure::OfAddress(of_address) => write!(text, "{} failed", of_address.address),
    }
}

fn write_status(text: &mut String, probe: &ProbeSpec, got: &str) -> fmt::Result {
    write!(text, "got {got}")?;
    let ProbeSpec::Http(http) = probe else { return Ok(()) };
    match http.expected_codes.is_empty() {
        true => Ok(()),
        false => write!(text, "; want {}", http.expected_codes),
    }
}

fn write_mismatch(text: &mut String, mismatch: &Mismatch) -> fmt::Result {
    if let Some(status) = &mismatch.status {
        write!(text, "got {status}; ")?;
    }
    match &mismatch.unmet {
        None => write!(text, "unexpected response - {}", quote(mismatch.got.as_slice()))?,
        Some(unmet) if mismatch.got.is_empty() => text.write_str(unmet)?,
        Some(unmet) => write!(text, "{unmet}: {}", quote(mismatch.got.as_slice()))?,
    }
    mismatch.speaks.map_or(Ok(()), |name| write!(text, "; the peer speaks {name}"))
}

fn write_cut(text: &mut String, how: &str, heard: &Heard) -> fmt::Result {
    let unit = if heard.length == 1 { "byte" } else { "bytes" };
    write!(text, "{how} after {} {unit} of the answer: {}", heard.length, quote(heard.first.as_slice()))
}

fn write_radius_code(text: &mut String, probe: &ProbeSpec, code: u8) -> fmt::Result {
    write!(text, "got RADIUS {} response", radius_code_name(code))?;
    let ProbeSpec::Radius(radius) = probe else {
        return match probe {
            ProbeSpec::RadiusStatus(_) => text.write_str("; want Access-Accept or Accounting-Response"),
            _ => Ok(()),
        };
    };
    let want = match radius.expect {
        RadiusExpectation::Accept => "accept",
        RadiusExpectation::Reject => "reject",
        RadiusExpectation::Challenge => "challenge",
        RadiusExpectation::Any => "any",
    };
    write!(text, "; want {want} response")
}

fn write_fault(text: &mut String, fault: LocalFault) -> fmt::Result {
    write!(text, "; not checked: {fault}")
}

/// The number and, where it has one, the name: `response code 3 (NXDOMAIN)`.
fn write_rcode(text: &mut String, probe: &ProbeSpec, code: u16) -> fmt::Result {
    write!(text, "response code {code}")?;
    let name = Rcode(code).to_string();
    if !name.starts_with("RCODE") {
        write!(text, " ({name})")?;
    }
    let ProbeSpec::Dns(dns) = probe else { return Ok(()) };
    let expected = dns.options.as_ref().map(|options| &*options.expected_rcodes).unwrap_or_default();
    for (i, code) in expected.iter().enumerate() {
        write!(text, "{}{code}", if i == 0 { "; want " } else { " or " })?;
    }
    Ok(())
}

/// The name of a RADIUS code (RFC 2865 section 4), or `(unknown 77)` as Seesaw writes it.
#[must_use]
pub fn radius_code_name(code: u8) -> impl fmt::Display {
    fmt::from_fn(move |f| match code {
        1 => f.write_str("Access-Request"),
        2 => f.write_str("Access-Accept"),
        3 => f.write_str("Access-Reject"),
        4 => f.write_str("Accounting-Request"),
        5 => f.write_str("Accounting-Response"),
        11 => f.write_str("Access-Challenge"),
        12 => f.write_str("Status-Server"),
        13 => f.write_str("Status-Client"),
        255 => f.write_str("Reserved"),
        other => write!(f, "(unknown {other})"),
    })
}

/// Bytes in double quotes, as Go's `%q` shows them: control characters and bytes that are not UTF-8
/// escaped, printable text as it is.
#[must_use]
pub fn quote(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\x07' => text.push_str("\\a"),
                '\x08' => text.push_str("\\b"),
                '\x0b' => text.push_str("\\v"),
                '\x0c' => text.push_str("\\f"),
                c if c.is_ascii_control() => push_hex(&mut text, c as u8),
                c if c.is_control() => text.extend(c.escape_unicode()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            push_hex(&mut text, *byte);
        }
    }
    text.push('"');
    text
}

/// Shortens a text to at most `longest` bytes, and a `…` behind them where something was cut off.
pub fn cut(text: &mut String, longest: usize) {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        text.push('…');
    }
}

fn push_hex(text: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    let _ = write!(text, "\\x{byte:02x}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{GrpcProbe, HttpProbe, Phase, Stray, Target, TcpProbe, Timing};

    #[track_caller]
    fn quoted(bytes: &[u8], expected: &str) {
        assert_eq!(quote(bytes), expected);
    }

    #[test]
    fn bytes_are_quoted_as_go_does() {
        quoted(b"ok\n", r#""ok\n""#);
        quoted(b"\x07\x08\x0b\x0c\x1b", r#""\a\b\v\f\x1b""#);
        quoted(b"\x00\xff\x7f", r#""\x00\xff\x7f""#);
        quoted("é\"\\".as_bytes(), r#""é\"\\""#);
        quoted(b"", r#""""#);
    }

    #[track_caller]
    fn check(probe: ProbeSpec, outcome: impl Into<Outcome>, expected: &str) {
        let target = Target::plain("2001:db8::1".parse().unwrap(), 80);
        let spec = CheckSpec::new(
            target,
            probe,
            Timing::every(Duration::from_secs(5)).timeout(Duration::from_millis(1500)),
        )
        .unwrap();
        assert_eq!(spec.text(&outcome.into()), expected);
    }

    #[test]
    fn texts_name_the_subject_and_the_cause() {
        let tcp = || ProbeSpec::Tcp(TcpProbe::default());
        let http = || {
            ProbeSpec::Http(Box::new(HttpProbe { expected_codes: [200, 204].into(), ..HttpProbe::default() }))
        };
        check(tcp(), Outcome::PASS, "TCP connect to [2001:db8::1]:80");
        check(
            tcp(),
            Failure::timeout(Phase::Tls),
            "TCP connect to [2001:db8::1]:80; timed out in the TLS handshake after 1s 500ms",
        );
        check(
            tcp(),
            Failure::silence(Phase::Connect),
            "TCP connect to [2001:db8::1]:80; timed out connecting after 1s 500ms",
        );
        check(
            tcp(),
            Failure::Timeout { phase: Phase::Response, evidence: TimeoutEvidence::stray(Stray::OtherId) },
            "TCP connect to [2001:db8::1]:80; timed out, the only replies had the id of another question",
        );
        check(
            tcp(),
            Failure::closed_after(b""),
            "TCP connect to [2001:db8::1]:80; connection closed before any answer",
        );
        check(
            tcp(),
            Failure::closed_after(b"22"),
            "TCP connect to [2001:db8::1]:80; connection closed after 2 bytes of the answer: \"22\"",
        );
        check(
            tcp(),
            Failure::ResetAfter(Box::new(Heard::new(&[b'x'; 65]))),
            &format!(
                "TCP connect to [2001:db8::1]:80; connection reset by peer after 65 bytes of the answer: \"{}\"",
                "x".repeat(64)
            ),
        );
        let grpc = |service: &str| {
            ProbeSpec::Grpc(Box::new(GrpcProbe { service: service.into(), ..GrpcProbe::default() }))
        };
        check(grpc(""), Outcome::PASS, "gRPC health check to [2001:db8::1]:80");
        check(
            grpc("a.B"),
            Failure::WrongAnswer("the service is NOT_SERVING".into()),
            "gRPC health check of \"a.B\" to [2001:db8::1]:80; the service is NOT_SERVING",
        );
        let ssh = Mismatch::new(b"SSH", None).recognised(b"SSH-2.0-x", b"220");
        check(
            tcp(),
            Failure::BodyMismatch(Box::new(ssh)),
            "TCP connect to [2001:db8::1]:80; unexpected response - \"SSH\"; the peer speaks SSH",
        );
        check(http(), Outcome::from(Pass::http(200, "200 OK")), "HTTP GET to [2001:db8::1]:80; got 200 OK");
        check(
            http(),
            Failure::Status { got: "404 Not Found".into() },
            "HTTP GET to [2001:db8::1]:80; got 404 Not Found; want 200 or 204",
        );
        check(
            http(),
            Failure::BodyMismatch(Box::new(Mismatch::new(b"no\n", Some("200 OK".into())))),
            "HTTP GET to [2001:db8::1]:80; got 200 OK; unexpected response - \"no\\n\"",
        );
        let unmet = |got| Mismatch::new(got, Some("200 OK".into())).unmet("the body does not contain \"up\"");
        check(
            http(),
            Failure::BodyMismatch(Box::new(unmet(b"down"))),
            "HTTP GET to [2001:db8::1]:80; got 200 OK; the body does not contain \"up\": \"down\"",
        );
        check(
            http(),
            Failure::BodyMismatch(Box::new(unmet(b""))),
            "HTTP GET to [2001:db8::1]:80; got 200 OK; the body does not contain \"up\"",
        );
        check(
            tcp(),
            LocalFault::Descriptors,
            "TCP connect to [2001:db8::1]:80; not checked: out of file descriptors",
        );
    }
}
