//! Webhooks, against a receiver that misbehaves on command.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails may panic, and its tasks end with its runtime"
)]

mod support;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hc_api::Events;
use hc_sinks::{Resolve, SIGNATURE_HEADER, SinkError, TlsClient, Webhook, WebhookConfig, sign};
use hc_types::Health::{Healthy, Unhealthy};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use hc_sinks::Report;
use support::{PATIENCE, report};

/// What the receiver answers next.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Status(u16),
    RetryAfter(u64),
    Redirect,
    Hang,
    Close,
}

#[derive(Default)]
struct Receiver {
    answers: Mutex<VecDeque<Answer>>,
    got: Mutex<Vec<(Option<String>, Vec<u8>)>>,
}

impl Receiver {
    async fn start(answers: &[Answer], tls: Option<TlsAcceptor>) -> (Arc<Self>, SocketAddr) {
        let receiver =
            Arc::new(Self { answers: Mutex::new(answers.iter().copied().collect()), got: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = receiver.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (receiver, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => receiver.serve(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                receiver.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        (receiver, address)
    }

    async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(|request: Request<Incoming>| {
            let receiver = self.clone();
            async move {
                let signature =
                    request.headers().get(SIGNATURE_HEADER).map(|value| value.to_str().unwrap().to_owned());
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let answer = receiver.answers.lock().unwrap().pop_front().unwrap_or(Answer::Status(204));
                receiver.got.lock().unwrap().push((signature, body.to_vec()));
                let response = Response::builder();
                let response = match answer {
                    Answer::Status(status) => response.status(status),
                    Answer::RetryAfter(seconds) => response.status(503).header("Retry-After", seconds),
                    Answer::Redirect => response.status(StatusCode::FOUND).header("Location", "/elsewhere"),
                    Answer::Hang => std::future::pending().await,
                    Answer::Close => return Err(std::io::Error::other("closed on command")),
                };
                // More than is kept.
                let body = "words\n".to_owned() + &"more".repeat(4096);
                Ok::<_, std::io::Error>(response.body(Full::new(Bytes::from(body))).unwrap())
            }
        });
        // An answer that is an error ends the connection, which is what is wanted.
        let _ =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    fn bodies(&self) -> Vec<Events> {
        let got = self.got.lock().unwrap();
        got.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    }
}

/// Knows one host.
struct Hosts(Result<Vec<IpAddr>, String>);

impl Resolve for Hosts {
    fn resolve(&self, host: &str) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send + '_>> {
        assert_eq!(host, "hooks.example");
        Box::pin(async { self.0.clone() })
    }
}

fn webhook(url: &str, timeout: Duration, tls: TlsClient) -> Webhook {
    let config = WebhookConfig {
        url: url.parse().unwrap(),
        secret: Some("secret".into()),
        timeout,
        node: "n".to_owned(),
    };
    // The first address is dead.
    let resolve = Hosts(Ok(vec![[127, 0, 0, 2].into(), [127, 0, 0, 1].into()]));
    Webhook::new(config, tls, Arc::new(resolve))
}

fn plain(address: SocketAddr) -> Webhook {
    webhook(&format!("http://hooks.example:{}/a?b", address.port()), PATIENCE, TlsClient::load(None).unwrap())
}

#[tokio::test]
async fn changes_are_posted_once_and_signed() {
    let (receiver, address) = Receiver::start(&[], None).await;
    let hook = plain(address);
    hook.deliver(&[report(1, "a", Healthy), report(2, "b", Unhealthy)]).await.unwrap();
    hook.deliver(&[report(1, "a", Healthy)]).await.unwrap();
    hook.deliver(&[report(1, "a", Unhealthy)]).await.unwrap();
    let bodies = receiver.bodies();
    let told: Vec<Vec<(&str, bool)>> = bodies
        .iter()
        .map(|body| body.events.iter().map(|event| (event.check.title(), event.initial)).collect())
        .collect();
    assert_eq!(told, [vec![("a", true), ("b", true)], vec![("a", false)]]);
    let got = receiver.got.lock().unwrap();
    let (signature, body) = &got[0];
    let signature = signature.clone().unwrap();
    let seconds = signature.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap();
    let at = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!(signature, sign(&"secret".into(), at, body));
}

#[tokio::test]
async fn what_was_not_taken_is_posted_again() {
    for (answer, text) in [
        (Answer::Status(500), Some("500 Internal Server Error: \"words\"")),
        (Answer::Status(400), Some("400 Bad Request: \"words\"")),
        (Answer::Redirect, Some("302 Found: \"words\"")),
        (Answer::Close, None),
    ] {
        let (receiver, address) = Receiver::start(&[answer], None).await;
        let hook = plain(address);
        let error = hook.deliver(&[report(1, "a", Unhealthy)]).await.unwrap_err().to_string();
        if let Some(text) = text {
            assert_eq!(error, format!("http://hooks.example:{}/a: {text}", address.port()));
        }
        hook.deliver(&[report(1, "a", Healthy)]).await.unwrap();
        let bodies = receiver.bodies();
        assert_eq!(bodies.len(), 2, "{answer:?}");
        assert!(bodies[1].events[0].initial, "the receiver has heard of nothing yet");
    }
}

#[tokio::test]
async fn a_receiver_that_hangs_costs_no_more_than_the_timeout() {
    let (_receiver, address) = Receiver::start(&[Answer::Hang], None).await;
    let url = format!("http://hooks.example:{}/", address.port());
    let hook = webhook(&url, Duration::from_millis(200), TlsClient::load(None).unwrap());
    let error = hook.deliver(&[report(1, "a", Unhealthy)]).await.unwrap_err();
    assert!(matches!(error, SinkError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_receiver_may_ask_for_a_pause() {
    let (_receiver, address) = Receiver::start(&[Answer::RetryAfter(30)], None).await;
    let hook = plain(address);
    hook.deliver(&[report(1, "a", Unhealthy)]).await.unwrap_err();
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    hook.ready().await;
    let waited = begun.elapsed();
    assert!(waited > Duration::from_secs(25) && waited < Duration::from_secs(31), "{waited:?}");
}

#[tokio::test]
async fn https_trusts_the_given_authority_and_no_other() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["hooks.example".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, cert.pem()).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
    let (receiver, address) = Receiver::start(&[], Some(Arc::new(config).into())).await;
    let url = format!("https://hooks.example:{}/", address.port());
    let trusting = webhook(&url, PATIENCE, TlsClient::load(Some(&ca)).unwrap());
    trusting.deliver(&[report(1, "a", Unhealthy)]).await.unwrap();
    let wary = webhook(&url, PATIENCE, TlsClient::load(None).unwrap());
    assert!(wary.deliver(&[report(1, "a", Unhealthy)]).await.is_err());
    assert_eq!(receiver.bodies().len(), 1);
    let none = TlsClient::load(Some(dir.path()));
    assert!(none.is_err(), "a directory is no file of certificates");
}

#[tokio::test]
async fn a_host_without_an_address_is_an_error() {
    let config = WebhookConfig {
        url: "http://hooks.example/".parse().unwrap(),
        secret: None,
        timeout: PATIENCE,
        node: String::new(),
    };
    for (answer, text) in [
        (Err("no such name".to_owned()), "cannot resolve hooks.example: no such name"),
        (Ok(vec![]), "cannot connect to http://hooks.example/: the host has no address"),
    ] {
        let hook = Webhook::new(config.clone(), TlsClient::load(None).unwrap(), Arc::new(Hosts(answer)));
        let begun = Instant::now();
        assert_eq!(hook.deliver(&[report(1, "a", Healthy)]).await.unwrap_err().to_string(), text);
        assert!(begun.elapsed() < PATIENCE);
    }
}
