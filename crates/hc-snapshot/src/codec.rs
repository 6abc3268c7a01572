//! Bytes of a snapshot. No I/O.
//!
//! | bytes | what |
//! |---|---|
//! | 6 | `HCSNAP` |
//! | 2 | version, least significant byte first |
//! | | version 2: sections; version 1: the body of section 1 alone |
//! | 32 | SHA-256 of everything before |
//!
//! A section is a tag (16 bits), the length of its body (32 bits), both with the least significant
//! byte first, and the body. Section 1, [`HEALTH`], must be there once; section 2, [`OVERRIDES`],
//! is there while there are any; section 3, [`SINCE`], is missing in files of older programs. **The
//! format grows by sections**: what is new gets a tag of its own, and a program that does not know
//! a tag skips the section. The version changes only if an older program must not read the file.

use std::time::{Duration, SystemTime};

use hc_types::{CheckKey, Health, Override, Remembered};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::version_1;

/// What the file begins with.
const MAGIC: [u8; 6] = *b"HCSNAP";

/// The version that this code writes. Older ones are read, too.
const VERSION: u16 = 2;

/// The version without sections, whose keys are those of [`version_1`].
const WITHOUT_SECTIONS: u16 = 1;

/// Tag of the section with the health of all checks: [`Body`] in postcard.
const HEALTH: u16 = 1;

/// Tag of the section with what operators say of checks: a list of [`Override`] in postcard.
const OVERRIDES: u16 = 2;

/// Tag of the section that says since when each check has its health: an [`Option<SystemTime>`] for
/// each record of [`HEALTH`], in their order, in postcard.
const SINCE: u16 = 3;

/// Magic, version.
const HEADER: usize = 8;

/// Tag, length.
const SECTION_HEADER: usize = 6;

/// SHA-256 over everything before it.
const CHECKSUM: usize = 32;

/// Why bytes are not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The file is something else.
    #[error("not a snapshot of this program")]
    Foreign,
    /// Written by a newer version.
    #[error("format version {0}, and this program reads up to version {VERSION}")]
    Version(u16),
    /// Cut short, or changed after it was written.
    #[error("damaged")]
    Corrupt,
}

#[derive(Serialize, Deserialize)]
struct Body<R = Vec<Record>> {
    written: SystemTime,
    records: R,
}

/// A list that is written as it is made: that of a million checks would take 88 MB.
struct Each<'a, T>(&'a [Remembered], fn(&Remembered) -> T);

impl<T: Serialize> Serialize for Each<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(self.1))
    }
}

/// A [`Remembered`] as [`HEALTH`] has it. Its fields do not change any more: what is new is in a
/// section of its own.
#[derive(Serialize, Deserialize)]
struct Record {
    key: CheckKey,
    health: Health,
    consecutive_failures: u32,
    failures: u64,
    successes: u64,
    last_check: SystemTime,
    duration: Duration,
}

impl From<&Remembered> for Record {
    fn from(remembered: &Remembered) -> Self {
        let Remembered {
            key,
            health,
            consecutive_failures,
            failures,
            successes,
            last_check,
            since: _,
            duration,
        } = *remembered;
        Self { key, health, consecutive_failures, failures, successes, last_check, duration }
    }
}

impl Record {
    fn remembered(self, since: Option<SystemTime>) -> Remembered {
        let Self { key, health, consecutive_failures, failures, successes, last_check, duration } = self;
        Remembered { key, health, consecutive_failures, failures, successes, last_check, since, duration }
    }
}

/// Why records cannot be written down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The time of the snapshot or of a record's last check lies before 1970.
    #[error("{0}")]
    Record(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The records take more than 4 GiB.
    #[error("more than 4 GiB")]
    TooLarge,
}

/// What a snapshot says.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// When it was written.
    pub written: SystemTime,
    /// What was known of checks.
    pub records: Vec<Remembered>,
    /// What operators say of checks.
    pub overrides: Vec<Override>,
    /// Whether there are overrides that this program cannot read: another version has written them.
    pub overrides_unknown: bool,
}

/// Writes a snapshot into memory: about 60 bytes a record, and about 100 an override.
///
/// # Errors
/// [`EncodeError`]: the format cannot hold the records.
pub fn encode(
    written: SystemTime,
    records: &[Remembered],
    overrides: &[Override],
) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(HEADER + 3 * SECTION_HEADER + CHECKSUM + 64 + records.len() * 68);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    let body = Body { written, records: Each(records, |known| Record::from(known)) };
    let mut bytes = section(HEALTH, &body, bytes)?;
    bytes = section(SINCE, &Each(records, |known| known.since), bytes)?;
    if !overrides.is_empty() {
        bytes = section(OVERRIDES, &overrides, bytes)?;
    }
    let checksum: [u8; CHECKSUM] = Sha256::digest(&bytes).into();
    bytes.extend_from_slice(&checksum);
    Ok(bytes)
}

/// Adds a section.
fn section(tag: u16, body: &impl Serialize, mut bytes: Vec<u8>) -> Result<Vec<u8>, EncodeError> {
    bytes.extend_from_slice(&tag.to_le_bytes());
    // The length, known when the body is written.
    bytes.extend_from_slice(&[0; 4]);
    let begin = bytes.len();
    let mut bytes = postcard::to_extend(body, bytes).map_err(|error| EncodeError::Record(error.into()))?;
    let length = u32::try_from(bytes.len() - begin).map_err(|_| EncodeError::TooLarge)?;
    bytes[begin - 4..begin].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// Reads a snapshot. The keys in one of version 1 are made by
/// [`version_1_key`](crate::version_1_key).
///
/// # Errors
/// [`DecodeError`]; nothing of a damaged snapshot is used.
pub fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let (magic, rest) = bytes.split_first_chunk::<6>().ok_or(DecodeError::Foreign)?;
    if *magic != MAGIC {
        return Err(DecodeError::Foreign);
    }
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(DecodeError::Corrupt)?;
    // Before the checksum: a later version may well keep another one.
    let version = u16::from_le_bytes(*version);
    if !(WITHOUT_SECTIONS..=VERSION).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let (content, checksum) = rest.split_last_chunk::<CHECKSUM>().ok_or(DecodeError::Corrupt)?;
    let expected: [u8; CHECKSUM] = Sha256::digest(&bytes[..bytes.len() - CHECKSUM]).into();
    if *checksum != expected {
        return Err(DecodeError::Corrupt);
    }
    if version == WITHOUT_SECTIONS {
        let Body { written, records } = read_body(content)?;
        let with_version = |record: Record| Record { key: with_version_1(record.key), ..record };
        let records = records.into_iter().map(|record| with_version(record).remembered(None)).collect();
        return Ok(Decoded { written, records, overrides: Vec::new(), overrides_unknown: false });
    }
    let Sections { health, overrides, since } = Sections::find(content)?;
    let Body { written, records } = read_body(health)?;
    let since = since.map_or_else(Vec::new, |since| read_since(since, records.len()));
    let since = since.into_iter().chain(std::iter::repeat(None));
    let records = records.into_iter().zip(since).map(|(record, since)| record.remembered(since)).collect();
    // The checksum is right, so this is no damage: another version knows more kinds of them.
    let overrides = overrides.map(postcard::from_bytes);
    let overrides_unknown = matches!(overrides, Some(Err(_)));
    let overrides = overrides.and_then(Result::ok).unwrap_or_default();
    Ok(Decoded { written, records, overrides, overrides_unknown })
}

fn read_body(body: &[u8]) -> Result<Body, DecodeError> {
    postcard::from_bytes(body).map_err(|_| DecodeError::Corrupt)
}

/// Since when each of so many records has its health. Nothing if the section is not what this
/// program writes: the checksum is right, so this is no damage, and it costs no health.
fn read_since(section: &[u8], records: usize) -> Vec<Option<SystemTime>> {
    let since: Vec<_> = postcard::from_bytes(section).unwrap_or_default();
    if since.len() == records { since } else { Vec::new() }
}

/// Keys of version 1 did not say so: all their bytes were of the digest.
fn with_version_1(key: CheckKey) -> CheckKey {
    let mut bytes = key.to_bytes();
    bytes[0] = version_1::VERSION;
    CheckKey::from_bytes(bytes)
}

/// The bodies of the sections that this program knows.
struct Sections<'b> {
    health: &'b [u8],
    overrides: Option<&'b [u8]>,
    since: Option<&'b [u8]>,
}

impl<'b> Sections<'b> {
    /// All sections must be whole, and none of these may be there twice.
    fn find(mut content: &'b [u8]) -> Result<Self, DecodeError> {
        let (mut health, mut overrides, mut since) = (None, None, None);
        while let Some((tag, rest)) = content.split_first_chunk::<2>() {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or(DecodeError::Corrupt)?;
            let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| DecodeError::Corrupt)?;
            let (body, rest) = rest.split_at_checked(length).ok_or(DecodeError::Corrupt)?;
            let before = match u16::from_le_bytes(*tag) {
                HEALTH => health.replace(body),
                OVERRIDES => overrides.replace(body),
                SINCE => since.replace(body),
                _ => None,
            };
            if before.is_some() {
                return Err(DecodeError::Corrupt);
            }
            content = rest;
        }
        let health = health.filter(|_| content.is_empty()).ok_or(DecodeError::Corrupt)?;
        Ok(Self { health, overrides, since })
    }
}

#[cfg(test)]
mod tests {
    use hc_types::{Operator, Ruling, Subject, WeekTime, Weekly};
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = Remembered> {
        (any::<[u8; 16]>(), any::<bool>(), any::<u32>(), any::<u64>(), any::<u64>(), 0..u64::from(u32::MAX))
            .prop_map(|(key, up, consecutive_failures, failures, successes, nanos)| Remembered {
                key: CheckKey::from_bytes(key),
                health: if up { Health::Healthy } else { Health::Unhealthy },
                consecutive_failures,
                failures,
                successes,
                last_check: SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos * 1_000),
                since: up.then(|| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)),
                duration: Duration::from_nanos(nanos),
            })
    }

    fn order() -> impl Strategy<Value = Override> {
        let subject = prop_oneof![
            ".*".prop_map(|name| Subject::Name(name.into())),
            any::<[u8; 16]>().prop_map(|key| Subject::Key(CheckKey::from_bytes(key))),
        ];
        let ruling = prop_oneof![
            Just(Ruling::Force(Health::Unhealthy)),
            Just(Ruling::Mute { kept: Some(Health::Healthy) }),
            Just(Ruling::Pause),
        ];
        let at = |seconds: u32| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
        let time = move || any::<u32>().prop_map(at);
        let weekly = proptest::option::of((0..7_u8, 0..1440_u16).prop_map(|(day, minute)| Weekly {
            from: WeekTime { day, minute },
            to: WeekTime { day: 6, minute: 0 },
            zone: "Europe/Berlin".into(),
        }));
        let until = proptest::option::of(time());
        (subject, ruling, ".*", proptest::option::of(".*"), time(), until, weekly).prop_map(
            |(subject, ruling, reason, user, asked, until, weekly)| Override {
                subject,
                title: reason.clone().into(),
                ruling,
                by: Operator { uid: 7, user: user.map(Into::into) },
                reason: reason.into(),
                asked,
                from: asked,
                until,
                weekly,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            records in proptest::collection::vec(record(), 0..20),
            overrides in proptest::collection::vec(order(), 0..5),
        ) {
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            let bytes = encode(written, &records, &overrides).unwrap();
            prop_assert_eq!(decode(&bytes), Ok(Decoded { written, records, overrides, overrides_unknown: false }));
        }

        #[test]
        fn any_changed_byte_is_found(records in proptest::collection::vec(record(), 0..5), at: prop::sample::Index, flip in 1u8..) {
            let mut bytes = encode(SystemTime::UNIX_EPOCH, &records, &[]).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn any_cut_is_found(records in proptest::collection::vec(record(), 0..5), at: prop::sample::Index) {
            let bytes = encode(SystemTime::UNIX_EPOCH, &records, &[]).unwrap();
            prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
        }

        #[test]
        fn garbage_is_no_snapshot(bytes: Vec<u8>) {
            prop_assert!(decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = encode(SystemTime::UNIX_EPOCH, &[], &[]).unwrap();
        for version in [0, 3] {
            bytes[6] = version;
            assert_eq!(decode(&bytes), Err(DecodeError::Version(version.into())));
        }
    }

    /// A file with this content under a right checksum.
    fn file(version: u16, content: &[u8]) -> Vec<u8> {
        let bytes = [&MAGIC[..], &version.to_le_bytes(), content].concat();
        [&bytes[..], &Sha256::digest(&bytes)].concat()
    }

    fn part(tag: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap();
        [&tag.to_le_bytes()[..], &length.to_le_bytes(), body].concat()
    }

    fn body(key: [u8; 16]) -> Vec<u8> {
        let record = Record {
            key: CheckKey::from_bytes(key),
            health: Health::Healthy,
            consecutive_failures: 0,
            failures: 0,
            successes: 7,
            last_check: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
        };
        postcard::to_stdvec(&Body { written: SystemTime::UNIX_EPOCH, records: vec![record] }).unwrap()
    }

    #[track_caller]
    fn key_in(file: &[u8]) -> CheckKey {
        let Decoded { records, .. } = decode(file).unwrap();
        assert_eq!((records.len(), records[0].successes), (1, 7));
        records[0].key
    }

    #[test]
    fn overrides_of_another_version_cost_no_health() {
        let content = [part(HEALTH, &body([9; 16])), part(OVERRIDES, b"\x01\xff\xff")].concat();
        let found = decode(&file(2, &content)).unwrap();
        assert_eq!((found.records.len(), found.overrides.len(), found.overrides_unknown), (1, 0, true));
    }

    /// What the program before wrote does not say since when; what another one says of other checks
    /// is not used.
    #[test]
    fn health_of_which_it_is_not_known_since_when_is_read() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        let health = part(HEALTH, &body([9; 16]));
        let since = |since: &[Option<SystemTime>]| part(SINCE, &postcard::to_stdvec(since).unwrap());
        for (section, expected) in [
            (vec![], None),
            (since(&[Some(at)]), Some(at)),
            (since(&[None]), None),
            (since(&[Some(at), Some(at)]), None),
            (part(SINCE, b"\x01\x07"), None),
        ] {
            let found = decode(&file(2, &[&health[..], &section].concat())).unwrap();
            assert_eq!((found.records.len(), found.records[0].since), (1, expected));
        }
    }

    #[test]
    fn sections_of_a_later_program_are_skipped() {
        let health = part(HEALTH, &body([9; 16]));
        let unknown = part(4, b"something new");
        for content in [health.clone(), [&unknown[..], &health].concat(), [&health[..], &unknown].concat()] {
            assert_eq!(key_in(&file(2, &content)), CheckKey::from_bytes([9; 16]));
        }
        let half = &unknown[..unknown.len() - 1];
        for damaged in
            [vec![], unknown.clone(), [&health[..], half].concat(), [&health[..], &health].concat()]
        {
            assert_eq!(decode(&file(2, &damaged)), Err(DecodeError::Corrupt));
        }
    }

    /// What the program before wrote has no section of overrides.
    #[test]
    fn a_file_without_overrides_has_none() {
        let health = part(HEALTH, &body([9; 16]));
        assert_eq!(decode(&file(2, &health)).unwrap().overrides, []);
        let none = part(OVERRIDES, &[0]);
        assert_eq!(decode(&file(2, &[&health[..], &none].concat())).unwrap().overrides, []);
        let twice = [&health[..], &none, &none].concat();
        assert_eq!(decode(&file(2, &twice)), Err(DecodeError::Corrupt));
    }

    #[test]
    fn keys_of_version_1_are_marked_as_such() {
        let mut expected = [9; 16];
        expected[0] = 1;
        assert_eq!(key_in(&file(1, &body([9; 16]))), CheckKey::from_bytes(expected));
    }
}
