use super::*;
use crate::{Mismatch, StepFailure};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

/// A node in a given state.
#[derive(Clone, Copy, Default)]
struct Fixed {
    no_ipv6: bool,
    ipv6_off: bool,
    loopback_down: bool,
}

impl Node for Fixed {
    fn has_ipv6(&self) -> bool {
        !self.no_ipv6
    }
    fn ipv6_is_off(&self) -> bool {
        self.no_ipv6 || self.ipv6_off
    }
    fn loopback_is_down(&self) -> bool {
        self.loopback_down
    }
}

const WELL: Fixed = Fixed { no_ipv6: false, ipv6_off: false, loopback_down: false };

#[track_caller]
fn call(call: Call, errno: i32, node: Fixed, expected: impl Into<ProbeError>) {
    assert_eq!(call_failed(call, Some(errno), &node), expected.into());
}

/// The table of error numbers, one row each: before anything was sent, and after.
#[test]
fn error_numbers_before_and_after_sending() {
    use LocalFault::{
        Buffers, Descriptors, Filter, InterfaceDown, Memory, NoRoute, Other, Permission, Ports,
        RouteUnreachable,
    };
    use Unreachable::{Host, Network, Protocol};

    #[track_caller]
    fn row(errno: i32, before: impl Into<ProbeError>, after: impl Into<ProbeError>) {
        call(Call::BeforeSending, errno, WELL, before);
        call(Call::AfterSending { phase: Phase::Connect }, errno, WELL, after);
    }
    let reset = || Failure::Reset(Phase::Connect);
    let timeout = || Failure::timeout(Phase::Connect);
    row(libc::ECONNREFUSED, Failure::Refused, Failure::Refused);
    row(libc::ECONNRESET, reset(), reset());
    row(libc::ECONNABORTED, reset(), reset());
    row(libc::EPIPE, reset(), reset());
    row(libc::ETIMEDOUT, timeout(), timeout());
    row(libc::ENETUNREACH, NoRoute, Failure::Unreachable(Network));
    row(libc::EHOSTUNREACH, RouteUnreachable, Failure::Unreachable(Host));
    row(libc::EHOSTDOWN, Failure::Unreachable(Host), Failure::Unreachable(Host));
    row(libc::ENONET, Failure::Unreachable(Host), Failure::Unreachable(Host));
    row(libc::EACCES, Permission, Failure::Unreachable(Protocol));
    row(libc::ENOPROTOOPT, Failure::Unreachable(Protocol), Failure::Unreachable(Protocol));
    row(libc::EPROTO, Failure::Unreachable(Protocol), Failure::Unreachable(Protocol));
    row(libc::EOPNOTSUPP, Failure::Unreachable(Protocol), Failure::Unreachable(Protocol));
    row(libc::EPERM, Permission, Filter);
    row(libc::ENETDOWN, InterfaceDown, InterfaceDown);
    row(libc::EMFILE, Descriptors, Descriptors);
    row(libc::ENFILE, Descriptors, Descriptors);
    row(libc::EADDRNOTAVAIL, Ports, Ports);
    row(libc::EADDRINUSE, Ports, Ports);
    row(libc::ENOBUFS, Buffers, Buffers);
    row(libc::EAGAIN, Buffers, Other(libc::EAGAIN));
    row(libc::ENOMEM, Memory, Memory);
    row(libc::EINVAL, Other(libc::EINVAL), Other(libc::EINVAL));
    let after = Call::AfterSending { phase: Phase::Response };
    call(after, libc::ECONNRESET, WELL, Failure::Reset(Phase::Response));
    let too_long = Failure::BadRequest("message too long for a datagram".into());
    call(after, libc::EMSGSIZE, WELL, too_long);
    assert_eq!(call_failed(after, None, &WELL), LocalFault::Other(0).into());
}

#[test]
fn error_numbers_of_open() {
    let absent = Fixed { no_ipv6: true, ..WELL };
    for (ipv6, errno, node, expected) in [
        (true, libc::EAFNOSUPPORT, absent, LocalFault::NoIpv6),
        (true, libc::EAFNOSUPPORT, WELL, LocalFault::Permission),
        (false, libc::EAFNOSUPPORT, absent, LocalFault::Permission),
        (false, libc::EACCES, WELL, LocalFault::Permission),
        (false, libc::EPERM, WELL, LocalFault::Permission),
        (false, libc::EMFILE, WELL, LocalFault::Descriptors),
    ] {
        call(Call::Open { ipv6 }, errno, node, expected);
    }
}

#[test]
fn error_numbers_of_connect_and_of_the_first_send() {
    let off = Fixed { ipv6_off: true, ..WELL };
    let down = Fixed { loopback_down: true, ..WELL };
    let loopback = IpAddr::from([127, 0, 0, 1]);
    for (to, errno, node, expected) in [
        (V6, libc::ENETUNREACH, off, LocalFault::NoIpv6),
        (V6, libc::EADDRNOTAVAIL, off, LocalFault::NoIpv6),
        (V4, libc::ENETUNREACH, off, LocalFault::NoRoute),
        (loopback, libc::EADDRNOTAVAIL, down, LocalFault::InterfaceDown),
        (V4, libc::EADDRNOTAVAIL, down, LocalFault::NoAddress),
        (loopback, libc::EADDRNOTAVAIL, WELL, LocalFault::NoAddress),
        (V4, libc::EACCES, WELL, LocalFault::RouteProhibited),
        (V4, libc::EINVAL, WELL, LocalFault::RouteBlackhole),
        (V4, libc::EPERM, WELL, LocalFault::Filter),
        (V4, libc::EHOSTUNREACH, WELL, LocalFault::RouteUnreachable),
    ] {
        call(Call::Connect { to }, errno, node, expected);
        call(Call::FirstSend { to }, errno, node, expected);
    }
    call(Call::Connect { to: V4 }, libc::EAGAIN, WELL, LocalFault::Ports);
    call(Call::FirstSend { to: V4 }, libc::EAGAIN, WELL, LocalFault::Buffers);
}

#[test]
fn a_timeout_is_silent_only_if_the_peer_had_its_time_and_the_socket_has_nothing() {
    for (last_exchange, nothing_at_socket, silent) in
        [(0, true, true), (100, true, true), (101, true, false), (0, false, false), (1000, true, false)]
    {
        let at = AtDeadline {
            phase: Phase::Response,
            timeout: SECOND,
            last_exchange: last_exchange * MS,
            nothing_at_socket,
            stray: None,
        };
        let failure = timed_out(&at);
        let expected = if silent { Failure::silence } else { Failure::timeout }(Phase::Response);
        assert_eq!(failure, expected, "{at:?}");
        assert_eq!(is_silence(&failure.into()), silent);
        let with_stray = timed_out(&AtDeadline { stray: Some(Stray::OtherId), ..at });
        assert_eq!(with_stray.label(), "wrong_answer");
        assert!(!is_silence(&with_stray.into()));
    }
}

fn mismatch(status: Option<&str>) -> Failure {
    Failure::BodyMismatch(Box::new(Mismatch::new(b"x", status.map(Into::into))))
}

/// Every result, and what the path and a stall make of it.
#[test]
fn every_result_with_a_change_of_path_and_with_a_stall() {
    use PathCheck::{Broadcast, Changes, None, RouteAndChanges};

    let answered = Changes { answered: true };
    let stray = TimeoutEvidence::stray(Stray::OtherId);
    let strays = Failure::Timeout { phase: Phase::Response, evidence: stray };
    let heard = Box::new(crate::Heard::new(b"x"));
    let rows: [(Outcome, PathCheck, bool); 34] = [
        (Outcome::PASS, None, false),
        (Failure::timeout(Phase::Connect).into(), RouteAndChanges, true),
        (Failure::silence(Phase::Tls).into(), RouteAndChanges, true),
        (strays.into(), RouteAndChanges, true),
        (Failure::Refused.into(), answered, false),
        (Failure::Reset(Phase::Tls).into(), answered, true),
        (Failure::ResetAfter(heard.clone()).into(), answered, true),
        (Failure::Closed { heard: Option::None }.into(), answered, true),
        (Failure::Closed { heard: Some(heard) }.into(), answered, true),
        (Failure::Unreachable(Unreachable::Host).into(), Changes { answered: false }, false),
        (Failure::PathDown { fault: LocalFault::NoRoute, seconds: 10 }.into(), None, false),
        (Failure::Tls("alert".into()).into(), None, true),
        (Failure::Status { got: "408 Request Timeout".into() }.into(), None, true),
        (Failure::Status { got: "503 Service Unavailable".into() }.into(), None, false),
        (mismatch(Some("408 Request Timeout")).into(), None, true),
        (mismatch(Some("200 OK")).into(), None, false),
        (mismatch(Option::None).into(), None, true),
        (Failure::DnsRcode(3).into(), None, false),
        (Failure::WrongAnswer("x".into()).into(), None, false),
        (Failure::RadiusCode(3).into(), None, false),
        (Failure::StreamReset("x".into()).into(), None, true),
        (Failure::HeaderMismatch(Box::new(Mismatch::new(b"", Some("200 OK".into())))).into(), None, false),
        (Failure::BadAuthenticator("x".into()).into(), None, false),
        (Failure::MalformedReply("x".into()).into(), None, false),
        (Failure::BadRequest("x".into()).into(), None, false),
        (LocalFault::NoRoute.into(), Broadcast, false),
        (LocalFault::RouteProhibited.into(), Broadcast, false),
        (LocalFault::Permission.into(), Broadcast, false),
        (LocalFault::Descriptors.into(), None, false),
        (LocalFault::Ports.into(), None, false),
        (LocalFault::Filter.into(), None, false),
        (LocalFault::PathChanged.into(), None, false),
        (LocalFault::Late.into(), None, false),
        (LocalFault::Other(5).into(), None, false),
    ];
    for (outcome, check, late) in rows {
        assert_eq!(path_check(&outcome), check, "{outcome:?}");
        assert_eq!(with_path(outcome.clone(), PathFinding::Fine, V4), outcome);
        let changed = with_path(outcome.clone(), PathFinding::Fault(LocalFault::PathChanged), V4);
        let is_open = check != PathCheck::None;
        let expected = if is_open { LocalFault::PathChanged.into() } else { outcome.clone() };
        assert_eq!(changed, expected, "{outcome:?}");
        let expected = if late { LocalFault::Late.into() } else { outcome.clone() };
        assert_eq!(with_stall(outcome.clone(), 101 * MS, SECOND), expected, "{outcome:?}");
        assert_eq!(with_stall(outcome.clone(), 100 * MS, SECOND), outcome, "a stall of 1/10 of the timeout");
    }
    let broadcast = with_path(LocalFault::NoRoute.into(), PathFinding::Broadcast, V4);
    let text = "192.0.2.1 is a broadcast address of this machine's network";
    assert_eq!(broadcast, Failure::BadRequest(text.into()).into());
}

#[test]
fn with_a_short_timeout_a_stall_counts_above_20_ms() {
    let timeout = || Outcome::from(Failure::timeout(Phase::Connect));
    for (stalled, late) in [(0, false), (20, false), (21, true)] {
        let outcome = with_stall(timeout(), stalled * MS, 100 * MS);
        assert_eq!(outcome == LocalFault::Late.into(), late, "{stalled} ms");
    }
}

#[test]
fn the_third_silence_in_a_row_counts_in_spite_of_stalls() {
    let silence = || Outcome::from(Failure::silence(Phase::Connect));
    let stray = TimeoutEvidence { silent: true, ..TimeoutEvidence::stray(Stray::OtherId) };
    let ends = [
        Outcome::PASS,
        Failure::timeout(Phase::Connect).into(),
        Failure::Timeout { phase: Phase::Response, evidence: stray }.into(),
        Failure::Refused.into(),
        LocalFault::Ports.into(),
    ];
    let mut run = SilentRun::default();
    for (begin, end) in (1..).zip(ends) {
        let begin = begin * 100 * SECOND;
        for (nth, counts) in [(0, false), (1, false), (2, true), (3, true)] {
            let began = begin + nth * SECOND;
            assert_eq!(run.note(&silence(), began, began + SECOND), counts, "before {end:?}, {nth}");
        }
        assert!(!run.note(&end, begin + 4 * SECOND, begin + 5 * SECOND));
    }
    // Ten probes a second: 2 s must pass as well.
    for (nth, counts) in [(0, false), (1, false), (2, false), (18, false), (19, true)] {
        assert_eq!(run.note(&silence(), nth * 100 * MS, (nth + 1) * 100 * MS), counts, "{nth}");
    }
    // The clock of milliseconds wraps around after 49 days.
    let mut run = SilentRun::default();
    let wrap = Duration::from_millis(1 << 32) - SECOND;
    for (nth, counts) in [(0, false), (1, false), (2, true)] {
        assert_eq!(run.note(&silence(), wrap + nth * SECOND, wrap + (nth + 1) * SECOND), counts, "{nth}");
    }
    assert_eq!(size_of::<SilentRun>(), 8);
}

/// Probes that end at these seconds; gives the seconds at which they counted as failures.
#[track_caller]
fn path_down(probes: &[(u32, LocalFault)], expected: &[u32]) {
    let limits = HoldLimits { hold: 10 * SECOND, gap: 20 * SECOND };
    let mut outage = PathOutage::default();
    let mut counted = Vec::new();
    for (at, fault) in probes {
        let outcome = outage.note(*fault, *at * SECOND, limits);
        match outcome {
            Outcome::Fail(Failure::PathDown { fault: shown, .. }) => {
                assert_eq!(shown, *fault);
                counted.push(*at);
            }
            outcome => assert_eq!(outcome, (*fault).into()),
        }
    }
    assert_eq!(counted, expected);
}

#[test]
fn a_path_that_is_down_is_held_for_a_bounded_time() {
    let down = |at| (at, LocalFault::NoRoute);
    path_down(&[down(0), down(5), down(9), down(10), down(15)], &[10, 15]);
    path_down(&[down(0), (5, LocalFault::InterfaceDown), down(10)], &[10]);
}

#[test]
fn a_fault_of_the_checker_alone_is_held_without_limit() {
    let short = |at| (at, LocalFault::Descriptors);
    path_down(&[short(0), short(10), short(1000)], &[]);
    // Starved and cut off at once: the path counts.
    let mixed = [
        (0, LocalFault::NoRoute),
        (2, LocalFault::Late),
        (5, LocalFault::NoRoute),
        (7, LocalFault::Late),
        (10, LocalFault::NoRoute),
        (11, LocalFault::Late),
    ];
    path_down(&mixed, &[10]);
    // A path that was away at two moments, far apart.
    path_down(&[(0, LocalFault::PathChanged), (5, LocalFault::Late), (10, LocalFault::PathChanged)], &[]);
}

#[test]
fn a_path_that_was_not_looked_at_for_long_may_have_been_there() {
    let probes = [
        (0, LocalFault::NoRoute),
        (5, LocalFault::Ports),
        (40, LocalFault::NoRoute),
        (45, LocalFault::NoRoute),
        (50, LocalFault::NoRoute),
    ];
    path_down(&probes, &[50]);
}

#[test]
fn a_check_is_held_for_two_intervals_at_least() {
    let seconds = Duration::from_secs;
    let check = |hold, interval, timeout, expected: (u64, u64)| {
        let limits = HoldLimits::new(seconds(hold), seconds(interval), seconds(interval), seconds(timeout));
        assert_eq!(limits, HoldLimits { hold: seconds(expected.0), gap: seconds(expected.1) });
    };
    check(10, 1, 1, (10, 10));
    check(10, 30, 5, (60, 70));
    check(0, 1, 5, (2, 12));
}

/// The step of a dialogue changes no rule.
#[test]
fn a_failure_in_a_step_means_what_it_means_elsewhere() {
    let in_step =
        |failure| Outcome::from(Failure::InStep(Box::new(StepFailure { step: "EHLO".into(), failure })));

    for failure in [
        Failure::silence(Phase::Response),
        Failure::timeout(Phase::Response),
        Failure::Reset(Phase::Response),
        Failure::closed_after(b"2"),
        Failure::Unreachable(Unreachable::Host),
        Failure::WrongAnswer("no".into()),
        Failure::MalformedReply("no".into()),
        Failure::BodyMismatch(Box::new(Mismatch::new(b"421", None))),
    ] {
        let alone = Outcome::from(failure.clone());
        let within = in_step(failure);
        assert_eq!(is_silence(&within), is_silence(&alone), "{alone:?}");
        assert_eq!(path_check(&within), path_check(&alone), "{alone:?}");
        let stalled = |outcome: &Outcome| {
            matches!(with_stall(outcome.clone(), SECOND, SECOND), Outcome::Inconclusive(_))
        };
        assert_eq!(stalled(&within), stalled(&alone), "{alone:?}");
    }
}
