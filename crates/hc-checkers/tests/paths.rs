//! A route, address, interface or rule that is away for a part of a probe and back at its end.
//! Needs root, for a network of the test's own.
//!
//! Nobody answers at any of the targets, so that each probe fails: with a path that stood it is a
//! verdict.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use hc_checkers::{Checkers, CheckersConfig};
use hc_testkit::network::{await_links, in_own_network, run};
use hc_testkit::outcome::as_told;
use hc_types::{
    CheckSpec, DnsExpectation, DnsProbe, Failure, HttpProbe, LocalFault, Mark, Mode, Outcome, Phase,
    ProbeSpec, Prober, RadiusExpectation, RadiusProbe, RecordClass, RecordType, Target, TcpProbe, Timing,
    Tls, UdpProbe,
};
use tokio::time::sleep;

const TIMEOUT: Duration = Duration::from_millis(900);

/// Before the path of a slow probe is looked up, and after.
const EARLY: u64 = 60;
const LATE: u64 = 450;

/// `10.9.0.0/24` and `fd00::/64` behind an interface, at whose other end nobody is.
const VETH: &str = "ip link add va type veth peer name vb
    ip address add 10.9.0.1/24 dev va
    ip address add 10.9.0.2/24 dev va
    ip -6 address add fd00::1/64 dev va nodad
    ip link set vb up
    ip link set va up
    ip neighbour add 10.9.0.7 lladdr 02:00:00:00:00:07 dev va
    ip route add 10.50.0.0/16 via 10.9.0.7
    ip -6 neighbour add fd00::7 lladdr 02:00:00:00:00:07 dev va";

fn all(commands: &str) {
    commands.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| drop(run(line)));
}

fn spec(target: Target, probe: ProbeSpec) -> Arc<CheckSpec> {
    Arc::new(CheckSpec::new(target, probe, Timing::every(10 * TIMEOUT).timeout(TIMEOUT)).unwrap())
}

fn tcp() -> ProbeSpec {
    ProbeSpec::Tcp(TcpProbe::default())
}

fn plain(ip: impl Into<IpAddr>) -> Target {
    Target::plain(ip.into(), 81)
}

/// What becomes of a probe when these commands are run at these milliseconds after its begin.
fn probe_while(setup: &str, target: Target, probe: ProbeSpec, events: &[(u64, &str)]) -> Outcome {
    let setup = setup.to_owned();
    let events: Vec<_> = events.iter().map(|(at, commands)| (*at, (*commands).to_owned())).collect();
    in_own_network(move || {
        all(&setup);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            await_links();
            let checkers = Checkers::new(CheckersConfig::default());
            let probe = Prober::probe(&checkers, spec(target, probe));
            let (result, ()) = tokio::join!(probe, async {
                let mut passed = 0;
                for (at, commands) in &events {
                    sleep(Duration::from_millis(at - passed)).await;
                    all(commands);
                    passed = *at;
                }
            });
            as_told(result.outcome)
        })
    })
}

#[track_caller]
fn check_changed(setup: &str, target: Target, away: &str, back: &str) {
    for at in [EARLY, LATE] {
        let probe = if target.port() == 0 { ProbeSpec::Icmp } else { tcp() };
        let outcome = probe_while(setup, target.clone(), probe, &[(at, away), (at + 100, back)]);
        assert_eq!(outcome, LocalFault::PathChanged.into(), "{away} at {at} ms");
    }
}

/// This machine itself, when it does not answer ([`SILENT`]).
fn own(ip: [u8; 4]) -> Target {
    Target::plain(ip.into(), 0)
}

const SILENT: &str = "sysctl -qw net.ipv4.icmp_echo_ignore_all=1";

#[track_caller]
fn check_counts(setup: &str, target: Target, events: &[(u64, &str)]) {
    let outcome = probe_while(setup, target, tcp(), events);
    assert_eq!(outcome, Failure::timeout(Phase::Connect).into(), "{events:?}");
}

/// The failure of the chaos test: the SYNs at 0, 1 and 3 s are lost, and the next would go at 7 s.
/// Somebody listens, and nobody else's probe looks at the interface meanwhile.
#[test]
fn loopback_down_for_four_seconds_of_a_probe_of_five() {
    let outcome = in_own_network(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            await_links();
            let listener = tokio::net::TcpListener::bind("127.0.1.94:0").await.unwrap();
            let checkers = Checkers::new(CheckersConfig::default());
            let target = Target::plain([127, 0, 1, 94].into(), listener.local_addr().unwrap().port());
            let http = HttpProbe { tls: Some(Tls::new(false)), ..HttpProbe::default() };
            let timeout = Duration::from_secs(5);
            let spec = CheckSpec::new(
                target,
                ProbeSpec::Http(Box::new(http)),
                Timing::every(timeout).timeout(timeout),
            )
            .unwrap();
            run("ip link set lo down");
            let (outcome, ()) = tokio::join!(checkers.probe(&spec), async {
                sleep(Duration::from_secs(4)).await;
                run("ip link set lo up");
            });
            outcome
        })
    });
    assert_eq!(outcome, LocalFault::PathChanged.into());
}

#[test]
fn interface_down_and_up() {
    check_changed(VETH, plain([10, 9, 0, 7]), "ip link set va down", "ip link set va up");
    let (down, up) = ("ip link set lo down", "ip link set lo up");
    check_changed(SILENT, own([127, 0, 0, 2]), down, up);
    check_changed(&format!("{VETH}\n{SILENT}"), own([10, 9, 0, 1]), down, up);
}

/// The route goes with its interface, without a word, and another one takes over: at the end of the
/// probe all is well.
#[test]
fn interface_down_with_another_route_behind_it() {
    let setup = format!(
        "{VETH}
        ip link add vc type veth peer name vd
        ip address add 10.8.0.1/24 dev vc
        ip link set vd up
        ip link set vc up
        ip neighbour add 10.8.0.7 lladdr 02:00:00:00:00:08 dev vc
        ip route add default via 10.8.0.7"
    );
    for at in [EARLY, LATE] {
        let down = [(at, "ip link set va down")];
        let outcome = probe_while(&setup, plain([10, 50, 0, 1]), tcp(), &down);
        assert_eq!(outcome, LocalFault::PathChanged.into(), "at {at} ms");
    }
    // That of the other one is no excuse.
    let down = [(LATE, "ip link set vc down")];
    check_counts(&setup, plain([10, 50, 0, 1]), &down);
}

#[test]
fn carrier_lost_and_back() {
    check_changed(VETH, plain([10, 9, 0, 7]), "ip link set vb down", "ip link set vb up");
}

#[test]
fn carrier_lost_for_good_is_an_interface_that_is_down() {
    let lost = [(EARLY, "ip link set vb down")];
    assert_eq!(probe_while(VETH, plain([10, 9, 0, 7]), tcp(), &lost), LocalFault::InterfaceDown.into());
    let lost = format!("{VETH}\nip link set vb down");
    assert_eq!(probe_while(&lost, plain([10, 9, 0, 7]), tcp(), &[]), LocalFault::InterfaceDown.into());
    assert_eq!(
        probe_while("ip link set lo down", plain([127, 0, 0, 2]), tcp(), &[]),
        LocalFault::InterfaceDown.into()
    );
}

#[test]
fn route_deleted_and_put_back() {
    let target = plain([10, 50, 0, 1]);
    check_changed(
        VETH,
        target.clone(),
        "ip route del 10.50.0.0/16",
        "ip route add 10.50.0.0/16 via 10.9.0.7",
    );
    let bad = "ip route replace 10.50.0.0/16 dev lo";
    check_changed(VETH, target.clone(), bad, "ip route replace 10.50.0.0/16 via 10.9.0.7");
    let hole = "ip route add blackhole 10.50.0.0/24";
    check_changed(VETH, target.clone(), hole, "ip route del blackhole 10.50.0.0/24");
    let route = "local 127.0.0.0/8 dev lo table local";
    let [away, back] = ["del", "add"].map(|verb| format!("ip route {verb} {route}"));
    check_changed(SILENT, own([127, 0, 0, 2]), &away, &back);
    let v6 = format!("{VETH}\nip -6 route add 2001:db8::/32 via fd00::7");
    let (away, back) = ("ip -6 route del 2001:db8::/32", "ip -6 route add 2001:db8::/32 via fd00::7");
    check_changed(&v6, plain("2001:db8::1".parse::<IpAddr>().unwrap()), away, back);
}

#[test]
fn address_removed_and_put_back() {
    let (away, back) = ("ip address del 10.9.0.1/24 dev va", "ip address add 10.9.0.1/24 dev va");
    check_changed(VETH, plain([10, 9, 0, 7]), away, back);
    let (away, back) = ("ip address del fd00::1/64 dev va", "ip -6 address add fd00::1/64 dev va nodad");
    check_changed(VETH, plain("fd00::7".parse::<IpAddr>().unwrap()), away, back);
}

#[test]
fn rule_added_and_removed() {
    let rule = "to 10.9.0.0/24 prohibit pref 100";
    let [away, back] = ["add", "del"].map(|verb| format!("ip rule {verb} {rule}"));
    check_changed(VETH, plain([10, 9, 0, 7]), &away, &back);
}

#[test]
fn marked_probes_have_the_path_of_their_mark() {
    let setup = format!(
        "{VETH}
        ip rule add fwmark 0x10000 lookup 100
        ip route add 192.0.2.1/32 via 10.9.0.7 table 100"
    );
    let marked = |host| {
        let mark = Mark::new(0x10000).unwrap();
        Target::marked([192, 0, 2, 1].into(), 81, Mode::Dsr, mark, host)
    };
    let route = "192.0.2.1/32 via 10.9.0.7 table 100";
    let [away, back] = ["del", "add"].map(|verb| format!("ip route {verb} {route}"));
    check_changed(&setup, marked(None), &away, &back);
    // Where IPVS sends it to.
    let (away, back) = ("ip route del 10.50.0.0/16", "ip route add 10.50.0.0/16 via 10.9.0.7");
    check_changed(&setup, marked(Some([10, 50, 0, 1].into())), away, back);
    check_counts(&setup, marked(None), &[(EARLY, away), (EARLY + 50, back)]);
}

#[test]
fn every_kind_of_probe_is_watched() {
    let http = |tls| ProbeSpec::Http(Box::new(HttpProbe { tls, ..HttpProbe::default() }));
    let probes = [
        http(None),
        http(Some(Tls::new(false))),
        ProbeSpec::Udp(Box::new(UdpProbe { send: b"ping".into(), receive: b"pong".into() })),
        ProbeSpec::Dns(Box::new(DnsProbe {
            query: "a.example".into(),
            query_type: RecordType::A,
            query_class: RecordClass::IN,
            expect: DnsExpectation::Ips([Ipv4Addr::LOCALHOST.into()].into()),
            options: None,
        })),
        ProbeSpec::Radius(Box::new(RadiusProbe {
            username: "user".into(),
            password: "password".into(),
            secret: "secret".into(),
            expect: RadiusExpectation::Accept,
            require_message_authenticator: false,
        })),
        ProbeSpec::Icmp,
    ];
    for probe in probes {
        let port = if probe == ProbeSpec::Icmp { 0 } else { 81 };
        let target = Target::plain([10, 9, 0, 7].into(), port);
        let events = [(LATE, "ip link set va down"), (LATE + 100, "ip link set va up")];
        let outcome = probe_while(VETH, target, probe.clone(), &events);
        assert_eq!(outcome, LocalFault::PathChanged.into(), "{probe:?}");
    }
}

/// What goes on beside the path of a probe is none of its business: a dead backend is found out.
#[test]
fn changes_beside_the_path_do_not_excuse_a_timeout() {
    let target = plain([10, 9, 0, 7]);
    check_counts(VETH, target.clone(), &[]);
    check_counts(VETH, target.clone(), &[(EARLY, "ip route del 10.50.0.0/16")]);
    check_counts(
        VETH,
        target.clone(),
        &[(EARLY, "ip route add default via 10.9.0.7"), (LATE, "ip route del default")],
    );
    check_counts(VETH, target.clone(), &[(EARLY, "ip route add default via 10.9.0.7 table 999")]);
    check_counts(VETH, target.clone(), &[(EARLY, "ip route add 10.9.0.0/24 dev lo table 999")]);
    check_counts(VETH, target.clone(), &[(EARLY, "ip rule add to 10.50.0.0/16 lookup 999")]);
    check_counts(VETH, target.clone(), &[(EARLY, "ip rule add fwmark 7 lookup 999")]);
    check_counts(VETH, target.clone(), &[(EARLY, "ip rule add from 10.77.0.0/16 iif va lookup 999")]);
    check_counts(VETH, target.clone(), &[(LATE, "ip address del 10.9.0.2/24 dev va")]);
    // A container comes and goes.
    let bridge = format!("{VETH}\nip link add br0 type bridge\nip link set br0 up");
    let comes = "ip link add ca type veth peer name cb\nip link set ca master br0\nip link set ca up\nip link set cb up";
    check_counts(&bridge, target.clone(), &[(EARLY, comes), (LATE, "ip link del ca")]);
    check_counts(
        VETH,
        target.clone(),
        &[
            (EARLY, "ip link add ca type veth peer name cb\nip link set cb up"),
            (LATE, "ip link set ca up\nip link del ca"),
        ],
    );
}

/// Runs `ip -batch` on these commands, beside the probe.
fn batch(commands: String) -> std::process::Child {
    use std::io::Write as _;
    let mut ip = std::process::Command::new("ip");
    let mut ip = ip.args(["-force", "-batch", "-"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = ip.stdin.take().unwrap();
    std::thread::spawn(move || stdin.write_all(commands.as_bytes()).unwrap());
    ip
}

/// A routing daemon that changes tens of thousands of routes a second: as many as the kernel's
/// queue holds, however late the probe gets to read them.
#[test]
fn a_flood_of_route_changes_hides_neither_a_dead_backend_nor_a_change_of_its_route() {
    let outcome = |lines_at_half: &'static str| {
        in_own_network(move || {
            all(VETH);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                await_links();
                let checkers = Checkers::new(CheckersConfig::default());
                let mut commands = String::new();
                for n in 0..30_000_u32 {
                    let [_, a, b, c] = n.to_be_bytes();
                    commands += &format!("route add 20.{a}.{b}.{c}/32 via 10.9.0.7\n");
                    if n == 15_000 {
                        commands += lines_at_half;
                    }
                }
                let spec = CheckSpec::new(
                    plain([10, 50, 0, 1]),
                    tcp(),
                    Timing::every(60 * TIMEOUT).timeout(5 * TIMEOUT),
                )
                .unwrap();
                let mut probe = std::pin::pin!(checkers.probe(&spec));
                // It begins before the routes change, however busy the machine is.
                let begins = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(probe.as_mut().poll(context).is_pending())
                });
                assert!(begins.await);
                let mut churn = batch(commands);
                let outcome = probe.await;
                assert!(churn.try_wait().unwrap().is_some(), "the routes took longer than the probe");
                as_told(outcome)
            })
        })
    };
    assert_eq!(outcome(""), Failure::timeout(Phase::Connect).into());
    let flap = "route del 10.50.0.0/16\nroute add 10.50.0.0/16 via 10.9.0.7\n";
    assert_eq!(outcome(flap), LocalFault::PathChanged.into());
}
