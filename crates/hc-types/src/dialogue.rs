//! Dialogues over TCP: a list of steps, or the few steps that a known protocol needs.

use std::fmt;

use crate::{RawBytes, Secret, StreamPattern, Tls, quote};

/// A dialogue over one TCP connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DialogueProbe {
    /// TLS over the connection: from its start, or from where the dialogue begins it (see
    /// [`Dialogue::begins_tls`]). `None`: no TLS.
    pub tls: Option<Tls>,
    /// What is said and what is expected.
    pub dialogue: Dialogue,
}

impl DialogueProbe {
    /// Gives a dialogue with STARTTLS and without settings of TLS the usual ones. A check of it has
    /// them in any case.
    pub fn imply_tls(&mut self) {
        // These two ask for TLS in their own protocol, and may do without.
        let may_lack_it = matches!(self.dialogue, Dialogue::Postgresql(_) | Dialogue::Mysql(_));
        if !may_lack_it && self.dialogue.begins_tls() {
            self.tls.get_or_insert(Tls::new(true));
        }
    }
}

/// What is said over a connection and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dialogue {
    /// Steps of one's own, at most [`Dialogue::MAX_STEPS`].
    Steps(Box<[DialogueStep]>),
    /// Redis and what speaks its protocol: AUTH if there is a password, PING, ROLE if one is
    /// expected.
    Redis(RedisDialogue),
    /// SMTP (RFC 5321): the greeting, EHLO, perhaps STARTTLS, QUIT.
    Smtp(SmtpDialogue),
    /// PostgreSQL: the startup message of protocol 3.0. An authentication request passes, and so
    /// does a session that is ready.
    Postgresql(PostgresqlDialogue),
    /// MySQL and MariaDB: the greeting of protocol 10 and a login.
    Mysql(MysqlDialogue),
    /// LDAP (RFC 4511): perhaps StartTLS, perhaps a simple bind, then a search of the root DSE.
    Ldap(LdapDialogue),
    /// An agent that answers with one line in the words of HAProxy's `agent-check`.
    Agent {
        /// Bytes that the agent gets first. Empty: nothing is sent.
        send: RawBytes,
    },
}

impl Dialogue {
    /// The most steps of a dialogue.
    pub const MAX_STEPS: usize = 100;

    /// Whether TLS begins within the dialogue rather than before it.
    #[must_use]
    pub fn begins_tls(&self) -> bool {
        match self {
            Dialogue::Steps(steps) => steps.contains(&DialogueStep::StartTls),
            Dialogue::Smtp(smtp) => smtp.starttls,
            Dialogue::Ldap(ldap) => ldap.starttls,
            // Their TLS is asked for in their own protocol.
            Dialogue::Postgresql(_) | Dialogue::Mysql(_) => true,
            Dialogue::Redis(_) | Dialogue::Agent { .. } => false,
        }
    }

    /// The kind of check, for metrics and texts.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Dialogue::Steps(_) => "tcp",
            Dialogue::Redis(_) => "redis",
            Dialogue::Smtp(_) => "smtp",
            Dialogue::Postgresql(_) => "postgresql",
            Dialogue::Mysql(_) => "mysql",
            Dialogue::Ldap(_) => "ldap",
            Dialogue::Agent { .. } => "agent",
        }
    }

    /// What is tried, as in "Redis check of 192.0.2.1:6379".
    pub(crate) fn subject(&self) -> &'static str {
        match self {
            Dialogue::Steps(_) => "TCP dialogue with",
            Dialogue::Redis(_) => "Redis check of",
            Dialogue::Smtp(_) => "SMTP check of",
            Dialogue::Postgresql(_) => "PostgreSQL check of",
            Dialogue::Mysql(_) => "MySQL check of",
            Dialogue::Ldap(_) => "LDAP check of",
            Dialogue::Agent { .. } => "agent check of",
        }
    }
}

/// One step of a dialogue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DialogueStep {
    /// These bytes are written.
    Send(RawBytes),
    /// Something must come. What matches is used up; the next step begins behind it.
    Expect(DialogueExpectation),
    /// A TLS handshake. Nothing may have come before it that no step has used up.
    StartTls,
}

/// What a step of a dialogue expects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DialogueExpectation {
    /// What must come.
    pub bytes: ExpectedBytes,
    /// How many bytes a match may take at most, and with it the rest of the line: 1 to
    /// [`DialogueExpectation::MAX_LIMIT`].
    pub limit: u32,
    /// Whether the rest of the line, up to the line feed and including it, is used up, too.
    pub rest_of_line: bool,
}

impl DialogueExpectation {
    /// The limit where none is named.
    pub const LIMIT: u32 = 4096;
    /// The highest limit.
    pub const MAX_LIMIT: u32 = 65_536;

    /// An expectation with the default limit.
    #[must_use]
    pub fn new(bytes: ExpectedBytes) -> Self {
        Self { bytes, limit: Self::LIMIT, rest_of_line: false }
    }
}

/// What must come in a step of a dialogue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ExpectedBytes {
    /// The next bytes are these.
    Begin(RawBytes),
    /// These bytes are among those that come.
    Contain(RawBytes),
    /// A pattern matches. It takes as little as it can.
    Pattern(StreamPattern),
}

/// As it is named in texts: `expect "220 "`.
impl fmt::Display for ExpectedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 40;
        let (word, bytes) = match self {
            ExpectedBytes::Begin(bytes) => ("expect", bytes.as_slice()),
            ExpectedBytes::Contain(bytes) => ("expect_contains", bytes.as_slice()),
            ExpectedBytes::Pattern(pattern) => ("expect_regex", pattern.as_str().as_bytes()),
        };
        let more = if bytes.len() > SHOWN { "…" } else { "" };
        write!(f, "{word} {}{more}", quote(&bytes[..bytes.len().min(SHOWN)]))
    }
}

/// What a Redis check says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RedisDialogue {
    /// The user of AUTH (Redis 6). Empty: AUTH with the password alone.
    pub username: RawBytes,
    /// The password of AUTH. Empty: no AUTH.
    pub password: Secret,
    /// The role that ROLE must report.
    pub role: Option<RedisRole>,
}

/// What a Redis server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RedisRole {
    /// It takes writes (`master`).
    Master,
    /// It follows a master (`slave`).
    Replica,
}

/// What an SMTP check says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SmtpDialogue {
    /// The name behind EHLO.
    pub hello: Box<str>,
    /// Whether TLS begins by STARTTLS (RFC 3207). EHLO is said again behind it.
    pub starttls: bool,
}

/// What a PostgreSQL check says. With TLS, the connection begins with an SSLRequest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PostgresqlDialogue {
    /// The user.
    pub username: Box<str>,
    /// The database. Empty: the one that has the name of the user.
    pub database: Box<str>,
}

/// What a MySQL check says. With TLS, the login begins with an SSLRequest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MysqlDialogue {
    /// A user without a password, who must be let in. Empty: nobody in particular, and a server
    /// that denies access passes.
    pub username: Box<str>,
}

/// What an LDAP check says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LdapDialogue {
    /// The name (a DN) of a simple bind before the search. Empty: no bind.
    pub username: Box<str>,
    /// Its password.
    pub password: Secret,
    /// Whether TLS begins by StartTLS (RFC 4511 section 4.14).
    pub starttls: bool,
}

/// A failure within a dialogue, and the step at which it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// The step in words: `step 3 (expect "250 ")`, `EHLO`.
    pub step: Box<str>,
    /// What failed.
    pub failure: crate::Failure,
}

/// Which field of a dialogue cannot be, and why. Brings it into the one form that it has.
pub(crate) fn check(probe: &mut DialogueProbe) -> Result<(), (&'static str, String)> {
    let fits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let has_zero = |text: &str| text.contains('\0');
    let zero = || Err(("username", "a name has no byte 0".to_owned()));
    match &probe.dialogue {
        Dialogue::Steps(steps) => check_steps(steps).map_err(|problem| ("steps", problem))?,
        Dialogue::Redis(redis) => {
            if !redis.username.is_empty() && redis.password.expose().is_empty() {
                return Err(("username", "needs a password".to_owned()));
            }
        }
        Dialogue::Smtp(smtp) if !fits(&smtp.hello) => {
            return Err(("hello", format!("{:?} is no name", smtp.hello)));
        }
        Dialogue::Postgresql(PostgresqlDialogue { username, database }) => {
            if username.is_empty() {
                return Err(("username", "must not be empty".to_owned()));
            }
            if has_zero(username) || has_zero(database) {
                return zero();
            }
        }
        Dialogue::Mysql(mysql) if has_zero(&mysql.username) => return zero(),
        // A bind with a name and no password is anonymous, and succeeds for any name (RFC 4513
        // section 5.1.2).
        Dialogue::Ldap(ldap) if ldap.username.is_empty() != ldap.password.expose().is_empty() => {
            return Err(("username", "name and password of a bind need each other".to_owned()));
        }
        Dialogue::Smtp(_) | Dialogue::Mysql(_) | Dialogue::Ldap(_) | Dialogue::Agent { .. } => {}
    }
    probe.imply_tls();
    Ok(())
}

fn check_steps(steps: &[DialogueStep]) -> Result<(), String> {
    if !(1..=Dialogue::MAX_STEPS).contains(&steps.len()) {
        return Err(format!("{} steps; a dialogue has 1 to {}", steps.len(), Dialogue::MAX_STEPS));
    }
    if steps.iter().filter(|step| **step == DialogueStep::StartTls).count() > 1 {
        return Err("TLS begins twice".to_owned());
    }
    (1..).zip(steps).try_for_each(|(number, step)| match problem(step) {
        Some(problem) => Err(format!("step {number} {problem}")),
        None => Ok(()),
    })
}

fn problem(step: &DialogueStep) -> Option<&'static str> {
    let DialogueExpectation { bytes, limit, rest_of_line } = match step {
        DialogueStep::StartTls => return None,
        DialogueStep::Send(bytes) => return bytes.is_empty().then_some("sends nothing"),
        DialogueStep::Expect(expectation) => expectation,
    };
    if !(1..=DialogueExpectation::MAX_LIMIT).contains(limit) {
        return Some("has a limit that is not in 1 to 65536");
    }
    let (length, may_be_empty) = match bytes {
        ExpectedBytes::Begin(bytes) => (bytes.len(), *rest_of_line),
        ExpectedBytes::Contain(bytes) => (bytes.len(), false),
        ExpectedBytes::Pattern(_) => return None,
    };
    match length {
        0 if !may_be_empty => Some("expects nothing"),
        length if length > *limit as usize => Some("expects more bytes than its limit"),
        _ => None,
    }
}
