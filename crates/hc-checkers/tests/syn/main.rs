//! Half-open TCP checks through one raw socket a family: listeners, closed and silent ports, forged
//! answers, the kernel's own RST, many at once. Each test has a network of its own, which needs
//! root.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and reads the clock")]

mod network;

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::task::Poll;
use std::time::{Duration, Instant};

use hc_checkers::Checkers;
use hc_testkit::network::{in_own_network, run, set_parameter};
use hc_testkit::outcome::as_told;
use hc_testkit::port::{ClosedPort, FullPort, IdleListener};
use hc_testkit::syn::{Received, Reply, SilentPort, SynServer};
use hc_types::{CheckSpec, Failure, LocalFault, Outcome, Phase, ProbeSpec, Target, Timing};

const LONG: Duration = Duration::from_secs(20);
/// Long enough for a packet on loopback to come, short enough to wait for in vain.
const SHORT: Duration = Duration::from_millis(600);
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn to(address: SocketAddr) -> Target {
    Target::plain(address.ip(), address.port())
}

fn spec(target: Target, timeout: Duration) -> CheckSpec {
    CheckSpec::new(target, ProbeSpec::HalfOpen, Timing::every(LONG).timeout(timeout)).unwrap()
}

async fn asked(checkers: &Checkers, target: Target, timeout: Duration) -> Outcome {
    as_told(checkers.probe(&spec(target, timeout)).await)
}

fn probe(target: Target, timeout: Duration) -> Outcome {
    block_on(async { asked(&Checkers::default(), target, timeout).await })
}

fn timeout() -> Outcome {
    Failure::timeout(Phase::Connect).into()
}

/// How many lines a table of this thread's network has: `raw`, `tcp`.
fn table(name: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap();
    text.lines().skip(1).map(str::to_owned).collect()
}

/// The states of the sockets with this port at an end, as numbers of the kernel: 1 is ESTABLISHED,
/// 3 SYN_RECV, 10 LISTEN.
fn states(port: u16) -> BTreeSet<u8> {
    let mut lines = table("tcp");
    lines.extend(table("tcp6"));
    let states = lines.iter().filter_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_ours = words[1].ends_with(&format!(":{port:04X}"));
        is_ours.then(|| u8::from_str_radix(words[3], 16).unwrap())
    });
    states.collect()
}

#[test]
fn a_listener_is_healthy_and_sees_nothing() {
    in_own_network(|| {
        let checkers = Checkers::default();
        block_on(async {
            for ip in [V4, V6] {
                let listener = IdleListener::start(ip).unwrap();
                let address = listener.address().unwrap();
                for _ in 0..50 {
                    assert_eq!(asked(&checkers, to(address), LONG).await, Outcome::PASS, "{ip}");
                }
                assert_eq!(listener.accept_all(), 0, "{ip}");
                // Nothing is half open, either: the kernel has ended it.
                assert_eq!(states(address.port()), [10].into(), "{ip}");
            }
        });
        assert_eq!((table("raw").len(), table("raw6").len()), (1, 1));
    });
}

#[test]
fn a_closed_port_is_refused_and_a_silent_one_times_out() {
    in_own_network(|| {
        for ip in [V4, V6] {
            let closed = ClosedPort::reserve(ip).unwrap();
            assert_eq!(probe(to(closed.address()), LONG), Failure::Refused.into(), "{ip}");
            let silent = SilentPort::start(ip).unwrap();
            assert_eq!(probe(to(silent.address()), SHORT), timeout(), "{ip}");
            let full = FullPort::start(ip).unwrap();
            assert_eq!(probe(to(full.address()), SHORT), timeout(), "{ip}");
            full.empty().unwrap();
            assert_eq!(probe(to(full.address()), LONG), Outcome::PASS, "{ip}");
        }
    });
}

#[test]
fn a_listener_that_dies_is_refused_and_one_that_returns_passes() {
    in_own_network(|| {
        let checkers = Checkers::default();
        block_on(async {
            for ip in [V4, V6] {
                let listener = TcpListener::bind((ip, 0)).unwrap();
                let address = listener.local_addr().unwrap();
                assert_eq!(asked(&checkers, to(address), LONG).await, Outcome::PASS, "{ip}");
                drop(listener);
                assert_eq!(asked(&checkers, to(address), LONG).await, Failure::Refused.into(), "{ip}");
                let _listener = TcpListener::bind(address).unwrap();
                assert_eq!(asked(&checkers, to(address), LONG).await, Outcome::PASS, "{ip}");
            }
        });
    });
}

/// All of them are begun before any is polled again.
async fn all_at_once(checkers: &Checkers, targets: Vec<Target>, expected: &Outcome) {
    let specs: Vec<CheckSpec> = targets.into_iter().map(|target| spec(target, LONG)).collect();
    let mut probes: Vec<_> = specs.iter().map(|spec| Box::pin(checkers.probe(spec))).collect();
    std::future::poll_fn(|context| {
        probes.retain_mut(|probe| match probe.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(outcome) => {
                assert_eq!(&outcome, expected);
                false
            }
        });
        if probes.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn thousands_at_once_share_one_socket() {
    in_own_network(|| {
        run("ip -6 route add local fd00::/64 dev lo");
        run("ip addr add fd00::ffff/128 dev lo nodad");
        let checkers = Checkers::default();
        let v4 = |n: u16| IpAddr::from([127, 1, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
        let v6 = |n: u16| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 1, n]);
        for (any, ip) in [("0.0.0.0:0", &v4 as &dyn Fn(u16) -> IpAddr), ("[::]:0", &v6)] {
            let listener = TcpListener::bind(any).unwrap();
            let closed = ClosedPort::reserve(listener.local_addr().unwrap().ip()).unwrap();
            let ports = [listener.local_addr().unwrap().port(), closed.address().port()];
            block_on(async {
                let targets = |port: u16| (0..20_000).map(|n| Target::plain(ip(n), port)).collect();
                all_at_once(&checkers, targets(ports[0]), &Outcome::PASS).await;
                all_at_once(&checkers, targets(ports[1]), &Failure::Refused.into()).await;
            });
            assert_eq!(states(ports[0]), [10].into());
        }
        assert_eq!((table("raw").len(), table("raw6").len()), (1, 1));
    });
}

#[test]
fn probes_of_one_port_are_told_apart_as_far_as_there_are_ports() {
    in_own_network(|| {
        for ip in [V4, V6] {
            let listener = IdleListener::start(ip).unwrap();
            let target = || to(listener.address().unwrap());
            block_on(async {
                let checkers = Checkers::default();
                all_at_once(&checkers, (0..8).map(|_| target()).collect(), &Outcome::PASS).await;
                let specs: Vec<CheckSpec> = (0..9).map(|_| spec(target(), LONG)).collect();
                let mut probes: Vec<_> = specs.iter().map(|spec| Box::pin(checkers.probe(spec))).collect();
                let mut last = probes.pop().unwrap();
                let last = std::future::poll_fn(|context| {
                    for probe in &mut probes {
                        assert!(probe.as_mut().poll(context).is_pending());
                    }
                    last.as_mut().poll(context)
                });
                assert_eq!(last.await, LocalFault::Ports.into());
            });
        }
    });
}

/// A host that answers every SYN as `script` says.
fn host(ip: IpAddr, script: impl Fn(&Received) -> Vec<Reply> + Send + 'static) -> SynServer {
    SynServer::start(ip, move |received| Some(if received.is_reset { Vec::new() } else { script(received) }))
        .unwrap()
}

#[test]
fn forged_and_stale_answers_mean_nothing() {
    type Script = fn(&Received) -> Vec<Reply>;
    let wrong: [(&str, Script); 16] = [
        ("another acknowledgement", |syn| vec![syn.accept().off_by(1), syn.accept().off_by(u32::MAX)]),
        ("a RST with another acknowledgement", |syn| vec![syn.refuse().off_by(1)]),
        ("a RST that acknowledges the SYN's own number", |syn| vec![syn.refuse().off_by(u32::MAX)]),
        ("a RST without ACK", |syn| vec![syn.refuse().flags("R")]),
        ("a RST without ACK, but with SYN", |syn| vec![syn.refuse().flags("RS")]),
        ("a SYN without ACK", |syn| vec![syn.accept().flags("S")]),
        ("an ACK alone, as of a connection that stands", |syn| vec![syn.accept().flags("A")]),
        ("a FIN", |syn| vec![syn.accept().flags("FA")]),
        ("no flags", |syn| vec![syn.accept().flags("")]),
        ("from another port", |syn| vec![syn.accept().from_port(9)]),
        ("a RST from another port", |syn| vec![syn.refuse().from_port(9)]),
        ("to another port", |syn| vec![syn.accept().to_port(syn.from.port() ^ 1)]),
        ("from another address", |syn| {
            vec![syn.accept().from(ip(if syn.from.is_ipv4() { "127.0.0.77" } else { "fd00::77" }))]
        }),
        ("a RST from another address", |syn| {
            vec![syn.refuse().from(ip(if syn.from.is_ipv4() { "127.0.0.77" } else { "fd00::77" }))]
        }),
        ("a wrong checksum", |syn| vec![syn.accept().wrong_checksum()]),
        ("a RST with a wrong checksum", |syn| vec![syn.refuse().wrong_checksum()]),
    ];
    in_own_network(move || {
        run("ip addr add fd00::77/128 dev lo nodad");
        run("ip addr add fd00::1/128 dev lo nodad");
        for ip in [ip("127.0.0.9"), ip("fd00::1")] {
            let checkers = Checkers::default();
            let hosts: Vec<_> = wrong.iter().map(|(what, script)| (*what, host(ip, *script))).collect();
            block_on(async {
                let specs: Vec<_> =
                    hosts.iter().map(|(what, host)| (*what, spec(to(host.address()), SHORT))).collect();
                let mut probes: Vec<_> =
                    specs.iter().map(|(what, spec)| (*what, Box::pin(checkers.probe(spec)))).collect();
                std::future::poll_fn(|context| {
                    probes.retain_mut(|(what, probe)| match probe.as_mut().poll(context) {
                        Poll::Pending => true,
                        Poll::Ready(outcome) => {
                            assert_eq!(as_told(outcome), timeout(), "{ip}: {what}");
                            false
                        }
                    });
                    if probes.is_empty() { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                // The right one behind a wrong one counts.
                let accepted =
                    host(ip, |syn| vec![syn.refuse().off_by(1), syn.accept().off_by(7), syn.accept()]);
                let refused =
                    host(ip, |syn| vec![syn.accept().off_by(1), syn.refuse().off_by(7), syn.refuse()]);
                assert_eq!(asked(&checkers, to(accepted.address()), LONG).await, Outcome::PASS);
                assert_eq!(asked(&checkers, to(refused.address()), LONG).await, Failure::Refused.into());
            });
        }
    });
}

/// What comes to a host, which answers by `script`, while it is probed once.
fn seen_by_host(
    ip: IpAddr,
    timeout: Duration,
    resets: usize,
    mut script: impl FnMut(&Received) -> Vec<Reply> + Send + 'static,
) -> (Outcome, Vec<(Instant, Received)>) {
    let (tell, told) = sync_channel(99);
    let mut left = resets;
    let server = SynServer::start(ip, move |received| {
        tell.send((Instant::now(), received.clone())).unwrap();
        if received.is_reset {
            left -= 1;
            return (left > 0).then(Vec::new);
        }
        Some(script(received))
    });
    let server = server.unwrap();
    let outcome = probe(to(server.address()), timeout);
    server.join().unwrap();
    (outcome, told.iter().collect())
}

#[test]
fn the_kernel_ends_what_is_half_open_with_one_reset() {
    in_own_network(|| {
        for ip in [ip("127.0.0.9"), V6] {
            // The second answer is one that comes late.
            let (outcome, seen) = seen_by_host(ip, LONG, 2, |syn| vec![syn.accept(), syn.accept()]);
            assert_eq!(outcome, Outcome::PASS);
            let [(_, syn), resets @ ..] = &seen[..] else { panic!("{seen:?}") };
            assert_eq!((syn.is_reset, resets.len()), (false, 2), "{seen:?}");
            for (_, reset) in resets {
                let ends = (reset.is_reset, reset.from, reset.sequence);
                assert_eq!(ends, (true, syn.from, syn.sequence.wrapping_add(1)), "{ip}");
            }
        }
    });
}

#[test]
fn a_syn_that_is_lost_is_sent_again() {
    in_own_network(|| {
        for ip in [ip("127.0.0.9"), V6] {
            let mut lost = 2;
            let (outcome, seen) = seen_by_host(ip, LONG, 1, move |syn| {
                lost -= 1;
                if lost < 0 { vec![syn.accept()] } else { Vec::new() }
            });
            assert_eq!(outcome, Outcome::PASS, "{ip}");
            let [(first, one), (second, two), (third, three), _reset] = &seen[..] else { panic!("{seen:?}") };
            for again in [two, three] {
                assert_eq!((again.from, again.sequence), (one.from, one.sequence), "the same SYN");
            }
            assert!(second.duration_since(*first) >= Duration::from_millis(990), "{ip}: {seen:?}");
            assert!(third.duration_since(*second) >= Duration::from_millis(1990), "{ip}: {seen:?}");
        }
    });
}

#[test]
fn numbers_of_one_pair_grow_and_ports_take_turns() {
    in_own_network(|| {
        let (tell, told) = sync_channel(999);
        let server = SynServer::start(ip("127.0.0.9"), move |received| {
            tell.send(received.clone()).unwrap();
            Some(if received.is_reset { Vec::new() } else { vec![received.accept()] })
        });
        let target = to(server.unwrap().address());
        block_on(async {
            let checkers = Checkers::default();
            for _ in 0..24 {
                assert_eq!(asked(&checkers, target.clone(), LONG).await, Outcome::PASS);
            }
        });
        let syns: Vec<Received> = told.iter().filter(|received| !received.is_reset).take(24).collect();
        let ports: BTreeSet<u16> = syns.iter().map(|syn| syn.from.port()).collect();
        assert_eq!(ports.len(), 8);
        for (earlier, later) in syns.iter().zip(&syns[8..]) {
            assert_eq!(earlier.from, later.from);
            assert!(later.sequence.wrapping_sub(earlier.sequence) < 1 << 31, "{earlier:?} {later:?}");
        }
        // Those of two pairs have nothing to do with each other.
        let gaps: BTreeSet<u32> =
            syns.windows(2).map(|pair| pair[1].sequence.wrapping_sub(pair[0].sequence) >> 24).collect();
        assert!(gaps.len() > 4, "{gaps:?}");
    });
}

#[test]
fn nobody_else_gets_the_ports() {
    in_own_network(|| {
        // Few enough to use them up.
        set_parameter("net.ipv4.ip_local_port_range", "40000 40029").unwrap();
        let (tell, told) = sync_channel(999);
        let server = SynServer::start(ip("127.0.0.9"), move |received| {
            tell.send(received.from.port()).unwrap();
            Some(if received.is_reset { Vec::new() } else { vec![received.accept()] })
        });
        let server = server.unwrap();
        let checkers = Checkers::default();
        let ours: BTreeSet<u16> = block_on(async {
            for _ in 0..8 {
                assert_eq!(asked(&checkers, to(server.address()), LONG).await, Outcome::PASS);
            }
            told.try_iter().collect()
        });
        assert_eq!(ours.len(), 8);
        for port in &ours {
            let bound = TcpListener::bind((V4, *port));
            assert_eq!(bound.unwrap_err().kind(), std::io::ErrorKind::AddrInUse, "{port}");
        }
        set_parameter("net.ipv4.ip_unprivileged_port_start", "0").unwrap();
        let listener = TcpListener::bind((V4, 999)).unwrap();
        let connected = std::iter::from_fn(|| TcpStream::connect(listener.local_addr().unwrap()).ok());
        let connected: Vec<TcpStream> = connected.collect();
        assert!(connected.len() > 10, "{}", connected.len());
        let theirs = connected.iter().map(|stream| stream.local_addr().unwrap().port());
        assert_eq!(theirs.filter(|port| ours.contains(port)).count(), 0);
    });
}

#[test]
fn a_probe_that_is_dropped_leaves_its_reading_to_another() {
    in_own_network(|| {
        let (tell, told) = sync_channel(9);
        let (command, commands) = sync_channel::<()>(9);
        let server = SynServer::start(ip("127.0.0.9"), move |received| {
            if received.is_reset {
                return Some(Vec::new());
            }
            tell.send(()).unwrap();
            commands.recv().ok()?;
            Some(vec![received.accept()])
        });
        let address = server.unwrap().address();
        let silent = SilentPort::start(V4).unwrap();
        let checkers = Checkers::default();
        block_on(async {
            let (first, second) = (spec(to(silent.address()), LONG), spec(to(address), LONG));
            let mut reader = Box::pin(checkers.probe(&first));
            let mut other = Box::pin(checkers.probe(&second));
            for _ in 0..3 {
                std::future::poll_fn(|context| {
                    assert!(reader.as_mut().poll(context).is_pending());
                    assert!(other.as_mut().poll(context).is_pending());
                    Poll::Ready(())
                })
                .await;
            }
            told.recv().unwrap();
            drop(reader);
            command.send(()).unwrap();
            assert_eq!(other.await, Outcome::PASS);
        });
    });
}
