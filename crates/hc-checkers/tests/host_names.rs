//! One check over all addresses of a host name, on real sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hc_checkers::Checkers;
use hc_types::{
    CheckSpec, DnsExpectation, DnsProbe, Failure, HostName, HttpProbe, LocalFault, Outcome, ProbeSpec,
    RecordClass, RecordType, Rule, Target, TcpProbe, Timing, UdpProbe,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

/// Loopback addresses, of which nobody listens but on those that a test says.
fn ip(last: u8) -> IpAddr {
    [127, 9, 0, last].into()
}

fn spec(addresses: &[u8], rule: Rule, port: u16, probe: ProbeSpec, timeout: Duration) -> CheckSpec {
    let host = HostName::new("h.example", addresses.iter().map(|last| ip(*last)), rule);
    let target = Target::plain([0, 0, 0, 0].into(), port);
    CheckSpec::of_host_name(host, target, probe, Timing::every(10 * timeout).timeout(timeout)).unwrap()
}

async fn probe(spec: CheckSpec) -> Outcome {
    Checkers::default().probe(&spec).await
}

/// Probes of any and of all of these addresses.
async fn both(addresses: &[u8], port: u16, kind: &ProbeSpec) -> [Outcome; 2] {
    let timeout = Duration::from_secs(10);
    let mut outcomes = [Outcome::PASS, Outcome::PASS];
    for (outcome, rule) in outcomes.iter_mut().zip([Rule::Any, Rule::All]) {
        *outcome = probe(spec(addresses, rule, port, kind.clone(), timeout)).await;
    }
    outcomes
}

#[track_caller]
fn assert_failed(outcome: &Outcome, address: u8, label: &str, counts: (u16, u16)) {
    let Outcome::Fail(Failure::OfAddress(failed)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((failed.address, outcome.label()), (ip(address), label));
    assert_eq!((failed.failed, failed.of), counts);
}

#[tokio::test]
async fn any_or_all_addresses_must_accept_a_connection() {
    let listener = TcpListener::bind((ip(1), 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let second = TcpListener::bind((ip(2), port)).await.unwrap();
    let tcp = ProbeSpec::Tcp(TcpProbe::default());
    assert_eq!(both(&[1, 2], port, &tcp).await, [Outcome::PASS, Outcome::PASS]);
    let [any, all] = both(&[1, 2, 3], port, &tcp).await;
    assert_eq!(any, Outcome::PASS);
    assert_failed(&all, 3, "refused", (1, 3));
    drop((listener, second));
    for outcome in both(&[1, 2, 3], port, &tcp).await {
        assert_failed(&outcome, 1, "refused", (3, 3));
    }
}

#[tokio::test]
async fn without_an_address_there_is_no_verdict() {
    for outcome in both(&[], 80, &ProbeSpec::Tcp(TcpProbe::default())).await {
        assert_eq!(outcome, LocalFault::Unresolved.into());
    }
}

/// Addresses that do not answer take one timeout together, and not one each.
#[tokio::test]
async fn addresses_are_probed_at_once() {
    let silent = UdpSocket::bind((ip(1), 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut others = Vec::new();
    for last in 2..20 {
        others.push(UdpSocket::bind((ip(last), port)).await.unwrap());
    }
    let addresses: Vec<u8> = (1..20).collect();
    let timeout = Duration::from_millis(500);
    let udp = ProbeSpec::Udp(Box::default());
    let begin = Instant::now();
    let outcome = probe(spec(&addresses, Rule::Any, port, udp, timeout)).await;
    assert!(begin.elapsed() < 10 * timeout, "{:?}", begin.elapsed());
    assert_failed(&outcome, 1, "timeout_response", (19, 19));
}

/// Answers each connection with these bytes after its first ones.
async fn serve(address: SocketAddr, answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn_local(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                let mut request = [0; 1024];
                if stream.read(&mut request).await.is_ok() {
                    let _ = stream.write_all(answer).await;
                }
            });
        }
    });
    port
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the servers end with the test")]
async fn http_statuses_count_for_each_address() {
    let test = async {
        let port = serve((ip(1), 0).into(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        serve((ip(2), port).into(), b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await;
        let http = HttpProbe { expected_codes: [200].into(), ..HttpProbe::default() };
        let [any, all] = both(&[1, 2], port, &ProbeSpec::Http(Box::new(http))).await;
        assert!(matches!(any, Outcome::Pass(_)), "{any:?}");
        assert_failed(&all, 2, "status", (1, 2));
    };
    LocalSet::new().run_until(test).await;
}

/// Datagrams of 2 of 3 addresses: one echoes (which is no DNS answer), and nobody has the port of
/// the third.
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the servers end with the test")]
async fn datagrams_go_to_each_address() {
    let test = async {
        let server = UdpSocket::bind((ip(1), 0)).await.unwrap();
        let port = server.local_addr().unwrap().port();
        tokio::task::spawn_local(async move {
            let mut packet = [0; 1500];
            loop {
                let (length, from) = server.recv_from(&mut packet).await.unwrap();
                // A response without an error, and without the answer section that the question
                // asks for.
                packet[2] |= 0x80;
                server.send_to(&packet[..length], from).await.unwrap();
            }
        });
        let udp = ProbeSpec::Udp(Box::new(UdpProbe { send: "\0\0\0".into(), ..UdpProbe::default() }));
        let [any, all] = both(&[1, 2], port, &udp).await;
        assert_eq!(any, Outcome::PASS);
        assert_failed(&all, 2, "refused", (1, 2));
        let dns = ProbeSpec::Dns(Box::new(DnsProbe {
            query: "www.example.com".into(),
            query_type: RecordType::A,
            query_class: RecordClass::IN,
            expect: DnsExpectation::Any,
            options: None,
        }));
        let [any, all] = both(&[1, 2], port, &dns).await;
        // Of failures without a doubt the first one is named.
        assert_failed(&any, 1, "wrong_answer", (2, 2));
        assert_failed(&all, 1, "wrong_answer", (2, 2));
    };
    LocalSet::new().run_until(test).await;
}
