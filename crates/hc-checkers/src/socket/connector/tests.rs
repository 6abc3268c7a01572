use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll, Waker};

use hc_testkit::backend::Backend;
use hc_testkit::network::{in_own_network, run};
use hc_testkit::port::{ClosedPort, FullPort, IdleListener};
use hc_types::{Mode, Outcome, Via};
use tokio::task::LocalSet;
use tokio::time::{advance, timeout};

use super::*;
use crate::deadline;

const FAMILIES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
const PLENTY: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

fn to(address: SocketAddr) -> Target {
    Target::plain(address.ip(), address.port())
}

fn marked(address: SocketAddr, mark: u32) -> Target {
    Target::marked(address.ip(), address.port(), Mode::Dsr, Mark::new(mark).unwrap(), None)
}

async fn probe(connector: &Connector, target: &Target, timeout: Duration) -> Outcome {
    let touch = async |progress: &_| connector.touch(target, progress).await.map(|()| Outcome::PASS);
    let mut outcome = deadline::within(timeout, touch).await.outcome;
    if let Outcome::Fail(Failure::Timeout { evidence, .. }) = &mut outcome {
        *evidence = hc_types::TimeoutEvidence::default();
    }
    outcome
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A connector that takes every connection for a quick one, however busy this machine is.
fn patient(max_idle: usize) -> Connector {
    let connector = Connector::new(max_idle);
    connector.0.borrow_mut().quick = PLENTY;
    connector
}

impl Connector {
    /// How many sockets were opened in all, how many there are, and how many of these are idle.
    fn counts(&self) -> (u32, usize, usize) {
        let state = self.0.borrow();
        assert_eq!((state.untaken, state.is_stale), (0, false));
        (state.next_id, state.sockets.len(), state.idle.iter().map(VecDeque::len).sum())
    }

    fn is_at_rest(&self) -> bool {
        let state = self.0.borrow();
        state.waiting.is_empty() && state.reader.is_none() && state.woken.is_empty()
    }
}

#[tokio::test]
async fn a_socket_connects_again_and_again_and_nobody_accepts() {
    for ip in FAMILIES {
        let connector = patient(4);
        let listener = IdleListener::start(ip).unwrap();
        let target = to(listener.address().unwrap());
        for _ in 0..100 {
            assert_eq!(probe(&connector, &target, PLENTY).await, Outcome::PASS);
        }
        assert_eq!(connector.counts(), (1, 1, 1));
        assert!(connector.is_at_rest());
        // Where this test gets little of the processor, the kernel sends one ACK or the other.
        assert!(listener.accept_all() < 10, "connections were completed");
    }
}

#[tokio::test]
async fn without_room_each_probe_has_a_socket_of_its_own() {
    let connector = patient(0);
    let listener = IdleListener::start(FAMILIES[0]).unwrap();
    for _ in 0..3 {
        assert_eq!(probe(&connector, &to(listener.address().unwrap()), PLENTY).await, Outcome::PASS);
    }
    assert_eq!(connector.counts(), (3, 0, 0));
    assert!(listener.accept_all() < 3, "connections were completed");
}

/// A reset leaves `ECONNRESET` on the socket, and a connection that was made leaves that it was.
#[tokio::test]
async fn what_a_socket_saw_before_is_not_seen_again() {
    for ip in FAMILIES {
        let connector = patient(4);
        let listener = IdleListener::start(ip).unwrap();
        let (closed, full) = (ClosedPort::reserve(ip).unwrap(), FullPort::start(ip).unwrap());
        let open = to(listener.address().unwrap());
        let refused = Outcome::from(Failure::Refused);
        let silent = Outcome::from(Failure::timeout(Phase::Connect));
        for (round, (target, expected)) in
            [(to(closed.address()), refused), (to(full.address()), silent)].iter().cycle().take(6).enumerate()
        {
            assert_eq!(probe(&connector, &open, PLENTY).await, Outcome::PASS, "{ip}, round {round}");
            assert_eq!(connector.counts().2, 1);
            let timeout = if target.port() == full.address().port() { SOON } else { PLENTY };
            assert_eq!(probe(&connector, target, timeout).await, *expected, "{ip}, round {round}");
            // What has failed is not used again.
            assert_eq!(connector.counts(), (u32::try_from(round).unwrap() + 1, 0, 0));
        }
    }
}

#[test]
fn packets_carry_the_mark_of_their_own_check() {
    for ip in FAMILIES {
        let (outcomes, counts, strays) = in_own_network(move || {
            let listener = IdleListener::start(ip).unwrap();
            let address = listener.address().unwrap();
            let port = address.port();
            run("nft add table inet t");
            run("nft add chain inet t out { type filter hook output priority 0 ; }");
            let connector = patient(4);
            let mut strays = Vec::new();
            let outcomes = [Some(7), None, Some(8), Some(8), None].map(|mark| {
                run("nft flush chain inet t out");
                run(&format!(
                    "nft add rule inet t out tcp dport {port} meta mark != {} counter drop",
                    mark.unwrap_or(0)
                ));
                let target = mark.map_or_else(|| to(address), |mark| marked(address, mark));
                let outcome = block_on(probe(&connector, &target, SECOND));
                strays.push(!run("nft list ruleset").contains("counter packets 0 "));
                outcome
            });
            (outcomes, connector.counts(), strays)
        });
        assert_eq!(outcomes, [const { Outcome::PASS }; 5], "{ip}");
        assert_eq!(counts, (1, 1, 1));
        assert!(!strays.contains(&true), "packets with another mark: {strays:?}");
    }
}

#[tokio::test]
async fn a_socket_with_a_source_of_its_own_is_not_used_again() {
    let connector = patient(4);
    let listener = IdleListener::start(FAMILIES[0]).unwrap();
    let plain = to(listener.address().unwrap());
    let mut via = Via::default();
    via.source = Some([127, 0, 0, 2].into());
    let bound = plain.clone().via(via);
    assert_eq!(probe(&connector, &plain, PLENTY).await, Outcome::PASS);
    assert_eq!(probe(&connector, &bound, PLENTY).await, Outcome::PASS);
    assert_eq!(connector.counts(), (2, 1, 1));
}

#[tokio::test]
async fn a_thousand_at_once() {
    let connector = patient(16);
    // One that accepts: where this test gets little of the processor, some handshakes are completed.
    let backend = Backend::start(FAMILIES[0], vec![]).unwrap();
    let (open, closed) = (to(backend.address()), ClosedPort::reserve(FAMILIES[1]).unwrap());
    let refuses = to(closed.address());
    for _ in 0..2 {
        let mut probes = tokio::task::JoinSet::new();
        LocalSet::new()
            .run_until(async {
                for nth in 0..1000 {
                    let connector = connector.clone();
                    let target = if nth % 2 == 0 { open.clone() } else { refuses.clone() };
                    probes.spawn_local(async move { (nth, probe(&connector, &target, PLENTY).await) });
                }
                while let Some(ended) = probes.join_next().await {
                    let (nth, outcome) = ended.unwrap();
                    let expected = if nth % 2 == 0 { Outcome::PASS } else { Failure::Refused.into() };
                    assert_eq!(outcome, expected);
                }
            })
            .await;
        assert_eq!((connector.counts().1, connector.counts().2), (16, 16));
        assert!(connector.is_at_rest());
    }
}

#[test]
fn one_that_is_dropped_leaves_the_reading_to_another() {
    let connector = Connector::new(4);
    // Also from one runtime to the next.
    for _ in 0..2 {
        block_on(async {
            let [full, late] = [(); 2].map(|()| FullPort::start(FAMILIES[0]).unwrap());
            let (silent, answers) = (to(full.address()), to(late.address()));
            let [progress, other_progress, third_progress] = [(); 3].map(|()| Progress::new());
            {
                let mut first = pin!(connector.touch(&silent, &progress));
                let mut second = pin!(connector.touch(&answers, &other_progress));
                for _ in 0..3 {
                    assert!(poll_once(first.as_mut()).is_pending());
                    assert!(poll_once(second.as_mut()).is_pending());
                }
                assert_eq!(connector.0.borrow().waiting.len(), 2);
                assert_eq!(connector.counts().1, 2);
            }
            assert_eq!(connector.counts().1, 0);
            assert!(connector.is_at_rest());
            let mut first = Box::pin(connector.touch(&silent, &progress));
            while connector.0.borrow().reader.is_none() {
                assert!(poll_once(first.as_mut()).is_pending());
            }
            // The one that the reading is left to ends before it is polled again.
            let mut between = Box::pin(connector.touch(&silent, &third_progress));
            while connector.0.borrow().waiting.len() < 2 {
                assert!(poll_once(between.as_mut()).is_pending());
            }
            let tasks = LocalSet::new();
            let second = tasks.spawn_local({
                let connector = connector.clone();
                async move { connector.touch(&answers, &other_progress).await }
            });
            let outcome = tasks.run_until(async {
                while connector.0.borrow().waiting.len() < 3 {
                    tokio::task::yield_now().await;
                }
                drop(first);
                drop(between);
                // The next SYN comes a second after the first one.
                late.empty().unwrap();
                timeout(PLENTY, second).await
            });
            assert_eq!(outcome.await.unwrap().unwrap(), Ok(()));
            // It took a second: a packet may still be on its way.
            assert_eq!(connector.counts().1, 0);
            assert!(connector.is_at_rest());
        });
    }
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn sockets_grow_old() {
    let connector = patient(4);
    let listeners = FAMILIES.map(|ip| IdleListener::start(ip).unwrap());
    let [v4, v6] = [0, 1].map(|nth| to(listeners[nth].address().unwrap()));
    assert_eq!(probe(&connector, &v4, PLENTY).await, Outcome::PASS);
    advance(IDLE + SECOND).await;
    assert_eq!(probe(&connector, &v6, PLENTY).await, Outcome::PASS);
    assert_eq!(connector.counts(), (2, 1, 1), "the one that nobody needs");
    for _ in 0..20 {
        advance(IDLE / 2).await;
        assert_eq!(probe(&connector, &v6, PLENTY).await, Outcome::PASS);
    }
    assert_eq!(connector.counts(), (3, 1, 1), "the one that was in use for a minute");
}

#[tokio::test]
async fn both_families_share_the_room_and_the_oldest_goes() {
    let connector = patient(2);
    let listeners = FAMILIES.map(|ip| IdleListener::start(ip).unwrap());
    let [v4, v6] = [0, 1].map(|nth| to(listeners[nth].address().unwrap()));
    let pair = async |target: &Target| {
        tokio::join!(probe(&connector, target, PLENTY), probe(&connector, target, PLENTY))
    };
    assert_eq!(pair(&v4).await, (Outcome::PASS, Outcome::PASS));
    assert_eq!(connector.counts(), (2, 2, 2));
    assert_eq!(probe(&connector, &v6, PLENTY).await, Outcome::PASS);
    assert_eq!(connector.counts(), (3, 2, 2));
    assert_eq!(connector.0.borrow().idle.each_ref().map(VecDeque::len), [1, 1]);
}
