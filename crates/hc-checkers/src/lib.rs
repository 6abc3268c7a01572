//! Health probes for load balancers: TCP, TLS, HTTP(S), DNS, UDP, ICMP, RADIUS and dialogues over
//! TCP, with socket marks and one deadline a probe.
//!
//! [`Checkers::probe`] runs one probe of a [`CheckSpec`](hc_types::CheckSpec) and returns its
//! [`Outcome`](hc_types::Outcome): the backend passed, it failed and why, or nothing was learned
//! because of this machine. An error of this machine is never a failure of the backend. No name is
//! ever looked up: a probe goes to the address of its target.
//!
//! # TCP
//!
//! ```
//! use std::time::Duration;
//! use hc_checkers::Checkers;
//! use hc_types::{CheckSpec, Outcome, ProbeSpec, Target, TcpProbe, Timing};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let backend = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let target = Target::plain("127.0.0.1".parse()?, backend.local_addr()?.port());
//! let timing = Timing::default().timeout(Duration::from_secs(1));
//! let spec = CheckSpec::new(target, ProbeSpec::Tcp(TcpProbe::default()), timing)?;
//! assert_eq!(Checkers::default().probe(&spec).await, Outcome::PASS);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # HTTP
//!
//! ```
//! use std::io::{Read as _, Write as _};
//! use hc_checkers::Checkers;
//! use hc_types::{CheckSpec, HttpProbe, ProbeSpec, Target, Timing};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let port = listener.local_addr()?.port();
//! let backend = std::thread::spawn(move || {
//!     let (mut connection, _) = listener.accept()?;
//!     connection.read(&mut [0; 1024])?;
//!     connection.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
//! });
//! let http = HttpProbe { expected_codes: [200, 204].into(), ..HttpProbe::default() };
//! let target = Target::plain("127.0.0.1".parse()?, port);
//! let spec = CheckSpec::new(target, ProbeSpec::Http(Box::new(http)), Timing::default())?;
//! let outcome = Checkers::default().probe(&spec).await;
//! let text = spec.text(&outcome);
//! assert!(text.ends_with("; got 503 Service Unavailable; want 200 or 204"), "{text}");
//! # backend.join().map_err(|_| "the backend panicked")??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # HTTPS
//!
//! Certificates are verified against the roots of the system by default. Here they are signed by an
//! authority of the example's own:
//!
//! ```
//! use hc_checkers::{Checkers, CheckersConfig, Roots};
//! use hc_testkit::backend::Backend;
//! use hc_testkit::certificate::{Authority, Wish};
//! use hc_testkit::script::Step;
//! use hc_types::{CheckSpec, HttpProbe, Outcome, ProbeSpec, Target, Timing, Tls};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let authority = Authority::new("root", 2000, 2100)?;
//! let identity = authority.sign(&Wish::valid_for(["127.0.0.1"]))?;
//! let answer = Step::respond(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
//! let backend = Backend::start_tls("127.0.0.1".parse()?, &identity, answer)?;
//!
//! let (roots, _malformed) = Roots::new([authority.certificate()]);
//! let mut config = CheckersConfig::default();
//! config.roots = roots;
//! let checkers = Checkers::new(config);
//! let https = HttpProbe { tls: Some(Tls::new(true)), ..HttpProbe::default() };
//! let target = Target::plain("127.0.0.1".parse()?, backend.address().port());
//! let spec = CheckSpec::new(target, ProbeSpec::Http(Box::new(https)), Timing::default())?;
//! assert!(matches!(checkers.probe(&spec).await, Outcome::Pass(_)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # UDP
//!
//! ```
//! use hc_checkers::Checkers;
//! use hc_types::{CheckSpec, Outcome, ProbeSpec, Target, Timing, UdpProbe};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
//! let port = socket.local_addr()?.port();
//! let backend = std::thread::spawn(move || {
//!     let (_, from) = socket.recv_from(&mut [0; 512])?;
//!     socket.send_to(b"pong", from)
//! });
//! let udp = UdpProbe { send: b"ping".into(), receive: b"pong".into() };
//! let target = Target::plain("127.0.0.1".parse()?, port);
//! let spec = CheckSpec::new(target, ProbeSpec::Udp(Box::new(udp)), Timing::default())?;
//! assert_eq!(Checkers::default().probe(&spec).await, Outcome::PASS);
//! # backend.join().map_err(|_| "the backend panicked")??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # DNS
//!
//! ```
//! use hc_checkers::Checkers;
//! use hc_testkit::dns::{DnsMessage, DnsServer};
//! use hc_types::{
//!     CheckSpec, DnsExpectation, DnsProbe, Outcome, ProbeSpec, RecordClass, RecordType, Target, Timing,
//! };
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let backend = DnsServer::udp("127.0.0.1".parse()?, |query| {
//!     vec![DnsMessage::reply_to(query).answer("www.example.com", 1, &[192, 0, 2, 1]).build()]
//! })?;
//! let dns = DnsProbe {
//!     query: "www.example.com".into(),
//!     query_type: RecordType::A,
//!     query_class: RecordClass::IN,
//!     expect: DnsExpectation::Ips(["192.0.2.1".parse()?].into()),
//!     options: None,
//! };
//! let target = Target::plain("127.0.0.1".parse()?, backend.address().port());
//! let spec = CheckSpec::new(target, ProbeSpec::Dns(Box::new(dns)), Timing::default())?;
//! assert!(matches!(Checkers::default().probe(&spec).await, Outcome::Pass(_)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # RADIUS
//!
//! ```
//! use hc_checkers::Checkers;
//! use hc_testkit::datagram::DatagramServer;
//! use hc_testkit::radius::{RadiusReply, RadiusRequest};
//! use hc_types::{CheckSpec, Outcome, ProbeSpec, RadiusExpectation, RadiusProbe, Target, Timing};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let backend = DatagramServer::start("127.0.0.1".parse()?, |packet| {
//!     let request = RadiusRequest::parse(packet).into_iter();
//!     request.map(|request| RadiusReply::to(&request, 2).build(b"s3cret")).collect()
//! })?;
//! let radius = RadiusProbe {
//!     username: "user".into(),
//!     password: "password".into(),
//!     secret: "s3cret".into(),
//!     expect: RadiusExpectation::Accept,
//!     require_message_authenticator: false,
//! };
//! let target = Target::plain("127.0.0.1".parse()?, backend.address().port());
//! let spec = CheckSpec::new(target, ProbeSpec::Radius(Box::new(radius)), Timing::default())?;
//! assert!(matches!(Checkers::default().probe(&spec).await, Outcome::Pass(_)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Dialogues
//!
//! Steps over TCP of one's own; those of Redis, SMTP, PostgreSQL, MySQL, LDAP and HAProxy's agents
//! are in [`hc_types::Dialogue`] by name.
//!
//! ```
//! use hc_checkers::Checkers;
//! use hc_testkit::backend::Backend;
//! use hc_testkit::script::Step;
//! use hc_types::{
//!     CheckSpec, Dialogue, DialogueExpectation, DialogueProbe, DialogueStep, ExpectedBytes, ProbeSpec, Target,
//!     Timing,
//! };
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let script = vec![Step::send("+OK ready\r\n"), Step::Read(6), Step::send("-ERR busy\r\n"), Step::Hang];
//! let backend = Backend::start("127.0.0.1".parse()?, script)?;
//! let ok = DialogueExpectation {
//!     rest_of_line: true,
//!     ..DialogueExpectation::new(ExpectedBytes::Begin("+OK".into()))
//! };
//! let steps = [DialogueStep::Expect(ok.clone()), DialogueStep::Send("QUIT\r\n".into()), DialogueStep::Expect(ok)];
//! let probe = DialogueProbe { tls: None, dialogue: Dialogue::Steps(steps.into()) };
//! let target = Target::plain("127.0.0.1".parse()?, backend.address().port());
//! let spec = CheckSpec::new(target, ProbeSpec::Dialogue(Box::new(probe)), Timing::default())?;
//! let text = spec.text(&Checkers::default().probe(&spec).await);
//! assert!(text.contains(r#"; step 3 (expect "+OK"): unexpected response - "-ERR busy\r\n""#), "{text}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # ICMP
//!
//! It needs `CAP_NET_RAW`, or a group in `net.ipv4.ping_group_range`; without either the outcome is
//! inconclusive.
//!
//! ```no_run
//! use hc_checkers::Checkers;
//! use hc_types::{CheckSpec, ProbeSpec, Target, Timing};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let spec = CheckSpec::new(Target::plain("192.0.2.1".parse()?, 0), ProbeSpec::Icmp, Timing::default())?;
//! let outcome = Checkers::default().probe(&spec).await;
//! println!("{}: {}", outcome.label(), spec.text(&outcome));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Half-open TCP
//!
//! A SYN, and the peer's answer to it; the connection is never made. It needs `CAP_NET_RAW`;
//! without it the outcome is inconclusive.
//!
//! ```no_run
//! use hc_checkers::Checkers;
//! use hc_types::{CheckSpec, ProbeSpec, Target, Timing};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let target = Target::plain("192.0.2.1".parse()?, 80);
//! let spec = CheckSpec::new(target, ProbeSpec::HalfOpen, Timing::default())?;
//! let outcome = Checkers::default().probe(&spec).await;
//! println!("{}: {}", outcome.label(), spec.text(&outcome));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Many checks
//!
//! [`Checkers`] is also an [`hc_types::Prober`], which hc-manager runs on each of its shards. The
//! functions `probe_tcp`, `probe_http` and so on run one kind of probe each without what `Checkers`
//! adds: it observes the path to the target, so that a timeout while a route is away is no failure,
//! and it closes connections of marked probes in the background.
//!
//! # Features
//!
//! `http2` is HTTP/2 (`HttpVersion::Http2`) and gRPC. Without it such checks are inconclusive.
//!
//! `fuzzing` makes codecs and parsers public for the fuzz targets of this repository. Not part of
//! the API: it may change at any time.

#![cfg_attr(
    not(feature = "fuzzing"),
    allow(
        unreachable_pub,
        unused_imports,
        dead_code,
        reason = "the fuzz targets need more than the API shows"
    )
)]

mod bpf;
mod config;
mod deadline;
mod dialogue;
mod dns;
mod fault;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
#[cfg(feature = "http2")]
mod grpc;
mod http;
#[cfg(feature = "http2")]
mod http2;
mod icmp;
mod incoming;
mod memory;
mod mux;
mod path;
mod prober;
mod radius;
mod socket;
mod syn;
mod tcp;
mod tls;
mod udp;

pub use config::{CheckersConfig, Close, UserAgent, UserAgentError};
pub use dialogue::probe_dialogue;
pub use dns::probe_dns;
#[cfg(feature = "http2")]
pub use grpc::probe_grpc;
pub use http::probe_http;
pub use icmp::Pinger;
pub use memory::ProbeMemory;
pub use path::can_observe_paths;
pub use prober::Checkers;
pub use radius::{probe_radius, probe_radius_status};
pub use tcp::probe_tcp;
pub use tls::{Reload, Roots, RootsError, SystemRoots, TlsSessions};
pub use udp::probe_udp;
