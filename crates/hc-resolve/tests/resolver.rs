//! The resolver against a name server that answers, lies and goes away on command.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails may panic, and its tasks end with its runtime"
)]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hc_resolve::{NamesConfig, ResolveError, Resolver, follow};
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What the server does.
#[derive(Clone, Debug)]
enum Act {
    Answer(Vec<IpAddr>, u32),
    Code(ResponseCode),
    /// Answers for IPv4, and cannot for IPv6.
    Half(Vec<IpAddr>),
    Silence,
    Garbage,
}

/// What it does, where it is, and how often it was asked.
struct Server(Arc<Mutex<Act>>, SocketAddr, watch::Sender<u32>);

impl Server {
    async fn start(act: Act) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let act = Arc::new(Mutex::new(act));
        let (doing, asked) = (act.clone(), watch::Sender::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                count.send_modify(|asked| *asked += 1);
                let act = doing.lock().unwrap().clone();
                if let Some(answer) = answer(&buffer[..length], &act) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self(act, address, asked)
    }

    fn act(&self, act: Act) {
        *self.0.lock().unwrap() = act;
    }

    fn resolver(&self) -> Resolver {
        Resolver::with_servers(&[self.1]).unwrap()
    }
}

fn answer(bytes: &[u8], act: &Act) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(bytes).unwrap();
    message.metadata.message_type = MessageType::Response;
    let query = message.queries[0].clone();
    match act {
        Act::Silence => return None,
        Act::Garbage => return Some(b"garbage".to_vec()),
        Act::Code(code) => message.metadata.response_code = *code,
        Act::Half(_) if query.query_type() == RecordType::AAAA => {
            message.metadata.response_code = ResponseCode::ServFail;
        }
        Act::Half(addresses) => return answer(bytes, &Act::Answer(addresses.clone(), 60)),
        Act::Answer(addresses, ttl) => {
            for ip in addresses {
                let data = match (ip, query.query_type()) {
                    (IpAddr::V4(ip), RecordType::A) => RData::A(A(*ip)),
                    (IpAddr::V6(ip), RecordType::AAAA) => RData::AAAA(AAAA(*ip)),
                    _ => continue,
                };
                message.add_answer(Record::from_rdata(query.name().clone(), *ttl, data));
            }
        }
    }
    Some(message.to_vec().unwrap())
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn addresses_of_both_families_with_their_ttl() {
    let both = ips(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    let server = Server::start(Act::Answer(both.clone(), 60)).await;
    let answer = server.resolver().resolve("host.example.").await.unwrap();
    assert_eq!(answer.addresses, both.into_iter().collect());
    assert!(answer.valid_for > Duration::from_secs(50) && answer.valid_for <= Duration::from_secs(60));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_an_answer_and_a_server_that_cannot_is_none() {
    let server = Server::start(Act::Code(ResponseCode::NXDomain)).await;
    let resolver = server.resolver();
    assert!(resolver.resolve("host.example.").await.unwrap().addresses.is_empty());
    server.act(Act::Answer(Vec::new(), 60));
    assert!(resolver.resolve("host.example.").await.unwrap().addresses.is_empty());
    for act in [
        Act::Half(ips(&["192.0.2.1"])),
        Act::Half(Vec::new()),
        Act::Code(ResponseCode::ServFail),
        Act::Code(ResponseCode::Refused),
        Act::Silence,
        Act::Garbage,
    ] {
        server.act(act.clone());
        let answer = resolver.resolve("host.example.").await;
        assert!(matches!(answer, Err(ResolveError::Unavailable(_))), "{act:?}: {answer:?}");
    }
    let answer = resolver.resolve("two..dots").await;
    assert!(matches!(answer, Err(ResolveError::NotAName(_))), "{answer:?}");
}

#[tokio::test]
async fn the_hosts_file_wins() {
    let answer = Resolver::system().unwrap().resolve("localhost").await.unwrap();
    assert!(answer.addresses.contains(&IpAddr::from([127, 0, 0, 1])), "{answer:?}");
}

#[tokio::test]
async fn changes_arrive_and_the_last_addresses_survive_a_server_that_is_away() {
    let server = Server::start(Act::Answer(ips(&["192.0.2.1"]), 0)).await;
    let soon = Duration::from_millis(20);
    let config = NamesConfig { min_age: soon, retry: soon, ..NamesConfig::default() };
    let (changes, mut changed) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let (handle, task) = follow(server.resolver(), config, changes, shutdown.clone());
    let task = tokio::spawn(task);
    handle.set(["host.example.".into()].into());
    let first = changed.recv().await.unwrap();
    assert_eq!((&*first.name, first.addresses), ("host.example.", BTreeSet::from_iter(ips(&["192.0.2.1"]))));

    server.act(Act::Code(ResponseCode::ServFail));
    let before = *server.2.borrow();
    server.2.subscribe().wait_for(|asked| *asked >= before + 10).await.unwrap();
    assert!(changed.try_recv().is_err(), "no change is known");
    server.act(Act::Answer(ips(&["192.0.2.2"]), 0));
    assert_eq!(changed.recv().await.unwrap().addresses, BTreeSet::from_iter(ips(&["192.0.2.2"])));
    server.act(Act::Code(ResponseCode::NXDomain));
    assert!(changed.recv().await.unwrap().addresses.is_empty());
    shutdown.cancel();
    task.await.unwrap();
}
