//! Checks shared by a fleet of nodes, and what their opinions of each check amount to.
//!
//! A fleet of load balancers need not probe each backend from each node, nor believe one node's
//! view. The nodes share their checks by [`Slot`] ([`Assignment`]): each check is probed by one
//! node, or by as many as its [`Policy`] wants. Each node writes its [`Opinion`]s into a store that
//! all share, and reads those of the others; by the policy's [`Quorum`] they amount to the verdict
//! that consumers of every node hear.
//!
//! [`Node`] is all of that as synchronous code without I/O and without a clock: it hears what
//! happens ([`StoreEvent`], [`Node::found`]) and says what is to be done ([`Action`]).
//!
//! ```
//! use std::time::Instant;
//! use hc_fleet::{Action, Finding, Node, NodeConfig, NodeName, Policy, Request, StoreEvent, Term};
//! use hc_types::{CheckKey, Health};
//!
//! let now = Instant::now();
//! let mut node = Node::new(NodeConfig::new(NodeName::new("lb1")?, "a process".into()), now);
//! let key = CheckKey::from_bytes([7; 16]);
//! node.add(key, Policy::default(), now);
//! // The store is empty, and takes the node in.
//! node.store(StoreEvent::Snapshot(Vec::new()), now);
//! node.store(StoreEvent::Granted(Term(1)), now);
//! let actions = node.take_actions();
//! let Some(Action::Store(Request::Register(record))) = actions.last() else { panic!("{actions:?}") };
//! node.store(StoreEvent::Registered(Term(1), true), now);
//! node.store(StoreEvent::Changes(vec![("nodes/lb1".into(), Some(record.to_bytes()))]), now);
//! // It is alone, so it probes the check, and its opinion is the verdict.
//! assert!(node.take_actions().contains(&Action::Probe(key, Health::Unknown)));
//! let finding = Finding { health: Health::Healthy, streak: 1, label: "pass".into() };
//! node.found(key, finding, true, now);
//! assert!(node.take_actions().iter().any(|action| matches!(action, Action::Tell(_, Health::Healthy, _))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod assign;
mod budget;
mod codec;
mod heard;
mod member;
mod node;
mod opinion;
mod publish;
mod slot;
mod store;

pub use assign::{Assignment, Seat};
pub use codec::{CodecError, Head, Object, encode};
pub use member::{NodeName, NodeNameError, NodeRecord, Term};
pub use node::{Action, Basis, Explanation, Finding, Node, NodeConfig, Note, Voter};
pub use opinion::Opinion;
pub use publish::{Batch, MOST_BYTES, MOST_IN_A_BATCH, MOST_LOGS};
pub use slot::Slot;
pub use store::{Request, StoreEvent};

pub use hc_types::{OpinionPolicy as Policy, Quorum, QuorumError};
