//! Pings through one socket a family: raw and ping sockets, right and wrong replies, marks, many at
//! once. Each test has a network of its own, which needs root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::task::Poll;
use std::time::Duration;

use hc_checkers::Pinger;
use hc_testkit::icmp::{EchoReply, EchoRequest, EchoServer};
use hc_testkit::network::{in_own_network, run, set_parameter};
use hc_testkit::outcome::as_told;
use hc_types::{Failure, LocalFault, Mark, Mode, Outcome, Phase, Target, Unreachable};
use tokio::task::{JoinSet, LocalSet};

const LONG: Duration = Duration::from_secs(20);
/// Long enough for a packet on loopback to come, short enough to wait for in vain.
const SHORT: Duration = Duration::from_millis(600);
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn target(ip: IpAddr) -> Target {
    Target::plain(ip, 0)
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Runs a test with each kind of socket, in a network of its own each time.
#[track_caller]
fn with_both_kinds(test: fn()) {
    in_own_network(test);
    in_own_network(move || {
        set_parameter("net.ipv4.ping_group_range", "0 0").unwrap();
        test();
    });
}

fn ignore_pings() {
    set_parameter("net.ipv4.icmp_echo_ignore_all", "1").unwrap();
    set_parameter("net.ipv6.icmp.echo_ignore_all", "1").unwrap();
}

/// How many sockets of a kind this thread's network has: `raw`, `raw6`, `icmp`, `icmp6`.
fn sockets(kind: &str) -> usize {
    std::fs::read_to_string(format!("/proc/thread-self/net/{kind}")).unwrap().lines().count() - 1
}

#[test]
fn hosts_answer_with_either_kind_of_socket() {
    fn test() {
        let pinger = Pinger::default();
        block_on(async {
            for ip in [V4, V6] {
                assert_eq!(pinger.probe(&target(ip), LONG).await, Outcome::PASS, "{ip}");
            }
        });
        let counts = ["raw", "raw6", "icmp", "icmp6"].map(sockets);
        let ping_range = std::fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap();
        let expected = if ping_range.starts_with('0') { [0, 0, 1, 1] } else { [1, 1, 0, 0] };
        assert_eq!(counts, expected);
    }
    with_both_kinds(test);
}

#[test]
fn thousands_at_once_share_one_socket() {
    fn test() {
        let pinger = Pinger::default();
        block_on(async {
            for ip in [V4, V6] {
                let mut probes = JoinSet::new();
                let local = LocalSet::new();
                for _ in 0..5000 {
                    let pinger = pinger.clone();
                    probes.spawn_local_on(async move { pinger.probe(&target(ip), LONG).await }, &local);
                }
                local
                    .run_until(async {
                        while let Some(outcome) = probes.join_next().await {
                            assert_eq!(outcome.unwrap(), Outcome::PASS, "{ip}");
                        }
                    })
                    .await;
            }
        });
        assert_eq!(["raw", "raw6", "icmp", "icmp6"].map(sockets).iter().sum::<usize>(), 2);
    }
    with_both_kinds(test);
}

/// More requests than the socket has room for replies, before the loop has its turn.
#[test]
fn a_burst_does_not_drown_in_its_own_replies() {
    fn test() {
        let pinger = Pinger::default();
        for ip in [V4, V6] {
            let there = target(ip);
            let mut probes: Vec<_> = (0..20_000).map(|_| Box::pin(pinger.probe(&there, LONG))).collect();
            let all = std::future::poll_fn(|context| {
                probes.retain_mut(|probe| match probe.as_mut().poll(context) {
                    Poll::Pending => true,
                    Poll::Ready(outcome) => {
                        assert_eq!(outcome, Outcome::PASS, "{ip}");
                        false
                    }
                });
                if probes.is_empty() { Poll::Ready(()) } else { Poll::Pending }
            });
            block_on(all);
        }
    }
    with_both_kinds(test);
}

#[test]
fn silence_times_out_and_the_next_probe_is_not_misled() {
    fn test() {
        let pinger = Pinger::default();
        block_on(async {
            for ip in [V4, V6] {
                ignore_pings();
                let short = Duration::from_millis(20);
                let timeout = Outcome::from(Failure::timeout(Phase::Response));
                assert_eq!(as_told(pinger.probe(&target(ip), short).await), timeout, "{ip}");
                set_parameter("net.ipv4.icmp_echo_ignore_all", "0").unwrap();
                set_parameter("net.ipv6.icmp.echo_ignore_all", "0").unwrap();
                assert_eq!(pinger.probe(&target(ip), LONG).await, Outcome::PASS, "{ip}");
            }
        });
    }
    with_both_kinds(test);
}

/// Pings `host`, which answers one request as `script` says.
#[track_caller]
fn answered(host: IpAddr, timeout: Duration, script: fn(&EchoRequest) -> Vec<EchoReply>, expected: &Outcome) {
    let mut asked = false;
    let server = EchoServer::start(host, move |request| {
        // The second request is the one that ends the server.
        (!std::mem::replace(&mut asked, true)).then(|| script(request))
    })
    .unwrap();
    let pinger = Pinger::default();
    block_on(async {
        assert_eq!(&as_told(pinger.probe(&target(host), timeout).await), expected, "{host}");
        pinger.probe(&target(host), Duration::from_millis(1)).await;
    });
    server.join().unwrap();
}

#[test]
fn replies_to_others_are_ignored() {
    fn test() {
        ignore_pings();
        run("ip addr add fd00::5/128 dev lo nodad");
        fn strays(request: &EchoRequest) -> Vec<EchoReply> {
            let other = if request.from.is_ipv4() { "127.0.0.5" } else { "fd00::5" };
            let mut strays = vec![
                request.reply().wrong_id(),
                request.reply().wrong_sequence(),
                request.reply().from(other.parse().unwrap()),
            ];
            if request.from.is_ipv4() {
                strays.push(request.reply().wrong_checksum());
            }
            strays
        }
        for host in [V4, V6] {
            let timeout = Failure::timeout(Phase::Response).into();
            answered(host, SHORT, strays, &timeout);
            let both = |request: &EchoRequest| {
                let mut replies = strays(request);
                replies.extend([request.reply(), request.reply()]);
                replies
            };
            answered(host, LONG, both, &Outcome::PASS);
        }
    }
    with_both_kinds(test);
}

/// Seesaw takes the checksum over a buffer that an earlier, longer packet has filled
/// (`healthcheck/ping.go`).
#[test]
fn longer_packets_do_not_spoil_the_checksum() {
    fn test() {
        ignore_pings();
        for host in [V4, V6] {
            let longer = |request: &EchoRequest| {
                vec![request.reply().wrong_sequence().longer(1000), request.reply().longer(133)]
            };
            answered(host, LONG, longer, &Outcome::PASS);
        }
    }
    with_both_kinds(test);
}

#[test]
fn errors_of_the_network_are_named() {
    fn test() {
        run("ip addr add fd00::9/128 dev lo nodad");
        run("nft add table inet t");
        run("nft add chain inet t in { type filter hook input priority 0 ; }");
        let rule = |of: &str, with: &str| {
            run("nft flush chain inet t in");
            run(&format!("nft add rule inet t in {of} reject with {with}"));
        };
        let v4 = "ip daddr 127.0.0.9 icmp type echo-request";
        let v6 = "ip6 daddr fd00::9 icmpv6 type echo-request";
        use Unreachable::{Host, Network, Protocol};
        let pinger = Pinger::default();
        block_on(async {
            for (ip, of, with, reason) in [
                ("127.0.0.9", v4, "icmp type host-unreachable", Host),
                ("127.0.0.9", v4, "icmp type net-unreachable", Network),
                ("127.0.0.9", v4, "icmp type admin-prohibited", Protocol),
                ("fd00::9", v6, "icmpv6 type addr-unreachable", Host),
                ("fd00::9", v6, "icmpv6 type no-route", Network),
                ("fd00::9", v6, "icmpv6 type admin-prohibited", Protocol),
            ] {
                rule(of, with);
                let ip: IpAddr = ip.parse().unwrap();
                let unreachable = Outcome::from(Failure::Unreachable(reason));
                assert_eq!(pinger.probe(&target(ip), LONG).await, unreachable, "{with}");
                // One host's error is no other's.
                let other = if ip.is_ipv4() { V4 } else { V6 };
                assert_eq!(pinger.probe(&target(other), LONG).await, Outcome::PASS, "{with}");
                let (bad, good) = (target(ip), target(other));
                let both = tokio::join!(pinger.probe(&bad, LONG), pinger.probe(&good, LONG));
                assert_eq!(both, (unreachable, Outcome::PASS), "{with}");
            }
        });
    }
    with_both_kinds(test);
}

#[test]
fn what_this_machine_lacks_is_no_verdict() {
    in_own_network(|| {
        let pinger = Pinger::default();
        for ip in ["192.0.2.1", "2001:db8::1"] {
            let outcome = block_on(Pinger::default().probe(&target(ip.parse().unwrap()), LONG));
            assert_eq!(outcome, LocalFault::NoRoute.into(), "{ip}");
        }
        drop(pinger);
        // This very test program again, without the capabilities.
        let child = Command::new("setpriv")
            .args(["--bounding-set=-net_raw,-net_admin", "--inh-caps=-net_raw,-net_admin", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "without_capabilities", "--ignored"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && told.contains("1 passed"), "{told}");
    });
}

#[test]
#[ignore = "started by what_this_machine_lacks_is_no_verdict, without the capabilities for a raw socket"]
fn without_capabilities() {
    for ip in [V4, V6] {
        let outcome = block_on(Pinger::default().probe(&target(ip), LONG));
        assert_eq!(outcome, LocalFault::Permission.into(), "{ip}");
    }
}

/// Packets of a named counter.
fn counted(name: &str) -> usize {
    let told = run(&format!("nft list counter inet t {name}"));
    let mut words = told.split_ascii_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).unwrap().parse().unwrap()
}

#[test]
fn every_request_carries_its_own_mark() {
    fn test() {
        const MARKS: [u32; 3] = [0, 65_536, 4_294_967_295];
        run("nft add table inet t");
        run("nft add chain inet t out { type filter hook output priority 0 ; }");
        for mark in MARKS {
            run(&format!("nft add counter inet t m{mark}"));
            for request in ["icmp type echo-request", "icmpv6 type echo-request"] {
                run(&format!("nft add rule inet t out {request} meta mark {mark} counter name m{mark}"));
            }
        }
        let pinger = Pinger::default();
        block_on(async {
            for round in 0..30 {
                let probe = |mark: u32| {
                    let ip = if round % 2 == 0 { V4 } else { V6 };
                    let target = match Mark::new(mark) {
                        Some(mark) => Target::marked(ip, 0, Mode::Dsr, mark, None),
                        None => target(ip),
                    };
                    let pinger = pinger.clone();
                    async move { pinger.probe(&target, LONG).await }
                };
                let outcomes =
                    tokio::join!(probe(MARKS[0]), probe(MARKS[1]), probe(MARKS[2]), probe(MARKS[1]));
                assert_eq!(outcomes, (Outcome::PASS, Outcome::PASS, Outcome::PASS, Outcome::PASS));
            }
        });
        assert_eq!(MARKS.map(|mark| counted(&format!("m{mark}"))), [30, 60, 30]);
        assert_eq!(["raw", "raw6", "icmp", "icmp6"].map(sockets).iter().sum::<usize>(), 2);
    }
    with_both_kinds(test);
}

/// A host that tells of each request, and answers it when told to.
fn on_command(host: IpAddr) -> (EchoServer, Receiver<()>, SyncSender<bool>) {
    let (tell, told) = sync_channel(9);
    let (command, commands) = sync_channel(9);
    let server = EchoServer::start(host, move |request| {
        tell.send(()).unwrap();
        Some(if commands.recv().ok()? { vec![request.reply()] } else { Vec::new() })
    });
    (server.unwrap(), told, command)
}

#[test]
fn a_probe_that_is_dropped_leaves_its_reading_to_another() {
    fn test() {
        ignore_pings();
        let (server, told, command) = on_command(V4);
        let pinger = Pinger::default();
        let there = target(V4);
        block_on(async {
            let local = LocalSet::new();
            let probe = || {
                let (pinger, there) = (pinger.clone(), there.clone());
                // A deadline would make the last of them read, too, and hide that nobody else did.
                local.spawn_local(async move { pinger.probe(&there, 1000 * LONG).await })
            };
            let [first, second, third] = [probe(), probe(), probe()];
            local
                .run_until(async {
                    // All three have sent when the host has heard of the first and has been told
                    // nothing.
                    tokio::task::yield_now().await;
                    told.recv_timeout(LONG).unwrap();
                    // The first reads for all. Its end wakes the second to read next, which never
                    // gets to it.
                    first.abort();
                    second.abort();
                    for answer in [false, false, true] {
                        command.send(answer).unwrap();
                    }
                    let third = tokio::time::timeout(LONG, third).await.expect("nobody reads");
                    assert_eq!(third.unwrap(), Outcome::PASS);
                })
                .await;
            assert!(first.is_finished() && second.is_finished());
            // All goes on.
            command.send(true).unwrap();
            assert_eq!(pinger.probe(&there, LONG).await, Outcome::PASS);
            drop(command);
            pinger.probe(&there, Duration::from_millis(1)).await;
        });
        server.join().unwrap();
    }
    with_both_kinds(test);
}
