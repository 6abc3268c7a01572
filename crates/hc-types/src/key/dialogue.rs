//! Dialogues in the identity of a check. Their kinds have the numbers 32 to 38.

use super::{Encoding, tag};
use crate::{
    Dialogue, DialogueExpectation, DialogueProbe, DialogueStep, ExpectedBytes, LdapDialogue, MysqlDialogue,
    PostgresqlDialogue, RawBytes, RedisDialogue, RedisRole, SmtpDialogue,
};

impl Encoding {
    pub(super) fn dialogue(&mut self, probe: &DialogueProbe) {
        let DialogueProbe { tls, dialogue } = probe;
        self.field(tag::KIND, &[kind(dialogue)]);
        match dialogue {
            Dialogue::Steps(steps) => steps.iter().for_each(|step| self.step(step)),
            Dialogue::Redis(RedisDialogue { username, password, role }) => {
                self.field_unless_empty(tag::USERNAME, username.as_slice());
                self.field_unless_empty(tag::PASSWORD, password.expose());
                match role {
                    None => {}
                    Some(RedisRole::Master) => self.field(tag::ROLE, &[1]),
                    Some(RedisRole::Replica) => self.field(tag::ROLE, &[2]),
                }
            }
            Dialogue::Smtp(SmtpDialogue { hello, starttls }) => {
                self.field(tag::HELLO, hello.as_bytes());
                self.flag(tag::STARTTLS, *starttls);
            }
            Dialogue::Postgresql(PostgresqlDialogue { username, database }) => {
                self.field(tag::USERNAME, username.as_bytes());
                self.field_unless_empty(tag::DATABASE, database.as_bytes());
            }
            Dialogue::Mysql(MysqlDialogue { username }) => {
                self.field_unless_empty(tag::USERNAME, username.as_bytes());
            }
            Dialogue::Ldap(LdapDialogue { username, password, starttls }) => {
                self.field_unless_empty(tag::USERNAME, username.as_bytes());
                self.field_unless_empty(tag::PASSWORD, password.expose());
                self.flag(tag::STARTTLS, *starttls);
            }
            Dialogue::Agent { send } => self.field_unless_empty(tag::SEND, send.as_slice()),
        }
        self.tls(tls.as_ref());
    }

    /// One field for each step: what it is, and for an expectation its limit in 32 bits and whether
    /// it takes the rest of the line; then its bytes.
    fn step(&mut self, step: &DialogueStep) {
        let (kind, limit, rest_of_line, bytes) = match step {
            DialogueStep::Send(bytes) => (1, None, false, bytes.as_slice()),
            DialogueStep::StartTls => (2, None, false, &[][..]),
            DialogueStep::Expect(DialogueExpectation { bytes, limit, rest_of_line }) => {
                let (kind, bytes) = match bytes {
                    ExpectedBytes::Begin(bytes) => (3, RawBytes::as_slice(bytes)),
                    ExpectedBytes::Contain(bytes) => (4, RawBytes::as_slice(bytes)),
                    ExpectedBytes::Pattern(pattern) => (5, pattern.as_str().as_bytes()),
                };
                (kind, Some(limit), *rest_of_line, bytes)
            }
        };
        let mut value = vec![kind];
        if let Some(limit) = limit {
            value.extend_from_slice(&limit.to_be_bytes());
            value.push(u8::from(rest_of_line));
        }
        value.extend_from_slice(bytes);
        self.field(tag::STEP, &value);
    }
}

fn kind(dialogue: &Dialogue) -> u8 {
    match dialogue {
        Dialogue::Steps(_) => 32,
        Dialogue::Redis(_) => 33,
        Dialogue::Smtp(_) => 34,
        Dialogue::Postgresql(_) => 35,
        Dialogue::Mysql(_) => 36,
        Dialogue::Ldap(_) => 37,
        Dialogue::Agent { .. } => 38,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CheckSpec, ProbeSpec, StreamPattern, Target, Timing, Tls};

    #[test]
    fn keys_of_dialogues_are_the_same_in_every_version() {
        let check = |tls, dialogue, key: &str| {
            let target = Target::plain([192, 0, 2, 1].into(), 80);
            let probe = ProbeSpec::Dialogue(Box::new(DialogueProbe { tls, dialogue }));
            let spec = CheckSpec::new(target, probe, Timing::default()).unwrap();
            assert_eq!(spec.key().to_string(), key);
        };
        let expect = |bytes, limit, rest_of_line| {
            DialogueStep::Expect(DialogueExpectation { bytes, limit, rest_of_line })
        };
        let steps = [
            expect(ExpectedBytes::Begin("220 ".into()), 4096, true),
            DialogueStep::Send("QUIT".into()),
            expect(ExpectedBytes::Pattern(StreamPattern::new("^a+").unwrap()), 9, false),
            expect(ExpectedBytes::Contain("ok".into()), 4096, false),
            DialogueStep::StartTls,
        ];
        check(None, Dialogue::Steps(steps.into()), "0264156d39f7e3437d0e6a926a4cb2cb");
        let redis =
            RedisDialogue { username: "u".into(), password: "p".into(), role: Some(RedisRole::Replica) };
        check(None, Dialogue::Redis(redis), "02630ab135dca3d2c15e131587e03562");
        let smtp = SmtpDialogue { hello: "localhost".into(), starttls: true };
        check(Some(Tls::new(true)), Dialogue::Smtp(smtp), "0230b3c77619a79cd8ea8476363f0f41");
        let postgresql = PostgresqlDialogue { username: "u".into(), database: "d".into() };
        check(Some(Tls::new(false)), Dialogue::Postgresql(postgresql), "02522bcba4599ad9ce6e870b562b7ae3");
        check(
            None,
            Dialogue::Mysql(MysqlDialogue { username: "u".into() }),
            "02fdaa1b1edcca96dd4e10b4384c11e6",
        );
        let ldap = LdapDialogue { username: "cn=u".into(), password: "p".into(), starttls: true };
        check(None, Dialogue::Ldap(ldap), "0229825a520d0a16c636c023de990f03");
        check(None, Dialogue::Agent { send: "a\n".into() }, "02ecab420eafe40ea15aafe57ac5a02c");
    }
}
