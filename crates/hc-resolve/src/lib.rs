//! Follows the addresses of host names, for checks whose targets are names.
//!
//! A resolver that is away, slow or confused says nothing about a backend. So the last addresses of
//! a name stand until others are known, and an answer that there are none counts only when it has
//! come several times in a row ([`Names`]). [`Resolver`] asks by the system's configuration
//! (`/etc/resolv.conf`, `/etc/hosts`), which it reads again when it changes. [`follow`] joins the
//! two.

mod names;
mod resolver;
mod task;

pub use names::{Change, Names, NamesConfig, Question, Trouble};
pub use resolver::{Answer, Lookup, ResolveError, Resolver, system_reach};
pub use task::{Handle, follow};
