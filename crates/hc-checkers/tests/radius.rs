//! The RADIUS probe against a server that is right, forged, broken or silent, over both families.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use hc_checkers::{probe_radius, probe_radius_status};
use hc_testkit::datagram::DatagramServer;
use hc_testkit::outcome::as_told;
use hc_testkit::radius::{RadiusReply, RadiusRequest};
use hc_types::{
    Failure, Outcome, Pass, Phase, RadiusExpectation, RadiusProbe, RadiusStatusProbe, Stray, Target,
    TimeoutEvidence,
};

const LONG: Duration = Duration::from_secs(20);
/// Long enough for a packet on loopback to come, short enough to wait for in vain.
const SHORT: Duration = Duration::from_millis(600);
const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
const SECRET: &[u8] = b"s3cret";

fn probe() -> RadiusProbe {
    RadiusProbe {
        username: "user".into(),
        password: "a password of more than sixteen bytes".into(),
        secret: "s3cret".into(),
        expect: RadiusExpectation::Accept,
        require_message_authenticator: false,
    }
}

type Script = fn(&RadiusRequest) -> Vec<Vec<u8>>;

fn serve(ip: IpAddr, script: Script) -> DatagramServer {
    DatagramServer::start(ip, move |packet| script(&RadiusRequest::parse(packet).unwrap())).unwrap()
}

fn ask(probe: &RadiusProbe, server: &DatagramServer, timeout: Duration) -> Outcome {
    let target = Target::plain(server.address().ip(), server.address().port());
    as_told(block_on(probe_radius(probe, &target, timeout, None)))
}

#[track_caller]
fn check(probe: &RadiusProbe, timeout: Duration, script: Script, expected: impl Into<Outcome>) {
    let expected = expected.into();
    for ip in LOOPBACKS {
        let server = serve(ip, script);
        assert_eq!(ask(probe, &server, timeout), expected, "{ip}");
        assert_eq!(server.seen().len(), 1, "one request is sent once");
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn accepted() -> Outcome {
    Pass::Radius(2).into()
}

#[test]
fn the_request_is_authentic_and_complete() {
    for ip in LOOPBACKS {
        let server = serve(ip, |request| vec![RadiusReply::to(request, 2).build(SECRET)]);
        assert_eq!(ask(&probe(), &server, LONG), accepted());
        assert_eq!(ask(&RadiusProbe { password: "".into(), ..probe() }, &server, LONG), accepted());
        let [first, second] = &server.seen()[..] else { panic!("two requests") };
        let (first, second) = (RadiusRequest::parse(first).unwrap(), RadiusRequest::parse(second).unwrap());
        assert!(first.is_authentic(SECRET) && second.is_authentic(SECRET));
        assert_ne!(first.authenticator, second.authenticator);
        assert_eq!(first.attribute(1).unwrap(), b"user");
        assert_eq!(first.password(SECRET).unwrap(), b"a password of more than sixteen bytes");
        assert_eq!((second.password(SECRET).unwrap().len(), second.attribute(2).unwrap().len()), (0, 16));
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(first.attribute(32).unwrap(), name.trim_end().as_bytes());
        match ip {
            IpAddr::V4(ip) => assert_eq!(first.attribute(4).unwrap(), ip.octets()),
            IpAddr::V6(ip) => assert_eq!(first.attribute(95).unwrap(), ip.octets()),
        }
    }
}

#[test]
fn the_sender_can_be_named() {
    let server = serve(LOOPBACKS[1], |request| vec![RadiusReply::to(request, 2).build(SECRET)]);
    let target = Target::plain(server.address().ip(), server.address().port());
    let nas_ip = Some(Ipv4Addr::new(192, 0, 2, 7).into());
    assert_eq!(block_on(probe_radius(&probe(), &target, LONG, nas_ip)), accepted());
    let request = RadiusRequest::parse(&server.seen()[0]).unwrap();
    assert_eq!((request.attribute(4), request.attribute(95)), (Some([192, 0, 2, 7].as_slice()), None));
}

#[test]
fn every_code_meets_every_expectation() {
    use RadiusExpectation::{Accept, Any, Challenge, Reject};
    // The name asks for the code.
    let script: Script = |request| {
        let code = String::from_utf8(request.attribute(1).unwrap().to_vec()).unwrap().parse().unwrap();
        vec![RadiusReply::to(request, code).message_authenticator().build(SECRET)]
    };
    let server = serve(LOOPBACKS[0], script);
    for (expect, wanted) in [(Accept, Some(2)), (Reject, Some(3)), (Challenge, Some(11)), (Any, None)] {
        for code in [0, 1, 2, 3, 4, 5, 11, 12, 13, 77, 255] {
            let outcome =
                ask(&RadiusProbe { expect, username: code.to_string().into(), ..probe() }, &server, LONG);
            if wanted.is_none_or(|wanted| wanted == code) {
                assert!(matches!(outcome, Outcome::Pass(_)), "{expect:?} {code}: {outcome:?}");
            } else {
                assert_eq!(outcome, Failure::RadiusCode(code).into(), "{expect:?}");
            }
        }
    }
    let any = RadiusProbe { expect: Any, username: "77".into(), ..probe() };
    assert_eq!(ask(&any, &server, LONG), Pass::Radius(77).into());
}

#[test]
fn another_identifier_is_ignored_until_the_answer_comes() {
    check(
        &probe(),
        LONG,
        |request| {
            let stray = RadiusReply::to(request, 3).wrong_identifier().build(SECRET);
            vec![Vec::new(), vec![2], stray, RadiusReply::to(request, 2).build(SECRET)]
        },
        accepted(),
    );
    check(
        &probe(),
        SHORT,
        |request| vec![RadiusReply::to(request, 2).wrong_identifier().build(SECRET)],
        Failure::Timeout { phase: Phase::Response, evidence: TimeoutEvidence::stray(Stray::OtherIdentifier) },
    );
}

#[test]
fn a_response_that_is_not_authentic_fails() {
    let bad = |which: &str| Failure::BadAuthenticator(which.into());
    check(
        &probe(),
        LONG,
        |request| vec![RadiusReply::to(request, 2).build(b"other")],
        bad("response authenticator"),
    );
    check(
        &probe(),
        LONG,
        |request| vec![RadiusReply::to(request, 2).wrong_message_authenticator().build(SECRET)],
        bad("Message-Authenticator"),
    );
    // The request itself, sent back.
    check(
        &probe(),
        LONG,
        |request| {
            let mut reply = RadiusReply::to(request, 2).build(SECRET);
            reply[4..20].copy_from_slice(&request.authenticator);
            vec![reply]
        },
        bad("response authenticator"),
    );
}

#[test]
fn a_message_authenticator_can_be_required() {
    let required = RadiusProbe { require_message_authenticator: true, ..probe() };
    check(
        &required,
        LONG,
        |request| vec![RadiusReply::to(request, 2).build(SECRET)],
        Failure::WrongAnswer("no Message-Authenticator in the response".into()),
    );
    check(
        &required,
        LONG,
        |request| vec![RadiusReply::to(request, 2).message_authenticator().build(SECRET)],
        accepted(),
    );
}

#[test]
fn what_breaks_the_format_fails() {
    check(
        &probe(),
        LONG,
        |request| vec![vec![2, request.identifier, 0]],
        Failure::MalformedReply("3 bytes, less than a header".into()),
    );
    check(
        &probe(),
        LONG,
        |request| vec![RadiusReply::to(request, 2).junk(&[18, 9, b'x']).build(SECRET)],
        Failure::MalformedReply("attribute 18 has the invalid length 9".into()),
    );
    check(
        &probe(),
        LONG,
        |request| {
            let mut reply = RadiusReply::to(request, 2).attribute(18, b"welcome").build(SECRET);
            reply.truncate(25);
            vec![reply]
        },
        Failure::MalformedReply("length 29, but 25 bytes came".into()),
    );
}

#[test]
fn a_request_that_cannot_be_made_is_not_sent() {
    let server = serve(LOOPBACKS[0], |_| Vec::new());
    let long = |length: usize| "x".repeat(length);
    let username = RadiusProbe { username: long(254).into(), ..probe() };
    assert_eq!(
        ask(&username, &server, LONG),
        Failure::BadRequest("the user name has 254 bytes, more than 253".into()).into()
    );
    let password = RadiusProbe { password: long(129).as_str().into(), ..probe() };
    assert_eq!(
        ask(&password, &server, LONG),
        Failure::BadRequest("the password has 129 bytes, more than 128".into()).into()
    );
    assert!(server.seen().is_empty());
}

#[test]
fn silence_times_out_and_a_closed_port_refuses() {
    check(&probe(), Duration::from_millis(20), |_| Vec::new(), Failure::timeout(Phase::Response));
    for ip in LOOPBACKS {
        let port = UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap().port();
        let outcome = block_on(probe_radius(&probe(), &Target::plain(ip, port), LONG, None));
        assert_eq!(outcome, Failure::Refused.into());
    }
}

#[test]
fn status_server_names_no_user() {
    let script: Script = |request| {
        let code = [2, 5, 3][usize::from(request.attribute(4).unwrap()[3]) % 3];
        vec![RadiusReply::to(request, code).message_authenticator().build(SECRET)]
    };
    let server = serve(LOOPBACKS[0], script);
    let target = Target::plain(server.address().ip(), server.address().port());
    let probe = RadiusStatusProbe { secret: "s3cret".into(), require_message_authenticator: true };
    let ask = |last| {
        let nas_ip = Some(Ipv4Addr::new(192, 0, 2, last).into());
        block_on(probe_radius_status(&probe, &target, LONG, nas_ip))
    };
    assert_eq!(ask(0), Pass::Radius(2).into());
    assert_eq!(ask(1), Pass::Radius(5).into());
    assert_eq!(ask(2), Failure::RadiusCode(3).into());
    let request = &server.seen()[0];
    assert_eq!(request[0], 12);
    let request = RadiusRequest::parse(request).unwrap();
    assert!(request.is_authentic(SECRET));
    assert_eq!((request.attribute(1), request.attribute(2)), (None, None));

    let wrong = RadiusStatusProbe { secret: "secret".into(), require_message_authenticator: false };
    let outcome = block_on(probe_radius_status(&wrong, &target, LONG, Some([192, 0, 2, 0].into())));
    assert_eq!(outcome, Failure::BadAuthenticator("response authenticator".into()).into());
}
