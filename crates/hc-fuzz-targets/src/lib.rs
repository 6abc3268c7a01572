//! What the fuzzers run: for every codec and parser one function that takes any bytes and panics if
//! they lead to what must not be.
//!
//! "No panic" is the least of it. Each target holds the parser against something that is
//! independent of it: what is read is written and read again, a stream is cut in other places, a
//! packet is signed anew, a set is sorted by the rule in the documentation.
//!
//! The package `fuzz` of the repository runs these functions under libFuzzer; the tests of this
//! crate run them on any toolchain, over the kept corpus and mutations of it. `docs/fuzzing.md` has
//! the commands.
//!
//! ```
//! // Any bytes will do; here is a line of the protocol.
//! let line = br#"{"type":"hello","protocol":1,"version":"1.0"}"#;
//! for target in hc_fuzz_targets::TARGETS {
//!     (target.run)(line);
//! }
//! ```

mod checks;
mod config;
mod corpus;
mod dialogue;
mod dns;
mod fleet;
mod grpc;
mod http;
mod icmp;
mod input;
mod ipc;
mod mutate;
mod radius;
mod sets;
mod snapshot;
mod stream;
mod syn;
mod text;
mod tls;
mod wire;

pub use checks::{checks_toml, cluster_pb};
pub use config::config;
pub use corpus::{BadLine, Corpus};
pub use dialogue::{dialogue, stream_pattern};
pub use dns::{dns_answer, dns_name, dns_question};
pub use fleet::{fleet_node, fleet_object};
pub use grpc::grpc_message;
pub use http::{http_body, http_exchange, http_head, http_json};
pub use icmp::icmp;
pub use ipc::{ipc_lines, ipc_session};
pub use mutate::Mutator;
pub use radius::{radius_request, radius_response};
pub use sets::ipc_sets;
pub use snapshot::snapshot;
pub use syn::syn;
pub use text::{quote, recognise, record_type};
pub use tls::tls_certificate;
pub use wire::{parse_check, wire_to_proxy, wire_to_server};

/// A target and its name, which is also that of its corpus, and what `FUZZ_TARGET` names.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// The function. Panics if the bytes lead to what must not be.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($function:ident),+ $(,)?) => {
        &[$(Target { name: stringify!($function), run: $function }),+]
    };
}

/// All targets.
pub const TARGETS: &[Target] = targets![
    checks_toml,
    cluster_pb,
    config,
    dialogue,
    dns_answer,
    dns_name,
    dns_question,
    fleet_node,
    fleet_object,
    grpc_message,
    http_body,
    http_exchange,
    http_head,
    http_json,
    icmp,
    ipc_lines,
    ipc_session,
    ipc_sets,
    parse_check,
    quote,
    radius_request,
    radius_response,
    recognise,
    record_type,
    snapshot,
    stream_pattern,
    syn,
    tls_certificate,
    wire_to_proxy,
    wire_to_server,
];
