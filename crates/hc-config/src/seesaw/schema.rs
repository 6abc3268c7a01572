//! The messages of `cluster.pb` (Seesaw's `pb/config/config.proto`).

/// A message type.
pub(super) struct Message {
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

/// A field of a message.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) label: Label,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Required,
    Optional,
    Repeated,
}

/// What a field holds.
pub(super) enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Float,
    /// Bytes: Seesaw takes strings that are not UTF-8.
    Text,
    Enum(&'static [(&'static str, i32)]),
    Message(&'static Message),
}

const fn required(name: &'static str, kind: Kind) -> Field {
    Field { name, label: Label::Required, kind }
}

const fn optional(name: &'static str, kind: Kind) -> Field {
    Field { name, label: Label::Optional, kind }
}

const fn repeated(name: &'static str, kind: Kind) -> Field {
    Field { name, label: Label::Repeated, kind }
}

pub(super) static CLUSTER: Message = Message {
    name: "Cluster",
    fields: &[
        required("seesaw_vip", Kind::Message(&HOST)),
        repeated("node", Kind::Message(&HOST)),
        optional("vmac", Kind::Text),
        optional("bgp_local_asn", Kind::Uint32),
        optional("bgp_remote_asn", Kind::Uint32),
        repeated("bgp_peer", Kind::Message(&HOST)),
        repeated("vserver", Kind::Message(&VSERVER)),
        repeated("vlan", Kind::Message(&VLAN)),
        repeated("misconfigured_vserver", Kind::Message(&MISCONFIGURED_VSERVER)),
        optional("metadata", Kind::Message(&METADATA)),
        repeated("dedicated_vip_subnet", Kind::Text),
        repeated("access_groups", Kind::Message(&ACCESS_GROUP)),
    ],
};

static HOST: Message = Message {
    name: "Host",
    fields: &[
        required("fqdn", Kind::Text),
        optional("ipv4", Kind::Text),
        optional("ipv6", Kind::Text),
        optional("status", Kind::Enum(STATUS)),
    ],
};

/// `Host.status` of a host that takes part. Without a status a host is in production.
pub(super) const PRODUCTION: i32 = 1;
pub(super) const TESTING: i32 = 2;

const STATUS: &[(&str, i32)] = &[
    ("PRODUCTION", PRODUCTION),
    ("TESTING", TESTING),
    ("BUILDING", 3),
    ("STANDBY", 4),
    ("FAILURE", 5),
    ("DISABLED", 6),
    ("PROPOSED", 7),
];

static VSERVER: Message = Message {
    name: "Vserver",
    fields: &[
        required("name", Kind::Text),
        required("entry_address", Kind::Message(&HOST)),
        required("rp", Kind::Text),
        optional("use_fwm", Kind::Bool),
        repeated("vserver_entry", Kind::Message(&VSERVER_ENTRY)),
        repeated("healthcheck", Kind::Message(&HEALTHCHECK)),
        repeated("access_grant", Kind::Message(&ACCESS_GRANT)),
        repeated("warning", Kind::Text),
        repeated("backend", Kind::Message(&BACKEND)),
    ],
};

static VSERVER_ENTRY: Message = Message {
    name: "VserverEntry",
    fields: &[
        required("protocol", Kind::Enum(PROTOCOLS)),
        required("port", Kind::Int32),
        optional("scheduler", Kind::Enum(SCHEDULERS)),
        optional("mode", Kind::Enum(FORWARDING_MODES)),
        optional("persistence", Kind::Int32),
        optional("quiescent", Kind::Bool),
        optional("server_low_watermark", Kind::Float),
        optional("server_high_watermark", Kind::Float),
        optional("lthreshold", Kind::Int32),
        optional("uthreshold", Kind::Int32),
        repeated("healthcheck", Kind::Message(&HEALTHCHECK)),
        optional("one_packet", Kind::Bool),
    ],
};

pub(super) const PROTOCOLS: &[(&str, i32)] = &[("TCP", 1), ("UDP", 2)];
pub(super) const SCHEDULERS: &[(&str, i32)] =
    &[("RR", 1), ("WRR", 2), ("LC", 3), ("WLC", 4), ("SH", 5), ("MH", 6)];
pub(super) const FORWARDING_MODES: &[(&str, i32)] = &[("DSR", 1), ("NAT", 2), ("TUN", 3)];

static HEALTHCHECK: Message = Message {
    name: "Healthcheck",
    fields: &[
        required("type", Kind::Enum(CHECK_TYPES)),
        optional("interval", Kind::Int32),
        optional("timeout", Kind::Int32),
        optional("port", Kind::Int32),
        optional("send", Kind::Text),
        optional("receive", Kind::Text),
        optional("code", Kind::Int32),
        optional("mode", Kind::Enum(CHECK_MODES)),
        optional("method", Kind::Text),
        optional("proxy", Kind::Bool),
        optional("tls_verify", Kind::Bool),
        optional("retries", Kind::Int32),
    ],
};

const CHECK_TYPES: &[(&str, i32)] = &[
    ("ICMP_PING", 1),
    ("UDP", 2),
    ("TCP", 3),
    ("HTTP", 4),
    ("HTTPS", 5),
    ("DNS", 6),
    ("TCP_TLS", 7),
    ("RADIUS", 8),
];

const CHECK_MODES: &[(&str, i32)] = &[("PLAIN", 1), ("DSR", 2), ("TUN", 3)];

static BACKEND: Message = Message {
    name: "Backend",
    fields: &[required("host", Kind::Message(&HOST)), optional("weight", Kind::Int32)],
};

static VLAN: Message = Message {
    name: "Vlan",
    fields: &[required("vlan_id", Kind::Int32), required("host", Kind::Message(&HOST))],
};

static ACCESS_GRANT: Message = Message {
    name: "AccessGrant",
    fields: &[
        required("grantee", Kind::Text),
        required("role", Kind::Enum(&[("ADMIN", 1), ("OPS", 2)])),
        required("type", Kind::Enum(&[("USER", 1), ("GROUP", 2)])),
    ],
};

static ACCESS_GROUP: Message =
    Message { name: "AccessGroup", fields: &[required("name", Kind::Text), repeated("member", Kind::Text)] };

static MISCONFIGURED_VSERVER: Message = Message {
    name: "MisconfiguredVserver",
    fields: &[required("name", Kind::Text), optional("error_message", Kind::Text)],
};

static METADATA: Message = Message {
    name: "Metadata",
    fields: &[required("last_updated", Kind::Int64), repeated("attribute", Kind::Message(&ATTRIBUTE))],
};

static ATTRIBUTE: Message =
    Message { name: "Attribute", fields: &[required("name", Kind::Text), required("value", Kind::Text)] };
