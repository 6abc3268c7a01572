//! What passes between a node and the store that all nodes share.
//!
//! All keys are below one prefix of the fleet, which neither side of this border writes out:
//! `nodes/NAME`, and `opinions/NAME/` with what [`Batch`] names. Everything that a node writes is
//! under its one lease, so it is gone when the node is.

use std::time::Instant;

use crate::{Batch, NodeName, NodeRecord, Term};

/// Something that the store says, or the way to it.
#[derive(Clone, Debug)]
pub enum StoreEvent {
    /// The answer to [`Request::Grant`].
    Granted(Term),
    /// The answer to [`Request::Register`]: the node's key is written. `false`: the key is there
    /// already, of another process.
    Registered(Term, bool),
    /// The lease was kept alive. The time is when that was asked for, since it may have taken a
    /// while.
    Kept(Term, Instant),
    /// The lease is no more.
    Lost(Term),
    /// The batch with this ticket is written.
    Written(u64),
    /// It is not, or nobody knows; in words why.
    NotWritten(u64, String),
    /// A request other than for a write has had no answer, or an error; in words.
    Failed(String),
    /// Everything that nodes have below the fleet's prefix, as of one moment.
    Snapshot(Vec<(String, Vec<u8>)>),
    /// What has changed since, in order, and all that one transaction has changed at once: a key below the prefix, and its value or that it is gone.
    Changes(Vec<(String, Option<Vec<u8>>)>),
    /// The store has said that nothing has changed, or that nothing is missing of what was heard. After
    /// a silence as long as a lease lives this or a snapshot must come before changes are believed.
    Quiet,
    /// What is heard may have gaps from here on, until the next snapshot.
    Deaf,
}

/// What the store is asked for. Requests are made in order, and each has one answer: itself,
/// [`StoreEvent::Failed`] or [`StoreEvent::NotWritten`]. An answer that comes after a later request
/// of its kind is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A lease.
    Grant,
    /// Write `nodes/NAME` under the lease that is the record's term, unless it is there under another one.
    Register(NodeRecord),
    /// Write `nodes/NAME` anew.
    Update(NodeRecord),
    /// Keep the lease alive.
    KeepAlive(Term),
    /// End the lease, and with it everything that was written under it. Needs no answer.
    Revoke(Term),
    /// Write objects, all or none.
    Write(Batch),
}

/// What a key below the fleet's prefix is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A node.
    Node(NodeName),
    /// An object with opinions.
    Object(NodeName),
    /// Something of a later version, or of another part of the program.
    Other,
}

impl Key {
    pub(crate) fn read(key: &str) -> Self {
        let name = |text: &str| NodeName::new(text).ok();
        if let Some(node) = key.strip_prefix("nodes/") {
            return name(node).map_or(Self::Other, Self::Node);
        }
        let object = key.strip_prefix("opinions/").and_then(|rest| rest.split_once('/'));
        object.and_then(|(node, _)| name(node)).map_or(Self::Other, Self::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        let name = || NodeName::new("lb1").unwrap();
        assert_eq!(Key::read("nodes/lb1"), Key::Node(name()));
        assert_eq!(Key::read("opinions/lb1/log/0000000000000000"), Key::Object(name()));
        for other in ["", "schema", "nodes/", "nodes/a/b", "opinions/lb1", "opinions//x", "checks/head"] {
            assert_eq!(Key::read(other), Key::Other, "{other}");
        }
    }
}
