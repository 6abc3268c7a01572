//! The keys of TLS.

use hc_types::TlsOptions;

use super::{FILE_SYNTAX, HOST_NAME_SYNTAX};
use crate::form::{Form, Key, Syntax, Table};
use crate::words;

pub(crate) static TLS: Key = Key {
    name: "tls",
    form: Form::FlagOrTable(&TLS_TABLE),
    default: "false",
    doc: "Speak TLS: `true`, or a table with its settings.",
};

static TLS_TABLE: Table = Table {
    name: "check.tcp.tls, check.http.tls, check.grpc.tls, check.redis.tls, check.smtp.tls, check.postgresql.tls, check.mysql.tls, check.ldap.tls, \
           check.agent.tls",
    doc: "TLS 1.2 and 1.3. `old_versions`, `rsa_key_exchange` and `sha1` also take servers that Seesaw finds unhealthy.",
    keys: &[
        &VERIFY,
        &VERIFY_NAME,
        &SNI,
        &CA_FILE,
        &CERT_FILE,
        &KEY_FILE,
        &PINS,
        &ALPN,
        &MIN_VERSION,
        &MIN_DAYS_LEFT,
        &WARN_DAYS_LEFT,
        &RESUME,
        &OLD_VERSIONS,
        &RSA_KEY_EXCHANGE,
        &SHA1,
    ],
    exclusive: &[],
};

pub(crate) static VERIFY: Key = Key {
    name: "verify",
    form: Form::Flag,
    default: "true",
    doc: "Verify the chain against the system's roots or `ca_file`, and the host or the address against the certificate.",
};
pub(crate) static VERIFY_NAME: Key = Key {
    name: "verify_name",
    form: Form::Text(&HOST_NAME_SYNTAX),
    default: "the host of an HTTP check, or the host name or address of the target",
    doc: "The host name or address that the certificate must hold.",
};
pub(crate) static SNI: Key = Key {
    name: "sni",
    form: Form::Text(&HOST_NAME_SYNTAX),
    default: "the host of an HTTP check or the host name of the target; none for an address",
    doc: "The name that is sent to the server (SNI).",
};
pub(crate) static CA_FILE: Key = Key {
    name: "ca_file",
    form: Form::Text(&FILE_SYNTAX),
    default: "the system's roots",
    doc: "A PEM file with the certificates that the chain is verified against instead of the system's roots, relative to the \
          file that names it.",
};
pub(crate) static CERT_FILE: Key = Key {
    name: "cert_file",
    form: Form::Text(&FILE_SYNTAX),
    default: "none",
    doc: "A PEM file with the certificate of the client and those that have signed it, for servers that ask for one. Needs \
          `key_file`. A server that speaks TLS 1.3 refuses it only after the handshake, so a TCP check needs `receive` to see that.",
};
pub(crate) static KEY_FILE: Key = Key {
    name: "key_file",
    form: Form::Text(&FILE_SYNTAX),
    default: "none",
    doc: "A PEM file with the private key of `cert_file`, not encrypted.",
};
pub(crate) static PINS: Key = Key {
    name: "pins",
    form: Form::OneOrMany(&Form::Text(&PIN_SYNTAX)),
    default: "any key",
    doc: "SHA-256 of the public key (SubjectPublicKeyInfo) of which the server's certificate must have one: `sha256/` and \
          base64, as curl has it, or 64 hexadecimal digits. Counts without `verify`, too.",
};
pub(crate) static ALPN: Key = Key {
    name: "alpn",
    form: Form::OneOrMany(&Form::Text(&ALPN_SYNTAX)),
    default: "not spoken",
    doc: "The protocols that are offered by ALPN, such as \"http/1.1\". A server that chooses none of them fails.",
};
pub(crate) static MIN_VERSION: Key = Key {
    name: "min_version",
    form: Form::Word(&["1.0", "1.1", "1.2", "1.3"]),
    default: "\"1.2\", with `old_versions` \"1.0\"",
    doc: "The lowest version that is spoken. 1.0 and 1.1 mean `old_versions`, too.",
};
pub(crate) static MIN_DAYS_LEFT: Key = Key {
    name: "min_days_left",
    form: Form::Integer(0, 36_500),
    default: "none",
    doc: "A server whose own certificate is valid for fewer whole days fails.",
};
pub(crate) static WARN_DAYS_LEFT: Key = Key {
    name: "warn_days_left",
    form: Form::Integer(0, 36_500),
    default: "none",
    doc: "A server whose own certificate is valid for fewer whole days passes with a warning.",
};
pub(crate) static RESUME: Key = Key {
    name: "resume",
    form: Form::Integer(1, TlsOptions::MAX_RESUME as i64),
    default: "1: each handshake is full",
    doc: "Of so many handshakes in a row one is full; the others resume its session, which costs both sides less. A resumed session \
          brings no certificate, so another one is seen that many probes later, and 10 minutes later at most. The dates of the one \
          that was seen count with every probe, and a probe after one that failed makes a full handshake. Not with `old_versions`, \
          `rsa_key_exchange` and `sha1`. A server that speaks TLS 1.3 sends what is needed only after the handshake, so a TCP check \
          needs `receive`.",
};
pub(crate) static OLD_VERSIONS: Key =
    Key { name: "old_versions", form: Form::Flag, default: "false", doc: "Also speak TLS 1.0 and 1.1." };
pub(crate) static RSA_KEY_EXCHANGE: Key = Key {
    name: "rsa_key_exchange",
    form: Form::Flag,
    default: "false",
    doc: "Also take cipher suites with RSA key exchange.",
};
pub(crate) static SHA1: Key =
    Key { name: "sha1", form: Form::Flag, default: "false", doc: "Also take SHA-1 signatures." };

static PIN_SYNTAX: Syntax = Syntax {
    noun: "the SHA-256 of a key",
    pattern: Some(r"^(sha256//?[0-9A-Za-z+/]{43}=|([0-9A-Fa-f]{2}:?){32})$"),
    integer: None,
    read: words::pin,
};
static ALPN_SYNTAX: Syntax =
    Syntax { noun: "the name of a protocol", pattern: Some("^.{1,255}$"), integer: None, read: words::alpn };
