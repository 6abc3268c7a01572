//! HAProxy, in two ways: it asks ([agent checks](Agent)), or is told over its [runtime
//! API](Runtime).

mod agent;
mod runtime;

pub use agent::{AGENT_CONNECTIONS, Agent, AgentConfig};
pub use runtime::{Runtime, RuntimeAddress, RuntimeAddressError, RuntimeConfig};
