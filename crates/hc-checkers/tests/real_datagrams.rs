//! DNS options and Status-Server with real servers: Unbound, BIND and FreeRADIUS, in a network of
//! their own.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::Duration;

use hc_checkers::{probe_dns, probe_radius_status};
use hc_testkit::network::in_own_network;
use hc_testkit::process::{Process, wait_until};
use hc_types::{
    DnsAnswer, DnsExpectation, DnsOptions, DnsProbe, Failure, Outcome, Pass, Phase, RadiusStatusProbe, Rcode,
    RecordClass, RecordType, Target,
};
use tempfile::TempDir;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PLENTY: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn start(program: &str, arguments: &[&str], dir: &TempDir) -> Process {
    Process::try_start_logged(
        Command::new(program).args(arguments).stdin(Stdio::null()),
        &dir.path().join("log"),
    )
    .unwrap_or_else(|error| panic!("{error}: `cargo xtask setup` installs it"))
}

#[test]
fn unbound_answers_a_fresh_label_and_knows_the_flags() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let config = format!(
        r#"server:
  directory: "{at}"
  pidfile: "{at}/pid"
  chroot: ""
  username: ""
  use-syslog: no
  do-daemonize: no
  num-threads: 1
  module-config: "iterator"
  interface: 127.0.0.1
  port: 5353
  local-zone: "static.example." static
  local-data: "www.static.example. 60 IN A 192.0.2.10"
  local-zone: "wild.example." redirect
  local-data: "wild.example. 60 IN A 192.0.2.11"
  local-zone: "closed.example." refuse
remote-control:
  control-enable: no
"#
    );
    fs::write(dir.path().join("unbound.conf"), config).unwrap();
    in_own_network(move || {
        let conf = dir.path().join("unbound.conf");
        let _unbound = start("unbound", &["-d", "-c", conf.to_str().unwrap()], &dir);
        let ask = |query: &str, timeout, options| {
            let probe = DnsProbe {
                query: query.into(),
                query_type: RecordType::A,
                query_class: RecordClass::IN,
                expect: DnsExpectation::Any,
                options: Some(Box::new(options)),
            };
            block_on(probe_dns(&probe, &Target::plain(HERE, 5353), timeout))
        };
        let default = DnsOptions::default;
        let www = || ask("www.static.example", SHORT, default());
        wait_until("unbound answers", || matches!(www(), Outcome::Pass(_)));
        let fresh = || DnsOptions { fresh_label: true, ..default() };
        assert_eq!(ask("static.example", PLENTY, fresh()), Failure::DnsRcode(3).into());
        let nxdomain = DnsOptions { expected_rcodes: [Rcode(3)].into(), ..fresh() };
        assert_eq!(ask("static.example", PLENTY, nxdomain), Pass::dns(DnsAnswer::Rcode(Rcode(3))).into());
        let answer = Pass::dns(DnsAnswer::Address([192, 0, 2, 11].into()));
        assert_eq!(ask("wild.example", PLENTY, fresh()), answer.clone().into());
        let all = DnsOptions {
            edns_payload: Some(1232),
            dnssec_ok: true,
            checking_disabled: true,
            recursion_desired: false,
            ..fresh()
        };
        assert_eq!(ask("wild.example", PLENTY, all), answer.into());
        assert_eq!(ask("closed.example", PLENTY, default()), Failure::DnsRcode(5).into());
    });
}

#[test]
fn bind_answers_a_fresh_label_and_over_tcp_what_is_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let config = format!(
        r#"options {{
  directory "{at}";
  pid-file "{at}/pid";
  session-keyfile "{at}/session.key";
  listen-on port 5353 {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  recursion no;
  dnssec-validation no;
  notify no;
}};
controls {{ }};
zone "static.example" {{ type primary; file "static.zone"; }};
zone "closed.example" {{ type primary; file "static.zone"; allow-query {{ none; }}; }};
"#
    );
    fs::write(dir.path().join("named.conf"), config).unwrap();
    let head = "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n";
    let records = "www A 192.0.2.10\nalias CNAME www\n*.wild A 192.0.2.11\ntext TXT \"a text\" \"in two\"\n";
    // The most of one type that BIND takes (`max-records-per-type`).
    let many: String = (1..=100).map(|last| format!("big A 198.51.100.{last}\n")).collect();
    fs::write(dir.path().join("static.zone"), [head, records, &many].concat()).unwrap();
    in_own_network(move || {
        let conf = dir.path().join("named.conf");
        let _bind = start("named", &["-g", "-n", "1", "-c", conf.to_str().unwrap()], &dir);
        let probe = |query: &str, query_type, expect| DnsProbe {
            query: query.into(),
            query_type,
            query_class: RecordClass::IN,
            expect,
            options: None,
        };
        let run = |probe: &DnsProbe, timeout| block_on(probe_dns(probe, &Target::plain(HERE, 5353), timeout));
        let ask = |query: &str, options| {
            let options = Some(Box::new(options));
            run(&DnsProbe { options, ..probe(query, RecordType::A, DnsExpectation::Any) }, PLENTY)
        };
        let address = |ip: [u8; 4]| Outcome::from(Pass::dns(DnsAnswer::Address(ip.into())));
        let www = probe("www.static.example", RecordType::A, DnsExpectation::Any);
        wait_until("BIND answers", || matches!(run(&www, SHORT), Outcome::Pass(_)));
        let default = DnsOptions::default;
        let fresh = || DnsOptions { fresh_label: true, ..default() };
        assert_eq!(ask("static.example", fresh()), Failure::DnsRcode(3).into());
        let nxdomain = DnsOptions { expected_rcodes: [Rcode(3)].into(), ..fresh() };
        assert_eq!(ask("static.example", nxdomain), Pass::dns(DnsAnswer::Rcode(Rcode(3))).into());
        assert_eq!(ask("wild.static.example", fresh()), address([192, 0, 2, 11]));
        let all = DnsOptions {
            edns_payload: Some(1232),
            dnssec_ok: true,
            checking_disabled: true,
            recursion_desired: false,
            ..fresh()
        };
        assert_eq!(ask("wild.static.example", all), address([192, 0, 2, 11]));
        for refused in ["www.closed.example", "www.example.com"] {
            assert_eq!(ask(refused, default()), Failure::DnsRcode(5).into(), "{refused}");
        }
        // Behind an alias, and one of very many, which come over TCP; with EDNS, too.
        let ips = |last: [u8; 4]| DnsExpectation::Ips([last.into()].into());
        let alias = probe("alias.static.example", RecordType::A, ips([192, 0, 2, 10]));
        assert_eq!(run(&alias, PLENTY), address([192, 0, 2, 10]));
        let big = probe("big.static.example", RecordType::A, ips([198, 51, 100, 97]));
        assert_eq!(run(&big, PLENTY), address([198, 51, 100, 97]));
        let edns = DnsOptions { edns_payload: Some(512), ..default() };
        let big = DnsProbe { options: Some(Box::new(edns)), ..big };
        assert_eq!(run(&big, PLENTY), address([198, 51, 100, 97]));
        let other = probe("big.static.example", RecordType::A, ips([192, 0, 2, 10]));
        assert_eq!(run(&other, PLENTY).label(), "wrong_answer");
    });
}

#[test]
fn freeradius_answers_status_server() {
    let dir = tempfile::tempdir().unwrap();
    let config = |status: &str| {
        format!(
            r#"prefix = /usr
name = radiusd
raddbdir = "{at}"
logdir = "{at}"
run_dir = "{at}"
pidfile = "{at}/pid"
libdir = /usr/lib/freeradius
max_requests = 1024
hostname_lookups = no
proxy_requests = no
log {{
  destination = stdout
}}
security {{
  max_attributes = 200
  reject_delay = 0
  status_server = {status}
}}
thread pool {{
  start_servers = 1
  max_servers = 2
  min_spare_servers = 1
  max_spare_servers = 2
  max_requests_per_server = 0
}}
modules {{
}}
client here {{
  ipaddr = 127.0.0.1
  secret = s3cret
}}
server default {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = 1812
  }}
  listen {{
    type = acct
    ipaddr = 127.0.0.1
    port = 1813
  }}
  authorize {{
  }}
}}
"#,
            at = dir.path().display()
        )
    };
    let files = [config("yes"), config("no")];
    in_own_network(move || {
        let ask = |port, secret: &str, timeout| {
            let probe = RadiusStatusProbe { secret: secret.into(), require_message_authenticator: false };
            block_on(probe_radius_status(&probe, &Target::plain(HERE, port), timeout, None))
        };
        let arguments = ["-f", "-l", "stdout", "-d", dir.path().to_str().unwrap(), "-n", "radiusd"];
        fs::write(dir.path().join("radiusd.conf"), &files[0]).unwrap();
        let mut radius = start("freeradius", &arguments, &dir);
        wait_until("freeradius answers", || ask(1812, "s3cret", SHORT) == Pass::Radius(2).into());
        assert_eq!(ask(1813, "s3cret", PLENTY), Pass::Radius(5).into());
        // It drops what it cannot verify.
        let silence = ask(1812, "secret", SHORT);
        assert_eq!(silence.label(), Failure::timeout(Phase::Response).label());
        radius.terminate();
        // And all of them where they are switched off.
        fs::write(dir.path().join("radiusd.conf"), &files[1]).unwrap();
        let _radius = start("freeradius", &arguments, &dir);
        wait_until("freeradius listens", || ask(1812, "s3cret", SHORT).label() == "timeout_response");
    });
}
