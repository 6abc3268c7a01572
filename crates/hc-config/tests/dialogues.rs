//! What the tables of dialogues become.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use hc_config::{Limits, NoFiles, SourceFile, parse};
use hc_types::{
    Dialogue, DialogueExpectation, DialogueProbe, DialogueStep, ExpectedBytes, LdapDialogue, MysqlDialogue,
    PostgresqlDialogue, ProbeSpec, RedisDialogue, SmtpDialogue, StreamPattern, Tls,
};

#[track_caller]
fn check_probe(toml: &str, target: &str, probe: ProbeSpec) {
    let text = format!("[[check]]\nname = 'a'\ntarget = '192.0.2.1'\n{toml}\n");
    let read = parse(&[SourceFile::new("f", text)], &Limits::default(), &NoFiles);
    let checks = read.unwrap_or_else(|errors| panic!("{errors}")).checks;
    assert_eq!((checks.len(), checks[0].spec.probe()), (1, &probe));
    assert_eq!(checks[0].spec.target().socket_addr().to_string(), target);
}

fn dialogue(tls: Option<Tls>, dialogue: Dialogue) -> ProbeSpec {
    ProbeSpec::Dialogue(Box::new(DialogueProbe { tls, dialogue }))
}

#[test]
fn dialogues_by_steps() {
    let expect =
        |bytes, limit, rest_of_line| DialogueStep::Expect(DialogueExpectation { bytes, limit, rest_of_line });
    let steps = [
        expect(ExpectedBytes::Begin("220 ".into()), 4096, true),
        DialogueStep::Send(b"\x00\xff".into()),
        expect(ExpectedBytes::Pattern(StreamPattern::new("^a+").unwrap()), 9, false),
        expect(ExpectedBytes::Contain("ok".into()), 4096, false),
        DialogueStep::StartTls,
        expect(ExpectedBytes::Begin("".into()), 4096, true),
    ];
    // TLS begins within the dialogue, so there is some.
    check_probe(
        "port = 25\n[check.tcp]\nsteps = [{ expect = '220 ', rest_of_line = true }, { send = { hex = '00 ff' } },\n\
         { expect_regex = '^a+', limit = 9 }, { expect_contains = 'ok' }, { starttls = true }, { rest_of_line = true }]",
        "192.0.2.1:25",
        dialogue(Some(Tls::new(true)), Dialogue::Steps(steps.into())),
    );
}

#[test]
fn named_dialogues_have_ports_of_their_own() {
    let smtp = |starttls| Dialogue::Smtp(SmtpDialogue { hello: "localhost".into(), starttls });
    let ldap = |starttls| Dialogue::Ldap(LdapDialogue { starttls, ..LdapDialogue::default() });
    let tls = || Some(Tls::new(true));
    check_probe("smtp = {}", "192.0.2.1:25", dialogue(None, smtp(false)));
    check_probe("smtp = { tls = true }", "192.0.2.1:465", dialogue(tls(), smtp(false)));
    check_probe("smtp = { starttls = true }", "192.0.2.1:25", dialogue(tls(), smtp(true)));
    check_probe("ldap = { tls = true }", "192.0.2.1:636", dialogue(tls(), ldap(false)));
    check_probe("ldap = { tls = true, starttls = true }", "192.0.2.1:389", dialogue(tls(), ldap(true)));
    check_probe("redis = {}", "192.0.2.1:6379", dialogue(None, Dialogue::Redis(RedisDialogue::default())));
    check_probe("mysql = {}", "192.0.2.1:3306", dialogue(None, Dialogue::Mysql(MysqlDialogue::default())));
    let postgresql = PostgresqlDialogue { username: "postgres".into(), database: "".into() };
    check_probe("postgresql = {}", "192.0.2.1:5432", dialogue(None, Dialogue::Postgresql(postgresql)));
    let agent = Dialogue::Agent { send: "a\n".into() };
    check_probe("port = 1\nagent = { send = \"a\\n\" }", "192.0.2.1:1", dialogue(None, agent));
}
