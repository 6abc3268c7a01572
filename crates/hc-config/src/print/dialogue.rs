//! Dialogues, written.

use hc_types::{
    Dialogue, DialogueExpectation, DialogueProbe, DialogueStep, ExpectedBytes, LdapDialogue, MysqlDialogue,
    PostgresqlDialogue, RedisDialogue, RedisRole, SmtpDialogue,
};
use toml::{Table, Value};

use super::{bytes, put, put_bytes, put_tls};
use crate::words;

pub(super) fn put_dialogue(table: &mut Table, probe: &DialogueProbe) -> Result<(), String> {
    match &probe.dialogue {
        Dialogue::Steps(steps) => {
            put(table, "steps", steps.iter().map(|step| Value::Table(step_table(step))).collect::<Vec<_>>());
        }
        Dialogue::Redis(RedisDialogue { username, password, role }) => {
            put_bytes(table, "username", username.as_slice());
            put_bytes(table, "password", password.expose());
            match role {
                None => {}
                Some(RedisRole::Master) => put(table, "role", "master"),
                Some(RedisRole::Replica) => put(table, "role", "replica"),
            }
        }
        Dialogue::Smtp(SmtpDialogue { hello, starttls }) => {
            put_name(table, "hello", hello)?;
            put(table, "starttls", *starttls);
        }
        Dialogue::Postgresql(PostgresqlDialogue { username, database }) => {
            put_name(table, "username", username)?;
            if !database.is_empty() {
                put_name(table, "database", database)?;
            }
        }
        Dialogue::Mysql(MysqlDialogue { username }) => {
            if !username.is_empty() {
                put_name(table, "username", username)?;
            }
        }
        Dialogue::Ldap(LdapDialogue { username, password, starttls }) => {
            if !username.is_empty() {
                put(table, "username", &**username);
            }
            put_bytes(table, "password", password.expose());
            put(table, "starttls", *starttls);
        }
        Dialogue::Agent { send } => put_bytes(table, "send", send.as_slice()),
    }
    put_tls(table, probe.tls.as_ref())
}

fn put_name(table: &mut Table, key: &str, name: &str) -> Result<(), String> {
    words::graphic(name)?;
    put(table, key, name);
    Ok(())
}

fn step_table(step: &DialogueStep) -> Table {
    let mut table = Table::new();
    let expectation = match step {
        DialogueStep::Send(sent) => {
            put(&mut table, "send", bytes(sent.as_slice()));
            return table;
        }
        DialogueStep::StartTls => {
            put(&mut table, "starttls", true);
            return table;
        }
        DialogueStep::Expect(expectation) => expectation,
    };
    match &expectation.bytes {
        ExpectedBytes::Begin(expected) => put(&mut table, "expect", bytes(expected.as_slice())),
        ExpectedBytes::Contain(expected) => put(&mut table, "expect_contains", bytes(expected.as_slice())),
        ExpectedBytes::Pattern(pattern) => put(&mut table, "expect_regex", pattern.as_str()),
    }
    if expectation.limit != DialogueExpectation::LIMIT {
        put(&mut table, "limit", i64::from(expectation.limit));
    }
    if expectation.rest_of_line {
        put(&mut table, "rest_of_line", true);
    }
    table
}
