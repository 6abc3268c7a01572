//! Names for what is checked.

use std::fmt;

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::CheckSpec;
use crate::wire::print::serialize_subject;

/// The name of what a check checks, whatever its id: 128 bits of the SHA-256 of its target and its probe in JSON.
///
/// Health is remembered under this name, in memory and on disk. Secrets enter it only through the digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubjectKey(pub [u8; 16]);

impl SubjectKey {
    pub(crate) fn of(spec: &CheckSpec) -> Self {
        struct Subject<'a>(&'a CheckSpec);
        impl Serialize for Subject<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                serialize_subject(&mut map, self.0)?;
                map.end()
            }
        }
        let mut json = Vec::with_capacity(256);
        // Maps with string keys, numbers and strings: JSON can hold them all, and a Vec takes whatever is written.
        let written = serde_json::to_writer(&mut json, &Subject(spec));
        debug_assert!(written.is_ok());
        let digest: [u8; 32] = Sha256::digest(&json).into();
        let [key @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = digest;
        Self(key)
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
