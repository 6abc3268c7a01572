//! The keys of dialogues over TCP.

use hc_types::DialogueExpectation;

use super::FILE_SYNTAX;
use super::tls::TLS;
use crate::form::{Form, Key, Syntax, Table};
use crate::words;

pub(crate) static STEPS: Key = Key {
    name: "steps",
    form: Form::List(&Form::Table(&STEP_TABLE)),
    default: "none",
    doc: "A dialogue: steps that are taken one after the other, 1 to 100. Each sends, expects, or begins TLS.",
};
pub(crate) static REDIS: Key = Key {
    name: "redis",
    form: Form::Table(&REDIS_TABLE),
    default: "none",
    doc: "PING of a Redis server, with AUTH and ROLE if asked.",
};
pub(crate) static SMTP: Key = Key {
    name: "smtp",
    form: Form::Table(&SMTP_TABLE),
    default: "none",
    doc: "An SMTP session without a mail.",
};
pub(crate) static POSTGRESQL: Key = Key {
    name: "postgresql",
    form: Form::Table(&POSTGRESQL_TABLE),
    default: "none",
    doc: "The start of a PostgreSQL session, up to the question for a password.",
};
pub(crate) static MYSQL: Key = Key {
    name: "mysql",
    form: Form::Table(&MYSQL_TABLE),
    default: "none",
    doc: "A login at MySQL or MariaDB, without a password.",
};
pub(crate) static LDAP: Key = Key {
    name: "ldap",
    form: Form::Table(&LDAP_TABLE),
    default: "none",
    doc: "A search of the root DSE of an LDAP server, after a bind if asked.",
};
pub(crate) static AGENT: Key = Key {
    name: "agent",
    form: Form::Table(&AGENT_TABLE),
    default: "none",
    doc: "A question to an agent in the words of HAProxy's `agent-check`.",
};

static STEP_TABLE: Table = Table {
    name: "check.tcp.steps",
    doc: "A step of a dialogue: one of the first five keys. What an expectation matches is used up; the next step begins \
          behind it.",
    keys: &[&STEP_SEND, &EXPECT, &EXPECT_CONTAINS, &EXPECT_REGEX, &STEP_STARTTLS, &REST_OF_LINE, &LIMIT],
    exclusive: &[&["send", "expect", "expect_contains", "expect_regex", "starttls"]],
};
static REDIS_TABLE: Table = Table {
    name: "check.redis",
    doc: "Redis: passes if PING is answered. A server that loads its data (LOADING), has lost its master (MASTERDOWN) or wants a \
          password (NOAUTH) fails.",
    keys: &[&REDIS_USERNAME, &DIALOGUE_PASSWORD, &DIALOGUE_PASSWORD_FILE, &ROLE, &TLS],
    exclusive: &[&["password", "password_file"]],
};
static SMTP_TABLE: Table = Table {
    name: "check.smtp",
    doc: "SMTP: the greeting must be 220, and EHLO (or else HELO) must be answered by 250. QUIT ends the session.",
    keys: &[&HELLO, &TLS, &STARTTLS],
    exclusive: &[],
};
static POSTGRESQL_TABLE: Table = Table {
    name: "check.postgresql",
    doc: "PostgreSQL: passes if the server asks for a password, or lets the user in. An error fails, such as 57P03 while the server \
          starts, 53300 with too many clients, 28000 without an entry in `pg_hba.conf`, 3D000 without the database.",
    keys: &[&POSTGRESQL_USERNAME, &DATABASE, &TLS],
    exclusive: &[],
};
static MYSQL_TABLE: Table = Table {
    name: "check.mysql",
    doc: "MySQL and MariaDB: a login is always brought to its end, since a server blocks a host that closes `max_connect_errors` \
          connections before (HAProxy's `mysql-check` without a user does). Errors before the login fail, such as 1040 (too many \
          connections), 1129 (the host is blocked) and 1130 (the host may not connect).",
    keys: &[&MYSQL_USERNAME, &TLS],
    exclusive: &[],
};
static LDAP_TABLE: Table = Table {
    name: "check.ldap",
    doc: "LDAP: passes if the root DSE can be searched, which needs no bind on most servers.",
    keys: &[&LDAP_USERNAME, &DIALOGUE_PASSWORD, &DIALOGUE_PASSWORD_FILE, &TLS, &STARTTLS],
    exclusive: &[&["password", "password_file"]],
};
static AGENT_TABLE: Table = Table {
    name: "check.agent",
    doc: "An agent answers one line. `up`, `ready` and a weight above `0%` pass; `down`, `fail`, `failed`, `stopped`, `drain`, `maint` and \
          `0%` fail: none of these wants new connections. Of several words one that fails decides. What follows it, or `#`, is the \
          reason. Other words, such as `maxconn:30`, are ignored beside these.",
    keys: &[&AGENT_SEND, &TLS],
    exclusive: &[],
};

pub(crate) static STEP_SEND: Key =
    Key { name: "send", form: Form::Bytes, default: "none", doc: "Bytes that are written." };
pub(crate) static EXPECT: Key =
    Key { name: "expect", form: Form::Bytes, default: "none", doc: "The next bytes must be these." };
pub(crate) static EXPECT_CONTAINS: Key = Key {
    name: "expect_contains",
    form: Form::Bytes,
    default: "none",
    doc: "These bytes must come, within `limit`; all before them is used up, too.",
};
pub(crate) static EXPECT_REGEX: Key = Key {
    name: "expect_regex",
    form: Form::Text(&PATTERN_SYNTAX),
    default: "none",
    doc: "A regular expression (the syntax of Rust's `regex`) that must match within `limit`; all before the match is used up, too. It \
          matches bytes, takes as little as it can, and begins anywhere unless it begins with `^`. It cannot look ahead (`$`, `\\b`): \
          write a line end as `\\r\\n`.",
};
pub(crate) static STEP_STARTTLS: Key = Key {
    name: "starttls",
    form: Form::Flag,
    default: "none",
    doc: "`true`: a TLS handshake, with the settings of `tls`, which then does not stand before the first step.",
};
pub(crate) static REST_OF_LINE: Key = Key {
    name: "rest_of_line",
    form: Form::Flag,
    default: "false",
    doc: "What follows is used up to the end of the line. Without an expectation: any line.",
};
pub(crate) static LIMIT: Key = Key {
    name: "limit",
    form: Form::Integer(1, DialogueExpectation::MAX_LIMIT as i64),
    default: "4096",
    doc: "How many bytes the match, and the rest of its line, may take.",
};
pub(crate) static REDIS_USERNAME: Key =
    Key { name: "username", form: Form::Bytes, default: "none", doc: "The user of AUTH, since Redis 6." };
pub(crate) static DIALOGUE_PASSWORD: Key =
    Key { name: "password", form: Form::Secret, default: "none", doc: "The password." };
pub(crate) static DIALOGUE_PASSWORD_FILE: Key = Key {
    name: "password_file",
    form: Form::Text(&FILE_SYNTAX),
    default: "none",
    doc: "A file with the password, relative to the file that names it. One line break at its end is not part of it.",
};
pub(crate) static ROLE: Key = Key {
    name: "role",
    form: Form::Word(&["master", "replica"]),
    default: "any",
    doc: "The role that the server must have.",
};
pub(crate) static HELLO: Key = Key {
    name: "hello",
    form: Form::Text(&NAME_SYNTAX),
    default: "\"localhost\"",
    doc: "The name of this machine, behind EHLO.",
};
pub(crate) static STARTTLS: Key = Key {
    name: "starttls",
    form: Form::Flag,
    default: "false",
    doc: "Begin TLS within the session, with the settings of `tls`.",
};
pub(crate) static POSTGRESQL_USERNAME: Key = Key {
    name: "username",
    form: Form::Text(&NAME_SYNTAX),
    default: "\"postgres\"",
    doc: "The user. It need not exist where a password is asked for.",
};
pub(crate) static DATABASE: Key = Key {
    name: "database",
    form: Form::Text(&NAME_SYNTAX),
    default: "that with the name of the user",
    doc: "The database. It need not exist where a password is asked for.",
};
pub(crate) static MYSQL_USERNAME: Key = Key {
    name: "username",
    form: Form::Text(&NAME_SYNTAX),
    default: "nobody",
    doc: "A user without a password, who must be let in (`CREATE USER hc`, without privileges). Without one, a server that denies \
          access passes; it may log a warning each time.",
};
pub(crate) static LDAP_USERNAME: Key = Key {
    name: "username",
    form: Form::Text(&LDAP_NAME_SYNTAX),
    default: "none",
    doc: "The name (a DN) of a simple bind before the search. It needs a password.",
};
pub(crate) static AGENT_SEND: Key = Key {
    name: "send",
    form: Form::Bytes,
    default: "nothing",
    doc: "Bytes that the agent gets first, such as the name of the server and a line feed.",
};

static PATTERN_SYNTAX: Syntax =
    Syntax { noun: "a regular expression", pattern: None, integer: None, read: words::stream_pattern };
static NAME_SYNTAX: Syntax =
    Syntax { noun: "a name", pattern: Some(r"^[!-~]+$"), integer: None, read: words::graphic };
static LDAP_NAME_SYNTAX: Syntax =
    Syntax { noun: "a distinguished name", pattern: None, integer: None, read: words::any };
