//! The command of each tool.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hc_types::{
    CheckSpec, DnsOptions, DnsProbe, HttpProbe, HttpVersion, RadiusProbe, RecordClass, TcpProbe, Tls,
    UdpProbe,
};

use super::shell::{Line, printf, quoted};
use super::{Reproduction, tls};

/// Whole seconds of a timeout, at least one: what tools take that know no others.
fn whole_seconds(timeout: Duration) -> String {
    timeout.as_millis().div_ceil(1000).max(1).to_string()
}

/// Seconds with a fraction.
fn seconds(timeout: Duration) -> String {
    timeout.as_secs_f64().to_string()
}

/// What a tool can do about the way of the packets.
#[derive(Clone, Copy, Debug)]
struct Abilities {
    mark: bool,
    source: bool,
    device: bool,
    proxy_protocol: bool,
}

const ONLY_SOURCE: Abilities = Abilities { mark: false, source: true, device: false, proxy_protocol: false };

/// Notes what the packets of a tool lack that those of the probe have.
fn note_way(mut done: Reproduction, spec: &CheckSpec, tool: &str, can: Abilities) -> Reproduction {
    let target = spec.target();
    let mark = target.mark().map(|mark| mark.get());
    match mark {
        Some(mark) if can.mark => done = done.note(format!("{tool} needs root to set the mark {mark}")),
        Some(mark) => {
            done = done.note(format!(
                "{tool} cannot set a socket mark, so its packets do not carry the mark {mark} and may take another way than the \
                 probe; `hcctl check --mark {mark}` sets it"
            ));
        }
        None => {}
    }
    if let Some(source) = target.source().filter(|_| !can.source) {
        done = done.note(format!("{tool} does not send from {source}, as the check does"));
    }
    if let Some(device) = target.device().filter(|_| !can.device) {
        done = done.note(format!("{tool} does not send through {device} alone, as the check does"));
    }
    if target.proxy_protocol().is_some() && !can.proxy_protocol {
        done = done.note(format!("{tool} does not send the header of the PROXY protocol, as the check does"));
    }
    done
}

/// The flag that sets the source address.
fn source(line: &mut Line, flag: &str, spec: &CheckSpec) {
    if let Some(source) = spec.target().source() {
        line.word(flag).word(source.to_string());
    }
}

fn command(line: &mut Line) -> Reproduction {
    Reproduction { command: line.finish(), notes: Vec::new() }
}

pub(super) fn ping(spec: &CheckSpec) -> Reproduction {
    let mut line = Line::new("ping");
    line.words(&["-n", "-c", "1", "-s", "56", "-W"]).word(seconds(spec.timeout()));
    if let Some(mark) = spec.target().mark() {
        line.word("-m").word(mark.get().to_string());
    }
    if let Some(device) = spec.target().device() {
        line.word("-I").word(device);
    }
    source(&mut line, "-I", spec);
    line.word(spec.target().ip().to_string());
    let can = Abilities { mark: true, source: true, device: true, proxy_protocol: true };
    note_way(command(&mut line), spec, "ping", can)
}

pub(super) fn tcp(spec: &CheckSpec, tcp: &TcpProbe) -> Reproduction {
    let timeout = whole_seconds(spec.timeout());
    let receive = tcp.receive.len();
    let mut notes = Vec::new();
    let mut line = Line::default();
    if !tcp.send.is_empty() {
        line.raw(&printf(tcp.send.as_slice())).raw("|");
    }
    let (tool, is_talk) = match &tcp.tls {
        Some(tls) => {
            let is_talk = !tcp.send.is_empty() || receive > 0;
            openssl(&mut line, spec, tls, &timeout, is_talk, &mut notes);
            ("openssl", is_talk)
        }
        None if tcp.send.is_empty() && receive == 0 => {
            line.words(&["nc", "-v", "-z", "-w"]);
            ("nc", false)
        }
        None => {
            line.words(&["nc", "-w"]);
            ("nc", true)
        }
    };
    if tcp.tls.is_none() {
        line.word(&timeout);
        source(&mut line, "-s", spec);
        line.word(spec.target().ip().to_string()).word(spec.target().port().to_string());
    }
    if is_talk && tcp.send.is_empty() {
        line.raw("</dev/null");
    }
    if receive > 0 {
        line.raw("|").words(&["head", "-c"]).word(receive.to_string());
    }
    note_way(Reproduction { command: line.finish(), notes }, spec, tool, ONLY_SOURCE)
}

/// No tool that is everywhere sends a SYN alone.
pub(super) fn syn(spec: &CheckSpec) -> Reproduction {
    let connected = tcp(spec, &TcpProbe::default());
    connected.note("this makes the connection, which the probe leaves half open")
}

pub(super) fn dialogue(spec: &CheckSpec) -> Reproduction {
    let mut line = Line::new("nc");
    source(&mut line, "-s", spec);
    line.word("-v").word(spec.target().ip().to_string()).word(spec.target().port().to_string());
    let done = command(&mut line)
        .note("this connects and no more: what follows of the check has to be said by hand");
    note_way(done, spec, "nc", ONLY_SOURCE)
}

fn openssl(
    line: &mut Line,
    spec: &CheckSpec,
    tls: &Tls,
    timeout: &str,
    is_talk: bool,
    notes: &mut Vec<String>,
) {
    let target = spec.target();
    line.word("timeout").word(timeout).words(&["openssl", "s_client"]);
    line.word("-connect").word(target.socket_addr().to_string());
    source(line, "-bind", spec);
    tls::of_openssl(line, target.ip(), tls, notes);
    if is_talk {
        line.word("-quiet");
    } else {
        line.raw("</dev/null");
    }
}

pub(super) fn udp(spec: &CheckSpec, udp: &UdpProbe) -> Reproduction {
    let mut line = Line::default();
    line.raw(&printf(udp.send.as_slice())).raw("|").words(&["nc", "-u", "-w"]);
    line.word(whole_seconds(spec.timeout()));
    source(&mut line, "-s", spec);
    line.word(spec.target().ip().to_string()).word(spec.target().port().to_string());
    if !udp.receive.is_empty() {
        line.raw("|").words(&["head", "-c"]).word(udp.receive.len().to_string());
    }
    let mut done = command(&mut line);
    if udp.send.is_empty() {
        done = done.note("the probe sends an empty datagram, and nc sends none");
    }
    note_way(done, spec, "nc", ONLY_SOURCE)
}

/// What the URL of a request names: SNI and the certificate follow from it.
fn authority(http: &HttpProbe, address: SocketAddr) -> (String, Option<String>) {
    let sni = http.tls.as_ref().and_then(|tls| tls.options.as_deref()?.sni.as_deref());
    let name = http.overrides.as_deref().and_then(|overrides| overrides.server_name.as_deref());
    let name = sni.or(name);
    match name.filter(|name| http.tls.is_some() && name.parse::<IpAddr>().is_err()) {
        Some(name) => {
            let name = name.trim_end_matches('.');
            let resolve = format!("{name}:{}:{}", address.port(), bracketed(address.ip()));
            (format!("{name}:{}", address.port()), Some(resolve))
        }
        None => (address.to_string(), None),
    }
}

pub(super) fn bracketed(ip: IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

pub(super) fn curl(spec: &CheckSpec, http: &HttpProbe) -> Reproduction {
    let address = spec.target().socket_addr();
    let overrides = http.overrides.as_deref();
    let mut notes = Vec::new();
    let request = overrides.and_then(|overrides| overrides.request.as_deref());
    let mut line = Line::default();
    let body = request.map(|request| &request.body).filter(|body| !body.is_empty());
    if let Some(body) = body {
        line.raw(&printf(body.as_slice())).raw("|");
    }
    line.word("curl").word("-v").word(match request.map(|request| request.version) {
        Some(HttpVersion::Http2) if http.tls.is_some() => "--http2",
        Some(HttpVersion::Http2) => "--http2-prior-knowledge",
        _ => "--http1.1",
    });
    line.words(&["--noproxy", "*", "--globoff", "--path-as-is", "--max-time"]);
    line.word(seconds(spec.timeout()));
    // Both at once only newer versions of curl can.
    let (device, source) = (spec.target().device(), spec.target().source());
    match (source, device) {
        (Some(source), _) => drop(line.word("--interface").word(format!("host!{source}"))),
        (None, Some(device)) => drop(line.word("--interface").word(format!("if!{device}"))),
        (None, None) => {}
    }
    match &*http.method {
        "GET" => {}
        "HEAD" => drop(line.word("--head")),
        method => drop(line.word("-X").word(method)),
    }
    if let Some(tls) = &http.tls {
        let is_http2 = request.is_some_and(|request| request.version == HttpVersion::Http2);
        tls::of_curl(&mut line, tls, is_http2, &mut notes);
    }
    let (authority, resolve) = authority(http, address);
    if let Some(resolve) = resolve {
        line.word("--resolve").word(resolve);
    }
    let host = match overrides.and_then(|overrides| overrides.host.as_deref()) {
        Some("") => "Host;".to_owned(),
        Some(host) => format!("Host: {host}"),
        None => format!("Host: {address}"),
    };
    line.word("-H").word(host);
    if overrides.is_some_and(|overrides| overrides.authorization.is_some()) {
        line.raw("-H \"Authorization: $AUTHORIZATION\"");
        notes.push(
            "put what the check sends as Authorization into the variable AUTHORIZATION first; it is a secret"
                .to_owned(),
        );
    }
    if let Some(request) = request {
        if let Some(agent) = &request.user_agent {
            line.word("-A").word(agent);
        }
        if body.is_some() {
            line.words(&["--data-binary", "@-", "-H", "Content-Type:"]);
        }
        if !request.headers.is_empty() {
            let names: Vec<&str> = request.headers.iter().map(|field| &*field.name).collect();
            notes.push(format!(
                "the check also sends {}; the values are secret: add each as -H 'NAME: VALUE'",
                names.join(", ")
            ));
        }
    }
    let scheme = if http.tls.is_some() { "https" } else { "http" };
    let target = String::from_utf8_lossy(http.request_target.as_slice());
    let is_path =
        target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    match (is_path, http.proxy) {
        (true, false) => drop(line.word(format!("{scheme}://{authority}{target}"))),
        (true, true) => {
            line.word("--request-target").word(format!("{scheme}://{authority}{target}"));
            line.word(format!("{scheme}://{authority}/"));
        }
        (false, _) => {
            line.word("--request-target").word(&target).word(format!("{scheme}://{authority}/"));
        }
    }
    let done = Reproduction { command: line.finish(), notes };
    note_way(done, spec, "curl", Abilities { device: source.is_none(), ..ONLY_SOURCE })
}

pub(super) fn dig(spec: &CheckSpec, dns: &DnsProbe) -> Reproduction {
    let mut line = Line::new("dig");
    line.word(format!("@{}", spec.target().ip())).word("-p").word(spec.target().port().to_string());
    source(&mut line, "-b", spec);
    line.word("+tries=1").word(format!("+time={}", whole_seconds(spec.timeout())));
    let options = dns.options.as_deref().cloned().unwrap_or_default();
    let payload = options.edns_payload.or(options.dnssec_ok.then_some(DnsOptions::EDNS_PAYLOAD));
    match payload {
        Some(payload) => drop(line.word(format!("+bufsize={payload}"))),
        None => drop(line.word("+noedns")),
    }
    for (flag, is_set) in [
        ("+dnssec", options.dnssec_ok),
        ("+cdflag", options.checking_disabled),
        ("+norecurse", !options.recursion_desired),
    ] {
        if is_set {
            line.word(flag);
        }
    }
    line.word("-q");
    if options.fresh_label {
        let label = "\"$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')\".";
        line.raw(&format!("{label}{}", quoted(&dns.query)));
    } else {
        line.word(&dns.query);
    }
    line.word("-t").word(dns.query_type.to_string());
    if dns.query_class != RecordClass::IN {
        line.word("-c").word(dns.query_class.to_string());
    }
    note_way(command(&mut line), spec, "dig", ONLY_SOURCE)
}

pub(super) fn radclient(spec: &CheckSpec, radius: &RadiusProbe) -> Reproduction {
    let username = radius.username.as_slice();
    let is_plain = username.iter().all(|byte| matches!(byte, b' '..=b'~') && !b"\"\\".contains(byte));
    let username = match std::str::from_utf8(username) {
        Ok(name) if is_plain => format!("\"{name}\""),
        _ => format!("0x{}", hex(username)),
    };
    let mut line = Line::default();
    let attributes = format!("User-Name = {username}, Message-Authenticator = 0x00, User-Password = ");
    line.raw("{").raw(&printf(attributes.as_bytes())).raw("; printf '\"%s\"\\n' \"$RADIUS_PASSWORD\"; } |");
    line.words(&["radclient", "-x", "-r", "1", "-t"]).word(whole_seconds(spec.timeout()));
    line.raw("-S \"$RADIUS_SECRET_FILE\"");
    line.word(spec.target().socket_addr().to_string()).word("auth");
    let done = command(&mut line).note(
        "put the password of the check into the variable RADIUS_PASSWORD, and the name of a file with its secret into \
         RADIUS_SECRET_FILE, first; both are secret",
    );
    note_way(done, spec, "radclient", Abilities { source: false, ..ONLY_SOURCE })
}

pub(super) fn radclient_status(spec: &CheckSpec) -> Reproduction {
    let mut line = Line::default();
    line.raw(&printf(b"Message-Authenticator = 0x00\n")).raw("|");
    line.words(&["radclient", "-x", "-r", "1", "-t"]).word(whole_seconds(spec.timeout()));
    line.raw("-S \"$RADIUS_SECRET_FILE\"");
    line.word(spec.target().socket_addr().to_string()).word("status");
    let done = command(&mut line).note(
        "put the name of a file with the secret of the check into the variable RADIUS_SECRET_FILE first",
    );
    note_way(done, spec, "radclient", Abilities { source: false, ..ONLY_SOURCE })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
