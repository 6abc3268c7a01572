//! Joins what [sources](hc_types::Source) propose into one set of checks.
//!
//! [`Admission`] is the one place where checks are judged that more than one party could claim: an
//! id that comes more than once, an id or a name that another source uses. [`Directory`] keeps
//! names and labels for readers. Neither does I/O.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use hc_sources::{Admission, Admitted, Directory};
//! use hc_types::{CheckId, CheckSpec, ProbeSpec, Proposal, SetChange, Target, Timing};
//!
//! let second = Duration::from_secs(1);
//! let spec = CheckSpec::new(Target::plain("192.0.2.1".parse()?, 0), ProbeSpec::Icmp, Timing::every(second).timeout(second))?;
//! let checks = vec![(CheckId(1), Arc::new(spec))];
//! let proposal = || Proposal::new(SetChange::Full { generation: None, checks: checks.clone() });
//!
//! let mut admission = Admission::new(Arc::new(Directory::default()));
//! let (proxy, file) = (admission.add("hc-proxy"), admission.add("file"));
//! let Admitted { rejected, .. } = admission.admit(proxy, proposal()).0;
//! assert_eq!(rejected, []);
//! let Admitted { rejected, .. } = admission.admit(file, proposal()).0;
//! assert_eq!(rejected[0].reason, "id: used by a check of hc-proxy");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admission;
mod directory;
mod repeats;

pub use admission::{Admission, Admitted, SourceId};
pub use directory::Directory;
