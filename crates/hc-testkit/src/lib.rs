//! Scripted backends that misbehave on command, for the tests of the hc health checker

pub mod backend;
pub mod certificate;
pub mod datagram;
pub mod dns;
pub mod icmp;
pub mod network;
pub mod port;
pub mod radius;
pub mod script;
