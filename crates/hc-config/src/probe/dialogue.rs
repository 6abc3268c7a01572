//! Reads the tables of dialogues.

use hc_types::{
    Dialogue, DialogueExpectation, DialogueProbe, DialogueStep, ExpectedBytes, LdapDialogue, MysqlDialogue,
    PostgresqlDialogue, ProbeSpec, RedisDialogue, RedisRole, Secret, SmtpDialogue, StreamPattern,
};

use super::Reader;
use crate::form::{Key, Located, Settings, Value};
use crate::keys::dialogue as keys;

impl Reader<'_> {
    /// The probe of a table of a dialogue of this kind. `None` if something is wrong.
    pub(super) fn dialogue(&mut self) -> Option<ProbeSpec> {
        let settings = self.settings;
        let text = |key: &Key, default: &str| settings.text(key).unwrap_or(default).into();
        let starttls = settings.flag(&keys::STARTTLS).unwrap_or(false);
        let dialogue = match self.kind {
            "tcp" => self.steps()?,
            "redis" => Dialogue::Redis(RedisDialogue {
                username: self.bytes(&keys::REDIS_USERNAME),
                password: self.password()?,
                role: match settings.word(&keys::ROLE) {
                    Some("master") => Some(RedisRole::Master),
                    Some("replica") => Some(RedisRole::Replica),
                    _ => None,
                },
            }),
            "smtp" => Dialogue::Smtp(SmtpDialogue { hello: text(&keys::HELLO, "localhost"), starttls }),
            "postgresql" => Dialogue::Postgresql(PostgresqlDialogue {
                username: text(&keys::POSTGRESQL_USERNAME, "postgres"),
                database: text(&keys::DATABASE, ""),
            }),
            "mysql" => Dialogue::Mysql(MysqlDialogue { username: text(&keys::MYSQL_USERNAME, "") }),
            "ldap" => Dialogue::Ldap(LdapDialogue {
                username: text(&keys::LDAP_USERNAME, ""),
                password: self.password()?,
                starttls,
            }),
            _ => Dialogue::Agent { send: self.bytes(&keys::AGENT_SEND) },
        };
        Some(ProbeSpec::Dialogue(Box::new(DialogueProbe { tls: self.tls(), dialogue })))
    }

    /// `None` if its file cannot be read.
    fn password(&mut self) -> Option<Secret> {
        self.secret(&keys::DIALOGUE_PASSWORD, &keys::DIALOGUE_PASSWORD_FILE).map(Option::unwrap_or_default)
    }

    fn steps(&mut self) -> Option<Dialogue> {
        // All of them, so that everything that is wrong is reported.
        let steps: Vec<Option<DialogueStep>> =
            self.settings.items(&keys::STEPS).iter().map(|item| self.step(item)).collect();
        Some(Dialogue::Steps(steps.into_iter().collect::<Option<_>>()?))
    }

    fn step(&mut self, item: &Located) -> Option<DialogueStep> {
        let Value::Table(step) = &item.value else { return None };
        let action = match (step.bytes(&keys::STEP_SEND), step.flag(&keys::STEP_STARTTLS)) {
            (Some(bytes), _) => DialogueStep::Send(bytes.into()),
            (None, Some(true)) => DialogueStep::StartTls,
            (None, Some(false)) => return self.wrong_step(item, "`starttls` is true or not there"),
            (None, None) => return self.expectation(step, item).map(DialogueStep::Expect),
        };
        if step.has(&keys::REST_OF_LINE) || step.has(&keys::LIMIT) {
            return self.wrong_step(item, "`rest_of_line` and `limit` are for steps that expect something");
        }
        Some(action)
    }

    fn expectation(&mut self, step: &Settings, item: &Located) -> Option<DialogueExpectation> {
        let rest_of_line = step.flag(&keys::REST_OF_LINE).unwrap_or(false);
        let bytes = if let Some(bytes) = step.bytes(&keys::EXPECT) {
            ExpectedBytes::Begin(bytes.into())
        } else if let Some(bytes) = step.bytes(&keys::EXPECT_CONTAINS) {
            ExpectedBytes::Contain(bytes.into())
        } else if let Some(text) = step.text(&keys::EXPECT_REGEX) {
            ExpectedBytes::Pattern(StreamPattern::new(text).ok()?)
        } else if rest_of_line {
            ExpectedBytes::Begin(Default::default())
        } else if step.has(&keys::EXPECT) || step.has(&keys::EXPECT_CONTAINS) || step.has(&keys::EXPECT_REGEX)
        {
            // It is wrong, and reported.
            return None;
        } else {
            return self.wrong_step(item, "a step sends something, expects something, or begins TLS");
        };
        let limit = step.integer(&keys::LIMIT).and_then(|limit| u32::try_from(limit).ok());
        let limit = limit.unwrap_or(DialogueExpectation::LIMIT);
        Some(DialogueExpectation { bytes, limit, rest_of_line })
    }

    fn wrong_step<T>(&mut self, item: &Located, problem: &str) -> Option<T> {
        self.report.add(item.at, format!("check.tcp.{}", keys::STEPS.name), problem);
        None
    }
}
