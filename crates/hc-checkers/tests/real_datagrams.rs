//! DNS options and Status-Server with real servers: Unbound and FreeRADIUS, in a network of their own.
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
