//! The keys of the format: the one place where a key gets its name, its form, its default and its
//! words.

pub(crate) mod dialogue;
mod http;
mod target;
mod timing;
pub(crate) mod tls;

pub(crate) use http::{
    BODY, BODY_CONTAINS, BODY_JSON, BODY_LIMIT, BODY_MATCHES, EXPECTED_BODY, EXPECTED_CODES,
    EXPECTED_HEADERS, HEADER_CONTAINS, HEADER_EQUALS, HEADER_MATCHES, HEADER_NAME, HEADER_PRESENT, HEADERS,
    HOST, HTTP, JSON_EQUALS, METHOD, PATH, POINTER, PROXY, REUSE, USER_AGENT, VERSION,
};
pub(crate) use target::{
    ADDRESS, BACKEND, DEPENDS_ON, EXCLUDE, MARK, MODE, PORT, RESOLVE, TARGET, TARGET_NAME,
};
pub(crate) use timing::{
    ADAPTIVE_TIMEOUT, DOWN_INTERVAL, FALL, FAST_INTERVAL, INTERVAL, JITTER, RETRIES, RISE, START_DELAY,
    TIMEOUT,
};

use hc_types::{OpinionPolicy, Quorum};

use self::dialogue::{AGENT, LDAP, MYSQL, POSTGRESQL, REDIS, SMTP, STEPS};
use crate::form::{Form, Key, Syntax, Table, Value};
use crate::words;
use tls::TLS;

/// The keys of a check that it can inherit, behind others.
macro_rules! and_shared {
    ($($own:expr),*) => {
        &[
            $($own,)*
            &EXTENDS,
            &TARGET,
            &EXCLUDE,
            &RESOLVE,
            &PORT,
            &INTERVAL,
            &TIMEOUT,
            &RETRIES,
            &FALL,
            &RISE,
            &FAST_INTERVAL,
            &DOWN_INTERVAL,
            &JITTER,
            &START_DELAY,
        &ADAPTIVE_TIMEOUT,
            &LABELS,
            &DEPENDS_ON,
            &METRICS,
            &OPINIONS,
            &QUORUM,
            &MODE,
            &MARK,
            &BACKEND,
            &SOURCE,
            &DEVICE,
            &PROXY_PROTOCOL,
            &TCP,
            &HTTP,
            &UDP,
            &DNS,
            &GRPC,
            &RADIUS,
            &ICMP,
            &REDIS,
            &SMTP,
            &POSTGRESQL,
            &MYSQL,
            &LDAP,
            &AGENT,
        ]
    };
}

/// The file.
pub(crate) static DOCUMENT: Table = Table {
    name: "",
    doc: "A file of checks.",
    keys: &[&CHECK, &DEFAULTS, &GROUP, &TEMPLATE],
    exclusive: &[],
};

pub(crate) static DEFAULTS: Key = Key {
    name: "defaults",
    form: Form::Table(&DEFAULTS_TABLE),
    default: "none",
    doc: "Values for all checks of this file that do not say otherwise. A table of a probe, such as `[defaults.http]`, sets \
          values for the checks of that kind and chooses no kind.",
};
pub(crate) static TEMPLATE: Key = Key {
    name: "template",
    form: Form::Named(&TEMPLATE_TABLE),
    default: "none",
    doc: "Values for the checks, groups and templates that name it in `extends`, in whichever file.",
};
pub(crate) static GROUP: Key = Key {
    name: "group",
    form: Form::Named(&GROUP_TABLE),
    default: "none",
    doc: "Values for the checks that name it in `group`, in whichever file. Its checks have the label `group`.",
};
pub(crate) static CHECK: Key = Key {
    name: "check",
    form: Form::List(&Form::Table(&CHECK_TABLE)),
    default: "none",
    doc: "One check, or one for each of its targets and ports.",
};

static DEFAULTS_TABLE: Table = Table {
    name: "defaults",
    doc: "Values for all checks of this file. What stands nearer wins: the check, its templates, its group, the templates of \
          the group, then these.",
    keys: &[
        &INTERVAL,
        &TIMEOUT,
        &RETRIES,
        &FALL,
        &RISE,
        &FAST_INTERVAL,
        &DOWN_INTERVAL,
        &JITTER,
        &START_DELAY,
        &ADAPTIVE_TIMEOUT,
        &LABELS,
        &METRICS,
        &OPINIONS,
        &QUORUM,
        &PORT,
        &MODE,
        &MARK,
        &SOURCE,
        &DEVICE,
        &TCP,
        &HTTP,
        &UDP,
        &DNS,
        &GRPC,
        &RADIUS,
        &REDIS,
        &SMTP,
        &POSTGRESQL,
        &MYSQL,
        &LDAP,
        &AGENT,
    ],
    exclusive: ONE_OF,
};
static TEMPLATE_TABLE: Table = Table {
    name: "template.NAME",
    doc: "A template, by a name of your choice. Its keys are those of `[check]` without `name` and `group`.",
    keys: SHARED_KEYS,
    exclusive: ONE_OF,
};
static GROUP_TABLE: Table = Table {
    name: "group.NAME",
    doc: "A group, by a name of your choice. Its keys are those of `[check]` without `name` and `group`.",
    keys: SHARED_KEYS,
    exclusive: ONE_OF,
};
pub(crate) static CHECK_TABLE: Table = Table {
    name: "check",
    doc: "A check. It needs `name`, `target` and one kind of probe, of its own or from its templates or its group.",
    keys: and_shared![&NAME, &GROUP_NAME],
    exclusive: ONE_OF,
};
/// What a check can inherit.
pub(crate) static SHARED_KEYS: &[&Key] = and_shared![];
/// Two names of one thing.
static ONE_OF: &[&[&str]] = &[&["retries", "fall"]];

pub(crate) static NAME: Key = Key {
    name: "name",
    form: Form::Text(&CHECK_NAME),
    default: "required",
    doc: "The name of the check, unique over all files; its id is made from it. Where `target` is a list or a range, or \
          `port` is, `/ADDRESS:PORT` is added.",
};
pub(crate) static GROUP_NAME: Key = Key {
    name: "group",
    form: Form::Text(&TABLE_NAME),
    default: "none",
    doc: "The group that the check belongs to.",
};
pub(crate) static EXTENDS: Key = Key {
    name: "extends",
    form: Form::OneOrMany(&Form::Text(&TABLE_NAME)),
    default: "none",
    doc: "Templates whose values these are based on; of several the later one wins.",
};
pub(crate) static LABELS: Key = Key {
    name: "labels",
    form: Form::Labels,
    default: "none",
    doc: "Labels of the check, for filters and metrics. They are joined with those of group and templates, name by name.",
};
pub(crate) static METRICS: Key = Key {
    name: "metrics",
    form: Form::Flag,
    default: "false",
    doc: "Whether each of these checks has series of its own in the metrics of hc-server, within its `[metrics] max_checks`. \
          All checks are counted by kind in any case.",
};
pub(crate) static OPINIONS: Key = Key {
    name: "opinions",
    form: Form::Integer(1, OpinionPolicy::MOST_OPINIONS as i64),
    default: "`[fleet] opinions` of hc-server",
    doc: "How many nodes of a fleet probe each of these checks. Of all nodes where there are fewer. Without a fleet it has no effect.",
};
pub(crate) static QUORUM: Key = Key {
    name: "quorum",
    form: Form::Text(&QUORUM_SYNTAX),
    default: "`[fleet] quorum` of hc-server",
    doc: "What the opinions of these nodes amount to: a check is healthy when `\"any\"`, the `\"majority\"` or `\"all\"` of them find it \
          healthy, or so many as this number says. Without a fleet it has no effect.",
};
static QUORUM_SYNTAX: Syntax = Syntax {
    noun: "a rule such as \"majority\"",
    pattern: Some("^(any|majority|all|[1-9]|1[0-5])$"),
    integer: Some((1, OpinionPolicy::MOST_OPINIONS as i64)),
    read: |text| {
        text.parse::<Quorum>().map(|rule| Value::Text(rule.to_string())).map_err(|error| error.to_string())
    },
};
pub(crate) static SOURCE: Key = Key {
    name: "source",
    form: Form::OneOrMany(&Form::Text(&ADDRESS_SYNTAX)),
    default: "what the route says",
    doc: "The local address that packets are sent from: one, or one for each family of the targets. With \"any\" and \"all\" the addresses of a family without one are left out, with a line in the log.",
};
pub(crate) static DEVICE: Key = Key {
    name: "device",
    form: Form::Text(&ANY_TEXT),
    default: "what the route says",
    doc: "The interface that packets leave and arrive through (SO_BINDTODEVICE), whatever the routes say: `eth1`, or a VRF.",
};
pub(crate) static PROXY_PROTOCOL: Key = Key {
    name: "proxy_protocol",
    form: Form::Word(&["v1", "v2", "v2-local"]),
    default: "nothing is sent",
    doc: "Send a header of the PROXY protocol first, for backends that want one: of version 1 or 2 with the addresses of the \
          connection, or of version 2 without addresses (LOCAL). For checks over TCP.",
};

pub(crate) static TCP: Key = Key {
    name: "tcp",
    form: Form::Table(&TCP_TABLE),
    default: "none",
    doc: "Connect, TLS if asked, send and compare if asked; or a SYN alone.",
};
pub(crate) static UDP: Key = Key {
    name: "udp",
    form: Form::Table(&UDP_TABLE),
    default: "none",
    doc: "One datagram out, one datagram back.",
};
pub(crate) static DNS: Key = Key {
    name: "dns",
    form: Form::Table(&DNS_TABLE),
    default: "none",
    doc: "One DNS question over UDP, asked of the target.",
};
pub(crate) static GRPC: Key = Key {
    name: "grpc",
    form: Form::Table(&GRPC_TABLE),
    default: "none",
    doc: "One call of gRPC's health service (`grpc.health.v1.Health/Check`) over HTTP/2.",
};
pub(crate) static RADIUS: Key = Key {
    name: "radius",
    form: Form::Table(&RADIUS_TABLE),
    default: "none",
    doc: "One RADIUS Access-Request (PAP), or one Status-Server.",
};
pub(crate) static ICMP: Key =
    Key { name: "icmp", form: Form::Table(&ICMP_TABLE), default: "none", doc: "One ICMP or ICMPv6 echo." };

/// What its table needs, and cannot inherit.
pub(crate) static ALWAYS: &[&Key] = &[&NAME, &ADDRESS, &HEADER_NAME, &POINTER];

/// The kinds of probes. A check has one.
pub(crate) static KINDS: &[&Key] =
    &[&TCP, &HTTP, &UDP, &DNS, &RADIUS, &ICMP, &REDIS, &SMTP, &POSTGRESQL, &MYSQL, &LDAP, &AGENT, &GRPC];

static TCP_TABLE: Table = Table {
    name: "check.tcp",
    doc: "TCP: the connection itself is the check, unless `send`, `receive` or `steps` asks for more. With `probe = \"syn\"` \
          it is never made.",
    keys: &[&TCP_PROBE, &SEND, &RECEIVE, &STEPS, &TLS],
    exclusive: &[&["steps", "send"], &["steps", "receive"]],
};
static UDP_TABLE: Table = Table {
    name: "check.udp",
    doc: "UDP: the first datagram that comes back decides.",
    keys: &[&UDP_SEND, &UDP_RECEIVE],
    exclusive: &[],
};
static DNS_TABLE: Table = Table {
    name: "check.dns",
    doc: "DNS: passes if one record of the answer is what is expected, or if the response code is an expected one \
          other than NOERROR.",
    keys: &[
        &QUERY,
        &QUERY_TYPE,
        &QUERY_CLASS,
        &EXPECTED_IPS,
        &EXPECTED_ANSWER,
        &EXPECTED_RCODES,
        &FRESH_LABEL,
        &EDNS_PAYLOAD,
        &DNSSEC_OK,
        &CHECKING_DISABLED,
        &RECURSION_DESIRED,
    ],
    exclusive: &[&["expected_ips", "expected_answer"]],
};
static GRPC_TABLE: Table = Table {
    name: "check.grpc",
    doc: "gRPC: passes if the service is SERVING. NOT_SERVING, UNKNOWN and SERVICE_UNKNOWN fail, and so does any `grpc-status` \
          but 0.",
    keys: &[&SERVICE, &GRPC_HOST, &TLS],
    exclusive: &[],
};
static RADIUS_TABLE: Table = Table {
    name: "check.radius",
    doc: "RADIUS: the password and the secret stand here or in files of their own.",
    keys: &[
        &STATUS_SERVER,
        &USERNAME,
        &PASSWORD,
        &PASSWORD_FILE,
        &SECRET,
        &SECRET_FILE,
        &EXPECTED_RESPONSE,
        &REQUIRE_MESSAGE_AUTHENTICATOR,
    ],
    exclusive: &[&["password", "password_file"], &["secret", "secret_file"]],
};
static ICMP_TABLE: Table =
    Table { name: "check.icmp", doc: "ICMP: no keys; `icmp = {}`.", keys: &[], exclusive: &[] };
pub(crate) static TCP_PROBE: Key = Key {
    name: "probe",
    form: Form::Word(&["connect", "syn"]),
    default: "\"connect\"",
    doc: "How the port is asked: by a connection, or by a SYN alone, whose answer shows that a socket listens and nothing else \
          (half-open TCP checks, above). `syn` goes with no other key of this table and with no `mark`.",
};
pub(crate) static SEND: Key = Key {
    name: "send",
    form: Form::Bytes,
    default: "nothing",
    doc: "Bytes that are written after the connection stands.",
};
pub(crate) static RECEIVE: Key = Key {
    name: "receive",
    form: Form::Bytes,
    default: "nothing is read",
    doc: "Bytes that the first bytes of the peer must equal.",
};
pub(crate) static UDP_SEND: Key =
    Key { name: "send", form: Form::Bytes, default: "an empty datagram", doc: "Payload of the datagram." };
pub(crate) static UDP_RECEIVE: Key = Key {
    name: "receive",
    form: Form::Bytes,
    default: "any datagram",
    doc: "Bytes with which the answer must begin.",
};
pub(crate) static SERVICE: Key = Key {
    name: "service",
    form: Form::Text(&ANY_TEXT),
    default: "the server as a whole",
    doc: "The service that is asked about, at most 1024 bytes.",
};
pub(crate) static GRPC_HOST: Key = Key {
    name: "host",
    form: Form::Text(&http::HOST_SYNTAX),
    default: "the host name of the target, or its address and port",
    doc: "The authority of the request, and with TLS the name for SNI and verification.",
};
pub(crate) static QUERY: Key = Key {
    name: "query",
    form: Form::Text(&ANY_TEXT),
    default: "required",
    doc: "The name that is asked for, with or without its last dot.",
};
pub(crate) static QUERY_TYPE: Key = Key {
    name: "query_type",
    form: Form::Text(&RECORD_TYPE_SYNTAX),
    default: "\"A\"",
    doc: "The record type: a name such as `AAAA` or `MX`, or `TYPE65`.",
};
pub(crate) static QUERY_CLASS: Key = Key {
    name: "query_class",
    form: Form::Text(&RECORD_CLASS_SYNTAX),
    default: "\"IN\"",
    doc: "The class: a name such as `CH`, or `CLASS3`.",
};
pub(crate) static EXPECTED_IPS: Key = Key {
    name: "expected_ips",
    form: Form::OneOrMany(&Form::Text(&ADDRESS_SYNTAX)),
    default: "any record",
    doc: "Addresses of which one record must have one; for A and AAAA.",
};
pub(crate) static EXPECTED_ANSWER: Key = Key {
    name: "expected_answer",
    form: Form::Text(&ANY_TEXT),
    default: "any record",
    doc: "The data of one record in presentation form (RFC 1035 section 5); for the other types.",
};

pub(crate) static EXPECTED_RCODES: Key = Key {
    name: "expected_rcodes",
    form: Form::OneOrMany(&Form::Text(&RCODE_SYNTAX)),
    default: "\"NOERROR\"",
    doc: "Response codes that pass: names such as `NXDOMAIN`, or `RCODE12`. With any but NOERROR the answers are not looked at.",
};
pub(crate) static FRESH_LABEL: Key = Key {
    name: "fresh_label",
    form: Form::Flag,
    default: "false",
    doc: "Ask for a name that nobody has asked for before: a label of 16 random digits stands before `query`, so that no cache \
          has the answer. The zone needs a wildcard, or `expected_rcodes` says NXDOMAIN.",
};
pub(crate) static EDNS_PAYLOAD: Key = Key {
    name: "edns_payload",
    form: Form::Integer(512, 65535),
    default: "no EDNS",
    doc: "Speak EDNS with this size of UDP payload in bytes.",
};
pub(crate) static DNSSEC_OK: Key = Key {
    name: "dnssec_ok",
    form: Form::Flag,
    default: "false",
    doc: "Set the DO bit: ask for signatures. Brings EDNS with 1232 bytes unless `edns_payload` says otherwise.",
};
pub(crate) static CHECKING_DISABLED: Key = Key {
    name: "checking_disabled",
    form: Form::Flag,
    default: "false",
    doc: "Set the CD bit: a resolver shall answer without validating.",
};
pub(crate) static RECURSION_DESIRED: Key =
    Key { name: "recursion_desired", form: Form::Flag, default: "true", doc: "Set the RD bit." };

pub(crate) static STATUS_SERVER: Key = Key {
    name: "status_server",
    form: Form::Flag,
    default: "false",
    doc: "Send a Status-Server (RFC 5997) instead of a login: nobody is logged in and no account can be locked. It needs `secret` \
          alone; Access-Accept and Accounting-Response pass.",
};
pub(crate) static USERNAME: Key = Key {
    name: "username",
    form: Form::Bytes,
    default: "required without `status_server`",
    doc: "User-Name.",
};
pub(crate) static PASSWORD: Key =
    Key { name: "password", form: Form::Secret, default: "empty", doc: "User-Password." };
pub(crate) static PASSWORD_FILE: Key = Key {
    name: "password_file",
    form: Form::Text(&FILE_SYNTAX),
    default: "none",
    doc: "A file with the password, relative to the file that names it. One line break at its end is not part of it.",
};
pub(crate) static SECRET: Key = Key {
    name: "secret",
    form: Form::Secret,
    default: "required, or `secret_file`",
    doc: "The secret shared with the server.",
};
pub(crate) static SECRET_FILE: Key = Key {
    name: "secret_file",
    form: Form::Text(&FILE_SYNTAX),
    default: "none",
    doc: "A file with the secret, relative to the file that names it. One line break at its end is not part of it.",
};
pub(crate) static EXPECTED_RESPONSE: Key = Key {
    name: "expected_response",
    form: Form::Word(&["accept", "reject", "challenge", "any"]),
    default: "\"accept\"",
    doc: "The response that passes.",
};
pub(crate) static REQUIRE_MESSAGE_AUTHENTICATOR: Key = Key {
    name: "require_message_authenticator",
    form: Form::Flag,
    default: "false",
    doc: "A response without Message-Authenticator fails. One that has it is always verified.",
};

pub(crate) static CHECK_NAME: Syntax =
    Syntax { noun: "a name", pattern: Some(r"^\S+$"), integer: None, read: words::check_name };
static TABLE_NAME: Syntax =
    Syntax { noun: "the name of a table", pattern: None, integer: None, read: words::any };
static ANY_TEXT: Syntax = Syntax { noun: "a string", pattern: None, integer: None, read: words::any };
pub(crate) static ADDRESS_SYNTAX: Syntax =
    Syntax { noun: "an IP address", pattern: None, integer: None, read: words::address };
static HOST_NAME_SYNTAX: Syntax = Syntax {
    noun: "a host name or an address",
    pattern: Some(r"^[0-9A-Za-z._:-]+$"),
    integer: None,
    read: words::host_name,
};
static RECORD_TYPE_SYNTAX: Syntax =
    Syntax { noun: "a record type", pattern: None, integer: None, read: words::record_type };
static RECORD_CLASS_SYNTAX: Syntax =
    Syntax { noun: "a class", pattern: None, integer: None, read: words::record_class };
static RCODE_SYNTAX: Syntax =
    Syntax { noun: "a response code", pattern: None, integer: None, read: words::rcode };
static FILE_SYNTAX: Syntax =
    Syntax { noun: "the path of a file", pattern: Some("^.+$"), integer: None, read: words::file };
