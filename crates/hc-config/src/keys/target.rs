//! Where the probes of a check go.

use super::{ADDRESS_SYNTAX, CHECK_NAME, LABELS};
use crate::form::{Form, Key, Syntax, Table, Value};
use crate::range::{TargetItem, read_ports};
use crate::words;

pub(crate) static TARGET: Key = Key {
    name: "target",
    form: Form::OneOrMany(&Form::TextOrTable(&TARGET_SYNTAX, &TARGET_TABLE)),
    default: "required",
    doc: "Where the probe goes: an address or a host name, with a port if need be, a CIDR range, or a list of these. An IPv4 \
          range up to /30 has neither its network nor its broadcast address.",
};
static TARGET_TABLE: Table = Table {
    name: "check.target",
    doc: "A target with a name or labels of its own.",
    keys: &[&ADDRESS, &TARGET_NAME, &LABELS],
    exclusive: &[],
};
pub(crate) static ADDRESS: Key = Key {
    name: "address",
    form: Form::Text(&TARGET_SYNTAX),
    default: "required",
    doc: "What would stand in `target` instead of the table.",
};
pub(crate) static TARGET_NAME: Key = Key {
    name: "name",
    form: Form::Text(&CHECK_NAME),
    default: "address and port",
    doc: "What stands behind the name of the check and a slash; with several ports, `:PORT` follows. Not for a CIDR range.",
};
pub(crate) static EXCLUDE: Key = Key {
    name: "exclude",
    form: Form::OneOrMany(&Form::Text(&EXCLUDE_SYNTAX)),
    default: "none",
    doc: "Addresses and ranges that are left out of `target`. With a port, only that port is left out.",
};
pub(crate) static RESOLVE: Key = Key {
    name: "resolve",
    form: Form::Word(&["each", "any", "all"]),
    default: "\"each\"",
    doc: "For a target that is a host name: a check for each of its addresses, or one check that passes if the probes of any or of \
          all addresses do.",
};
pub(crate) static PORT: Key = Key {
    name: "port",
    form: Form::OneOrMany(&Form::Text(&PORT_SYNTAX)),
    default: "http 80, with TLS 443; dns 53; radius 1812; redis 6379; smtp 25, with TLS from the start 465; postgresql 5432; \
              mysql 3306; ldap 389, with TLS from the start 636; otherwise required",
    doc: "The port of the targets that name none: a number, a range, or a list of these.",
};
pub(crate) static DEPENDS_ON: Key = Key {
    name: "depends_on",
    form: Form::OneOrMany(&Form::Text(&CHECK_NAME)),
    default: "none",
    doc: "Names of other checks, such as that of a gateway. While one of them is unhealthy, a failure of this check is held: \
          consumers keep what they had. The name is the whole one, with `/ADDRESS:PORT` where that is added.",
};
pub(crate) static MODE: Key = Key {
    name: "mode",
    form: Form::Word(&["plain", "dsr", "tun"]),
    default: "\"plain\"",
    doc: "How the probe reaches the backend: directly, or through a VIP and a firewall mark by direct server return or a \
          tunnel. `dsr` and `tun` need `mark`.",
};
pub(crate) static MARK: Key = Key {
    name: "mark",
    form: Form::Integer(1, u32::MAX as i64),
    default: "none",
    doc: "The mark (SO_MARK) of all packets of the probe.",
};
pub(crate) static BACKEND: Key = Key {
    name: "backend",
    form: Form::Text(&ADDRESS_SYNTAX),
    default: "none",
    doc: "With `mode` dsr or tun: the backend behind the VIP, for messages.",
};

static TARGET_SYNTAX: Syntax = Syntax {
    noun: "an address, a host name, one of these with a port, or a CIDR range",
    pattern: None,
    integer: None,
    read: |text| TargetItem::read(text).map(Value::Target),
};
static EXCLUDE_SYNTAX: Syntax = Syntax {
    noun: "an address, an address with a port, or a CIDR range",
    pattern: None,
    integer: None,
    read: words::exclusion,
};
static PORT_SYNTAX: Syntax = Syntax {
    noun: "a port or a range of ports",
    pattern: Some(r"^[0-9]+( *- *[0-9]+)?$"),
    integer: Some((1, 65535)),
    read: |text| read_ports(text).map(Value::Ports),
};
