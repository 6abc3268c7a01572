//! The file in which health survives the process.
//!
//! A snapshot holds what [`hc_types::Remembered`] says of each check, under its
//! [`CheckKey`](hc_types::CheckKey): no ids, which belong to one engine, and no addresses, names or
//! secrets. It is replaced atomically, so that a kill at any moment leaves the old one or the new
//! one; a checksum finds whatever else may happen to a file.
//!
//! It also holds what operators say of checks ([`hc_types::Override`]). Those have an end of their
//! own, so they are read however old the snapshot is.
//!
//! Files of the version before are read, too. Their records have other keys, of which
//! [`version_1_key`] derives the one of a check; once that check has been probed, the next snapshot
//! has it under its present key.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//!
//! let dir = tempfile::tempdir()?;
//! let now = SystemTime::now();
//! hc_snapshot::write(dir.path(), now, &[], &[])?;
//! let found = hc_snapshot::read(dir.path(), now, Duration::from_secs(300))?;
//! assert_eq!(found.health, hc_snapshot::Found::Usable { written: now, records: vec![] });
//! assert!(found.overrides.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod codec;
mod file;
mod version_1;

pub use codec::{DecodeError, Decoded, EncodeError, decode, encode};
pub use file::{Contents, FILE_NAME, Found, ReadError, TOLERANCE, WriteError, read, write};
pub use version_1::version_1_key;
