//! Servers that answer anything: nothing ends the way to etcd, and nothing is taken for an answer.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "tasks end with the runtime of the test")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use hc_fleet::{Batch, Request, StoreEvent, Term};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use common::{Node, config};

/// What each connection is served by.
async fn serve<F, R>(serve: F) -> (String, watch::Receiver<usize>)
where
    F: Fn(TcpStream, usize) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let (count, counted) = watch::channel(0);
    tokio::spawn(async move {
        let mut number = 0;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            number += 1;
            tokio::spawn(serve(stream, number));
            count.send_replace(number);
        }
    });
    (endpoint, counted)
}

/// A node that speaks to it asks for everything, until so many connections have been made.
async fn endure(endpoint: String, mut counted: watch::Receiver<usize>, connections: usize) {
    let mut config = config(vec![endpoint]);
    config.timeout = Duration::from_millis(300);
    config.silence = Duration::from_millis(500);
    let mut node = Node::start("lb1", config);
    let term = Term(7);
    let batch = |ticket| Batch { term, ticket, puts: vec![("log/a".into(), vec![1])], deletes: Vec::new() };
    let mut ticket = 0;
    let enough = counted.wait_for(|count| *count >= connections);
    tokio::pin!(enough);
    loop {
        ticket += 1;
        let round = async {
            for request in [
                Request::Grant,
                Request::KeepAlive(term),
                Request::Register(Node::record(term, "one")),
                Request::Update(Node::record(term, "one")),
            ] {
                node.ask(request).await;
            }
            node.ask(Request::Write(batch(ticket))).await;
            node.wait("an answer to the write", |event| match event {
                // Some garbage is what etcd says of a write that is done.
                StoreEvent::NotWritten(of, _) | StoreEvent::Written(of) if *of == ticket => Some(()),
                _ => None,
            })
            .await;
        };
        tokio::select! {
            () = round => {}
            _ = &mut enough => break,
        }
    }
    assert!(node.end().await < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_http2() {
    let (endpoint, counted) = serve(|mut stream, number| async move {
        let mut begin = [0; 24];
        let _ = stream.read_exact(&mut begin).await;
        let answers: [&[u8]; 5] = [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"220 mail.example ESMTP\r\n",
            b"",
            &[0xff; 4096],
            // SETTINGS, and a GOAWAY.
            b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\x0b",
        ];
        let _ = stream.write_all(answers[number % answers.len()]).await;
    })
    .await;
    endure(endpoint, counted, 40).await;
}

/// HTTP/2, with everything wrong that can be wrong inside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_none() {
    let (endpoint, counted) = serve(|stream, number| async move {
        let seed = [u8::try_from(number % 251).unwrap(); 32];
        let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            // The first question of a connection is answered well now and then, so that others come.
            let is_good = request.uri().path().ends_with("Range") && !rng.next_u32().is_multiple_of(4);
            let mut head = http::Response::new(());
            if rng.next_u32().is_multiple_of(8) && !is_good {
                *head.status_mut() = http::StatusCode::IM_A_TEAPOT;
            }
            if rng.next_u32().is_multiple_of(8) && !is_good {
                head.headers_mut().insert("grpc-status", "none".parse().unwrap());
                head.headers_mut().insert("grpc-message", "%ff%0a%zz".parse().unwrap());
            }
            let Ok(mut body) = respond.send_response(head, false) else { return };
            let message = match rng.next_u32() % 6 {
                // The key `schema` with 1, and a header.
                _ if is_good => b"\x0a\x06\x08\x07\x10\x01\x18\x09\x12\x05\x0a\x00\x2a\x011".to_vec(),
                0 => Vec::new(),
                1 => b"\x0a\x06\x08\x07\x10\x01\x18\x09".to_vec(),
                _ => (0..rng.next_u32() % 64).map(|_| rng.next_u32().to_le_bytes()[0]).collect(),
            };
            let length = match rng.next_u32() % 6 {
                0 if !is_good => u32::MAX,
                1 if !is_good => rng.next_u32() % 100,
                _ => u32::try_from(message.len()).unwrap(),
            };
            let mut frame = vec![u8::from(rng.next_u32().is_multiple_of(8) && !is_good)];
            frame.extend(length.to_be_bytes());
            frame.extend(message);
            let copies = if is_good { 1 } else { rng.next_u32() % 3 };
            for _ in 0..copies {
                let _ = body.send_data(Bytes::from(frame.clone()), false);
            }
            let mut trailers = http::HeaderMap::new();
            match rng.next_u32() % 6 {
                1 if !is_good => {
                    let _ = body.send_data(Bytes::new(), true);
                    continue;
                }
                2 if !is_good => {
                    body.send_reset(h2::Reason::INTERNAL_ERROR);
                    continue;
                }
                // Never an end.
                3 if !is_good => {
                    std::mem::forget(body);
                    continue;
                }
                4 if !is_good => trailers.insert("grpc-status", "99999".parse().unwrap()),
                _ => trailers.insert("grpc-status", "0".parse().unwrap()),
            };
            let _ = body.send_trailers(trailers);
        }
    })
    .await;
    endure(endpoint, counted, 60).await;
}
