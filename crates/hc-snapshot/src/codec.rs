//! Bytes of a snapshot: magic, version, length, postcard, SHA-256. No I/O.

use std::time::SystemTime;

use hc_types::Remembered;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What the file begins with.
const MAGIC: [u8; 6] = *b"HCSNAP";

/// The version that this code writes, and the only one that it reads.
const VERSION: u16 = 1;

/// Magic, version.
const HEADER: usize = 8;

/// SHA-256 over everything before it.
const CHECKSUM: usize = 32;

/// Why bytes are not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The file is something else.
    #[error("not a snapshot of this program")]
    Foreign,
    /// Written by another version.
    #[error("format version {0}, and this program reads version {VERSION}")]
    Version(u16),
    /// Cut short, or changed after it was written.
    #[error("damaged")]
    Corrupt,
}

#[derive(Serialize, Deserialize)]
struct Body<R> {
    written: SystemTime,
    records: R,
}

/// Writes a snapshot into memory: about 50 bytes a record.
///
/// # Errors
/// When `written` or a record's `last_check` lies before 1970, which the format cannot hold.
pub fn encode(written: SystemTime, records: &[Remembered]) -> Result<Vec<u8>, postcard::Error> {
    let mut bytes = Vec::with_capacity(HEADER + CHECKSUM + 64 + records.len() * 56);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    let mut bytes = postcard::to_extend(&Body { written, records }, bytes)?;
    let checksum: [u8; CHECKSUM] = Sha256::digest(&bytes).into();
    bytes.extend_from_slice(&checksum);
    Ok(bytes)
}

/// Reads a snapshot: when it was written, and its records.
///
/// # Errors
/// [`DecodeError`]; nothing of a damaged snapshot is used.
pub fn decode(bytes: &[u8]) -> Result<(SystemTime, Vec<Remembered>), DecodeError> {
    let (magic, rest) = bytes.split_first_chunk::<6>().ok_or(DecodeError::Foreign)?;
    if *magic != MAGIC {
        return Err(DecodeError::Foreign);
    }
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(DecodeError::Corrupt)?;
    // Before the checksum: a later version may well keep another one.
    let version = u16::from_le_bytes(*version);
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let (body, checksum) = rest.split_last_chunk::<CHECKSUM>().ok_or(DecodeError::Corrupt)?;
    let expected: [u8; CHECKSUM] = Sha256::digest(&bytes[..bytes.len() - CHECKSUM]).into();
    if *checksum != expected {
        return Err(DecodeError::Corrupt);
    }
    let Body { written, records } = postcard::from_bytes(body).map_err(|_| DecodeError::Corrupt)?;
    Ok((written, records))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hc_types::{Health, SubjectKey};
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = Remembered> {
        (any::<[u8; 16]>(), any::<bool>(), any::<u32>(), any::<u64>(), any::<u64>(), 0..u64::from(u32::MAX))
            .prop_map(|(key, up, consecutive_failures, failures, successes, nanos)| Remembered {
                key: SubjectKey(key),
                health: if up { Health::Healthy } else { Health::Unhealthy },
                consecutive_failures,
                failures,
                successes,
                last_check: SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos * 1_000),
                duration: Duration::from_nanos(nanos),
            })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(records in proptest::collection::vec(record(), 0..20)) {
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            let bytes = encode(written, &records).unwrap();
            prop_assert_eq!(decode(&bytes), Ok((written, records)));
        }

        #[test]
        fn any_changed_byte_is_found(records in proptest::collection::vec(record(), 0..5), at: prop::sample::Index, flip in 1u8..) {
            let mut bytes = encode(SystemTime::UNIX_EPOCH, &records).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn any_cut_is_found(records in proptest::collection::vec(record(), 0..5), at: prop::sample::Index) {
            let bytes = encode(SystemTime::UNIX_EPOCH, &records).unwrap();
            prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
        }

        #[test]
        fn garbage_is_no_snapshot(bytes: Vec<u8>) {
            prop_assert!(decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = encode(SystemTime::UNIX_EPOCH, &[]).unwrap();
        bytes[6] = 2;
        assert_eq!(decode(&bytes), Err(DecodeError::Version(2)));
    }
}
