//! The login of MySQL 8 with `caching_sha2_password`, against a scripted server: Debian has no
//! MySQL 8, and MariaDB, against which `dialogue_servers.rs` runs, greets in another way. The
//! packets are those of the protocol's documentation
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>,
//! "Protocol::HandshakeV10", "AuthSwitchRequest", "Caching_sha2_password information").
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hc_checkers::{CheckersConfig, probe_dialogue};
use hc_testkit::backend::Backend;
use hc_testkit::script::Step;
use hc_types::{CheckSpec, Dialogue, DialogueProbe, MysqlDialogue, ProbeSpec, Target, Timing};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PLENTY: Duration = Duration::from_secs(20);
const CACHING: &[u8] = b"caching_sha2_password";

fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&length[..3], &[number], body].concat()
}

/// What MySQL 8.0 greets with: all capabilities that it has, utf8mb4, autocommit, 8 and 12 bytes of
/// a challenge.
fn greeting(plugin: &[u8]) -> Vec<u8> {
    let body = [
        b"\x0a8.0.36\0",
        &[9, 0, 0, 0][..],
        b"challeng\0",
        &[0xff, 0xff, 0xff, 2, 0, 0xff, 0xdf, 21],
        &[0; 10],
        b"e of 20 byte\0",
        plugin,
        b"\0",
    ];
    packet(0, &body.concat())
}

/// The login of a user without a password, as MySQL's own client writes it for the plugin.
fn login(number: u8, user: &str, plugin: &[u8]) -> Vec<u8> {
    // LONG_PASSWORD, PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH; 16 MiB; utf8.
    let fixed = [&[1, 0x82, 8, 0, 0, 0, 0, 1, 33][..], &[0; 23]].concat();
    let no_password: &[u8] = if plugin.ends_with(b"sha2_password") { &[1, 0] } else { &[0] };
    packet(number, &[&fixed, user.as_bytes(), b"\0", no_password, plugin, b"\0"].concat())
}

fn switch_to(number: u8, plugin: &[u8]) -> Vec<u8> {
    packet(number, &[b"\xfe", plugin, b"\0another of 20 bytes.\0"].concat())
}

fn ok(number: u8) -> Vec<u8> {
    packet(number, &[0, 0, 0, 2, 0, 0, 0])
}

fn denied(number: u8) -> Vec<u8> {
    packet(number, b"\xff\x15\x04#28000Access denied for user 'hc'@'192.0.2.9' (using password: NO)")
}

const QUIT: &[u8] = &[1, 0, 0, 0, 1];

/// What a probe finds at a server that says each of these after it has read what stands before it.
#[track_caller]
fn check(user: &str, exchange: &[(&[u8], Vec<u8>)], farewell: &[u8], expected: &str) {
    let mut script = vec![];
    for (asked, said) in exchange {
        if !asked.is_empty() {
            script.push(Step::Read(asked.len()));
        }
        script.push(Step::send(said.clone()));
    }
    script.push(Step::Hang);
    let backend = Backend::start(HERE, script).unwrap();
    assert_eq!(found(&backend, user), expected);
    let all = [&exchange.iter().map(|(asked, _)| *asked).collect::<Vec<_>>().concat(), farewell].concat();
    backend.wait_for(|seen| seen.first().is_some_and(|first| first.received.len() >= all.len()));
    assert_eq!(backend.seen()[0].received, all);
}

fn found(backend: &Backend, user: &str) -> String {
    let probe =
        DialogueProbe { tls: None, dialogue: Dialogue::Mysql(MysqlDialogue { username: user.into() }) };
    let target = Target::plain(HERE, backend.address().port());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(probe_dialogue(&probe, &target, PLENTY, &CheckersConfig::default()));
    let timing = Timing::default().timeout(PLENTY);
    let spec = CheckSpec::new(target, ProbeSpec::Dialogue(Box::new(probe)), timing).unwrap();
    let text = spec.text(&outcome);
    format!("{}: {}", outcome.label(), text.split_once("; ").map_or("", |(_, cause)| cause))
}

#[test]
fn a_user_without_a_password_is_let_in() {
    let hc = login(1, "hc", CACHING);
    let let_in = "pass: version 8.0.36 let us in";
    check("hc", &[(b"", greeting(CACHING)), (&hc, ok(2))], QUIT, let_in);
    // `fast_auth_success` in front of it is no question, and gets no answer.
    let fast = [packet(2, &[1, 3]), ok(3)].concat();
    check("hc", &[(b"", greeting(CACHING)), (&hc, fast)], QUIT, let_in);
}

#[test]
fn a_server_that_never_comes_to_the_end_is_not_heard_for_ever() {
    let hc = login(1, "hc", CACHING);
    let successes: Vec<u8> = (2..60).flat_map(|number| packet(number, &[1, 3])).collect();
    let expected = "malformed_reply: the login: malformed reply: a login without an end";
    check("hc", &[(b"", greeting(CACHING)), (&hc, successes)], b"", expected);
}

#[test]
fn a_user_of_another_plugin_is_let_in_after_a_switch() {
    let let_in = "pass: version 8.0.36 let us in";
    // An empty answer is one byte of 0 for one plugin and no byte for the other.
    let first = login(1, "hc", CACHING);
    let native = [(&b""[..], greeting(CACHING)), (&first, switch_to(2, b"mysql_native_password"))];
    let answer = packet(3, b"");
    check("hc", &[&native[..], &[(&answer, ok(4))]].concat(), QUIT, let_in);
    let first = login(1, "hc", b"mysql_native_password");
    for plugin in [CACHING, b"sha256_password", b"mysql_clear_password"] {
        let switch = [(&b""[..], greeting(b"mysql_native_password")), (&first, switch_to(2, plugin))];
        let answer = packet(3, &[0]);
        check("hc", &[&switch[..], &[(&answer, ok(4))]].concat(), QUIT, let_in);
    }
}

#[test]
fn a_denied_login_is_brought_to_its_end() {
    let nobody = login(1, "", CACHING);
    let pass = "pass: version 8.0.36 denied us access";
    check("", &[(b"", greeting(CACHING)), (&nobody, denied(2))], b"", pass);
    // A user who is not there is asked by any plugin, so that nobody finds out.
    let answer = packet(3, &[0]);
    let asked =
        [(&b""[..], greeting(CACHING)), (&nobody, switch_to(2, b"sha256_password")), (&answer, denied(4))];
    check("", &asked, b"", pass);
    let hc = login(1, "hc", CACHING);
    let expected = "wrong_answer: the login: error 1045: \"Access denied for user 'hc'@'192.0.2.9' (using password: NO)\"";
    check("hc", &[(b"", greeting(CACHING)), (&hc, denied(2))], b"", expected);
    // `perform_full_authentication`: it wants a password, and there is none.
    let answer = packet(3, &[0]);
    let full = [(&b""[..], greeting(CACHING)), (&hc, packet(2, &[1, 4])), (&answer, denied(4))];
    check("hc", &full, b"", expected);
}
