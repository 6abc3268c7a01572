//! The keys of `[check.http]`.

use hc_types::{HttpConditions, HttpRequest};

use super::ANY_TEXT;
use super::tls::TLS;
use crate::form::{Form, Key, Syntax, Table, Value};
use crate::range::read_codes;
use crate::words;

pub(crate) static HTTP: Key =
    Key { name: "http", form: Form::Table(&HTTP_TABLE), default: "none", doc: "One HTTP exchange." };
static HTTP_TABLE: Table = Table {
    name: "check.http",
    doc: "HTTP: redirects are judged, not followed.",
    keys: &[
        &VERSION,
        &METHOD,
        &PATH,
        &HOST,
        &USER_AGENT,
        &HEADERS,
        &BODY,
        &EXPECTED_CODES,
        &EXPECTED_HEADERS,
        &EXPECTED_BODY,
        &BODY_CONTAINS,
        &BODY_MATCHES,
        &BODY_JSON,
        &BODY_LIMIT,
        &PROXY,
        &REUSE,
        &TLS,
    ],
    exclusive: &[],
};
static EXPECTED_HEADER_TABLE: Table = Table {
    name: "check.http.expected_headers",
    doc: "A condition on a header field. It has at most one of `present`, `equals`, `contains` and `matches`; without them the \
          field must be there. If a response has several fields of the name, one of them must fit. Values are compared without \
          the blanks around them.",
    keys: &[&HEADER_NAME, &HEADER_PRESENT, &HEADER_EQUALS, &HEADER_CONTAINS, &HEADER_MATCHES],
    exclusive: &[&["present", "equals", "contains", "matches"]],
};
static BODY_JSON_TABLE: Table = Table {
    name: "check.http.body_json",
    doc: "A condition on one value of a JSON body. The whole body must be JSON, and fit into `body_limit`.",
    keys: &[&POINTER, &JSON_EQUALS],
    exclusive: &[],
};
pub(crate) static METHOD: Key =
    Key { name: "method", form: Form::Text(&METHOD_SYNTAX), default: "\"GET\"", doc: "The request method." };
pub(crate) static PATH: Key = Key {
    name: "path",
    form: Form::Text(&PATH_SYNTAX),
    default: "\"/\"",
    doc: "The request target: a path, with a query if need be, percent-encoded.",
};
pub(crate) static HOST: Key = Key {
    name: "host",
    form: Form::Text(&HOST_SYNTAX),
    default: "the host name of the target, or its address and port",
    doc: "The Host header, and with TLS the name for SNI and verification.",
};
pub(crate) static EXPECTED_CODES: Key = Key {
    name: "expected_codes",
    form: Form::OneOrMany(&Form::Text(&CODES_SYNTAX)),
    default: "200",
    doc: "Status codes that pass: a number, a range, a class, or a list of these. An empty list takes any code.",
};
pub(crate) static EXPECTED_BODY: Key = Key {
    name: "expected_body",
    form: Form::Bytes,
    default: "the body is not read",
    doc: "Bytes with which the body must begin.",
};
pub(crate) static VERSION: Key = Key {
    name: "version",
    form: Form::Word(&["1.1", "2"]),
    default: "\"1.1\"",
    doc: "The version of HTTP. Version 2 is agreed by ALPN over TLS, and spoken at once (prior knowledge) without.",
};
pub(crate) static USER_AGENT: Key = Key {
    name: "user_agent",
    form: Form::Text(&ANY_TEXT),
    default: "that of hc-server",
    doc: "The User-Agent header. Empty: none is sent.",
};
pub(crate) static HEADERS: Key = Key {
    name: "headers",
    form: Form::Fields,
    default: "none",
    doc: "Further headers of the request, at most 64 of 16 KiB together. Host, User-Agent, Content-Length, Transfer-Encoding, \
          Connection, Keep-Alive, Proxy-Connection, Upgrade, HTTP2-Settings, TE, Trailer and Expect are refused. They are joined \
          with those of group and templates, name by name. Values do not show up in errors and logs.",
};
pub(crate) static BODY: Key = Key {
    name: "body",
    form: Form::Bytes,
    default: "none",
    doc: "The body of the request, at most 64 KiB, sent with its Content-Length.",
};
pub(crate) static EXPECTED_HEADERS: Key = Key {
    name: "expected_headers",
    form: Form::OneOrMany(&Form::Table(&EXPECTED_HEADER_TABLE)),
    default: "none",
    doc: "Conditions on the headers of the response; all of them must hold.",
};
pub(crate) static HEADER_NAME: Key = Key {
    name: "name",
    form: Form::Text(&FIELD_NAME_SYNTAX),
    default: "required",
    doc: "The name of the header, in any case.",
};
pub(crate) static HEADER_PRESENT: Key = Key {
    name: "present",
    form: Form::Flag,
    default: "true",
    doc: "Whether the header must be there, or must not.",
};
pub(crate) static HEADER_EQUALS: Key =
    Key { name: "equals", form: Form::Bytes, default: "any value", doc: "The value that it must have." };
pub(crate) static HEADER_CONTAINS: Key = Key {
    name: "contains",
    form: Form::Bytes,
    default: "any value",
    doc: "What its value must have somewhere.",
};
pub(crate) static HEADER_MATCHES: Key = Key {
    name: "matches",
    form: Form::Text(&PATTERN_SYNTAX),
    default: "any value",
    doc: "A regular expression that must match somewhere in its value.",
};
pub(crate) static BODY_CONTAINS: Key = Key {
    name: "body_contains",
    form: Form::OneOrMany(&Form::Bytes),
    default: "none",
    doc: "What the body must have somewhere; of a list, all of it. The rest of a body in which all is found is not waited for.",
};
pub(crate) static BODY_MATCHES: Key = Key {
    name: "body_matches",
    form: Form::OneOrMany(&Form::Text(&PATTERN_SYNTAX)),
    default: "none",
    doc: "Regular expressions that must match somewhere in the body. The syntax is that of Rust's crate regex (as RE2: no \
          look-around, no back-references); `\\b` knows ASCII only. An expression that would cost too much is refused, and one \
          that turns out to have too many states for a body fails.",
};
pub(crate) static BODY_JSON: Key = Key {
    name: "body_json",
    form: Form::OneOrMany(&Form::Table(&BODY_JSON_TABLE)),
    default: "none",
    doc: "Conditions on values of a JSON body; all of them must hold.",
};
pub(crate) static POINTER: Key = Key {
    name: "pointer",
    form: Form::Text(&ANY_TEXT),
    default: "required",
    doc: "Where the value is, as a JSON pointer (RFC 6901): `/checks/0/status`, or empty for the whole body.",
};
pub(crate) static JSON_EQUALS: Key = Key {
    name: "equals",
    form: Form::Scalar,
    default: "any value, but there must be one",
    doc: "What the value must be. Numbers are compared by their value.",
};
pub(crate) static BODY_LIMIT: Key = Key {
    name: "body_limit",
    form: Form::Integer(1, HttpConditions::MAX_BODY_LIMIT as i64),
    default: "65536",
    doc: "How many bytes of the body `body_contains`, `body_matches` and `body_json` look at, after decompression. What could be \
          found out only behind them fails. No compression is asked for; a body that comes with gzip is decompressed, and one \
          with another Content-Encoding fails these conditions.",
};
pub(crate) static PROXY: Key = Key {
    name: "proxy",
    form: Form::Flag,
    default: "false",
    doc: "Send the absolute form of the request target, as to a proxy.",
};
pub(crate) static REUSE: Key = Key {
    name: "reuse",
    form: Form::Integer(1, HttpRequest::MAX_REUSE as i64),
    default: "1: each probe makes a connection of its own",
    doc: "So many probes in a row go over one connection, if the server keeps it. Such a probe shows that the application answers, and \
          not that a new connection can be made: a listener that is gone, a full accept queue or another certificate is seen by the \
          next new connection, that many probes later, and 10 minutes later at most. A failure over a kept connection is no result: \
          the probe is repeated over a new one within its timeout. Only with HTTP/1.1, and not with `old_versions`, \
          `rsa_key_exchange` and `sha1` of TLS.",
};

static CODES_SYNTAX: Syntax = Syntax {
    noun: "a status code, a range, or a class such as \"2xx\"",
    pattern: Some(r"^([1-9]xx|[1-9][0-9]{2}( *- *[1-9][0-9]{2})?)$"),
    integer: Some((100, 999)),
    read: |text| read_codes(text).map(Value::Codes),
};
static METHOD_SYNTAX: Syntax =
    Syntax { noun: "an HTTP method", pattern: Some(words::TOKEN), integer: None, read: words::method };
static PATH_SYNTAX: Syntax = Syntax {
    noun: "a path that begins with a slash",
    pattern: Some(r##"^/[!-"$-~]*$"##),
    integer: None,
    read: words::path,
};
pub(super) static HOST_SYNTAX: Syntax = Syntax {
    noun: "a host, with a port if need be",
    pattern: Some(r"^[0-9A-Za-z._:\[\]-]+$"),
    integer: None,
    read: words::host,
};
static FIELD_NAME_SYNTAX: Syntax = Syntax {
    noun: "the name of a header field",
    pattern: Some(words::TOKEN),
    integer: None,
    read: words::field_name,
};
static PATTERN_SYNTAX: Syntax =
    Syntax { noun: "a regular expression", pattern: None, integer: None, read: words::pattern };
